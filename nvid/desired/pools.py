"""The global addresses of an NVI: which the kernel must have routes for, and which neighbours
may ask for by ARP or neighbour solicitation."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from nvid.configuration.types import Nvi
from nvid.configuration.values import AddressRange, IPAddress, IPNetwork, Pools, UplinkAddress
from nvid.machine import Interface, Machine

MOST_PROXIED = 4096
"""Proxy entries for one prefix on one interface: the kernel walks them one after the other
(net/core/neighbour.c: 16 hash chains), and a larger pool should be routed instead."""


def global_networks(nvi: Nvi) -> tuple[IPNetwork, ...]:
    """Every global address of the NVI's translations as disjoint networks, in ascending order."""
    networks: list[IPNetwork] = [static.global_ for static in nvi.statics]
    networks += [
        dnat.destination for dnat in nvi.dnats if not isinstance(dnat.destination, UplinkAddress)
    ]
    for snat in nvi.snats:
        if isinstance(snat.to, Pools):
            for part in snat.to.ranges:
                networks += part.networks
    return merged(networks)


def merged(networks: Iterable[IPNetwork]) -> tuple[IPNetwork, ...]:
    """The same addresses in the fewest networks, IPv4 first, in ascending order."""
    networks = tuple(networks)
    return (
        *collapse_addresses(each for each in networks if isinstance(each, IPv4Network)),
        *collapse_addresses(each for each in networks if isinstance(each, IPv6Network)),
    )


def routed_networks(nvi: Nvi, machine: Machine) -> tuple[IPNetwork, ...]:
    """The global networks that need a route into the pair: an address of the machine itself is
    found in the local table already."""
    own = set(machine.addresses())
    return tuple(
        network
        for network in global_networks(nvi)
        if network.num_addresses > 1 or network.network_address not in own
    )


@dataclass(frozen=True, slots=True)
class Proxied:
    """Addresses to answer for on one interface, or a prefix that is too large for it."""

    interface: str
    addresses: tuple[IPAddress, ...]
    too_large: tuple[IPNetwork, ...]


def proxied_addresses(
    nvi: Nvi, machine: Machine, gateways: Iterable[IPAddress]
) -> Iterator[Proxied]:
    """For each NAT-enabled interface, the global addresses inside its subnets.

    Addresses of the machine and of its uplinks' gateways answer for themselves.
    """
    others = {*machine.addresses(), *gateways}
    networks = global_networks(nvi)
    for interface in machine.enabled(nvi.interfaces):
        yield _proxied_on(interface, networks, others)


def _proxied_on(
    interface: Interface, networks: Iterable[IPNetwork], others: set[IPAddress]
) -> Proxied:
    inside: list[IPAddress] = []
    too_large: list[IPNetwork] = []
    subnets = {AddressRange.of(each.interface.network) for each in interface.addresses}
    subnets = {subnet for subnet in subnets if not subnet.first.is_link_local and subnet.count > 1}
    for network in networks:
        part = AddressRange.of(network)
        if not any(part.overlaps(subnet) for subnet in subnets):
            continue
        if network.num_addresses > MOST_PROXIED:
            too_large.append(network)
            continue
        inside += [
            address
            for address in network
            if address not in others and any(subnet.contains(address) for subnet in subnets)
        ]
    return Proxied(interface.name, tuple(inside), tuple(too_large))


def router_addresses(nvi: Nvi, outside: Collection[str], machine: Machine) -> dict[int, IPAddress]:
    """By family, the address from which the router reports errors about translated packets: one
    of a NAT-enabled interface that is not ``outside`` (leads to an uplink) before one that is."""
    enabled = machine.enabled(nvi.interfaces)
    found: dict[int, IPAddress] = {}
    for interface in sorted(enabled, key=lambda each: (each.name in outside, each.name)):
        for each in interface.addresses:
            if each.usable and each.lasting:
                found.setdefault(each.address.version, each.address)
    return found
