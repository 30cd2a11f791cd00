"""The interfaces from which nothing may go on that the table has not seen."""

from __future__ import annotations

from collections.abc import Iterable

from nvid.configuration.types import Nvi
from nvid.desired.tenants import TenantState, tenant_patterns
from nvid.machine import Machine


def closed_interfaces(
    nvis: Iterable[Nvi], tenants: Iterable[TenantState], machine: Machine
) -> tuple[str, ...]:
    """NAT-enabled interfaces of NVIs that fail closed, and those of tenants: by exact name whether
    they exist or not (a rule waits for its interface), by glob those that exist."""
    found: dict[str, None] = {}
    closed = [nvi.interfaces for nvi in nvis if nvi.on_failure == "closed"]
    for patterns in (*closed, tenant_patterns(tenants)):
        for pattern in patterns:
            if not pattern.is_glob:
                found[pattern.text] = None
        for interface in machine.enabled(patterns):
            found[interface.name] = None
    found.pop("lo", None)
    return tuple(found)
