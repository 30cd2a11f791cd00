"""Whether deterministic port blocks go round."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from nvid.configuration.blocks import DEFAULT_PORTS, capacity
from nvid.configuration.findings import Finding
from nvid.configuration.types import Configuration, Snat
from nvid.configuration.values import Pools, network_text

MOST_HOSTS = 65536
"""Inside addresses of one entry: each is an element of a map."""


def check(configuration: Configuration) -> Iterator[Finding]:
    """Entries with ``port_block``: a pool, sources that are disjoint, and blocks for all."""
    for nvi in configuration.nvis:
        for snat in nvi.snats:
            if snat.port_block is not None:
                yield from _entry(snat, snat.port_block)


def _entry(snat: Snat, size: int) -> Iterator[Finding]:
    key = f"{snat.key_path}.port_block"
    if not isinstance(snat.to, Pools):
        yield Finding(key, f'port blocks need a pool, and `to` is "{snat.to}"', "write addresses")
        return
    if snat.mapping != "port-dependent":
        yield Finding(
            key, "port blocks and endpoint-independent mapping exclude each other", "remove one"
        )
    if not snat.sources:
        yield Finding(
            key,
            "without `source` it is not known which addresses share the blocks",
            "write the inside prefixes in `source`",
        )
        return
    for one, other in combinations(snat.sources, 2):
        if one.version == other.version and one.overlaps(other):
            yield Finding(
                f"{snat.key_path}.source",
                f"{network_text(one)} and {network_text(other)} overlap, so that an address would "
                "have two blocks",
                "remove one of them",
            )
            return
    for version in sorted({network.version for network in snat.sources}):
        yield from _arithmetic(snat, size, version)


def _arithmetic(snat: Snat, size: int, version: int) -> Iterator[Finding]:
    key = f"{snat.key_path}.port_block"
    room = capacity(snat, version)
    if room.hosts > MOST_HOSTS:
        yield Finding(
            key,
            f"{room.hosts} IPv{version} source addresses are too many for port blocks",
            f"write prefixes of at most {MOST_HOSTS} addresses together, such as one "
            f"/{(32 if version == 4 else 128) - 16}",
        )
    elif not room.is_enough:
        ports = snat.source_ports or DEFAULT_PORTS
        yield Finding(
            key,
            f"{room.hosts} source addresses need {room.hosts} blocks, and there are {room.blocks}: "
            f"{room.addresses} addresses with {ports.count} ports each make "
            f"{room.blocks_per_address} blocks of {size} ports per address",
            "write a smaller block, more addresses, or fewer sources",
        )
