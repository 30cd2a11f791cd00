"""Tenants in the ruleset: zones, who may answer for whom, and what must not leave a tenant.

A flow *from* a tenant has its original direction in the tenant's conntrack zone, so that equal
addresses and ports of two tenants are two flows; its replies are in zone 0, where the translated
addresses tell flows apart. The zone says where replies go. A flow *to* a tenant has both
directions in zone 0, and the tenant's lane as its forward lane. The kernel looks a packet from a
tenant up in the tenant's zone first and then, as a reply, in zone 0; whose reply it may be is
asked here, for zone 0 does not know.
"""

from __future__ import annotations

from collections.abc import Iterator

from nvid.configuration.values import AddressRange, merged_ranges
from nvid.desired.ruleset.drops import drop
from nvid.desired.ruleset.model import NUMBER, Chain, Map, Ruleset
from nvid.desired.ruleset.words import (
    ERRORS,
    IP,
    Plan,
    interface_map,
    one_of,
    set_ct_mark,
    set_fwmark,
)
from nvid.desired.tenants import TenantState
from nvid.desired.uplinks import FAMILIES

ZONE = "ct original zone"

TENANT_DIRECTIONS = ("from", "to")


def tenant_counter(lane: int, direction: str) -> str:
    """The named counter of packets that came from a tenant, or were sent to it."""
    return f"tenant_{lane}_{direction}"


def enters_zone(plan: Plan) -> tuple[str, ...]:
    """Before conntrack: the zone of what comes from a tenant."""
    return ("iifname vmap @tenant_zones",) if plan.tenants else ()


def who_replies(plan: Plan) -> tuple[str, ...]:
    """Only the tenant that a flow went to may answer it, and nobody else."""
    return (
        "iifname vmap @tenant_answers",
        f"ct mark & {plan.marks.forward_mask:#010x} vmap @others_answers",
        "goto bound_return",
    )


def reply_chains(plan: Plan, to_return_lanes: tuple[str, ...]) -> Iterator[Chain]:
    """Then the way back, ``to_return_lanes`` for flows that no tenant began."""
    yield Chain("answer_of_other", (drop("wrong_tenant"),))
    yield Chain("bound_return", (f"{ZONE} vmap @tenant_returns", *to_return_lanes))


def counts_to(plan: Plan, lane: int) -> tuple[str, ...]:
    """Count a packet that gets a tenant's lane."""
    if any(each.lane == lane for each in plan.tenants):
        return (f'counter name "{tenant_counter(lane, "to")}"',)
    return ()


def own_replies(plan: Plan) -> tuple[str, ...]:
    """What the machine itself answers to a tenant goes to that tenant, bound flow or not."""
    return (f"ct direction reply {ZONE} vmap @own_tenant_returns",) if plan.tenants else ()


def new_flows(plan: Plan) -> tuple[str, ...]:
    """A new flow from a tenant: does it stay inside?"""
    return ("iifname vmap @tenant_flows",) if plan.tenants else ()


def into_tenant(plan: Plan) -> tuple[str, ...]:
    """Behind SNAT: what is known to go to a tenant may be bound to its lane."""
    if not plan.tenants:
        return ()
    return (f"ct mark & {plan.marks.forward_mask:#010x} vmap @into_tenants",)


def out_of_tenant(plan: Plan) -> tuple[str, ...]:
    """Behind SNAT: what leaves a tenant must have been translated."""
    return (f"{ZONE} vmap @tenant_sources",) if plan.tenants else ()


def forward_guard(plan: Plan) -> tuple[str, ...]:
    """Rules or no rules: only a tenant's own lane leads to its interfaces, and nowhere else; and
    what a tenant sends has a lane, or does not leave."""
    if not plan.tenants:
        return ()
    return (
        "oifname vmap @tenant_ways",
        "iifname vmap @tenant_leaving",
        f"meta mark & {plan.marks.mask:#010x} vmap @tenant_marks",
    )


def expected_inside(plan: Plan) -> tuple[str, ...]:
    """Which tenant a flow goes to that a helper expected, by the mark of its master."""
    if not plan.tenants:
        return ()
    return (f"ct status dnat ct mark & {plan.marks.forward_mask:#010x} vmap @expected_inside",)


def presets(plan: Plan, tenant: str | None) -> str:
    """The statement that notes in a flow in which tenant its translated destination lies."""
    return "" if tenant is None else _preset(plan, plan.tenant(tenant))


def _preset(plan: Plan, tenant: TenantState) -> str:
    marks = plan.marks
    return set_ct_mark(marks, marks.forward_mask, marks.forward_lane(tenant.lane))


