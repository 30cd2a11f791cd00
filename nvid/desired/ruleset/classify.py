"""The first chains that a packet meets: is it ours, is it bound, does it enter an NVI?

A packet's way through these chains, what most packets are first:

- of a flow that is bound: the flow's ct mark says the lane; one map, constant cost;
- out of a peer: its lane is chosen; untracked, so that conntrack does not see the flow twice;
- new, by a NAT-enabled interface: marked to enter the pair of its NVI;
- anything else: left alone.
"""

from __future__ import annotations

from collections.abc import Iterator

from nvid import names
from nvid.configuration.types import Nvi, UplinkAddress
from nvid.desired.ruleset import tenants
from nvid.desired.ruleset.drops import DROPS, drop
from nvid.desired.ruleset.helpers import EXPECTED, helper_rules
from nvid.desired.ruleset.model import Chain, Hook, Map, Ruleset
from nvid.desired.ruleset.route import said_lane, translated_match
from nvid.desired.ruleset.words import (
    ERRORS,
    FROM_LOOPBACK,
    FROM_PEER,
    Counting,
    Plan,
    interface_map,
    set_ct_mark,
    set_fwmark,
)

AFTER_DNAT = -90
"""Just behind dstnat (-100): the destination is the one that will be routed to."""

GATE = "gate"
"""An empty chain before every pair. While a change of maps is made, it drops: the kernel makes a
transaction visible map by map, and a new flow in between could find no translation."""
GATE_CLOSED = 'counter name "dropped_changing" drop'

FIRST_NVI_LABEL = names.ENTRY_LABELS
"""The lower bits of the conntrack label are for translations, see ``account``."""

NOT_FORWARDED = "fib daddr type { local, broadcast, anycast, multicast }"


def classification(plan: Plan, counting: Counting) -> Ruleset:
    """All chains up to the first lookup."""
    chains = [
        _classify(plan),
        _bound(plan, counting),
        _bound_reply(plan, counting),
        _to_machine(plan),
        _output(plan),
        _bound_output(plan, counting),
        *_lanes(plan),
        *_offers(plan),
        *_returns(plan),
        *precise_lanes(plan),
        *presets(plan),
        Chain(GATE),
    ]
    if plan.tenants:
        chains += tenants.reply_chains(plan, return_rules(plan))
    return Ruleset(
        tuple(chains), tuple(_maps(plan)), tuple(f"dropped_{reason}" for reason in DROPS)
    )


def _classify(plan: Plan) -> Chain:
    marks = plan.marks
    expected = (EXPECTED,) if any(nvi.helpers for nvi in plan.nvis) else ()
    return Chain(
        "classify",
        (
            *([f"{FROM_LOOPBACK} accept"] if plan.crosses_loopback else []),
            *expected,
            f"ct mark & {marks.state_mask:#010x} == {marks.bound:#010x} goto bound",
            f"{FROM_PEER} accept",
            "iifname vmap @offer",
        ),
        Hook("filter", "prerouting", AFTER_DNAT),
    )


def _bound(plan: Plan, counting: Counting) -> Chain:
    rules = [*counting.by_entry, "ct direction reply goto bound_reply", *counting.original]
    if _every_packet(plan):
        rules.append("iifname vmap @every_packet")
    rules.append(f"ct mark & {plan.marks.forward_mask:#010x} vmap @forward_lanes")
    rules.append(drop("stray"))
    return Chain("bound", tuple(rules))


def _bound_reply(plan: Plan, counting: Counting) -> Chain:
    way_back = tenants.who_replies(plan) if plan.tenants else return_rules(plan)
    return Chain("bound_reply", (*counting.reply, *way_back))


def return_rules(plan: Plan) -> tuple[str, ...]:
    """The way back of a flow that no tenant began."""
    return (
        f"ct mark & {plan.marks.return_mask:#010x} vmap @return_lanes",
        # A lane that is gone: the flows that used it are being ended.
        drop("stray"),
    )


def _to_machine(plan: Plan) -> Chain:
    """Delivered here. Replies of what came by an uplink must leave by it."""
    marks = plan.marks
    rules = []
    if plan.uplinks:
        rules = [
            "ct state new iifname vmap @uplink_returns",
            f"ct state new ct mark & {marks.return_mask:#010x} != 0 "
            + set_ct_mark(marks, marks.state_mask, marks.bound),
        ]
    rules.append(set_fwmark(marks, marks.passed))
    return Chain("to_machine", tuple(rules))


