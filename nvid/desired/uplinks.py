"""The uplinks as they are at the moment: usable or not, with which gateways and addresses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from nvid.configuration.types import Configuration, Uplink
from nvid.configuration.values import IPAddress
from nvid.desired.numbers import Numbers
from nvid.desired.objects import Family
from nvid.machine import Interface, Machine

FAMILIES: tuple[Family, Family] = (4, 6)


@dataclass(frozen=True, slots=True)
class UplinkState:
    """One uplink now. ``reason`` says in words what is wrong with it, and is empty when nothing is.

    ``index`` is that of its interface, if it exists. ``present`` means that the interface is
    administratively up, ``linked`` that it has a carrier too. ``gateways`` holds the next hop by
    family: None where the link is point-to-point and has none, nothing where the family has no way
    out. ``failing`` says by family why its checks hold that it does not work. ``addresses`` holds
    the address for ``snat ... to = "uplink"``, by family; ``own_addresses`` all the addresses of
    its interface.
    """

    name: str
    lane: int
    interface: str
    index: int | None
    linked: bool
    reason: str
    present: bool
    priority: int
    weight: int
    gateways: Mapping[int, IPAddress | None] = field(default_factory=dict)
    failing: Mapping[int, str] = field(default_factory=dict)
    addresses: Mapping[int, IPAddress] = field(default_factory=dict)
    own_addresses: tuple[IPAddress, ...] = ()

    def leads_out(self, family: Family) -> bool:
        """Whether there is a way out for this family, healthy or not."""
        return self.linked and family in self.gateways

    def carries(self, family: Family) -> bool:
        """Whether new flows of this family can use it."""
        return self.leads_out(family) and family not in self.failing

    @property
    def up(self) -> bool:
        """Whether new flows of any family can use it."""
        return any(self.carries(family) for family in FAMILIES)


def uplink_states(
    configuration: Configuration, machine: Machine, numbers: Numbers
) -> tuple[UplinkState, ...]:
    """The state of every uplink, in file order."""
    return tuple(
        _state(uplink, machine, numbers.uplinks[uplink.name]) for uplink in configuration.uplinks
    )


def _state(uplink: Uplink, machine: Machine, lane: int) -> UplinkState:
    interface = machine.interface(uplink.interface)
    gateways = _gateways(uplink, machine)
    failing: dict[int, str] = {
        family: machine.failing[uplink.name, family]
        for family in FAMILIES
        if uplink.check is not None and (uplink.name, family) in machine.failing
    }
    return UplinkState(
        name=uplink.name,
        lane=lane,
        interface=uplink.interface,
        index=interface.index if interface is not None else None,
        linked=not _link_reason(uplink.interface, interface),
        reason=_reason(uplink, interface, gateways, failing),
        present=interface is not None and interface.up,
        priority=uplink.priority,
        weight=uplink.weight,
        gateways=gateways,
        failing=failing,
        addresses={
            family: address
            for family in FAMILIES
            if interface is not None
            and (address := _translated_source(uplink, machine, gateways.get(family), family))
            is not None
        },
        own_addresses=tuple(each.address for each in interface.addresses) if interface else (),
    )


def _gateways(uplink: Uplink, machine: Machine) -> dict[int, IPAddress | None]:
    if not uplink.gateway_auto:
        return {each.version: each for each in uplink.gateways}
    return {
        family: route.gateway
        for family in FAMILIES
        if (route := machine.default_route(uplink.interface, family)) is not None
    }


def _reason(
    uplink: Uplink,
    interface: Interface | None,
    gateways: Mapping[int, IPAddress | None],
    failing: Mapping[int, str],
) -> str:
    reason = _link_reason(uplink.interface, interface)
    if reason:
        return reason
    if not gateways:
        return f"no default route on {uplink.interface}: neither DHCP nor a router has given one"
    wrong = {family: failing[family] for family in gateways if family in failing}
    if len(wrong) == len(gateways):
        return "; ".join(dict.fromkeys(wrong.values()))
    return "; ".join(f"IPv{family}: {text}" for family, text in wrong.items())


def _link_reason(name: str, interface: Interface | None) -> str:
    if interface is None:
        return f"interface {name} does not exist"
    if not interface.up:
        return f"interface {name} is down"
    if not interface.carrier:
        return f"interface {name} has no carrier"
    return ""


def _translated_source(
    uplink: Uplink, machine: Machine, gateway: IPAddress | None, family: Family
) -> IPAddress | None:
    """The address to be seen from: the one that a followed default route prefers, where the
    machine has it; one in the gateway's subnet before any other; a usable and lasting one."""
    route = machine.default_route(uplink.interface, family) if uplink.gateway_auto else None
    if route is not None and route.source is not None and route.source in machine.addresses():
        return route.source
    interface = machine.interface(uplink.interface)
    candidates = [
        each
        for each in (interface.addresses if interface is not None else ())
        if each.address.version == family and each.usable and each.lasting
    ]
    near = [
        each for each in candidates if gateway is not None and gateway in each.interface.network
    ]
    chosen = next(iter(near or candidates), None)
    return chosen.address if chosen is not None else None


def followed_interfaces(configuration: Configuration) -> frozenset[str]:
    """The interfaces whose default routes nvid follows: those of uplinks with gateway "auto"."""
    return frozenset(each.interface for each in configuration.uplinks if each.gateway_auto)


def preferred(uplinks: Iterable[UplinkState], family: Family) -> tuple[UplinkState, ...]:
    """The healthy uplinks of the lowest priority that carry the family: new flows are shared
    among them by weight. Empty when there is none."""
    healthy = [uplink for uplink in uplinks if uplink.carries(family)]
    best = min((uplink.priority for uplink in healthy), default=0)
    return tuple(uplink for uplink in healthy if uplink.priority == best)


def best_there_is(uplinks: Iterable[UplinkState], family: Family) -> tuple[UplinkState, ...]:
    """The preferred uplinks; where none is healthy, those of the lowest priority that lead out at
    all: a check that fails everywhere is no reason to give up."""
    uplinks = tuple(uplinks)
    return preferred(uplinks, family) or preferred(
        (replace(each, failing={}) for each in uplinks), family
    )


def able(uplinks: Iterable[UplinkState], family: Family) -> tuple[UplinkState, ...]:
    """The uplinks that lead out, healthy or not, and have an address to be translated to."""
    return tuple(each for each in uplinks if each.leads_out(family) and family in each.addresses)


def picked(uplinks: Iterable[UplinkState], via: Iterable[str], family: Family) -> UplinkState:
    """Of the uplinks that a route entry names, the one whose address ``to = "uplink"`` takes: the
    first healthy one, or the first that is ``able`` at all, or the first one."""
    by_name = {each.name: each for each in uplinks}
    named = [by_name[name] for name in via]
    fit = able(named, family)
    return next((each for each in fit if each.carries(family)), next(iter((*fit, *named))))
