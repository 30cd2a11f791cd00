"""What comes out of a crossing, and which packets of a bound flow go into it.

A packet out of a peer has lost its route and its flow; one out of lo has where the redirect was
there. Its lane is chosen, and conntrack must not see the flow twice.
"""

from __future__ import annotations

from collections.abc import Iterator

from nvid.configuration.types import Nvi
from nvid.desired.ruleset.drops import drop
from nvid.desired.ruleset.model import Chain, Hook, Map, Ruleset
from nvid.desired.ruleset.tenants import enters_zone
from nvid.desired.ruleset.words import FROM_LOOPBACK, FROM_MAIN, FROM_PAIR, Plan, interface_map

RAW = -300
"""Before conntrack (-200), the only place for notrack."""

SEQUENCE_ADJUSTED = "ct status & 0x40 != 0"
"""IPS_SEQ_ADJUST (linux/netfilter/nf_conntrack_common.h): a helper has changed the length of what
was said, and all later sequence numbers of the flow have to follow."""


def crossing(plan: Plan) -> Ruleset:
    """The chain behind crossings, and what every-packet sends into them."""
    chains = (_second_pass(plan), _out_of_pair(plan), *_adjusted(plan))
    return Ruleset(chains, tuple(_maps(plan)))


def _second_pass(plan: Plan) -> Chain:
    return Chain(
        "second_pass",
        (
            f"{FROM_PAIR} goto out_of_pair",
            *(_out_of_loopback(plan) if plan.crosses_loopback else ()),
            *enters_zone(plan),
        ),
        Hook("filter", "prerouting", RAW),
    )


def _out_of_pair(plan: Plan) -> Chain:
    marks = plan.marks
    not_in_lane = f"meta mark & {marks.state_mask:#010x} != {marks.in_lane:#010x}"
    return Chain(
        "out_of_pair",
        (f"{FROM_MAIN} drop", f"{not_in_lane} {drop('unmarked')}", "notrack accept"),
    )


def _out_of_loopback(plan: Plan) -> Iterator[str]:
    """The redirect takes the flow from a packet. One that still has it was not redirected: it has
    its route as well, into lo, and would circle until its TTL ends."""
    marks = plan.marks
    mark = f"{FROM_LOOPBACK} meta mark &"
    in_lane = f"{marks.state_mask:#010x} == {marks.in_lane:#010x}"
    yield f"{mark} {in_lane} ct state invalid notrack accept"
    # The one bit that the states ENTER and LANE have in common.
    yield f"{mark} {marks.entering:#010x} != 0 {drop('not_redirected')}"


def _maps(plan: Plan) -> Iterator[Map]:
    every = [nvi for nvi in plan.nvis if nvi.path == "every-packet"]
    if every:
        yield interface_map("every_packet", ((nvi.interfaces, _way_in(plan, nvi)) for nvi in every))


def _way_in(plan: Plan, nvi: Nvi) -> str:
    return f"goto {'adjusted' if _is_adjusted(nvi) else 'enter'}_{plan.number(nvi)}"


def _is_adjusted(nvi: Nvi) -> bool:
    """Whether flows have sequence numbers that the kernel would not correct: it leaves alone what
    leaves by lo and came in by another interface (nf_is_loopback_packet)."""
    return nvi.is_loopback and nvi.path == "every-packet" and bool(nvi.helpers)


def _adjusted(plan: Plan) -> Iterator[Chain]:
    """Such flows take their lane straight away from then on."""
    lane = f"ct mark & {plan.marks.forward_mask:#010x} vmap @forward_lanes"
    for nvi in plan.nvis:
        if _is_adjusted(nvi):
            number = plan.number(nvi)
            yield Chain(
                f"adjusted_{number}", (f"{SEQUENCE_ADJUSTED} {lane}", f"goto enter_{number}")
            )
