"""Stable numbers: which lane an uplink has, which number an NVI has.

A flow's ct mark holds lane numbers, so a number must mean the same uplink after a reload, a
restart and a loss of the state file. Numbers come from the state file, or from what the kernel
still shows (``kernel.facts``); new ones avoid those that were in use a moment ago.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from nvid import names
from nvid.configuration.types import Configuration, named_tables
from nvid.desired.marks import Marks

Name = TypeVar("Name", str, int)


@dataclass(frozen=True, slots=True)
class Numbers:
    """Lane numbers (1 to 15) by uplink, NVI numbers (from 1) by NVI, and numbers (1 to 16) of the
    routing tables of others that route entries name, by table."""

    uplinks: Mapping[str, int] = field(default_factory=dict)
    nvis: Mapping[str, int] = field(default_factory=dict)
    tables: Mapping[int, int] = field(default_factory=dict)


def allocate(configuration: Configuration, previous: Numbers) -> Numbers:
    """Numbers for everything in the configuration; what had one keeps it."""
    return Numbers(
        uplinks=_allocate(
            [uplink.name for uplink in configuration.uplinks],
            previous.uplinks,
            largest_uplink(configuration),
        ),
        nvis=_allocate(
            [nvi.name for nvi in configuration.nvis], previous.nvis, largest_nvi(configuration)
        ),
        tables=_allocate(named_tables(configuration), previous.tables, names.TABLE_LANES),
    )


def largest_uplink(configuration: Configuration) -> int:
    """The largest lane of an uplink: a narrow mask has few lanes, and those at the top are
    taken."""
    taken = names.SPECIAL_LANES + len(named_tables(configuration))
    return min(names.UPLINK_LANES, Marks(configuration.daemon.fwmark_mask).nobody - taken)


def largest_nvi(configuration: Configuration) -> int:
    """The largest NVI number that has an address pair, a table and a mark."""
    daemon = configuration.daemon
    tables = daemon.tables.count - names.TableOffset.NVIS - 1
    return min(names.PAIR_NUMBERS, tables, Marks(daemon.fwmark_mask).largest - 1)


def _allocate(
    wanted: Iterable[Name], previous: Mapping[Name, int], largest: int
) -> dict[Name, int]:
    wanted = list(wanted)
    kept: dict[Name, int] = {}
    for name in wanted:
        number = previous.get(name, 0)
        if 1 <= number <= largest and number not in kept.values():
            kept[name] = number
    fresh = _free(largest, set(kept.values()), set(previous.values()))
    return {name: kept[name] if name in kept else next(fresh) for name in wanted}


def _free(largest: int, taken: set[int], recent: set[int]) -> Iterator[int]:
    """Free numbers, those that nobody had a moment ago first. The checks of the configuration
    make sure that there are enough."""
    numbers = [number for number in range(1, largest + 1) if number not in taken]
    return iter(sorted(numbers, key=lambda number: number in recent))
