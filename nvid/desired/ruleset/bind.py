"""Behind SNAT, on the way into the pair: choose the lane from the translated packet, and write it
into the flow (ct mark) and the packet (fwmark)."""

from __future__ import annotations

from collections.abc import Iterator

from nvid.configuration.values import network_text
from nvid.desired.objects import Family
from nvid.desired.pools import global_networks, merged
from nvid.desired.ruleset import tenants
from nvid.desired.ruleset.classify import all_lanes
from nvid.desired.ruleset.drops import drop
from nvid.desired.ruleset.model import Chain, Hook, Map, Ruleset, join
from nvid.desired.ruleset.route import decides, routes, said_lane
from nvid.desired.ruleset.words import (
    ADDRESS,
    IP,
    TO_LOOPBACK,
    TO_MAIN,
    Counting,
    Plan,
    one_of,
    set_ct_mark,
    set_fwmark,
)
from nvid.desired.uplinks import FAMILIES

AFTER_SNAT = 110
"""Behind srcnat (100), before conntrack confirms the flow with its mark."""


def binding(plan: Plan, counting: Counting) -> Ruleset:
    """The binding chain, the chains of routes of each NVI, one chain for each lane."""
    marks = plan.marks
    field = f"ct mark & {marks.forward_mask:#010x}"
    entering = f"meta mark & {marks.state_mask:#010x} == {marks.entering:#010x}"
    rules = [f"{TO_MAIN} goto bind_flow"]
    if plan.crosses_loopback:
        # All else that leaves by lo is the machine's own.
        rules.append(f"{TO_LOOPBACK} {entering} goto bind_flow")
    if plan.uplinks:
        rules.append("oifname vmap @leaving")
    bound = f"ct mark & {marks.state_mask:#010x} == {marks.bound:#010x}"
    flow = [
        # every-packet: the flow was bound by its first packet.
        f"{bound} {entering} {field} vmap @forward_lanes",
        # The kernel's own multicast chatter on the pair (MLD, IGMP).
        "ip daddr 224.0.0.0/4 drop",
        "ip6 daddr ff00::/8 drop",
        f"meta mark & {marks.state_mask:#010x} != {marks.entering:#010x} {drop('unmarked')}",
    ]
    # Conntrack knew the flow before the table did: it is not translated, and never will be.
    flow.append(f"ct status confirmed {drop('began_before')}")
    flow += (*counting.by_entry, *counting.original)
    flow += tenants.into_tenant(plan)
    flow += [f"{IP[family]} daddr vmap @{unused.name}" for family, unused in unused_maps(plan)]
    flow += tenants.out_of_tenant(plan)
    if any(decides(nvi) for nvi in plan.nvis):
        flow.append(f"{plan.entered} @decisions_of")
    if plan.uplinks:
        # The lane is decided where main knows the destination precisely, and where
        # snat to = "uplink" has chosen it together with the address.
        flow.append(f"{field} vmap @preset_lanes")
    flow.append(f"{plan.entered} @route_of")
    chains = Ruleset(
        (
            Chain("bind", tuple(rules), Hook("filter", "postrouting", AFTER_SNAT)),
            Chain("bind_flow", (*flow, drop("stray"))),
            *_forwards(plan),
            *_leaving(plan),
        ),
        (*_maps(plan), *(unused for _, unused in unused_maps(plan))),
    )
    return join([chains, *(routes(plan, nvi) for nvi in plan.nvis)])


def _maps(plan: Plan) -> Iterator[Map]:
    deciding = [nvi for nvi in plan.nvis if decides(nvi)]
    if deciding:
        yield plan.by_nvi("decisions_of", "decisions", "jump", deciding)
    yield plan.by_nvi("route_of", "route", "goto", plan.nvis)
    if plan.uplinks:
        yield Map(
            "leaving",
            "ifname",
            "verdict",
            {
                uplink.interface: f"goto leaving_by_{uplink.lane}"
                for uplink in reversed(plan.uplinks)
            },
        )
        yield Map(
            "preset_lanes",
            "mark",
            "verdict",
            {
                str(plan.marks.forward_lane(uplink.lane)): f"goto forward_{uplink.lane}"
                for uplink in plan.uplinks
            },
        )


def unused_maps(plan: Plan) -> Iterator[tuple[Family, Map]]:
    """Global addresses, as destinations behind DNAT: nothing translates them, so that the second
    lookup would send them back where they came from."""
    for family in FAMILIES:
        networks = merged(each for nvi in plan.nvis for each in global_networks(nvi))
        verdict = f"goto forward_{plan.marks.refused}"
        elements = {network_text(each): verdict for each in networks if each.version == family}
        if elements:
            name = f"unused_ip{family}"
            yield family, Map(name, ADDRESS[family], "verdict", elements, interval=True)


def _leaving(plan: Plan) -> Iterator[Chain]:
    """What has the lane of one uplink must not leave by the interface of another, whatever has
    become of the rules: its source would be foreign there."""
    marks = plan.marks
    tables = (said_lane(plan, each) for nvi in plan.nvis for each in nvi.routes if each.table)
    anywhere = [f"{marks.lane(lane or 0):#010x}" for lane in dict.fromkeys((0, *tables))]
    for uplink in plan.uplinks:
        here = [each for each in plan.uplinks if each.interface == uplink.interface]
        lanes = one_of(f"{marks.lane(each.lane):#010x}" for each in here)
        mine = {address for each in here for address in each.own_addresses}
        others = [
            address
            for each in plan.uplinks
            for address in each.own_addresses
            if address not in mine and not address.is_link_local
        ]
        foreign = [
            f"{IP[family]} saddr {one_of(dict.fromkeys(of_family))} {drop('wrong_uplink')}"
            for family in FAMILIES
            if (of_family := [each for each in others if each.version == family])
        ]
        yield Chain(
            f"leaving_by_{uplink.lane}",
            (
                f"meta mark & {marks.mask:#010x} {lanes} accept",
                # The machine's own: an address of one uplink is foreign to the next.
                *foreign,
                # The network of a flow's client may go away, with its interface. A reply then
                # follows main's default route, with the client's own address for its destination.
                f"meta mark & {marks.mask:#010x} == {marks.lane(0):#010x} "
                f"ct direction reply ct status snat {drop('wrong_uplink')}",
                f"meta mark & {marks.mask:#010x} {one_of(anywhere)} accept",
                f"meta mark & {marks.state_mask:#010x} == {marks.in_lane:#010x} "
                + drop("wrong_uplink"),
            ),
        )


def _forwards(plan: Plan) -> Iterator[Chain]:
    marks = plan.marks
    for lane in all_lanes(plan):
        field = marks.state_mask | marks.forward_mask
        yield Chain(
            f"forward_{lane}",
            (
                *tenants.counts_to(plan, lane),
                set_ct_mark(marks, field, marks.bound | marks.forward_lane(lane)),
                f"{set_fwmark(marks, marks.lane(lane))} accept",
            ),
        )
