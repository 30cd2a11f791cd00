"""Which flows an uplink can carry no longer, and which of them are to end: pure questions.

A flow ends only when its client can begin anew by another way: then it is better to make it
reconnect at once than to let it wait. While there is no other way for it (``ways``) it stays,
because the uplink may come back. Flows of healthy uplinks are never asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from nvid.configuration.values import IPAddress, IPNetwork
from nvid.desired.marks import Marks
from nvid.desired.objects import Family
from nvid.desired.uplinks import FAMILIES, UplinkState
from nvid.flows import Flow
from nvid.machine import Machine

Lost = frozenset[tuple[str, Family]]
OnlyBy = Callable[[UplinkState, Flow], bool]
"""Whether a flow that left by an uplink could leave by no other, if it began anew."""


def lost(uplinks: Iterable[UplinkState]) -> Lost:
    """The uplinks, by name and family, that cannot carry new flows while another one can."""
    uplinks = tuple(uplinks)
    return frozenset(
        (uplink.name, family)
        for family in FAMILIES
        if any(each.carries(family) for each in uplinks)
        for uplink in uplinks
        if not uplink.carries(family)
    )


def healthy(uplinks: Iterable[UplinkState]) -> frozenset[tuple[str, int]]:
    """The uplinks, by name and family, that carry new flows."""
    uplinks = tuple(uplinks)
    return frozenset(
        (each.name, family) for each in uplinks for family in FAMILIES if each.carries(family)
    )


@dataclass(frozen=True, slots=True)
class Ending:
    """Flows to end: those whose ct mark is ``value`` under ``mask``, and which are ``chosen``."""

    value: int
    mask: int
    chosen: Callable[[Flow], bool]


def of_lost(
    gone: Lost, uplinks: Iterable[UplinkState], machine: Machine, marks: Marks, only_by: OnlyBy
) -> Iterator[Ending]:
    """The flows that leave, or came in, by uplinks that are lost.

    Neighbours on the uplink's own segment (the modem's own pages, say) are reached without the
    gateway: flows with them go on, or not, by themselves. So do flows that would begin anew in the
    same lane, because no other uplink can have them, and those to an address of the uplink's own,
    which no other provider brings.
    """
    for uplink in uplinks:
        families = {family for name, family in gone if name == uplink.name}
        if not families:
            continue
        interface = machine.interface(uplink.interface)
        near = [each.interface.network for each in interface.addresses] if interface else []
        yield Ending(
            marks.bound | marks.forward_lane(uplink.lane),
            marks.state_mask | marks.forward_mask,
            _leaves(uplink, families, near, only_by),
        )
        yield Ending(
            marks.bound | marks.return_lane(uplink.lane),
            marks.state_mask | marks.return_mask,
            _came_in(uplink, families, near),
        )


def _leaves(
    uplink: UplinkState, families: Collection[int], near: Collection[IPNetwork], only_by: OnlyBy
) -> Callable[[Flow], bool]:
    return lambda flow: _is_beyond(flow.reply_source, families, near) and not only_by(uplink, flow)


def _came_in(
    uplink: UplinkState, families: Collection[int], near: Collection[IPNetwork]
) -> Callable[[Flow], bool]:
    return lambda flow: (
        _is_beyond(flow.source, families, near) and flow.destination not in uplink.own_addresses
    )


def _is_beyond(address: IPAddress, families: Collection[int], near: Collection[IPNetwork]) -> bool:
    return address.version in families and not any(address in network for network in near)


def addresses_of(uplinks: Iterable[UplinkState]) -> frozenset[IPAddress]:
    """The addresses that flows may have been translated to, or sent to, because they are those of
    an uplink."""
    return frozenset(
        address
        for uplink in uplinks
        for address in (*uplink.own_addresses, *uplink.addresses.values())
        if not address.is_link_local
    )


def gone(
    known: Iterable[IPAddress], uplinks: Iterable[UplinkState], machine: Machine
) -> frozenset[IPAddress]:
    """Of the addresses that uplinks once had, those that the machine has no longer, where there is
    another one of the family to begin anew with."""
    uplinks, present = tuple(uplinks), set(machine.addresses())
    able = {
        family
        for family in FAMILIES
        if any(each.carries(family) and family in each.addresses for each in uplinks)
    }
    return frozenset(each for each in known if each not in present and each.version in able)


def of_gone(addresses: frozenset[IPAddress], marks: Marks) -> Ending:
    """The flows that were translated to, or sent to, addresses that are gone: their replies find
    nobody."""
    return Ending(
        marks.bound,
        marks.state_mask,
        lambda flow: flow.reply_destination in addresses or flow.destination in addresses,
    )
