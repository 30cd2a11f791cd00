"""From rounds to what people read: status, log lines, metrics. Pure, but for one small memory."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from nvid import __version__
from nvid.configuration import Loaded
from nvid.configuration.types import Configuration, Daemon, Nvi
from nvid.daemon.fullness import Fullness
from nvid.daemon.metrics import Pool, Snapshot
from nvid.daemon.status import (
    ConfigStatus,
    NviStatus,
    ReconcileStatus,
    Repair,
    Status,
    TenantStatus,
    UplinkStatus,
)
from nvid.daemon.usage import Usage, pools_of
from nvid.desired.ruleset.account import DIRECTIONS, nvi_counter
from nvid.desired.ruleset.drops import DROPS
from nvid.desired.ruleset.identity import Counted, counted, counter_name, translations
from nvid.desired.ruleset.source import limit_counter
from nvid.desired.ruleset.tenants import TENANT_DIRECTIONS, tenant_counter
from nvid.reconcile import Round
from nvid.trial import Start

_REMEMBERED_REPAIRS = 20
KINDS = (
    "link",
    "address",
    "neighbour",
    "nexthop",
    "route",
    "rule",
    "filter",
    "sysctl",
    "ruleset",
)
_AT_START = ("metrics", "socket", "state_dir")
_ACTIONS = {"+": "created", "~": "changed", "-": "deleted"}


@dataclass(slots=True)
class History:
    """What is counted over the life of the daemon."""

    path: str
    generation: int = 1
    loaded_at: float = field(default_factory=time.time)
    reload_successful: bool = True
    repairs: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    last_repairs: list[Repair] = field(default_factory=list)
    overruns: int = 0
    last_seconds: float = 0.0
    metrics_problem: str | None = None
    checks_problem: str | None = None
    fullness: Fullness = field(default_factory=Fullness)
    removed: bool = False
    crashed: bool = False
    confirm_deadline: float | None = None
    refused_at: float | None = None

    def note(self, done: Round, culprits: tuple[str, ...]) -> None:
        """Count what a round has repaired."""
        self.last_seconds = done.seconds
        for kind, text in done.repairs:
            self.repairs[kind] += 1
            action = _ACTIONS[text[0]]
            culprit = ", ".join(culprits) or None
            self.last_repairs.append(Repair(text[2:], action, culprit, time.time()))
        del self.last_repairs[:-_REMEMBERED_REPAIRS]

    def loaded(self, successful: bool = True) -> None:
        """Another configuration is in force: a new one, or a previous one once more."""
        self.generation += 1
        self.loaded_at = time.time()
        self.reload_successful = successful


def restart_keys(began: Daemon, now: Daemon) -> list[str]:
    """The changed keys of [daemon] that a reload cannot put in force."""
    return [key for key in _AT_START if getattr(began, key) != getattr(now, key)]


def beginning(start: Start) -> list[str]:
    """What is to be said when a start does not simply begin with the files in place."""
    found = [] if start.problem is None else [start.problem]
    if start.late is not None and start.problem is None:
        found.append("the previous configuration is in force again: nobody confirmed it in time")
    if start.refused is not None and start.problem is None:
        found.append(
            "the files in place were taken back: the last good configuration is in force until "
            "they are changed, or 'nvid reload' reads them"
        )
    if start.pending is not None:
        found.append("the configuration is still on trial: say 'nvid confirm' to keep it")
    return found


def status(loaded: Loaded, last: Round | None, history: History, usage: Usage) -> Status:
    """How everything is, after the last round."""
    configuration = loaded.configuration
    nvis = [_nvi(nvi, last, usage) for nvi in configuration.nvis]
    problems = _problems(last, history, usage)
    uplinks = _uplinks(last)
    tenants = _tenants(last, usage)
    well = (
        not problems
        and all(nvi.state == "up" for nvi in nvis)
        and all(uplink.state == "up" and not uplink.reason for uplink in uplinks)
        and all(tenant.state == "up" for tenant in tenants)
    )
    return Status(
        state="starting" if last is None else "healthy" if well else "degraded",
        version=__version__,
        pid=os.getpid(),
        config=ConfigStatus(
            history.path,
            history.loaded_at,
            history.generation,
            history.confirm_deadline,
            history.refused_at,
        ),
        reconcile=ReconcileStatus(
            repairs_total=sum(history.repairs.values()),
            last_repair_at=history.last_repairs[-1].at if history.last_repairs else None,
            last_repairs=list(history.last_repairs),
            last_duration_seconds=history.last_seconds,
            overruns_total=history.overruns,
            problems=problems,
        ),
        nvis=nvis,
        uplinks=uplinks,
        tenants=tenants,
    )


def _problems(last: Round | None, history: History, usage: Usage) -> list[str]:
    own = (
        history.metrics_problem,
        history.checks_problem,
        history.fullness.problem,
        usage.problem,
    )
    found = [each for each in own if each is not None]
    if last is not None:
        errors = (last.error, last.announce_error, last.state_error)
        found += [each for each in errors if each is not None]
        found += last.foreign
    return found


def _nvi(nvi: Nvi, last: Round | None, usage: Usage) -> NviStatus:
    problems = list(last.desired.problems.get(nvi.name, ())) if last is not None else []
    present = last.machine.enabled(nvi.interfaces) if last is not None else ()
    return NviStatus(
        name=nvi.name,
        backend=nvi.backend,
        path=nvi.path,
        state=_nvi_state(nvi, last, problems),
        problems=problems,
        interfaces=[interface.name for interface in present],
        translations=len(translations(nvi)),
        flows=None if usage.flows is None else usage.flows.get(nvi.name, 0),
    )


def _nvi_state(
    nvi: Nvi, last: Round | None, problems: list[str]
) -> Literal["up", "degraded", "down"]:
    if last is None or nvi.name not in last.desired.crossable:
        return "down"
    return "degraded" if problems or last.error is not None else "up"


def _uplinks(last: Round | None) -> list[UplinkStatus]:
    return [
        UplinkStatus(
            each.name,
            each.interface,
            "up" if each.up else "down",
            [str(gateway or f"dev {each.interface}") for gateway in each.gateways.values()],
            each.reason,
        )
        for each in (last.desired.uplinks if last is not None else ())
    ]


def _tenants(last: Round | None, usage: Usage) -> list[TenantStatus]:
    return [
        TenantStatus(
            each.name,
            [interface.name for interface in each.members],
            "up" if each.up else "down",
            each.reason,
            None if usage.tenants is None else usage.tenants.get(each.name, 0),
        )
        for each in (last.desired.tenants if last is not None else ())
    ]


def snapshot(configuration: Configuration, now: Status, history: History, usage: Usage) -> Snapshot:
    """What a scrape shows."""
    numbers = usage.numbers
    return Snapshot(
        status=now,
        counters=dict(usage.counters),
        nvi_counters=tuple(
            (nvi_counter(numbers.nvis[nvi.name], way), nvi.name, way)
            for nvi in configuration.nvis
            if nvi.name in numbers.nvis
            for way in DIRECTIONS
        ),
        tenant_counters=tuple(
            (tenant_counter(numbers.tenants[tenant.name], way), tenant.name, way)
            for tenant in configuration.tenants
            if tenant.name in numbers.tenants
            for way in TENANT_DIRECTIONS
        ),
        translations=counted(configuration.nvis),
        limited=tuple(
            (
                limit_counter(nvi, snat),
                Counted(counter_name(nvi, snat), nvi.name, "snat", snat.label),
            )
            for nvi in configuration.nvis
            for snat in nvi.snats
            if snat.limit is not None
        ),
        drops=tuple((f"dropped_{reason}", reason) for reason in DROPS),
        pools=tuple(_pools(configuration, usage)),
        repairs=dict(history.repairs),
        reload_successful=history.reload_successful,
        reload_at=history.loaded_at,
        conntrack=usage.conntrack,
    )


def _pools(configuration: Configuration, usage: Usage) -> list[Pool]:
    found: dict[tuple[str, str], Pool] = {}
    for nvi, snat, pools in pools_of(configuration):
        key = (nvi.name, str(pools))
        addresses = sum(part.count for part in pools.ranges)
        found[key] = Pool(*key, addresses, usage.pools.get(snat.key_path, 0))
    return list(found.values())


@dataclass(frozen=True, slots=True)
class Line:
    """One log record."""

    level: int
    text: str
    fields: dict[str, Any]


def lines(before: Round | None, done: Round, culprits: tuple[str, ...]) -> list[Line]:
    """What a round is worth saying, most important first."""
    found: list[Line] = []
    if done.error is not None:
        found.append(Line(logging.ERROR, done.error, {}))
    said = set(_spoken(before)) if before is not None else set()
    found += [Line(logging.WARNING, text, {}) for text in _spoken(done) if text not in said]
    found += _uplink_lines(before, done)
    who = ", ".join(culprits) or "unknown"
    for kind, text in done.repairs:
        found.append(Line(logging.WARNING, f"repaired {text}", {"object": kind, "culprit": who}))
    if done.changes and not done.repairs and done.error is None:
        fields = {"changes": len(done.changes), "seconds": round(done.seconds, 3)}
        found.append(Line(logging.INFO, "applied", fields))
    if done.ended_flows:
        found.append(Line(logging.INFO, "ended flows", {"flows": done.ended_flows}))
    return found


def _spoken(done: Round) -> list[str]:
    """Lasting problems: said when they appear, not in every round."""
    found = [f"{nvi}: {text}" for nvi, texts in done.desired.problems.items() for text in texts]
    found += done.foreign
    found += [each for each in (done.announce_error, done.state_error) if each is not None]
    return found


def _uplink_lines(before: Round | None, done: Round) -> list[Line]:
    then = {each.name: each.reason for each in before.desired.uplinks} if before else {}
    found = []
    for uplink in done.desired.uplinks:
        was = then.get(uplink.name, "")
        if uplink.reason == was:
            continue
        fields = {"uplink": uplink.name, "interface": uplink.interface}
        if not uplink.reason:
            found.append(Line(logging.INFO, f"uplink {uplink.name} is up again", fields))
        else:
            state = "works in part" if uplink.up else "is down"
            text = f"uplink {uplink.name} {state}: {uplink.reason}"
            found.append(Line(logging.WARNING, text, fields))
    return found
