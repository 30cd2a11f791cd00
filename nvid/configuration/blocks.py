"""Deterministic port blocks (RFC 7422): which outside address and ports an inside address has.

Both ways round follow from the entry alone, so no log is needed to answer "who was that". Inside
addresses are numbered in the order of ``source``; each outside address holds as many blocks as
fit into its ports; the n-th inside address gets the n-th block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from nvid.configuration.translations import Snat
from nvid.configuration.values import IPAddress, Pools, PortRange

DEFAULT_PORTS = PortRange(1024, 65535)
"""The ports that blocks are cut from where the entry names none."""


class Block(Struct, frozen=True):
    """What one inside address has."""

    inside: IPAddress
    outside: IPAddress
    ports: PortRange

    def __str__(self) -> str:
        outside = f"[{self.outside}]" if self.outside.version == 6 else str(self.outside)
        return f"{outside}:{self.ports}"


class Capacity(Struct, frozen=True):
    """The arithmetic of an entry in one family."""

    hosts: int
    addresses: int
    blocks_per_address: int

    @property
    def blocks(self) -> int:
        """How many inside addresses can have a block."""
        return self.addresses * self.blocks_per_address

    @property
    def is_enough(self) -> bool:
        """Whether every inside address gets one."""
        return self.hosts <= self.blocks


def capacity(snat: Snat, version: int) -> Capacity:
    """How many blocks the entry needs and has. It must have ``port_block`` and a pool."""
    assert snat.port_block is not None
    assert isinstance(snat.to, Pools)
    ports = snat.source_ports or DEFAULT_PORTS
    return Capacity(
        sum(network.num_addresses for network in snat.sources if network.version == version),
        sum(part.count for part in snat.to.ranges if part.version == version),
        ports.count // snat.port_block,
    )


def block_of(snat: Snat, inside: IPAddress) -> Block | None:
    """The block of an inside address; None when the entry is not for it."""
    number = 0
    for network in snat.sources:
        if network.version != inside.version:
            continue
        if inside in network:
            return _block(snat, inside, number + int(inside) - int(network.network_address))
        number += network.num_addresses
    return None


def holder_of(snat: Snat, outside: IPAddress, port: int) -> Block | None:
    """The block that an outside address and port belong to; None when it is nobody's."""
    assert snat.port_block is not None
    assert isinstance(snat.to, Pools)
    ports = snat.source_ports or DEFAULT_PORTS
    place = (port - ports.first) // snat.port_block
    per_address = ports.count // snat.port_block
    if not 0 <= place < per_address or port < ports.first:
        return None
    address_number = 0
    for part in snat.to.ranges:
        if part.version != outside.version:
            continue
        if part.contains(outside):
            address_number += int(outside) - int(part.first)
            return _numbered(snat, outside.version, address_number * per_address + place)
        address_number += part.count
    return None


def holding(snats: Iterable[Snat], outside: IPAddress, port: int) -> Block | None:
    """The block of any of these entries that an outside address and port (0: none) belong to."""
    entries = (snat for snat in snats if port and snat.port_block is not None)
    found = (holder_of(snat, outside, port) for snat in entries)
    return next((block for block in found if block is not None), None)


def blocks(snat: Snat, version: int) -> Iterator[Block]:
    """Every block in use, in the order of the inside addresses."""
    number = 0
    for network in snat.sources:
        if network.version == version:
            for inside in network:
                yield _block(snat, inside, number)
                number += 1


def _numbered(snat: Snat, version: int, number: int) -> Block | None:
    left = number
    for network in snat.sources:
        if network.version != version:
            continue
        if left < network.num_addresses:
            return _block(snat, network[left], number)
        left -= network.num_addresses
    return None


def _block(snat: Snat, inside: IPAddress, number: int) -> Block:
    assert snat.port_block is not None
    assert isinstance(snat.to, Pools)
    ports = snat.source_ports or DEFAULT_PORTS
    address_number, place = divmod(number, ports.count // snat.port_block)
    first = ports.first + place * snat.port_block
    span = PortRange(first, first + snat.port_block - 1)
    for part in snat.to.ranges:
        if part.version != inside.version:
            continue
        if address_number < part.count:
            return Block(inside, part.first + address_number, span)
        address_number -= part.count
    raise ValueError(f"{inside} has no block: the checks let a pool pass that is too small")
