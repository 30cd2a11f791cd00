"""What ``nvid explain`` asks and answers, as values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from nvid.configuration.values import IPAddress
from nvid.desired.objects import Family
from nvid.desired.ruleset.words import PROTOCOL_NUMBERS
from nvid.matching import Asked


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a flow; ports are 0 for protocols without."""

    interface: str
    protocol: str
    source: IPAddress
    destination: IPAddress
    source_port: int = 0
    destination_port: int = 0

    @property
    def family(self) -> Family:
        """4 or 6."""
        return 4 if self.source.version == 4 else 6

    def asked(self, destination: IPAddress, port: int) -> Asked:
        """What an entry sees of it, with this destination."""
        number = PROTOCOL_NUMBERS[self.protocol]
        return Asked(number, self.source, destination, port, self.interface)


@dataclass(frozen=True, slots=True)
class Inside:
    """A packet behind DNAT: where it goes now."""

    packet: Packet
    destination: IPAddress
    port: int

    @property
    def asked(self) -> Asked:
        """What snat and route entries see."""
        return self.packet.asked(self.destination, self.port)

    @property
    def question(self) -> tuple[IPAddress, IPAddress]:
        """What a routing table is asked for, before the source is translated."""
        return self.destination, self.packet.source


@dataclass(frozen=True, slots=True)
class Lookup:
    """What a routing table answered: no interface means unreachable."""

    interface: str | None
    gateway: str | None = None


AskKernel = Callable[[IPAddress, IPAddress, int], Lookup]
"""Destination, source and fwmark to the route that the kernel takes for a forwarded packet."""


@dataclass(slots=True)
class Explanation:
    """Step by step. ``steps`` are for people; the rest is what ``--json`` prints."""

    steps: list[str] = field(default_factory=list)
    nvi: str | None = None
    tenant: str | None = None
    target_tenant: str | None = None
    dnat: str | None = None
    snat: str | None = None
    route: str | None = None
    uplink: str | None = None
    translated_source: str | None = None
    translated_destination: str | None = None
    interface: str | None = None
    gateway: str | None = None
    replies: str | None = None
    dropped: str | None = None
    holder: str | None = None  # the inside address whose port block the destination is in

    def say(self, text: str) -> None:
        """Add a step."""
        self.steps.append(text)
