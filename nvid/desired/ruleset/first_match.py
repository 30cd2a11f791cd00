"""Entries of which the first match wins, as one lookup.

nftables' interval maps refuse overlaps, and the order of a configuration is lost in a map. So
overlaps are cut before: each address gets the first entry that covers it. A packet then pays one
lookup, however many entries there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise

from nvid.configuration.values import AddressRange, IPAddress, IPNetwork


def disjoint(
    entries: Iterable[tuple[Iterable[IPNetwork], str]],
) -> dict[AddressRange, str]:
    """Ranges of one family that do not overlap, each with the text of the first entry that
    covers it; neighbours with the same text are one range. Ascending.

    n networks cost n log n.
    """
    spans = sorted(
        (int(network.network_address), int(network.broadcast_address), place, text, network.version)
        for place, (networks, text) in enumerate(entries)
        for network in networks
    )
    if not spans:
        return {}
    version = spans[0][4]
    found: dict[AddressRange, str] = {}
    for first, last, text in _joined(_cut([span[:4] for span in spans])):
        found[AddressRange(_address(first, version), _address(last, version))] = text
    return found


def _cut(spans: list[tuple[int, int, int, str]]) -> Iterator[tuple[int, int, str]]:
    """Sweep over all ends; the open span with the least place owns what lies between."""
    edges = sorted({first for first, *_ in spans} | {last + 1 for _, last, *_ in spans})
    opened: list[tuple[int, int, str]] = []
    upcoming = 0
    for start, following in pairwise(edges):
        while upcoming < len(spans) and spans[upcoming][0] <= start:
            _, last, place, text = spans[upcoming]
            heappush(opened, (place, last, text))
            upcoming += 1
        while opened and opened[0][1] < start:
            heappop(opened)
        if opened:
            yield start, following - 1, opened[0][2]


def _joined(pieces: Iterable[tuple[int, int, str]]) -> Iterator[tuple[int, int, str]]:
    pending: tuple[int, int, str] | None = None
    for first, last, text in pieces:
        if pending is not None and pending[1] + 1 == first and pending[2] == text:
            pending = (pending[0], last, text)
            continue
        if pending is not None:
            yield pending
        pending = (first, last, text)
    if pending is not None:
        yield pending


def _address(number: int, version: int) -> IPAddress:
    return IPv4Address(number) if version == 4 else IPv6Address(number)
