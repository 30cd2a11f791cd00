"""Whether the mark bits and the routing tables suffice for the lanes."""

from __future__ import annotations

from collections.abc import Iterator

from nvid.configuration.findings import Finding
from nvid.configuration.types import Configuration, named_tables
from nvid.names import SPECIAL_LANES, TABLE_LANES

STATE_BITS = 2
UPLINK_BITS = 4
MOST_UPLINKS = 2**UPLINK_BITS - 1
# Lanes whose upper bits are all zero are the uplinks', so tenants lose that many numbers.
UPLINK_LANES = 2**UPLINK_BITS
POOL_TABLES = 1
MAIN_LANES = 1


def check(configuration: Configuration) -> Iterator[Finding]:
    """More uplinks or tenants than the mark has room for; too few routing tables."""
    yield from _uplinks(configuration)
    yield from _named_tables(configuration)
    yield from _lanes(configuration)
    yield from _tenants(configuration)
    yield from _tables(configuration)


def _uplinks(configuration: Configuration) -> Iterator[Finding]:
    uplinks = configuration.uplinks
    if len(uplinks) > MOST_UPLINKS:
        yield Finding(
            uplinks[MOST_UPLINKS].key_path,
            f"this is one of {len(uplinks)} uplinks: the mark has {UPLINK_BITS} bits for them, and "
            f"2**{UPLINK_BITS} - 1 = {MOST_UPLINKS} is the most",
            f"keep {MOST_UPLINKS} uplinks",
        )


def _named_tables(configuration: Configuration) -> Iterator[Finding]:
    routes = [route for nvi in configuration.nvis for route in nvi.routes]
    for number, table in enumerate(named_tables(configuration), 1):
        if number > TABLE_LANES:
            first = next(route for route in routes if route.table == table)
            yield Finding(
                f"{first.key_path}.table",
                f"this is routing table number {number} that routes name: {TABLE_LANES} is the "
                "most, main not counted",
                f"name {TABLE_LANES} tables",
            )


def _lanes(configuration: Configuration) -> Iterator[Finding]:
    """A narrow mask has fewer lanes than there can be uplinks."""
    mask = configuration.daemon.fwmark_mask
    spare = _spare_bits(mask)
    uplinks, tables = len(configuration.uplinks), len(named_tables(configuration))
    needed = MAIN_LANES + uplinks + tables + SPECIAL_LANES
    if needed > 2**spare:
        yield Finding(
            "daemon.fwmark_mask",
            f"0x{mask:08x} has {mask.bit_count()} bits: {spare} are for lanes, 2**{spare} = "
            f"{2**spare} of them, but {MAIN_LANES} for main + {uplinks} for uplinks + {tables} for "
            f"the tables of routes + {SPECIAL_LANES} where nothing leads = {needed} are needed",
            f"write a mask of {_width_for(needed)} bits or more",
        )


def _tenants(configuration: Configuration) -> Iterator[Finding]:
    tenants = configuration.tenants
    mask = configuration.daemon.fwmark_mask
    spare = _spare_bits(mask)
    taken = SPECIAL_LANES + len(named_tables(configuration))
    most = 2**spare - UPLINK_LANES - taken
    if tenants and len(tenants) > most:
        needed = _width_for(len(tenants) + UPLINK_LANES + taken)
        yield Finding(
            "daemon.fwmark_mask",
            f"0x{mask:08x} has {mask.bit_count()} bits: {STATE_BITS} are for state, {UPLINK_BITS} "
            f"for uplinks, {spare} are left, and 2**{spare} - {UPLINK_LANES} - {taken} (what route "
            f"entries say, and where nothing leads) = {max(most, 0)} tenants fit, "
            f"but there are {len(tenants)}",
            f"write a mask of {needed} bits or more, or keep {max(most, 0)} tenants",
        )


def _spare_bits(mask: int) -> int:
    """The bits of a mask that number lanes."""
    return mask.bit_count() - STATE_BITS - UPLINK_BITS


def _width_for(lanes: int) -> int:
    """The bits of a mask that has so many lanes."""
    return (lanes - 1).bit_length() + STATE_BITS + UPLINK_BITS


def _tables(configuration: Configuration) -> Iterator[Finding]:
    nvis, tenants = len(configuration.nvis), len(configuration.tenants)
    tables = configuration.daemon.tables
    apart = 1 if tenants else 0
    needed = POOL_TABLES + MOST_UPLINKS + nvis + tenants + apart
    if tables.count < needed:
        yield Finding(
            "daemon.tables",
            f'"{tables}" has {tables.count} tables, but {POOL_TABLES} for pools + {MOST_UPLINKS} '
            f"for uplinks + {nvis} for NVIs + {tenants + apart} for tenants = {needed} are needed",
            f'write such as "{tables.first}-{tables.first + needed - 1}"',
        )
