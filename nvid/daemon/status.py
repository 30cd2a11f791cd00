"""How the daemon is, as values: what ``nvid status --json`` prints and the control socket says.

Times are seconds since the epoch (UTC). Annotations are not postponed here: asyncvarlink 0.3 reads
the types of the fields themselves.
"""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class ConfigStatus:
    """The configuration in force; ``generation`` counts from 1 with every one that was loaded.

    ``confirm_deadline`` is when a trial ends. ``refused_at`` is when what lies at ``path`` was
    taken back: then the last good configuration is in force instead.
    """

    path: str
    loaded_at: float
    generation: int
    confirm_deadline: float | None = None
    refused_at: float | None = None


@dataclass(frozen=True)
class NviStatus:
    """One NVI. ``interfaces`` are the NAT-enabled interfaces that exist now; ``translations`` and
    ``flows`` are numbers, ``flows`` None while nobody has counted yet."""

    name: str
    backend: str
    path: str
    state: Literal["up", "degraded", "down"]
    problems: list[str]
    interfaces: list[str]
    translations: int
    flows: int | None


@dataclass(frozen=True)
class UplinkStatus:
    """One uplink. ``gateway`` holds its gateways, ``reason`` why it is down, or what does not work
    though it is up: one of the two families, say. Empty when all is well."""

    name: str
    interface: str
    state: Literal["up", "down"]
    gateway: list[str]
    reason: str


@dataclass(frozen=True)
class TenantStatus:
    """One tenant. ``interfaces`` are those that exist now, ``flows`` the number of flows that it
    began or that go to it (None while nobody has counted yet), ``reason`` why it is down."""

    name: str
    interfaces: list[str]
    state: Literal["up", "down"]
    reason: str
    flows: int | None


@dataclass(frozen=True)
class Repair:
    """One object that was mended; ``culprit`` where the kernel told who had changed it."""

    object: str
    action: str
    culprit: str | None
    at: float


@dataclass(frozen=True)
class ReconcileStatus:
    """The work of keeping the kernel as it should be; ``problems`` are those of no single NVI."""

    repairs_total: int
    last_repair_at: float | None
    last_repairs: list[Repair]
    last_duration_seconds: float
    overruns_total: int
    problems: list[str]


@dataclass(frozen=True)
class Status:
    """Everything at one glance."""

    state: Literal["healthy", "degraded", "starting"]
    version: str
    pid: int
    config: ConfigStatus
    reconcile: ReconcileStatus
    nvis: list[NviStatus] = field(default_factory=list)
    uplinks: list[UplinkStatus] = field(default_factory=list)
    tenants: list[TenantStatus] = field(default_factory=list)


def headline(status: Status) -> str:
    """One line for ``systemctl status``: the state, and the first thing that is wrong."""
    flows = [nvi.flows for nvi in status.nvis if nvi.flows is not None]
    up = sum(uplink.state == "up" for uplink in status.uplinks)
    words = [
        status.state,
        f"{len(status.nvis)} NVIs",
        f"{sum(nvi.translations for nvi in status.nvis)} translations",
    ]
    if status.uplinks:
        words.append(f"{up} of {len(status.uplinks)} uplinks up")
    if flows:
        words.append(f"{sum(flows)} flows")
    if status.config.confirm_deadline is not None:
        words.append("on trial until confirmed")
    wrong = first_problem(status)
    return ", ".join(words) + (f": {wrong}" if wrong else "")


def first_problem(status: Status) -> str | None:
    """What an operator should read first, or None when all is well."""
    for nvi in status.nvis:
        for problem in nvi.problems:
            return f"{nvi.name}: {problem}"
    for problem in status.reconcile.problems:
        return problem
    for uplink in status.uplinks:
        if uplink.reason:
            return f"uplink {uplink.name}: {uplink.reason}"
    for tenant in status.tenants:
        if tenant.state == "down":
            return f"tenant {tenant.name}: {tenant.reason}"
    return None
