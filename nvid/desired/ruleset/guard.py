"""The chain at forward that keeps packets from leaving where they must not."""

from __future__ import annotations

from nvid.desired.ruleset import tenants
from nvid.desired.ruleset.drops import drop
from nvid.desired.ruleset.model import Chain, Hook, Ruleset
from nvid.desired.ruleset.words import FROM_LOOPBACK, FROM_PEER, TO_LOOPBACK, TO_PAIR, TO_PEER, Plan

BEFORE_FILTERS = -10
"""Before the administrator's own filter chains (0), which then see only what may pass."""

UNREACHABLE = "reject with icmpx host-unreachable"


def guards(plan: Plan) -> Ruleset:
    """Packets into a pair go a detour of one jump, all others meet two tests."""
    marks = plan.marks
    loopback = plan.crosses_loopback
    entering = f"meta mark & {marks.state_mask:#010x} == {marks.entering:#010x}"
    not_entering = f"meta mark & {marks.state_mask:#010x} != {marks.entering:#010x}"
    stray = [f"{entering} {drop('stray')}"]
    opened = [nvi for nvi in plan.nvis if nvi.on_failure == "open"]
    for nvi in opened:
        mark = marks.enter(plan.number(nvi))
        stray.insert(0, f"meta mark & {marks.mask:#010x} == {mark:#010x} accept")
    return Ruleset(
        (
            Chain(
                "forward_guard",
                (
                    f"{TO_PAIR} goto into_pair",
                    *([f"{TO_LOOPBACK} goto into_pair"] if loopback else []),
                    *tenants.forward_guard(plan),
                    *stray,
                ),
                Hook("filter", "forward", BEFORE_FILTERS),
            ),
            Chain(
                "into_pair",
                (
                    f"{TO_PEER} drop",
                    # A translated packet whose destination is a pool address that nothing
                    # translates: it would circle until its TTL ends.
                    f"{FROM_PEER} {UNREACHABLE}",
                    *([f"{FROM_LOOPBACK} {UNREACHABLE}"] if loopback else []),
                    # From an interface that is not NAT-enabled, to a pool address.
                    f"{not_entering} {UNREACHABLE}",
                ),
            ),
        ),
    )
