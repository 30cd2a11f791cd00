"""Snat entries that can never match, because an earlier one takes everything that they could.

Each entry is looked up under the networks that could contain its first source and destination, so
that only few earlier entries are compared with it in full.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import TypeAlias

from msgspec import Struct

from nvid.configuration.addresses import inside
from nvid.configuration.checks.selection import versions_of
from nvid.configuration.findings import Finding
from nvid.configuration.types import InterfacePattern, IPNetwork, Nvi, Snat

_EVERYTHING: tuple[IPNetwork, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))

_Key: TypeAlias = tuple[str | None, IPNetwork, IPNetwork]


class _Flows(Struct, frozen=True):
    """What an entry matches of one family, in the fewest networks that say the same."""

    entry: Snat
    sources: tuple[IPNetwork, ...]
    destinations: tuple[IPNetwork, ...]
    excluded: tuple[IPNetwork, ...]


class _Index:
    """The earlier entries of one family, by each pair of a source and a destination network."""

    def __init__(self) -> None:
        self._entries: defaultdict[_Key, list[_Flows]] = defaultdict(list)
        self._source_lengths: set[int] = set()
        self._destination_lengths: set[int] = set()

    def add(self, flows: _Flows) -> None:
        for source in flows.sources:
            self._source_lengths.add(source.prefixlen)
            for destination in flows.destinations:
                self._destination_lengths.add(destination.prefixlen)
                self._entries[flows.entry.tenant, source, destination].append(flows)

    def near(self, flows: _Flows) -> Iterator[_Flows]:
        """All entries that contain the first source and the first destination."""
        for source in _around(flows.sources[0], self._source_lengths):
            for destination in _around(flows.destinations[0], self._destination_lengths):
                yield from self._entries.get((flows.entry.tenant, source, destination), ())


def shadowed(nvi: Nvi) -> Iterator[Finding]:
    """Entries that can never match, in the order of the file."""
    indexes = {4: _Index(), 6: _Index()}
    for entry in nvi.snats:
        takers: list[Snat] = []
        alive = False
        for version in sorted(versions_of(entry)):
            flows = _flows(entry, version)
            if not flows.sources or not flows.destinations:
                continue
            index = indexes[version]
            taker = next((one for one in index.near(flows) if _takes(one, flows, nvi)), None)
            if taker is None:
                alive = True
            else:
                takers.append(taker.entry)
            index.add(flows)
        if takers and not alive:
            yield Finding(
                entry.key_path,
                "this entry can never match: everything it could match is taken before by",
                "write the narrower entry first, or remove one of the two",
                also=takers[0].key_path,
            )
        elif entry.destinations and _within(entry.destinations, entry.excluded_destinations):
            yield Finding(
                f"{entry.key_path}.destination",
                "everything that is included is excluded again",
                "remove the exclusion, or the entry",
            )


def _flows(entry: Snat, version: int) -> _Flows:
    return _Flows(
        entry,
        _of(entry.sources or _EVERYTHING, version),
        _of(entry.destinations or _EVERYTHING, version),
        _of(entry.excluded_destinations, version),
    )


def _of(networks: Sequence[IPNetwork], version: int) -> tuple[IPNetwork, ...]:
    if version == 4:
        return tuple(collapse_addresses(one for one in networks if isinstance(one, IPv4Network)))
    return tuple(collapse_addresses(one for one in networks if isinstance(one, IPv6Network)))


def _around(network: IPNetwork, lengths: Iterable[int]) -> Iterator[IPNetwork]:
    for length in lengths:
        if length <= network.prefixlen:
            yield network.supernet(new_prefix=length)


def _within(networks: Iterable[IPNetwork], others: Sequence[IPNetwork]) -> bool:
    return all(any(inside(one, other) for other in others) for one in networks)


def _takes(one: _Flows, other: _Flows, nvi: Nvi) -> bool:
    """Whether every flow that the other matches is matched by this one."""
    wide, narrow = one.entry, other.entry
    return (
        _protocols_cover(wide, narrow)
        and _ingress_covers(wide, narrow, nvi)
        and _within(other.sources, one.sources)
        and _within(other.destinations, one.destinations)
        and _spares(one, other)
    )


def _spares(one: _Flows, other: _Flows) -> bool:
    """Whether nothing that the first excludes can be a destination of the other."""
    return all(
        _within((excluded,), other.excluded)
        or not any(excluded.overlaps(destination) for destination in other.destinations)
        for excluded in one.excluded
    )


def _protocols_cover(wide: Snat, narrow: Snat) -> bool:
    if wide.protocols and not narrow.protocols:
        return False
    if wide.protocols and not set(narrow.protocols) <= set(wide.protocols):
        return False
    return wide.ports is None or (narrow.ports is not None and wide.ports.covers(narrow.ports))


def _ingress_covers(wide: Snat, narrow: Snat, nvi: Nvi) -> bool:
    if not wide.ingress:
        return True
    if not narrow.ingress and nvi.local:
        return False  # what the machine itself sends comes in by no interface
    return all(
        any(_pattern_covers(one, pattern) for one in wide.ingress)
        for pattern in narrow.ingress or nvi.interfaces
    )


def _pattern_covers(wide: InterfacePattern, narrow: InterfacePattern) -> bool:
    if wide.is_glob:
        return narrow.prefix.startswith(wide.prefix)
    return wide == narrow
