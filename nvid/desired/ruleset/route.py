"""The second lookup of new flows: the route entries in their order, then the uplink that the
source address belongs to, then the preferred one.

Consecutive entries that look at nothing but the source, or nothing but the destination, are one
lookup, cut into disjoint ranges beforehand (``first_match``).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from nvid import names
from nvid.configuration.routes import Route
from nvid.configuration.types import Nvi
from nvid.configuration.values import IPNetwork
from nvid.desired.objects import Family
from nvid.desired.ruleset.first_match import disjoint
from nvid.desired.ruleset.model import Chain, Map, Ruleset
from nvid.desired.ruleset.selection import applies_to, match
from nvid.desired.ruleset.words import (
    ADDRESS,
    IP,
    NFPROTO,
    Plan,
)
from nvid.desired.uplinks import FAMILIES, UplinkState, preferred


def routes(plan: Plan, nvi: Nvi) -> Ruleset:
    """The chains ``decisions_<number>`` and ``route_<number>`` of an NVI, with their maps."""
    number = plan.number(nvi)
    rules: list[str] = []
    maps: list[Map] = []
    for rule, each in _entries(plan, nvi):
        rules.append(rule)
        maps += each
    for family in FAMILIES:
        rules += _by_own_address(plan, family)
    marks = plan.marks
    if plan.uplinks:
        # In by an uplink, not translated, to nowhere that main knows: another provider would drop
        # it, and the same one would send it back.
        rules.append(
            f"ct mark & {marks.return_mask:#010x} != 0 ct status & snat == 0 "
            f"goto forward_{marks.nobody}"
        )
    for family in FAMILIES:
        rules.append(f"meta nfproto {NFPROTO[family]} {shared(preferred(plan.uplinks, family))}")
    route = Chain(f"route_{number}", tuple(rules))
    return Ruleset((*_decisions(plan, nvi), route), tuple(maps))


def decides(nvi: Nvi) -> bool:
    """Whether an entry names a table or an action: those decide even where main knows the
    destination precisely, while an uplink is for what would follow a default route."""
    return any(not entry.via for entry in nvi.routes)


def _decisions(plan: Plan, nvi: Nvi) -> Iterator[Chain]:
    if not decides(nvi):
        return
    rules: list[str] = []
    for entry in nvi.routes:
        lane = said_lane(plan, entry)
        verdict = "return" if lane is None else f"goto forward_{lane}"
        rules += [f"{asked} {verdict}" for _, asked in translated_match(entry)]
    yield Chain(f"decisions_{plan.number(nvi)}", tuple(rules))


def said_lane(plan: Plan, entry: Route) -> int | None:
    """The lane of an entry that names a table or an action; None of one that names uplinks."""
    if entry.action is not None:
        return plan.marks.action(entry.action)
    if entry.table is None:
        return None
    if entry.table == names.MAIN_ROUTING_TABLE:
        return 0
    return plan.marks.table(plan.numbers.tables[entry.table])


def _lane(plan: Plan, entry: Route, family: Family) -> int:
    said = said_lane(plan, entry)
    return chosen(plan, entry, family) if said is None else said


def _entries(plan: Plan, nvi: Nvi) -> Iterator[tuple[str, list[Map]]]:
    number = plan.number(nvi)
    for family in FAMILIES:
        of_family = [entry for entry in nvi.routes if applies_to(entry, family)]
        for place, (looks_at, run) in enumerate(groupby(of_family, _looks_at)):
            if looks_at is None:
                for entry in run:
                    lane = _lane(plan, entry, family)
                    yield f"{match(entry, family)} goto forward_{lane}", []
                continue
            side, name = looks_at, f"route_{number}_ip{family}_{place}"
            elements = disjoint(
                (_side(entry, side, family), f"goto forward_{_lane(plan, entry, family)}")
                for entry in run
            )
            texts = {str(part): verdict for part, verdict in elements.items()}
            yield (
                f"{IP[family]} {side} vmap @{name}",
                [Map(name, ADDRESS[family], "verdict", texts, interval=True)],
            )


def _looks_at(entry: Route) -> str | None:
    """``saddr`` or ``daddr`` when that is all that the entry looks at."""
    others = (entry.ingress, entry.protocols)
    if any(others) or entry.ports is not None or entry.dscp is not None:
        return None
    if bool(entry.sources) == bool(entry.destinations):
        return None
    return "saddr" if entry.sources else "daddr"


def _side(entry: Route, side: str, family: Family) -> list[IPNetwork]:
    both = entry.sources if side == "saddr" else entry.destinations
    return [each for each in both if each.version == family]


def translated_match(entry: Route) -> Iterator[tuple[Family, str]]:
    """All that the entry asks of a translated packet, for each family that it applies to."""
    for family in FAMILIES:
        if applies_to(entry, family):
            yield family, match(entry, family)


def chosen(plan: Plan, entry: Route, family: Family) -> int:
    """The lane of a route entry: its first healthy uplink, or the first that leads out at all, or
    its first one, whose table then says unreachable: the entry has decided, another way would be a
    leak."""
    uplinks = [plan.uplink(name) for name in entry.via]
    return max(uplinks, key=lambda each: (each.carries(family), each.leads_out(family))).lane


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
