"""Hairpin: flows that go back to the interface that they came from, without an entry for it."""

from __future__ import annotations

from collections.abc import Iterator

from nvid.configuration.types import Nvi
from nvid.desired.ruleset.model import Map
from nvid.desired.ruleset.words import ADDRESS, IP, Plan
from nvid.desired.tenants import TenantState
from nvid.desired.uplinks import FAMILIES
from nvid.machine import Interface


def hairpins(
    plan: Plan, nvi: Nvi, tenant: TenantState | None, space: str
) -> Iterator[tuple[str, Map]]:
    """Last of all: a flow that was sent to a global address and goes back to the interface that
    it came from. Without this its replies would go straight to the client, which does not know
    them; so the client is seen from the router's address there. Equal addresses elsewhere, in
    another tenant or in none, are not meant."""
    marks = plan.marks
    lane = marks.forward_lane(tenant.lane) if tenant is not None else 0
    here = f"ct mark & {marks.forward_mask:#010x} == {lane:#010x} " if plan.tenants else ""
    inside = {each.name for one in plan.tenants for each in one.interfaces}
    interfaces = [
        each
        for each in plan.machine.enabled(nvi.interfaces)
        if (each in tenant.interfaces if tenant is not None else each.name not in inside)
    ]
    for family in FAMILIES:
        ip, address = IP[family], ADDRESS[family]
        elements = {
            f"{_arrival(interface, tenant)} . {each.interface.network}": str(each.address)
            for interface in interfaces
            for each in reversed(interface.addresses)
            if each.address.version == family
            and each.usable
            and each.lasting
            and each.interface.network.num_addresses > 1
        }
        if elements:
            name = f"hairpin_{space}_ip{family}"
            rule = f"{here}ct status dnat snat {ip} to iifname . {ip} daddr map @{name}"
            yield rule, Map(name, f"ifname . {address}", address, elements, interval=True)


def _arrival(interface: Interface, tenant: TenantState | None) -> str:
    """What the kernel calls the interface of what came in there, once that has been routed: a
    packet for a VRF came out of the VRF (drivers/net/vrf.c, vrf_l3_rcv)."""
    return interface.name if tenant is None or tenant.vrf is None else tenant.vrf