def _output(plan: Plan) -> Chain:
    """What the machine itself sends: replies by their lane, and new flows where ``local`` says so.

    A route chain: the kernel routes the packet again when its mark has changed.
    """
    marks = plan.marks
    rules = [
        f"ct mark & {marks.state_mask:#010x} == {marks.bound:#010x} goto bound_output",
        *tenants.own_replies(plan),
    ]
    if plan.uplinks:
        # An error about a flow that is not bound yet goes back the way that the packet came.
        rules.append(f"ct direction reply ct mark & {marks.return_mask:#010x} vmap @own_returns")
    for nvi in plan.nvis:
        if nvi.local:
            rules += [
                # The checks of uplinks: their lane is decided, and they are not to be translated.
                f"meta mark & {marks.state_mask:#010x} == {marks.in_lane:#010x} accept",
                "ct state != new accept",
                "ct status confirmed accept",
                # Pools lead to lo as well, where an NVI crosses it.
                *([] if plan.crosses_loopback else ['oifname "lo" accept']),
                f"{NOT_FORWARDED} accept",
                "ip6 daddr fe80::/10 accept",
                *nvi_label_rule(plan, nvi),
                *helper_rules(nvi, plan.number(nvi)),
                f"jump {GATE}",
                f"goto enter_{plan.number(nvi)}",
            ]
    return Chain("output_classify", tuple(rules), Hook("route", "output", AFTER_DNAT))


def _bound_output(plan: Plan, counting: Counting) -> Chain:
    """Flows of the machine itself, and errors that it raises about bound flows."""
    marks = plan.marks
    rules = [*counting.of_either, *tenants.own_replies(plan)]
    if plan.uplinks:
        rules.append(f"ct direction reply ct mark & {marks.return_mask:#010x} vmap @own_returns")
    rules.append(f"ct direction reply ct mark & {marks.return_mask:#010x} vmap @return_lanes")
    rules += [
        f"goto enter_{plan.number(nvi)}"
        for nvi in plan.nvis
        if nvi.local and nvi.path == "every-packet"
    ]
    rules.append(f"ct mark & {marks.forward_mask:#010x} vmap @forward_lanes")
    return Chain("bound_output", tuple(rules))


def _lanes(plan: Plan) -> Iterator[Chain]:
    for lane in all_lanes(plan):
        counting = tenants.counts_to(plan, lane)
        mark = set_fwmark(plan.marks, plan.marks.lane(lane))
        yield Chain(f"lane_{lane}", (*counting, f"{mark} accept"))


def _returns(plan: Plan) -> Iterator[Chain]:
    """Write down the uplink that a flow came in by; and send what the machine itself answers to
    it by that uplink, errors from an address that the uplink's provider knows."""
    marks = plan.marks
    for uplink in plan.uplinks:
        lane = marks.return_lane(uplink.lane)
        yield Chain(f"return_{uplink.lane}", (set_ct_mark(marks, marks.return_mask, lane),))
        # The kernel chose the source of an error by the main table, before this chain.
        sources = [
            f"{errors} {ip} saddr set {uplink.addresses[family]}"
            for family, ip, errors in ERRORS
            if family in uplink.addresses
        ]
        yield Chain(f"own_return_{uplink.lane}", (*sources, f"goto lane_{uplink.lane}"))


def _offers(plan: Plan) -> Iterator[Chain]:
    """What becomes of a packet of an unbound flow that came in by a NAT-enabled interface."""
    marks = plan.marks
    # The lane is decided for what goes to a tenant.
    undecided = f"ct mark & {marks.forward_mask:#010x} == 0 " if plan.tenants else ""
    for nvi in plan.nvis:
        number = plan.number(nvi)
        enter = (
            *tenants.new_flows(plan),
            *nvi_label_rule(plan, nvi),
            *helper_rules(nvi, number),
            *(("iifname vmap @uplink_returns", f"{undecided}jump precise") if plan.uplinks else ()),
            *((f"{undecided}jump presets_{number}",) if has_presets(plan, nvi) else ()),
            f"jump {GATE}",
            f"goto enter_{number}",
        )
        closed = nvi.on_failure == "closed"
        ignored = f"{set_fwmark(marks, marks.passed)} accept"
        yield Chain(
            f"offer_{number}",
            (
                f"{NOT_FORWARDED} goto to_machine",
                f"ct state invalid,untracked {drop('invalid') if closed else ignored}",
                # A reply of a flow that nvid has nothing to do with: it began elsewhere.
                f"ct direction reply {ignored}",
                # A flow of before: conntrack translates no flow that it knows already.
                f"ct status confirmed {drop('began_before') if closed else ignored}",
                *enter,
            ),
        )
        yield Chain(f"enter_{number}", (f"{set_fwmark(marks, marks.enter(number))} accept",))


