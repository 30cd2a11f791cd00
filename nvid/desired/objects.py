"""The kernel objects that nvid owns, one frozen value type for each kind.

Desired and observed objects are of the same types, so that they can be compared. ``key`` is an
object's identity in the kernel: two objects of one kind with one key cannot exist side by side.
``str()`` of an object is what ``nvid plan`` and the log show, in the words of iproute2.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from nvid import names
from nvid.configuration.values import IPAddress, IPNetwork

Family = Literal[4, 6]
RouteType = Literal["unicast", "unreachable", "blackhole", "prohibit", "throw"]


@dataclass(frozen=True, slots=True)
class LinkEnd:
    """One end of a pair. ``alias`` says whose it is; ``address`` is its MAC address."""

    name: str
    alias: str
    address: str
    group: int
    mtu: int = names.PAIR_MTU
    up: bool = True
    enslaved: bool = False
    """Part of a bridge, bond or VRF: what comes out of it is not routed by this machine's rules."""

    def __str__(self) -> str:
        state = ("up" if self.up else "down") + (" enslaved" if self.enslaved else "")
        return f"{self.name} address {self.address} mtu {self.mtu} group {self.group:#x} {state}"


@dataclass(frozen=True, slots=True)
class Pair:
    """The veth pair of one NVI: one object with two names. An end is None while it is missing."""

    nvi: str
    main: LinkEnd | None
    peer: LinkEnd | None

    @property
    def key(self) -> str:
        """Its identity in the kernel."""
        return self.nvi

    @property
    def ends(self) -> tuple[LinkEnd, ...]:
        """The ends that are there."""
        return tuple(end for end in (self.main, self.peer) if end is not None)

    def __str__(self) -> str:
        return f"pair {self.nvi}: {self.main or 'no main end'}; {self.peer or 'no peer end'}"


@dataclass(frozen=True, slots=True)
class Address:
    """An address on one end of a pair."""

    interface: str
    address: IPAddress
    prefix_length: int

    @property
    def key(self) -> tuple[str, IPAddress, int]:
        """Its identity in the kernel."""
        return (self.interface, self.address, self.prefix_length)

    def __str__(self) -> str:
        return f"address {self.address}/{self.prefix_length} dev {self.interface}"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A permanent neighbour entry (``mac``), or a proxy entry when ``mac`` is None: the kernel
    answers ARP and neighbour solicitations for ``address`` on ``interface``."""

    interface: str
    address: IPAddress
    mac: str | None

    @property
    def key(self) -> tuple[str, IPAddress, bool]:
        """Its identity in the kernel."""
        return (self.interface, self.address, self.mac is None)

    def __str__(self) -> str:
        what = "proxy" if self.mac is None else f"lladdr {self.mac} permanent"
        return f"neighbour {self.address} dev {self.interface} {what}"


@dataclass(frozen=True, slots=True)
class Nexthop:
    """A nexthop object with nvid's protocol number: IPv6 packets that go through it leave by
    ``device``, to no gateway (ip-nexthop(8))."""

    number: int
    device: str

    @property
    def key(self) -> int:
        """Its identity in the kernel."""
        return self.number

    def __str__(self) -> str:
        return f"nexthop ipv6 id {self.number} dev {self.device}"


@dataclass(frozen=True, slots=True)
class Redirect:
    """A filter of traffic control: packets that leave by ``device`` with ``fwmark`` under
    ``fwmask`` come in by it again, without the route and the flow that they had (tc-mirred(8))."""

    device: str
    fwmark: int
    fwmask: int

    @property
    def key(self) -> str:
        """Its identity in the kernel: there is one for a device."""
        return self.device

    def __str__(self) -> str:
        mark = f"{self.fwmark:#x}/{self.fwmask:#x}"
        return f"filter dev {self.device} egress fwmark {mark} redirect ingress dev {self.device}"


@dataclass(frozen=True, slots=True)
class Route:
    """A route with nvid's protocol number. ``metric`` is the kernel's priority attribute,
    ``nexthop`` the number of the nexthop object that it goes through, which has the device."""

    table: int
    destination: IPNetwork
    kind: RouteType = "unicast"
    device: str | None = None
    gateway: IPAddress | None = None
    source: IPAddress | None = None
    metric: int = 0
    onlink: bool = False
    nexthop: int | None = None

    @property
    def key(self) -> tuple[int, IPNetwork, int]:
        """Its identity in the kernel."""
        return (self.table, self.destination, self.metric)

    def __str__(self) -> str:
        words = ["route", *([] if self.kind == "unicast" else [self.kind])]
        words.append("default" if self.destination.prefixlen == 0 else str(self.destination))
        if self.destination.prefixlen == 0:
            words.append(f"ipv{self.destination.version}")
        if self.nexthop is not None:
            words += ["nhid", str(self.nexthop)]
        if self.gateway is not None:
            words += ["via", str(self.gateway)]
        if self.device is not None:
            words += ["dev", self.device]
        words += ["table", str(self.table)]
        if self.source is not None:
            words += ["src", str(self.source)]
        if self.metric:
            words += ["metric", str(self.metric)]
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Rule:
    """An ip rule with nvid's protocol number: ``table`` is None for a rule that drops.

    ``suppress_prefix_length`` 0 means that a default route found in the table does not count.
    ``target`` is the priority, a larger one, at which a rule with the action goto goes on.
    """

    family: Family
    priority: int
    fwmark: int | None = None
    fwmask: int = 0
    input_interface: str | None = None
    source: IPAddress | None = None
    table: int | None = None
    action: Literal["to_table", "blackhole", "unreachable", "prohibit", "goto"] = "to_table"
    suppress_prefix_length: int | None = None
    target: int | None = None

    @property
    def key(self) -> Rule:
        """Its identity in the kernel."""
        return self

    def __str__(self) -> str:
        words = [f"rule ipv{self.family} {self.priority}:"]
        if self.source is not None:
            words += ["from", str(self.source)]
        if self.input_interface is not None:
            words += ["iif", self.input_interface]
        if self.fwmark is not None:
            words += ["fwmark", f"{self.fwmark:#x}/{self.fwmask:#x}"]
        words += [self.action] if self.table is None else ["lookup", str(self.table)]
        if self.target is not None:
            words.append(str(self.target))
        if self.suppress_prefix_length is not None:
            words += ["suppress_prefixlength", str(self.suppress_prefix_length)]
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Sysctl:
    """A key below /proc/sys, as a path with slashes, and the value to write.

    Any value in ``accepts`` is as good; the present one then stays. Where the kernel refuses an
    ``optional`` one, that is reported and nothing else suffers. Keys are compared by what
    they accept, so an observed key equals a desired one that accepts its value.
    """

    path: str
    value: str
    accepts: frozenset[str] = field(default=frozenset(), compare=False)
    optional: bool = field(default=False, compare=False)

    @property
    def key(self) -> str:
        """Its identity in the kernel."""
        return self.path

    @property
    def belongs_to(self) -> str:
        """The directory that it is in: for keys of an interface, the interface's name."""
        return self.path.split("/")[-2]

    def __str__(self) -> str:
        return f"sysctl {self.path.replace('/', '.')} = {self.value}"