def tenant_objects(plan: Plan) -> Ruleset:
    """All chains, maps and counters of the tenants but those of translations."""
    if not plan.tenants:
        return Ruleset()
    chains = [
        Chain("translated_only", (f"ct status & snat == 0 {drop('untranslated')}",)),
        Chain(
            "from_tenant",
            (
                f"meta mark & {plan.marks.state_mask:#010x} != {plan.marks.in_lane:#010x} "
                + drop("wrong_tenant"),
            ),
        ),
        Chain("astray", (drop("wrong_tenant"),)),
    ]
    for tenant in plan.tenants:
        chains += _chains(plan, tenant)
    counters = [
        tenant_counter(tenant.lane, way) for tenant in plan.tenants for way in TENANT_DIRECTIONS
    ]
    return Ruleset(tuple(chains), tuple(_maps(plan)), tuple(counters))


def _chains(plan: Plan, tenant: TenantState) -> Iterator[Chain]:
    marks, lane = plan.marks, tenant.lane
    mine = f"{marks.forward_lane(lane):#010x}"
    yield Chain(
        f"zone_{lane}",
        (f'counter name "{tenant_counter(lane, "from")}"', f"{ZONE} set {lane}"),
    )
    yield Chain(
        f"answer_{lane}",
        (
            f"ct mark & {marks.forward_mask:#010x} != {mine} {drop('wrong_tenant')}",
            "goto bound_return",
        ),
    )
    yield Chain(
        f"tenant_{lane}",
        (
            # Sent to a global address: what it became lies where the entry says.
            "ct status dnat return",
            set_fwmark(marks, marks.lane(lane)),
            "fib daddr . mark oif missing return",
            # Without the rules, every mark would lead to main's default route.
            set_fwmark(marks, marks.lane(marks.canary)),
            f"fib daddr . mark oif missing {_preset(plan, tenant)}",
        ),
    )
    yield Chain(f"preset_{lane}", (_preset(plan, tenant),))
    yield Chain(f"into_{lane}", tuple(_into(tenant)))
    yield Chain(
        f"way_{lane}",
        (
            f"meta mark & {marks.mask:#010x} != {marks.lane(lane):#010x} {drop('wrong_tenant')}",
            "accept",
        ),
    )
    yield Chain(f"own_tenant_{lane}", tuple(_own(tenant)))


def _into(tenant: TenantState) -> Iterator[str]:
    """Of another tenant only what is translated; and nobody untranslated whose address the tenant
    knows as one of its own: its answers would stay inside."""
    yield f"{ZONE} {tenant.lane} goto forward_{tenant.lane}"
    yield f"{ZONE} vmap @tenant_sources"
    for family in FAMILIES:
        inside = [each for each in tenant.networks(family) if each.prefixlen]
        if inside:
            spans = merged_ranges(map(AddressRange.of, inside))
            source = f"{IP[family]} saddr {one_of(spans)}"
            yield f"{source} ct status & snat == 0 {drop('untranslated')}"
    yield f"goto forward_{tenant.lane}"


def _own(tenant: TenantState) -> Iterator[str]:
    """The kernel chose the source of an error by the main table, which knows other tenants."""
    yield "ip6 daddr fe80::/10 accept"
    for family, ip, errors in ERRORS:
        address = next((str(each.ip) for _, each in tenant.addresses(family)), None)
        if address is not None:
            yield f"{errors} {ip} saddr set {address}"
    yield f"goto lane_{tenant.lane}"


def _maps(plan: Plan) -> Iterator[Map]:
    marks, tenants = plan.marks, plan.tenants
    for name, verdict in (
        ("tenant_zones", "jump zone_{}"),
        ("tenant_answers", "goto answer_{}"),
        ("tenant_flows", "jump tenant_{}"),
        ("tenant_ways", "goto way_{}"),
        ("tenant_leaving", "jump from_tenant"),
    ):
        verdicts = ((each.patterns, verdict.format(each.lane)) for each in tenants)
        yield interface_map(name, verdicts)
    for name, verdict in (
        ("tenant_returns", "goto lane_{}"),
        ("own_tenant_returns", "goto own_tenant_{}"),
        ("tenant_sources", "jump translated_only"),
    ):
        elements = {str(each.lane): verdict.format(each.lane) for each in tenants}
        yield Map(name, NUMBER, "verdict", elements, expression=ZONE)
    for name, verdict in (
        ("others_answers", "goto answer_of_other"),
        ("into_tenants", "goto into_{}"),
        *((("expected_inside", "goto expected_inside"),) if _has_helpers(plan) else ()),
    ):
        elements = {
            str(marks.forward_lane(each.lane)): verdict.format(each.lane) for each in tenants
        }
        yield Map(name, "mark", "verdict", elements)
    yield Map(
        "tenant_marks",
        "mark",
        "verdict",
        {str(marks.lane(each.lane)): "goto astray" for each in tenants},
    )


def _has_helpers(plan: Plan) -> bool:
    return any(nvi.helpers for nvi in plan.nvis)
