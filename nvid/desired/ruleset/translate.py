"""The NAT hooks: DNAT as a flow enters (``destination``), SNAT as it leaves by the pair
(``source``). nftables asks them about the first packet of a flow only."""

from __future__ import annotations

from nvid.desired.ruleset.destination import destinations
from nvid.desired.ruleset.model import Chain, Hook, Ruleset, join
from nvid.desired.ruleset.source import preset_sources, sources, uplink_sources
from nvid.desired.ruleset.words import TO_LOOPBACK, TO_MAIN, Plan, interface_map

DSTNAT = -100
SRCNAT = 100


def translation(plan: Plan, labels: dict[str, int]) -> Ruleset:
    """The NAT chains and maps of all NVIs. ``labels`` gives the conntrack label bit of the entries
    that accounting cannot tell by their addresses, by key path."""
    rules = ["iifname vmap @dnat_of"]
    hooks = [Chain("translate_destination", tuple(rules), Hook("nat", "prerouting", DSTNAT))]
    local = [nvi for nvi in plan.nvis if nvi.local]
    if local:
        marks = plan.marks
        rules = [
            # The checks of uplinks go where they are sent.
            f"meta mark & {marks.state_mask:#010x} == {marks.in_lane:#010x} accept",
            *(f"jump dnat_{plan.number(nvi)}" for nvi in local),
        ]
        hooks.append(
            Chain("translate_own_destination", tuple(rules), Hook("nat", "output", DSTNAT))
        )
    hooks.append(
        Chain(
            "translate_source",
            tuple(
                f"{crossing} {plan.entered} @snat_of"
                for crossing in (TO_MAIN, *([TO_LOOPBACK] if plan.crosses_loopback else []))
            ),
            Hook("nat", "postrouting", SRCNAT),
        )
    )
    maps = (
        interface_map(
            "dnat_of", ((nvi.interfaces, f"goto dnat_{plan.number(nvi)}") for nvi in plan.nvis)
        ),
        plan.by_nvi("snat_of", "snat", "goto", plan.nvis),
    )
    return join(
        [
            Ruleset(tuple(hooks), maps),
            *(destinations(plan, nvi, labels) for nvi in plan.nvis),
            *(sources(plan, nvi, labels) for nvi in plan.nvis),
            Ruleset(tuple(uplink_sources(plan)), tuple(preset_sources(plan))),
        ]
    )
