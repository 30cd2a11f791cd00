"""Which uplinks a flow could have if it began anew now: a pure question about conntrack entries.

The ruleset's decisions (``desired.ruleset.source`` and ``route``) are followed with what conntrack
shows. It shows neither the ingress interface nor the DSCP, so an entry that asks for one may match
or not: the answer holds every lane that is possible. What main knows more precisely than by a
default route is not asked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from msgspec.structs import replace

from nvid.configuration.routes import Route
from nvid.configuration.types import Nvi
from nvid.configuration.values import IPAddress, UplinkAddress
from nvid.desired.objects import Family
from nvid.desired.ruleset.classify import nvi_label
from nvid.desired.ruleset.route import chosen
from nvid.desired.ruleset.words import Plan
from nvid.desired.uplinks import UplinkState, able, best_there_is, picked, preferred
from nvid.flows import Flow, Spaces, StaticSources, maker_of
from nvid.matching import route_takes

_ELSEWHERE = 0
"""The lane of what goes where a routing table says."""


class Ways:
    """The ways out as they are now. ``own`` are the addresses that ``to = "uplink"`` translates to
    or once did, ``bits`` the conntrack label bits of entries by key path."""

    def __init__(self, plan: Plan, own: Collection[IPAddress], bits: Mapping[str, int]) -> None:
        self._plan = plan
        self._own = own
        self._bits = bits
        self._spaces = Spaces(plan.numbers.tenants)
        self._statics = {nvi.name: StaticSources(nvi.statics, self._spaces) for nvi in plan.nvis}

    def only_by(self, uplink: UplinkState, flow: Flow) -> bool:
        """Whether a flow that left by the uplink would get its lane again, and no other."""
        lanes = [self._lanes(nvi, flow) for nvi in self._nvis(flow)]
        return bool(lanes) and set().union(*lanes) == {uplink.lane}

    def _nvis(self, flow: Flow) -> Iterable[Nvi]:
        """The NVIs that the flow may have crossed."""
        plan = self._plan
        if len(plan.nvis) == 1:
            return plan.nvis
        return [nvi for nvi in plan.nvis if flow.label >> nvi_label(plan.number(nvi)) & 1]

    def _lanes(self, nvi: Nvi, flow: Flow) -> set[int]:
        family: Family = 4 if flow.source.version == 4 else 6
        static = self._statics[nvi.name].concerns(flow)
        to = None if static else self._translated_to(nvi, flow)
        if to is None:
            return self._by_source(nvi, flow, family)
        return {self._plan.uplink(to.name).lane} if to.name else self._picked(nvi, flow, family)

    def _translated_to(self, nvi: Nvi, flow: Flow) -> UplinkAddress | None:
        maker = maker_of(flow, nvi.snats, self._own, self._bits, self._spaces)
        return maker.to if maker is not None and isinstance(maker.to, UplinkAddress) else None

    def _picked(self, nvi: Nvi, flow: Flow, family: Family) -> set[int]:
        """``to = "uplink"``: route entries without a source decide."""
        uplinks, found = self._plan.uplinks, set()
        for entry in nvi.routes:
            if not entry.sources and _may_take(entry, flow, None):
                found.add(picked(uplinks, entry.via, family).lane if entry.via else _ELSEWHERE)
                if _is_certain(entry):
                    return found
        return found | {each.lane for each in best_there_is(able(uplinks, family), family)}

    def _by_source(self, nvi: Nvi, flow: Flow, family: Family) -> set[int]:
        """The second lookup: entries, the uplink whose address the source is, preference."""
        plan, source = self._plan, flow.reply_destination
        found = set()
        for entry in nvi.routes:
            if _may_take(entry, flow, source):
                found.add(chosen(plan, entry, family) if entry.via else _ELSEWHERE)
                if _is_certain(entry):
                    return found
        for uplink in plan.uplinks:
            if source in uplink.own_addresses and family in uplink.gateways:
                return found | {uplink.lane}
        return found | ({each.lane for each in preferred(plan.uplinks, family)} or {_ELSEWHERE})


def _may_take(entry: Route, flow: Flow, source: IPAddress | None) -> bool:
    return route_takes(replace(entry, dscp=None), flow.led_on, source)


def _is_certain(entry: Route) -> bool:
    """Whether conntrack shows all that the entry asks for."""
    return not entry.ingress and entry.dscp is None
