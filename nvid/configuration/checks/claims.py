"""Finding two entries that claim the same flows, among many.

A claim is a network with perhaps protocols and ports. Networks overlap only when one contains the
other, so each claim is looked up under every shorter prefix length that occurs; ports are kept in
order and found by bisection. The cost is n log n for claims that do not clash.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from msgspec import Struct

from nvid.configuration.types import Dnat, IPNetwork, PortRange, Static

_EVERY_PORT = PortRange(0, 65535)

# Family, prefix length, and the bits of the prefix as a number.
_Prefix: TypeAlias = tuple[int, int, int]


class Claim(Struct, frozen=True):
    """Flows to a network that an entry takes for itself; no protocols and no ports mean all."""

    entry: Static | Dnat
    owner: str
    network: IPNetwork
    protocols: tuple[str, ...] = ()
    ports: PortRange | None = None


class _Ports:
    """Claims on one prefix and one protocol, in the order of their first ports."""

    def __init__(self) -> None:
        self._order: list[tuple[int, int]] = []
        self._widest = 0

    def add(self, ports: PortRange, number: int) -> None:
        insort(self._order, (ports.first, number))
        self._widest = max(self._widest, ports.count)

    def near(self, ports: PortRange) -> Iterator[int]:
        """The numbers of all claims that overlap the ports, and of some that do not."""
        start = bisect_left(self._order, (ports.first - self._widest + 1, -1))
        end = bisect_right(self._order, (ports.last, 2**62))
        for _, number in self._order[start:end]:
            yield number


def clashes(
    claims: Iterable[Claim], apart: Callable[[Claim, Claim], bool]
) -> Iterator[tuple[Claim, Claim]]:
    """Pairs of claims that overlap, the one that came later first.

    `apart` says that two claims on the same network, protocol and port do not clash all the
    same. Of several clashes of one claim only one is reported.
    """
    numbered = list(claims)
    order = sorted(range(len(numbered)), key=lambda n: (numbered[n].network.prefixlen, n))
    index: dict[_Prefix, defaultdict[str | None, _Ports]] = {}
    lengths: dict[int, list[int]] = {4: [], 6: []}
    for number in order:
        claim = numbered[number]
        ports = claim.ports or _EVERY_PORT
        network = claim.network
        seen = lengths[network.version]
        if not seen or seen[-1] != network.prefixlen:
            seen.append(network.prefixlen)
        for near in _candidates(claim, ports, seen, index):
            other = numbered[near]
            if (other.ports or _EVERY_PORT).overlaps(ports) and not apart(claim, other):
                yield (claim, other) if number > near else (other, claim)
                break
        buckets = index.setdefault(_prefix(network, network.prefixlen), defaultdict(_Ports))
        for protocol in claim.protocols or (None,):
            buckets[protocol].add(ports, number)


def _candidates(
    claim: Claim,
    ports: PortRange,
    lengths: Iterable[int],
    index: dict[_Prefix, defaultdict[str | None, _Ports]],
) -> Iterator[int]:
    for length in lengths:
        buckets = index.get(_prefix(claim.network, length))
        if buckets is None:
            continue
        named = (*claim.protocols, None) if claim.protocols else tuple(buckets)
        for protocol in named:
            if protocol in buckets:
                yield from buckets[protocol].near(ports)


def _prefix(network: IPNetwork, length: int) -> _Prefix:
    bits = int(network.network_address) >> (network.max_prefixlen - length)
    return network.version, length, bits
