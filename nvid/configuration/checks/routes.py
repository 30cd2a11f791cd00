"""Whether the routes of the second lookup lead somewhere, and can match."""

from __future__ import annotations

from collections.abc import Iterator

from nvid.configuration.checks.selection import BOTH_FAMILIES, families_meet, ports_have_protocols
from nvid.configuration.findings import Finding
from nvid.configuration.types import Configuration, Route


def check(configuration: Configuration) -> Iterator[Finding]:
    """Routes without one way out, into nvid's own tables, or between families."""
    for nvi in configuration.nvis:
        for route in nvi.routes:
            yield from _ways(route)
            yield from _table(route, configuration)
            yield from families_meet(
                route.key_path, BOTH_FAMILIES, route.sources, route.destinations, route.protocols
            )
            if route.ports is not None:
                yield from ports_have_protocols(f"{route.key_path}.port", route.protocols)


def _ways(route: Route) -> Iterator[Finding]:
    said = {"via": route.via or None, "table": route.table, "action": route.action}
    ways = [key for key, value in said.items() if value is not None]
    if not ways:
        yield Finding(
            route.key_path,
            "the entry does not say where the flow goes",
            'add one of via = "UPLINK", table = NUMBER and action = "unreachable"',
        )
    elif len(ways) > 1:
        yield Finding(
            f"{route.key_path}.{ways[1]}",
            f"the entry says {' and '.join(ways)}, and can have only one of them",
            f"keep {' or '.join(ways)}",
        )


def _table(route: Route, configuration: Configuration) -> Iterator[Finding]:
    tables = configuration.daemon.tables
    if route.table is not None and route.table in tables:
        yield Finding(
            f"{route.key_path}.table",
            f"table {route.table} is one of nvid's own ({tables})",
            "write another table, or an uplink in via",
        )
