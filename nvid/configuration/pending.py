"""What the language has and the program does not do yet.

Such keys are read and checked like all others, and then refused. A feature that gets built loses
its lines here, and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

from msgspec import Struct

from nvid.configuration.findings import Finding
from nvid.configuration.types import (
    Configuration,
    Dnat,
    Entry,
    Snat,
    Static,
    Tenant,
)


class Pending(Struct, frozen=True):
    """A feature that is not built: in values of `kind` for which `used` holds, under `key`.

    An empty `key` means the whole table.
    """

    kind: type[Struct]
    key: str
    feature: str
    used: Callable[[Any], object]
    instead: str = "remove the key"


def _always(_value: object) -> bool:
    return True


PENDING: tuple[Pending, ...] = (
    Pending(Tenant, "", "tenants", _always, "remove the table"),
    Pending(Static, "tenant", "translations for tenants", attrgetter("tenant")),
    Pending(Dnat, "tenant", "translations for tenants", attrgetter("tenant")),
    Pending(Snat, "tenant", "translations for tenants", attrgetter("tenant")),
)


def check(configuration: Configuration) -> Iterator[Finding]:
    """Every use of a feature that is not built."""
    rows: dict[type[Struct], list[Pending]] = {}
    for row in PENDING:
        rows.setdefault(row.kind, []).append(row)
    for key_path, value in _values(configuration):
        for row in rows.get(type(value), ()):
            if row.used(value):
                key = ".".join(filter(None, (key_path, row.key)))
                yield Finding(key, f"not built yet: {row.feature}", row.instead)


def _values(configuration: Configuration) -> Iterator[tuple[str, Struct]]:
    """Every value that a row can speak of, with its key path."""
    for uplink in configuration.uplinks:
        yield uplink.key_path, uplink
    for tenant in configuration.tenants:
        yield tenant.key_path, tenant
    for nvi in configuration.nvis:
        yield nvi.key_path, nvi
        entries: tuple[Entry, ...] = (*nvi.statics, *nvi.dnats, *nvi.snats, *nvi.routes)
        for entry in entries:
            yield entry.key_path, entry
