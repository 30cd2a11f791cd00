"""Stable numbers: which lane an uplink or a tenant has, which number an NVI has.

A flow's ct mark holds lane numbers, so a number must mean the same uplink after a reload, a
restart and a loss of the state file. Numbers come from the state file, or from what the kernel
still shows (``kernel.facts``); new ones avoid those that were in use a moment ago.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from nvid import names
from nvid.configuration.types import Configuration, Daemon, named_tables
from nvid.desired.marks import Marks

Name = TypeVar("Name", str, int)


@dataclass(frozen=True, slots=True)
class Numbers:
    """Lane numbers by uplink (1 to 15) and by tenant (from 16), NVI numbers (from 1) by NVI, and
    numbers (1 to 16) of the routing tables of others that route entries name, by table."""

    uplinks: Mapping[str, int] = field(default_factory=dict)
    nvis: Mapping[str, int] = field(default_factory=dict)
    tables: Mapping[int, int] = field(default_factory=dict)
    tenants: Mapping[str, int] = field(default_factory=dict)


def allocate(configuration: Configuration, previous: Numbers) -> Numbers:
    """Numbers for everything in the configuration; what had one keeps it.

    NVIs have routing tables upwards from the first, tenants downwards from the last: a number
    whose table the other kind has is not free.
    """
    daemon = configuration.daemon
    tenants = [tenant.name for tenant in configuration.tenants]
    lanes = range(names.FIRST_TENANT_LANE, largest_tenant(configuration) + 1)
    kept = _kept(tenants, previous.tenants, lanes)
    nvis = _allocate(
        [nvi.name for nvi in configuration.nvis],
        previous.nvis,
        range(1, largest_nvi(configuration) + 1),
        {tenant_table(daemon, lane) - nvi_table(daemon, 0) for lane in kept.values()},
    )
    marks = Marks(daemon.fwmark_mask)
    tables = _allocate(
        named_tables(configuration),
        previous.tables,
        range(1, _largest_table(configuration) + 1),
        {marks.table(0) - lane for lane in kept.values()},
    )
    return Numbers(
        uplinks=_allocate(
            [uplink.name for uplink in configuration.uplinks],
            previous.uplinks,
            range(1, largest_uplink(configuration) + 1),
        ),
        nvis=nvis,
        tenants=_allocate(
            tenants,
            previous.tenants,
            lanes,
            {
                *(_lane_of_table(daemon, nvi_table(daemon, number)) for number in nvis.values()),
                *(marks.table(number) for number in tables.values()),
            },
        ),
        tables=tables,
    )


def without_moved(previous: Numbers, before: Configuration, after: Configuration) -> Numbers:
    """The previous numbers, but uplinks that have another interface now get new ones: behind it is
    another provider, which would see the flows of the old lane with a source that is not its own.
    """
    interfaces = {uplink.name: uplink.interface for uplink in before.uplinks}
    moved = {
        uplink.name
        for uplink in after.uplinks
        if interfaces.get(uplink.name, uplink.interface) != uplink.interface
    }
    # Under a name that nobody can have, the number is still one of a moment ago.
    uplinks = {
        f"{name} moved" if name in moved else name: number
        for name, number in previous.uplinks.items()
    }
    return replace(previous, uplinks=uplinks)


def with_recent(previous: Numbers, lanes: Iterable[int]) -> Numbers:
    """The previous numbers, and these lanes as those that somebody had a moment ago."""
    gone = {f"lane {lane} gone": lane for lane in lanes}
    inside = {name: lane for name, lane in gone.items() if lane >= names.FIRST_TENANT_LANE}
    outside = {name: lane for name, lane in gone.items() if name not in inside}
    return replace(
        previous,
        uplinks={**previous.uplinks, **outside},
        tenants={**previous.tenants, **inside},
    )


def largest_uplink(configuration: Configuration) -> int:
    """The largest lane of an uplink: a narrow mask has few lanes, and those at the top are
    taken."""
    taken = names.SPECIAL_LANES + len(named_tables(configuration))
    return min(names.UPLINK_LANES, Marks(configuration.daemon.fwmark_mask).nobody - taken)


def _largest_table(configuration: Configuration) -> int:
    """The largest number of a table that route entries name: its lane must lie above all lanes of
    uplinks. A narrow mask has no room to avoid recent numbers."""
    lanes = Marks(configuration.daemon.fwmark_mask).nobody - names.SPECIAL_LANES
    roomy = lanes >= names.UPLINK_LANES + names.TABLE_LANES
    return names.TABLE_LANES if roomy else len(named_tables(configuration))


def nvi_table(daemon: Daemon, number: int) -> int:
    """The routing table that leads into an NVI's pair."""
    return daemon.tables.first + names.TableOffset.NVIS + number


def tenant_table(daemon: Daemon, lane: int) -> int:
    """The routing table of a tenant's lane."""
    return apart_table(daemon) - 1 - (lane - names.FIRST_TENANT_LANE)


def apart_table(daemon: Daemon) -> int:
    """The routing table of main's own networks, where a tenant has the same."""
    return daemon.tables.last


def _lane_of_table(daemon: Daemon, table: int) -> int:
    return apart_table(daemon) - 1 - table + names.FIRST_TENANT_LANE


def largest_nvi(configuration: Configuration) -> int:
    """The largest NVI number that has an address pair, a table and a mark."""
    daemon = configuration.daemon
    tables = daemon.tables.count - names.TableOffset.NVIS - 1
    tables -= bool(configuration.tenants)
    return min(names.PAIR_NUMBERS, tables, Marks(daemon.fwmark_mask).largest - 1)


def largest_tenant(configuration: Configuration) -> int:
    """The largest lane of a tenant that has a table and a mark."""
    daemon = configuration.daemon
    tables = daemon.tables.count - names.TableOffset.NVIS - 2
    return min(names.FIRST_TENANT_LANE + tables - 1, Marks(daemon.fwmark_mask).last_tenant)


def _kept(wanted: Iterable[Name], previous: Mapping[Name, int], numbers: range) -> dict[Name, int]:
    kept: dict[Name, int] = {}
    for name in wanted:
        number = previous.get(name, 0)
        if number in numbers and number not in kept.values():
            kept[name] = number
    return kept


def _allocate(
    wanted: Iterable[Name],
    previous: Mapping[Name, int],
    numbers: range,
    occupied: Collection[int] = (),
) -> dict[Name, int]:
    wanted = list(wanted)
    kept: dict[Name, int] = {
        name: number
        for name, number in _kept(wanted, previous, numbers).items()
        if number not in occupied
    }
    fresh = _free(numbers, {*kept.values(), *occupied}, set(previous.values()))
    return {name: kept[name] if name in kept else next(fresh) for name in wanted}


def _free(numbers: range, taken: set[int], recent: set[int]) -> Iterator[int]:
    """Free numbers, those that nobody had a moment ago first. The checks of the configuration
    make sure that there are enough."""
    free = [number for number in numbers if number not in taken]
    return iter(sorted(free, key=lambda number: number in recent))
