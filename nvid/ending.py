"""Ending flows, selectively: the few that a change concerns, found by their marks and by what
conntrack shows of them.

The table is changed first, then flows are ended. What a round that fails, or a death in between,
leaves undone is owed: ``Endings`` and the state hold it until a later round has done it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from msgspec.structs import replace

from nvid import failover, flows
from nvid.configuration.types import Configuration
from nvid.desired import Desired
from nvid.desired.marks import Marks
from nvid.desired.numbers import Numbers, with_recent, without_moved
from nvid.desired.ruleset.account import labels_of
from nvid.desired.ruleset.words import Plan
from nvid.desired.uplinks import UplinkState
from nvid.kernel import conntrack
from nvid.kernel.conntrack import MarkFilter
from nvid.machine import Machine
from nvid.observed import Difference, Observed
from nvid.state import State
from nvid.untranslated import began_before
from nvid.ways import Ways


class Endings:
    """What is to be ended, from before the change that makes it so until it has been."""

    def __init__(self, kept: State, befores: Iterable[Configuration]) -> None:
        """``befores`` are the configurations whose translations may have made flows, as far as
        they are known: what was in force last, and what was being put in force at a death."""
        self._befores = tuple(befores)
        self._zones = dict(kept.tenants)
        self._uplinks: tuple[UplinkState, ...] | None = None
        # What a dead process did not come to is found by looking at the flows themselves.
        self._seeks_lanes = True
        self._healthy: frozenset[tuple[str, int]] | None = None

    def recent(self, previous: Numbers, wanted: Configuration, kept: State) -> Numbers:
        """The numbers of a moment ago, of which lanes whose flows live are not to be given away."""
        for before in self._befores:
            previous = without_moved(previous, before, wanted)
        return with_recent(previous, kept.lanes_to_end)

    def owe(
        self,
        kept: State,
        numbers: Numbers,
        observed: Observed,
        desired: Desired,
        opened: Iterable[str],
    ) -> State:
        """The state to keep before the change: ``kept``, with what is to be ended after it.
        ``opened`` are patterns of interfaces whose flows may have gone on untranslated."""
        in_use = {*numbers.uplinks.values(), *numbers.tenants.values()}
        once = {*kept.lanes_to_end, *kept.uplinks.values(), *kept.tenants.values()}
        # Without the table, or a map of it, nobody can tell which lanes it had.
        table = observed.table
        self._seeks_lanes |= table is None or table.dormant
        for name in ("forward_lanes", "return_lanes"):
            there, wanted = _observed_keys(observed, name), _wanted_keys(desired, name)
            self._seeks_lanes |= bool(there - wanted) or (bool(wanted) and not there)
        return replace(
            kept,
            lanes_to_end=tuple(sorted((once | _zones_of(observed)) - in_use)),
            offers_to_end=tuple(
                sorted({*kept.offers_to_end, *fresh_offers(observed, desired), *opened})
            ),
        )

    def change_to(self, configuration: Configuration) -> None:
        """From now on, its translations may make flows."""
        if not any(each is configuration for each in self._befores):
            self._befores += (configuration,)

    def end(
        self,
        configuration: Configuration,
        desired: Desired,
        machine: Machine,
        numbers: Numbers,
        kept: State,
    ) -> tuple[int, State]:
        """End all that is owed, now that the change is made; the number of flows, and what to
        keep of it. Raises NvidError or OSError; then it is owed still."""
        marks = Marks(configuration.daemon.fwmark_mask)
        zones = {**self._zones, **numbers.tenants}
        ended = 0
        for before in self._befores:
            if before is not configuration:
                bits = labels_of(before.nvis, self._uplinks or desired.uplinks)
                ended += of_translations_gone(before, configuration, machine, marks, bits, zones)
        if kept.offers_to_end:
            ended += of_before(kept.offers_to_end, machine, marks)
        if self._seeks_lanes:
            ended += of_lanes_gone(desired, marks)
        ended += of_tenants_gone(kept.lanes_to_end, marks)
        healthy = failover.healthy(desired.uplinks)
        if self._healthy != healthy or self._befores != (configuration,):
            # Whichever uplink comes or goes, flows of a lost one may have another way now.
            plan = Plan(
                *(configuration.daemon, configuration.nvis, desired.uplinks, numbers, machine),
                desired.tenants,
            )
            own = {*machine.addresses(), *map(ip_address, kept.addresses)}
            ended += of_lost(Ways(plan, own, labels_of(plan.nvis, plan.uplinks)), plan)
        of_addresses, addresses = of_addresses_gone(kept.addresses, desired.uplinks, machine, marks)
        self._befores, self._uplinks, self._healthy = (configuration,), desired.uplinks, healthy
        self._zones, self._seeks_lanes = dict(numbers.tenants), False
        done = replace(kept, offers_to_end=(), lanes_to_end=(), addresses=addresses)
        return ended + of_addresses, done


def of_translations_gone(
    before: Configuration,
    after: Configuration,
    machine: Machine,
    marks: Marks,
    labels: dict[str, int],
    zones: Mapping[str, int],
) -> int:
    """Those whose translation is gone, and those that a new one covers."""
    chosen = flows.concerned(before, after, machine.addresses(), labels, zones)
    if chosen is None:
        return 0
    return conntrack.end(MarkFilter(marks.bound, marks.state_mask), chosen)


def of_before(offers: Iterable[str], machine: Machine, marks: Marks) -> int:
    """Those that began untranslated, because the table was not there or did not cover the
    interfaces of these patterns."""
    unbound = MarkFilter(0, marks.state_mask)
    return conntrack.end(unbound, began_before(offers, machine))


def fresh_offers(observed: Observed, desired: Desired) -> frozenset[str]:
    """The patterns of interfaces that the table will cover, and the one that is there does not."""
    return _wanted_keys(desired, "offer") - _observed_keys(observed, "offer")


def opened(configuration: Configuration, difference: Difference) -> frozenset[str]:
    """The interfaces of NVIs that fail open, where the way into a pair, or lo, is mended: flows
    that began meanwhile went on untranslated."""
    way = (difference.rules, difference.pairs, difference.neighbours, difference.routes)
    over_lo = (difference.nexthops, difference.redirects)
    if not any((*way, *over_lo)):
        return frozenset()
    return frozenset(
        pattern.text
        for nvi in configuration.nvis
        if nvi.on_failure == "open"
        for pattern in nvi.interfaces
    )


def of_lanes_gone(desired: Desired, marks: Marks) -> int:
    """Those with a lane in their mark that no flow can have any more."""
    there = conntrack.marks(MarkFilter(marks.bound, marks.state_mask))
    ended = 0
    for name, mask in (("forward_lanes", marks.forward_mask), ("return_lanes", marks.return_mask)):
        for value in {each & mask for each in there} - set(map(int, _wanted_keys(desired, name))):
            bound = MarkFilter(marks.bound | value, marks.state_mask | mask)
            ended += conntrack.end(bound, lambda _: True)
    return ended


def of_tenants_gone(lanes: Iterable[int], marks: Marks) -> int:
    """Those that tenants began which had these lanes; what went to them had their lane."""
    gone = frozenset(lanes)
    if not gone:
        return 0
    bound = MarkFilter(marks.bound, marks.state_mask)
    return conntrack.end(bound, lambda flow: flow.zone in gone)


def _zones_of(observed: Observed) -> frozenset[int]:
    """The lanes of the tenants that the table in the kernel knows."""
    return frozenset(map(int, _observed_keys(observed, "tenant_returns")))


def _observed_keys(observed: Observed, name: str) -> frozenset[str]:
    """The keys of a map of the table that is in the kernel; none without the map."""
    if observed.table is None or name not in observed.table.maps:
        return frozenset()
    return frozenset(observed.table.maps[name].elements)


def _wanted_keys(desired: Desired, name: str) -> frozenset[str]:
    """The keys of a map of the table that is wanted; none without the map."""
    maps = () if desired.ruleset is None else desired.ruleset.maps
    return frozenset(key for each in maps if each.name == name for key in each.elements)


def of_lost(ways: Ways, plan: Plan) -> int:
    """Those of uplinks that are lost, where they have another way."""
    lost = failover.lost(plan.uplinks)
    return sum(
        conntrack.end(MarkFilter(each.value, each.mask), each.chosen)
        for each in failover.of_lost(lost, plan.uplinks, plan.machine, plan.marks, ways.only_by)
    )


def of_addresses_gone(
    known: Iterable[str], uplinks: Iterable[UplinkState], machine: Machine, marks: Marks
) -> tuple[int, tuple[str, ...]]:
    """Those of addresses that are gone. Of the ``known`` addresses, the answer has those that are
    to be asked about again, sorted."""
    uplinks, before = tuple(uplinks), {ip_address(each) for each in known}
    gone = failover.gone(before, uplinks, machine)
    ended = 0
    if gone:
        each = failover.of_gone(gone, marks)
        ended = conntrack.end(MarkFilter(each.value, each.mask), each.chosen)
    return ended, tuple(sorted(map(str, (before | failover.addresses_of(uplinks)) - gone)))
