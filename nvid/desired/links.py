"""Pairs, their addresses and neighbours, and the proxy neighbours that answer for pools."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nvid import names
from nvid.configuration.types import Nvi
from nvid.desired.numbers import Numbers
from nvid.desired.objects import Address, LinkEnd, Neighbour, Pair
from nvid.desired.pools import Proxied
from nvid.machine import Machine


def main_alias(nvi: str) -> str:
    """Alias of the main end: whose it is, which end, of which NVI."""
    return f"{names.ALIAS} main {nvi}"


def peer_alias(nvi: str) -> str:
    """Alias of the peer end."""
    return f"{names.ALIAS} peer {nvi}"


def pairs(nvis: Iterable[Nvi], numbers: Numbers) -> Iterator[Pair]:
    """One veth pair for each NVI."""
    for nvi in nvis:
        number = numbers.nvis[nvi.name]
        yield Pair(
            nvi.name,
            LinkEnd(nvi.name, main_alias(nvi.name), names.main_mac(number), names.MAIN_GROUP),
            LinkEnd(nvi.peer, peer_alias(nvi.name), names.peer_mac(number), names.PEER_GROUP),
        )


def pair_addresses(nvis: Iterable[Nvi], numbers: Numbers) -> Iterator[Address]:
    """The one address that rp_filter needs on each peer."""
    for nvi in nvis:
        yield Address(nvi.peer, names.peer_address(numbers.nvis[nvi.name]), 32)


def pair_neighbours(nvis: Iterable[Nvi], numbers: Numbers, machine: Machine) -> Iterator[Neighbour]:
    """The one permanent neighbour for each family on the main end, however many flows."""
    for nvi in nvis:
        number = numbers.nvis[nvi.name]
        mac = names.peer_mac(number)
        yield Neighbour(nvi.name, names.pair_gateway_ipv4(number), mac)
        if machine.ipv6:
            yield Neighbour(nvi.name, names.PAIR_GATEWAY_IPV6, mac)


def proxy_neighbours(proxied: Iterable[Proxied], machine: Machine) -> Iterator[Neighbour]:
    """What the kernel answers for on the NAT-enabled interfaces (``reach = ["arp"]``)."""
    for each in proxied:
        for address in each.addresses:
            if address.version == 4 or machine.ipv6:
                yield Neighbour(each.interface, address, None)
