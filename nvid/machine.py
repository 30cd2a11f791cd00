"""Facts about the machine that the desired state depends on, as immutable values.

Gathered by ``kernel.facts``; nothing here looks at anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv6Address,
    IPv6Interface,
)

from nvid.configuration.values import InterfacePattern


@dataclass(frozen=True, slots=True)
class InterfaceAddress:
    """One address of an interface, with the length of its subnet.

    ``usable`` is false while IPv6 duplicate address detection runs or has failed: the kernel
    refuses such an address as a route's preferred source. ``lasting`` is false for what is not a
    good choice as a translated source: link-local scope, deprecated, or temporary (RFC 8981).
    """

    interface: IPv4Interface | IPv6Interface
    usable: bool = True
    lasting: bool = True

    @property
    def address(self) -> IPv4Address | IPv6Address:
        """The address without its subnet."""
        return self.interface.ip


@dataclass(frozen=True, slots=True)
class Interface:
    """One network interface as the kernel shows it. ``vrf_table`` is the routing table of a
    device that is a VRF, None for all others."""

    name: str
    index: int
    up: bool
    carrier: bool
    ours: bool = False
    addresses: tuple[InterfaceAddress, ...] = ()
    vrf_table: int | None = None


@dataclass(frozen=True, slots=True)
class DefaultRoute:
    """A default route that somebody else put on an interface: a DHCP client, the kernel for a
    router advertisement, an administrator.

    ``gateway`` is None on a point-to-point link. ``source`` is the preferred source, if it has
    one. Of several, the one in the main table wins, then the lowest ``metric``, then the highest
    ``preference`` (1, 0 or -1, RFC 4191).
    """

    interface: str
    family: int
    gateway: IPv4Address | IPv6Address | None = None
    source: IPv4Address | IPv6Address | None = None
    in_main: bool = True
    metric: int = 0
    preference: int = 0

    @property
    def rank(self) -> tuple[bool, int, int, str]:
        """Smaller is better; never the same for two routes that differ in their gateways."""
        return (not self.in_main, self.metric, -self.preference, str(self.gateway))


@dataclass(frozen=True, slots=True)
class Machine:
    """Everything about the machine that a desired state is computed from.

    ``sysctls`` holds the present value of the keys that decide what other keys must be (rp_filter
    and forwarding of "all"). ``ipv6`` is false where the kernel was booted without IPv6.
    ``sysctl_originals`` are the values that nvid found before it first wrote a key.
    ``default_routes`` are those of the interfaces whose gateway is ``auto``. ``failing`` says, by
    uplink and family, why its checks hold that it does not work.
    """

    interfaces: tuple[Interface, ...] = ()
    ipv6: bool = True
    sysctls: dict[str, str] = field(default_factory=dict)
    sysctl_originals: dict[str, str] = field(default_factory=dict)
    default_routes: tuple[DefaultRoute, ...] = ()
    failing: Mapping[tuple[str, int], str] = field(default_factory=dict)

    def interface(self, name: str) -> Interface | None:
        """The interface called ``name``, or None while there is none."""
        return next((each for each in self.interfaces if each.name == name), None)

    def enabled(self, patterns: Iterable[InterfacePattern]) -> tuple[Interface, ...]:
        """The interfaces that exist and are meant by ``patterns``; never nvid's own, nor lo."""
        patterns = tuple(patterns)
        return tuple(
            each
            for each in self.interfaces
            if not each.ours and each.name != "lo" and any(p.matches(each.name) for p in patterns)
        )

    def default_route(self, interface: str, family: int) -> DefaultRoute | None:
        """The best default route of a family that others put on an interface."""
        found = [
            each
            for each in self.default_routes
            if (each.interface, each.family) == (interface, family)
        ]
        return min(found, key=lambda each: each.rank, default=None)

    def addresses(self) -> Iterator[IPv4Address | IPv6Address]:
        """Every address of the machine, nvid's own pairs excepted."""
        for interface in self.interfaces:
            if not interface.ours:
                for each in interface.addresses:
                    yield each.address
