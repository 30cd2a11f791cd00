"""Whether the mark bits and the routing tables suffice for the lanes."""

from __future__ import annotations

from collections.abc import Iterator

from nvid.configuration.findings import Finding
from nvid.configuration.types import Configuration

STATE_BITS = 2
UPLINK_BITS = 4
MOST_UPLINKS = 2**UPLINK_BITS - 1
# Lanes whose upper bits are all zero are the uplinks', so tenants lose that many numbers.
UPLINK_LANES = 2**UPLINK_BITS
POOL_TABLES = 1


def check(configuration: Configuration) -> Iterator[Finding]:
    """More uplinks or tenants than the mark has room for; too few routing tables."""
    yield from _uplinks(configuration)
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


def _tenants(configuration: Configuration) -> Iterator[Finding]:
    tenants = configuration.tenants
    mask = configuration.daemon.fwmark_mask
    width = mask.bit_count()
    spare = width - STATE_BITS - UPLINK_BITS
    most = 2**spare - UPLINK_LANES
    if len(tenants) > most:
        needed = (len(tenants) + UPLINK_LANES - 1).bit_length() + STATE_BITS + UPLINK_BITS
        yield Finding(
            "daemon.fwmark_mask",
            f"0x{mask:08x} has {width} bits: {STATE_BITS} are for state, {UPLINK_BITS} for "
            f"uplinks, {spare} are left, and 2**{spare} - {UPLINK_LANES} = {most} tenants fit, "
            f"but there are {len(tenants)}",
            f"write a mask of {needed} bits or more, or keep {most} tenants",
        )


def _tables(configuration: Configuration) -> Iterator[Finding]:
    nvis, tenants = len(configuration.nvis), len(configuration.tenants)
    tables = configuration.daemon.tables
    needed = POOL_TABLES + MOST_UPLINKS + nvis + tenants
    if tables.count < needed:
        yield Finding(
            "daemon.tables",
            f'"{tables}" has {tables.count} tables, but {POOL_TABLES} for pools + {MOST_UPLINKS} '
            f"for uplinks + {nvis} for NVIs + {tenants} for tenants = {needed} are needed",
            f'write such as "{tables.first}-{tables.first + needed - 1}"',
        )
