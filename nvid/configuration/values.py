"""The small values that a configuration is made of: addresses, ranges, ports, patterns.

Each one prints itself the way the configuration language spells it. They are made by
`nvid.configuration.readers`, which is where their text is checked; nothing here parses.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    summarize_address_range,
)
from typing import TypeAlias

from msgspec import Struct

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPNetwork: TypeAlias = IPv4Network | IPv6Network


def network_text(network: IPNetwork) -> str:
    """The network as an operator writes it: a host network without its /32 or /128."""
    host = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if host else str(network)


class AddressRange(Struct, frozen=True):
    """Consecutive addresses of one family, both ends included."""

    first: IPAddress
    last: IPAddress

    @classmethod
    def of(cls, network: IPNetwork) -> AddressRange:
        """All addresses of a network, its first and its last one included."""
        return cls(network.network_address, network.broadcast_address)

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.first.version

    @property
    def count(self) -> int:
        """How many addresses: 1 or more."""
        return int(self.last) - int(self.first) + 1

    @property
    def networks(self) -> tuple[IPNetwork, ...]:
        """The fewest networks that cover the range exactly, in ascending order."""
        return tuple(summarize_address_range(self.first, self.last))

    def contains(self, address: IPAddress) -> bool:
        """Whether the address lies in the range; never across families."""
        same_family = address.version == self.version
        return same_family and int(self.first) <= int(address) <= int(self.last)

    def overlaps(self, other: AddressRange) -> bool:
        """Whether any address lies in both."""
        return self.version == other.version and (
            int(self.first) <= int(other.last) and int(other.first) <= int(self.last)
        )

    def __str__(self) -> str:
        networks = self.networks
        if len(networks) == 1:
            return network_text(networks[0])
        return f"{self.first}-{self.last}"


def merged_ranges(parts: Iterable[AddressRange]) -> tuple[AddressRange, ...]:
    """The same addresses in the fewest ranges, disjoint, IPv4 first, ascending; n cost n log n."""
    merged: list[AddressRange] = []
    for part in sorted(parts, key=lambda each: (each.version, int(each.first), int(each.last))):
        before = merged[-1] if merged else None
        touches = before is not None and (
            before.version == part.version and int(part.first) <= int(before.last) + 1
        )
        if before is not None and touches:
            last = part.last if int(part.last) > int(before.last) else before.last
            merged[-1] = AddressRange(before.first, last)
        else:
            merged.append(part)
    return tuple(merged)


class PortRange(Struct, frozen=True):
    """Consecutive ports, both ends included, each 1 to 65535. One port has equal ends."""

    first: int
    last: int

    @property
    def count(self) -> int:
        """How many ports: 1 or more."""
        return self.last - self.first + 1

    def overlaps(self, other: PortRange) -> bool:
        """Whether any port lies in both."""
        return self.first <= other.last and other.first <= self.last

    def covers(self, other: PortRange) -> bool:
        """Whether every port of `other` lies in this range."""
        return self.first <= other.first and other.last <= self.last

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


class TableRange(Struct, frozen=True):
    """Consecutive routing table numbers, both ends included."""

    first: int
    last: int

    @property
    def count(self) -> int:
        """How many tables: 1 or more."""
        return self.last - self.first + 1

    def __contains__(self, table: int) -> bool:
        return self.first <= table <= self.last

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


class Listen(Struct, frozen=True):
    """An address and a TCP port to listen on; `host` is a numeric address without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        version = ip_address(self.host).version
        return f"{self.host}:{self.port}" if version == 4 else f"[{self.host}]:{self.port}"


class InterfacePattern(Struct, frozen=True):
    """The exact name of an interface, or all names that begin with what stands before a final `*`.

    The text is 1 to 15 bytes of A-Z a-z 0-9 _ . : - and at most one `*`, at its end, so it can
    be written into an nftables ruleset as it is.
    """

    text: str

    @property
    def is_glob(self) -> bool:
        """Whether the pattern ends in `*`."""
        return self.text.endswith("*")

    @property
    def prefix(self) -> str:
        """The pattern without its `*`; of an exact name, the name."""
        return self.text.removesuffix("*")

    def matches(self, name: str) -> bool:
        """Whether an interface of that name is meant."""
        return name.startswith(self.prefix) if self.is_glob else name == self.text

    def overlaps(self, other: InterfacePattern) -> bool:
        """Whether there can be an interface that both patterns mean."""
        if self.is_glob and other.is_glob:
            return self.prefix.startswith(other.prefix) or other.prefix.startswith(self.prefix)
        return self.matches(other.text) if self.is_glob else other.matches(self.text)

    def __str__(self) -> str:
        return self.text


class Pools(Struct, frozen=True):
    """Addresses to translate sources to; flows of a family use the ranges of that family."""

    ranges: tuple[AddressRange, ...]

    def __str__(self) -> str:
        return ",".join(str(one) for one in self.ranges)


class UplinkAddress(Struct, frozen=True):
    """Whatever address an uplink has at the moment; without a name, the uplink that is picked."""

    name: str | None = None

    def __str__(self) -> str:
        return "uplink" if self.name is None else f"uplink:{self.name}"


class NoTranslation(Struct, frozen=True):
    """Leave the source as it is."""

    def __str__(self) -> str:
        return "none"


SnatTo: TypeAlias = Pools | UplinkAddress | NoTranslation


class Target(Struct, frozen=True):
    """Where a dnat sends flows: a host (a /32 or /128) or a prefix, perhaps with new ports.

    `weight` is the share of new flows among several targets, 1 to 1000.
    """

    network: IPNetwork
    ports: PortRange | None = None
    weight: int = 1

    def __str__(self) -> str:
        address = network_text(self.network)
        if self.ports is None:
            return address
        return (
            f"{address}:{self.ports}"
            if self.network.version == 4
            else (f"[{address}]:{self.ports}")
        )


class Timeout(Struct, frozen=True):
    """One of the kernel's conntrack timeouts; `name` is such as `tcp_established` or `udp`."""

    name: str
    seconds: int

    @property
    def sysctl(self) -> str:
        """The file below /proc/sys/net/netfilter (nf_conntrack-sysctl.rst)."""
        protocol, _, state = self.name.partition("_")
        return f"nf_conntrack_{protocol}_timeout" + (f"_{state}" if state else "")


class Helper(Struct, frozen=True):
    """An application-level gateway of the kernel, and the port that it listens in on."""

    name: str
    port: int
