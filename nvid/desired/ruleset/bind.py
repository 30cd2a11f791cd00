"""Behind SNAT, on the way into the pair: choose the lane from the translated packet, and write it
into the flow (ct mark) and the packet (fwmark)."""

from __future__ import annotations

from collections.abc import Iterator

from nvid.configuration.routes import Route
from nvid.configuration.types import Nvi
from nvid.configuration.values import network_text
from nvid.desired.objects import Family
from nvid.desired.pools import global_networks, merged
from nvid.desired.ruleset.classify import all_lanes, drop
from nvid.desired.ruleset.model import Chain, Hook, Map, Ruleset
from nvid.desired.ruleset.words import (
    ADDRESS,
    IP,
    NFPROTO,
    TO_MAIN,
    Plan,
    networks,
    one_of,
    set_ct_mark,
    set_fwmark,
)
from nvid.desired.uplinks import FAMILIES, UplinkState, preferred

AFTER_SNAT = 110
"""Behind srcnat (100), before conntrack confirms the flow with its mark."""


def binding(plan: Plan, accounting: tuple[str, ...]) -> Ruleset:
    """The binding chain, one chain of routes for each NVI, one chain for each lane."""
    marks = plan.marks
    field = f"ct mark & {marks.forward_mask:#010x}"
    rules = [f"{TO_MAIN} goto bind_flow"]
    if plan.uplinks:
        rules.append("oifname vmap @leaving")
    flow = [
        # The kernel's own multicast chatter on the pair (MLD, IGMP).
        "ip daddr 224.0.0.0/4 drop",
        "ip6 daddr ff00::/8 drop",
        f"meta mark & {marks.state_mask:#010x} != {marks.entering:#010x} {drop('unmarked')}",
        # every-packet: the flow was bound by its first packet.
        f"ct mark & {marks.state_mask:#010x} == {marks.bound:#010x} {field} vmap @forward_lanes",
    ]
    # Conntrack knew the flow before the table did: it is not translated, and never will be.
    flow.append(f"ct status confirmed {drop('began_before')}")
    flow += accounting
    flow += [f"{IP[family]} daddr vmap @{unused.name}" for family, unused in unused_maps(plan)]
    if plan.uplinks:
        # The lane is decided where main knows the destination precisely, and where
        # snat to = "uplink" has chosen it together with the address.
        flow.append(f"{field} vmap @preset_lanes")
    flow.append("oifname vmap @route_of")
    return Ruleset(
        (
            Chain("bind", tuple(rules), Hook("filter", "postrouting", AFTER_SNAT)),
            Chain("bind_flow", (*flow, drop("stray"))),
            *(_routes(plan, nvi) for nvi in plan.nvis),
            *_forwards(plan),
            *_leaving(plan),
        ),
        (*_maps(plan), *(unused for _, unused in unused_maps(plan))),
    )


def _maps(plan: Plan) -> Iterator[Map]:
    yield Map(
        "route_of",
        "ifname",
        "verdict",
        {nvi.name: f"goto route_{plan.number(nvi)}" for nvi in plan.nvis},
    )
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
                f"meta mark & {marks.mask:#010x} == {marks.lane(0):#010x} accept",
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
                set_ct_mark(marks, field, marks.bound | marks.forward_lane(lane)),
                set_fwmark(marks, marks.lane(lane)),
                "accept",
            ),
        )


def _routes(plan: Plan, nvi: Nvi) -> Chain:
    """The second lookup of new flows: the entries in order, then the uplink that the source
    address belongs to (another one would drop it), then the preferred uplink, then main."""
    marks = plan.marks
    rules: list[str] = []
    for entry in nvi.routes:
        for family in FAMILIES:
            match = translated_match(entry, family)
            if match is not None:
                lane = chosen(plan, entry, family)
                rules.append(f"meta nfproto {NFPROTO[family]}{match} goto forward_{lane}")
    for family in FAMILIES:
        rules += _by_own_address(plan, family)
    if plan.uplinks:
        # In by an uplink, not translated, to nowhere that main knows: another provider would drop
        # it, and the same one would send it back.
        rules.append(
            f"ct mark & {marks.return_mask:#010x} != 0 ct status & snat == 0 "
            f"goto forward_{marks.nobody}"
        )
    for family in FAMILIES:
        rules.append(f"meta nfproto {NFPROTO[family]} {shared(preferred(plan.uplinks, family))}")
    return Chain(f"route_{plan.number(nvi)}", tuple(rules))


def translated_match(entry: Route, family: Family, *, with_source: bool = True) -> str | None:
    """What the entry asks of a translated packet, or None when it cannot match this family."""
    match = ""
    wanted = (("saddr", entry.sources if with_source else ()), ("daddr", entry.destinations))
    for side, values in wanted:
        if values:
            text = networks(values, family)
            if not text:
                return None
            match += f" {IP[family]} {side} {text}"
    return match


def chosen(plan: Plan, entry: Route, family: Family) -> int:
    """The lane of a route entry: its first healthy uplink, or its first one, whose table then
    says unreachable: the entry has decided, another way would be a leak."""
    uplinks = [plan.uplink(name) for name in entry.via]
    return next((each for each in uplinks if each.carries(family)), uplinks[0]).lane


def _by_own_address(plan: Plan, family: Family) -> Iterator[str]:
    lanes: dict[str, str] = {}
    for uplink in plan.uplinks:
        if family in uplink.gateways:
            for address in uplink.own_addresses:
                if address.version == family and not address.is_link_local:
                    lanes.setdefault(str(address), f"goto forward_{uplink.lane}")
    if lanes:
        elements = ", ".join(f"{address} : {verdict}" for address, verdict in lanes.items())
        yield f"{IP[family]} saddr vmap {{ {elements} }}"


def shared(uplinks: tuple[UplinkState, ...], chain: str = "forward") -> str:
    """A verdict that spreads flows over uplinks by weight; lane 0 when there are none."""
    if not uplinks:
        return f"goto {chain}_0"
    if len(uplinks) == 1:
        return f"goto {chain}_{uplinks[0].lane}"
    parts, start = [], 0
    for uplink in uplinks:
        last = start + uplink.weight - 1
        span = str(start) if last == start else f"{start}-{last}"
        parts.append(f"{span} : goto {chain}_{uplink.lane}")
        start = last + 1
    return f"numgen random mod {start} vmap {{ {', '.join(parts)} }}"
