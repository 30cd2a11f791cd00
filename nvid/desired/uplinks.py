"""The uplinks as they are at the moment: usable or not, with which gateways and addresses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nvid.configuration.types import Configuration, Uplink
from nvid.configuration.values import IPAddress
from nvid.desired.numbers import Numbers
from nvid.desired.objects import Family
from nvid.machine import Interface, Machine

FAMILIES: tuple[Family, Family] = (4, 6)


@dataclass(frozen=True, slots=True)
class UplinkState:
    """One uplink now. ``reason`` says in words why it is not up, and is empty when it is.

    ``present`` means that its interface exists and is administratively up, so that routes can
    point to it. ``addresses`` holds the address for ``snat ... to = "uplink"``, by family;
    ``own_addresses`` all the addresses of its interface.
    """

    name: str
    lane: int
    interface: str
    up: bool
    reason: str
    present: bool
    priority: int
    weight: int
    gateways: Mapping[int, IPAddress] = field(default_factory=dict)
    addresses: Mapping[int, IPAddress] = field(default_factory=dict)
    own_addresses: tuple[IPAddress, ...] = ()

    def carries(self, family: Family) -> bool:
        """Whether new flows of this family can use it."""
        return self.up and family in self.gateways


def uplink_states(
    configuration: Configuration, machine: Machine, numbers: Numbers
) -> tuple[UplinkState, ...]:
    """The state of every uplink, in file order."""
    return tuple(
        _state(uplink, machine.interface(uplink.interface), numbers.uplinks[uplink.name])
        for uplink in configuration.uplinks
    )


def _state(uplink: Uplink, interface: Interface | None, lane: int) -> UplinkState:
    reason = _reason(uplink.interface, interface)
    gateways: dict[int, IPAddress] = {each.version: each for each in uplink.gateways}
    return UplinkState(
        name=uplink.name,
        lane=lane,
        interface=uplink.interface,
        up=not reason,
        reason=reason,
        present=interface is not None and interface.up,
        priority=uplink.priority,
        weight=uplink.weight,
        gateways=gateways,
        addresses={
            family: address
            for family in FAMILIES
            if interface is not None
            and (address := _translated_source(interface, gateways.get(family), family)) is not None
        },
        own_addresses=tuple(each.address for each in interface.addresses) if interface else (),
    )


def _reason(name: str, interface: Interface | None) -> str:
    if interface is None:
        return f"interface {name} does not exist"
    if not interface.up:
        return f"interface {name} is down"
    if not interface.carrier:
        return f"interface {name} has no carrier"
    return ""


def _translated_source(
    interface: Interface, gateway: IPAddress | None, family: Family
) -> IPAddress | None:
    """The address to be seen from: one in the gateway's subnet before any other, a usable and
    lasting one in any case."""
    candidates = [
        each
        for each in interface.addresses
        if each.address.version == family and each.usable and each.lasting
    ]
    near = [
        each for each in candidates if gateway is not None and gateway in each.interface.network
    ]
    chosen = next(iter(near or candidates), None)
    return chosen.address if chosen is not None else None


def preferred(uplinks: Iterable[UplinkState], family: Family) -> tuple[UplinkState, ...]:
    """The healthy uplinks of the lowest priority that carry the family: new flows are shared
    among them by weight. Empty when there is none."""
    healthy = [uplink for uplink in uplinks if uplink.carries(family)]
    best = min((uplink.priority for uplink in healthy), default=0)
    return tuple(uplink for uplink in healthy if uplink.priority == best)
