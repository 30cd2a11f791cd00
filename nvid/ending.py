"""Ending flows, selectively: the few that a change concerns, found by their marks and by what
conntrack shows of them. Each function answers how many it ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from nvid import failover, flows
from nvid.configuration.types import Configuration
from nvid.desired import Desired
from nvid.desired.marks import Marks
from nvid.desired.uplinks import UplinkState
from nvid.kernel import conntrack
from nvid.kernel.conntrack import MarkFilter
from nvid.machine import Machine
from nvid.observed import Observed


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


def of_before(machine: Machine, marks: Marks) -> int:
    """Those that began untranslated, because the table was not there or did not cover them."""
    return conntrack.end_untranslated(MarkFilter(0, marks.state_mask), machine.addresses())


def offers_change(observed: Observed, desired: Desired) -> bool:
    """Whether the table will cover other interfaces than the one that is there, if one is."""
    return _observed_keys(observed, "offer") != _wanted_keys(desired, "offer")


def of_lanes_gone(observed: Observed, desired: Desired, marks: Marks) -> int:
    """Those of lanes and tenants that are not in the configuration any more."""
    ended = 0
    for name, mask in (("forward_lanes", marks.forward_mask), ("return_lanes", marks.return_mask)):
        for value in _observed_keys(observed, name) - _wanted_keys(desired, name):
            bound = MarkFilter(marks.bound | int(value), marks.state_mask | mask)
            ended += conntrack.end(bound, lambda _: True)
    # What a tenant began that is gone; what went to it had its lane.
    zones = _observed_keys(observed, "tenant_returns") - _wanted_keys(desired, "tenant_returns")
    if zones:
        gone, bound = set(map(int, zones)), MarkFilter(marks.bound, marks.state_mask)
        ended += conntrack.end(bound, lambda flow: flow.zone in gone)
    return ended


def _observed_keys(observed: Observed, name: str) -> frozenset[str]:
    """The keys of a map of the table that is in the kernel; none without the map."""
    if observed.table is None or name not in observed.table.maps:
        return frozenset()
    return frozenset(observed.table.maps[name].elements)


def _wanted_keys(desired: Desired, name: str) -> frozenset[str]:
    """The keys of a map of the table that is wanted; none without the map."""
    maps = () if desired.ruleset is None else desired.ruleset.maps
    return frozenset(key for each in maps if each.name == name for key in each.elements)


def of_lost(
    fresh: failover.Lost,
    known: Iterable[str],
    uplinks: Iterable[UplinkState],
    machine: Machine,
    marks: Marks,
) -> tuple[int, tuple[str, ...]]:
    """Those of uplinks that are lost since a moment ago, and of addresses that are gone. Of the
    ``known`` addresses, the answer has those that are to be asked about again, sorted."""
    uplinks, before = tuple(uplinks), {ip_address(each) for each in known}
    endings = list(failover.of_lost(fresh, uplinks, machine, marks))
    gone = failover.gone(before, uplinks, machine)
    if gone:
        endings.append(failover.of_gone(gone, marks))
    ended = sum(conntrack.end(MarkFilter(each.value, each.mask), each.chosen) for each in endings)
    return ended, tuple(sorted(map(str, (before | failover.addresses_of(uplinks)) - gone)))