def _maps(plan: Plan) -> Iterator[Map]:
    marks = plan.marks
    lanes = all_lanes(plan)
    yield Map(
        "forward_lanes",
        "mark",
        "verdict",
        {str(marks.forward_lane(lane)): f"goto lane_{lane}" for lane in lanes},
    )
    yield Map(
        "return_lanes",
        "mark",
        "verdict",
        {
            str(marks.return_lane(lane)): f"goto lane_{lane}"
            for lane in lanes
            if lane <= names.UPLINK_LANES
        },
    )
    offers = ((nvi.interfaces, f"goto offer_{plan.number(nvi)}") for nvi in plan.nvis)
    yield interface_map("offer", offers)
    if plan.uplinks:
        yield Map(
            "own_returns",
            "mark",
            "verdict",
            {
                str(marks.return_lane(uplink.lane)): f"goto own_return_{uplink.lane}"
                for uplink in plan.uplinks
            },
        )
        yield Map(
            "uplink_returns",
            "ifname",
            "verdict",
            {name: f"jump return_{lane}" for name, lane in _first_lanes(plan).items()},
        )


def _first_lanes(plan: Plan) -> dict[str, int]:
    """The lane of each uplink interface; of several uplinks on one interface, the first one's."""
    return {uplink.interface: uplink.lane for uplink in reversed(plan.uplinks)}


def precise_lanes(plan: Plan) -> Iterator[Chain]:
    """A destination that main reaches by an uplink's interface, more precisely than by a default
    route, has that uplink's lane: its address for ``to = "uplink"``, and nobody else's."""
    if not plan.uplinks:
        return
    marks = plan.marks
    yield Chain(
        "precise",
        (
            # In this lane, the rules show what main knows more precisely than by a default route.
            set_fwmark(marks, marks.lane(marks.nobody)),
            "fib daddr . mark oif missing return",
            # Without the rules, every mark would lead to main's default route.
            set_fwmark(marks, marks.lane(marks.canary)),
            "fib daddr . mark oif exists return",
            set_fwmark(marks, marks.lane(marks.nobody)),
            # nft 1.0.6 takes oifname of fib for a string, which no map has for its key.
            *(
                f'fib daddr . mark oifname "{name}" goto precise_{lane}'
                for name, lane in _first_lanes(plan).items()
            ),
        ),
    )
    for uplink in plan.uplinks:
        lane = set_ct_mark(marks, marks.forward_mask, marks.forward_lane(uplink.lane))
        yield Chain(f"precise_{uplink.lane}", (lane,))


def has_presets(plan: Plan, nvi: Nvi) -> bool:
    """Whether a table that a route entry names decides which uplink's address a flow gets."""
    picks = any(isinstance(snat.to, UplinkAddress) and not snat.to.name for snat in nvi.snats)
    tables = any(each.table is not None and not each.sources for each in nvi.routes)
    return bool(plan.uplinks) and picks and tables


def presets(plan: Plan) -> Iterator[Chain]:
    """``to = "uplink"`` where a route entry names a table: the address is that of the uplink that
    the table leads to."""
    marks = plan.marks
    lanes: dict[int, None] = {}
    for nvi in plan.nvis:
        if not has_presets(plan, nvi):
            continue
        rules = []
        for entry in nvi.routes:
            if entry.sources:
                continue
            lane = said_lane(plan, entry) if entry.table is not None else None
            verdict = "return" if lane is None else f"goto preset_{lane}"
            rules += [f"{match} {verdict}" for _, match in translated_match(entry)]
            if lane is not None:
                lanes[lane] = None
        yield Chain(f"presets_{plan.number(nvi)}", tuple(rules))
    for lane in lanes:
        yield Chain(
            f"preset_{lane}",
            (
                set_ct_mark(marks, marks.forward_mask, 0),
                set_fwmark(marks, marks.lane(lane)),
                *(
                    f'fib daddr . mark oifname "{name}" goto precise_{first}'
                    for name, first in _first_lanes(plan).items()
                ),
            ),
        )


def nvi_label(number: int) -> int:
    """The conntrack label bit of the flows of NVI ``number``.

    Bits 96 to 127 serve 32 NVIs; beyond that NVIs share bits, and so their counters.
    """
    return FIRST_NVI_LABEL + number % 32


def nvi_label_rule(plan: Plan, nvi: Nvi) -> tuple[str, ...]:
    """Note the NVI in a new flow, where there are several to tell apart."""
    return (f"ct label set {nvi_label(plan.number(nvi))}",) if len(plan.nvis) > 1 else ()


def _every_packet(plan: Plan) -> bool:
    return any(nvi.path == "every-packet" for nvi in plan.nvis)


def all_lanes(plan: Plan) -> tuple[int, ...]:
    """Every lane that a flow can have: main, the uplinks, the tenants, those that route entries
    say, and the two that lead nowhere."""
    marks = plan.marks
    uplinks = sorted(uplink.lane for uplink in plan.uplinks)
    inside = sorted(tenant.lane for tenant in plan.tenants)
    said = {lane for nvi in plan.nvis for each in nvi.routes if (lane := said_lane(plan, each))}
    return (0, *uplinks, *inside, *sorted(said), marks.refused, marks.nobody)
