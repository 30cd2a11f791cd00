"""Rules and routes: the story of a packet, and the guards that stop what nvid has not seen."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from nvid.desired.marks import Marks
from nvid.desired.objects import Family, Route, Rule
from nvid.machine import Interface, Machine
from nvid.names import MAIN_ROUTING_TABLE, RuleOffset
from tests import samples

FAMILIES = pytest.mark.parametrize("family", [4, 6])
MARKS = Marks(0x00FFFF00)
BASE = 7700


def rules(text: str, family: Family, machine: Machine = samples.MACHINE) -> list[Rule]:
    return [each for each in samples.desired(text, machine).rules if each.family == family]


def routes(
    text: str, table: int, family: Family, machine: Machine = samples.MACHINE
) -> list[Route]:
    found = samples.desired(text, machine).routes
    return [each for each in found if each.table == table and each.destination.version == family]


def fate(found: list[Rule], fwmark: int, interface: str) -> list[tuple[int | str, bool]]:
    """The (table or action, whether default routes count) that the kernel tries, in its order."""
    return [
        (rule.table if rule.table is not None else rule.action, rule.suppress_prefix_length is None)
        for rule in sorted(found, key=lambda rule: rule.priority)
        if rule.fwmark is None or fwmark & rule.fwmask == rule.fwmark
        if rule.input_interface in (None, interface)
    ]


@FAMILIES
class TestStory:
    """What each kind of packet meets, in order (``names.RuleOffset``)."""

    def test_a_packet_in_an_uplinks_lane(self, family: Family) -> None:
        found = fate(rules(samples.MASQUERADE, family), MARKS.lane(2), "nvi0p")
        assert found[:3] == [(MAIN_ROUTING_TABLE, False), (7702, True), ("unreachable", True)]

    def test_a_packet_in_the_lane_of_main(self, family: Family) -> None:
        found = fate(rules(samples.MASQUERADE, family), MARKS.lane(0), "nvi0p")
        assert found[:2] == [(MAIN_ROUTING_TABLE, False), (MAIN_ROUTING_TABLE, True)]

    def test_a_lane_that_is_gone_leads_nowhere(self, family: Family) -> None:
        found = fate(rules(samples.MASQUERADE, family), MARKS.lane(9), "nvi0p")
        assert found[:2] == [(MAIN_ROUTING_TABLE, False), ("unreachable", True)]

    def test_a_packet_that_enters_an_nvi(self, family: Family) -> None:
        assert fate(rules(samples.MASQUERADE, family), MARKS.enter(1), "lan0")[0] == (7716, True)

    def test_a_packet_that_is_none_of_nvids_business(self, family: Family) -> None:
        found = fate(rules(samples.MASQUERADE, family), MARKS.passed, "lan0")
        assert found[0] == (MAIN_ROUTING_TABLE, True)

    def test_a_packet_that_the_table_has_not_seen(self, family: Family) -> None:
        """The table is gone: from NAT-enabled interfaces nothing is forwarded."""
        for interface in ("lan0", "wan0", "wan1"):
            found = fate(rules(samples.MASQUERADE, family), 0, interface)
            assert found == [(7700, True), ("blackhole", True)]

    def test_a_packet_out_of_the_pair_without_a_lane(self, family: Family) -> None:
        found = fate(rules(samples.MASQUERADE, family), 0, "nvi0p")
        assert found[0] == ("blackhole", True)

    def test_a_packet_of_an_interface_that_is_not_nat_enabled(self, family: Family) -> None:
        assert fate(rules(samples.MASQUERADE, family), 0, "mgmt0") == [(7700, True)]


@pytest.mark.parametrize("name", samples.SAMPLES)
def test_all_priorities_lie_in_the_window(name: str) -> None:
    """Or behind main (32766) and default (32767), where nobody else decides any more."""
    wanted = samples.configuration(samples.SAMPLES[name])
    base = wanted.daemon.rule_priority
    priorities = {each.priority for each in samples.desired(samples.SAMPLES[name]).rules}
    outside = {each for each in priorities if not base <= each <= base + RuleOffset.LAST}
    assert outside <= {
        base + RuleOffset.LAST_MAIN,
        base + RuleOffset.LAST_RESORT,
    }


@pytest.mark.parametrize("name", samples.SAMPLES)
def test_all_tables_are_nvids_own_or_main(name: str) -> None:
    tables = samples.configuration(samples.SAMPLES[name]).daemon.tables
    found = samples.desired(samples.SAMPLES[name])
    used = {each.table for each in found.routes} | {each.table for each in found.rules}
    assert all(table in tables for table in used - {None, MAIN_ROUTING_TABLE})  # type: ignore[operator]


@pytest.mark.parametrize("name", samples.SAMPLES)
def test_objects_have_identities_of_their_own(name: str) -> None:
    found = samples.desired(samples.SAMPLES[name])
    for objects in (found.rules, found.routes, found.neighbours, found.addresses, found.pairs):
        keys = [each.key for each in objects]
        assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("name", samples.SAMPLES)
def test_both_families_have_the_same_rules(name: str) -> None:
    """But for those of the uplinks' own addresses, of which a family may have more, and for those
    that rp_filter asks, which IPv6 has not."""
    asked = (RuleOffset.LANE_NO_WAY, RuleOffset.LANE_REVERSE, RuleOffset.ENTER_REVERSE)
    base = samples.configuration(samples.SAMPLES[name]).daemon.rule_priority
    four, six = (
        [each for each in rules(samples.SAMPLES[name], family) if each.source is None]
        for family in (4, 6)
    )
    four = [each for each in four if each.priority - base not in asked]
    assert [replace(each, family=6) for each in four] == six


@FAMILIES
class TestGuards:
    def guarded(self, text: str, family: Family, machine: Machine = samples.MACHINE) -> set[str]:
        return {
            rule.input_interface
            for rule in rules(text, family, machine)
            if rule.priority == BASE + RuleOffset.GUARD and rule.input_interface is not None
        }

    def test_an_exact_name_is_guarded_before_it_exists(self, family: Family) -> None:
        machine = samples.without_interface("wan1")
        assert self.guarded(samples.MASQUERADE, family, machine) == {"lan0", "wan0", "wan1"}

    def test_a_glob_guards_what_exists(self, family: Family) -> None:
        text = samples.SAMPLES["globs"]
        assert self.guarded(text, family) == {"lan0", "wan0", "wan1"}
        later = samples.with_interfaces(samples.interface("wan7", 17))
        assert self.guarded(text, family, later) == {"lan0", "wan0", "wan1", "wan7"}

    def test_an_nvi_that_fails_open_has_none(self, family: Family) -> None:
        assert self.guarded(samples.SAMPLES["fails open"], family) == set()

    def test_a_pair_is_guarded_even_then(self, family: Family) -> None:
        found = rules(samples.SAMPLES["fails open"], family)
        peer = [each for each in found if each.priority == BASE + RuleOffset.PEER_UNMARKED]
        assert [each.input_interface for each in peer] == ["nvi0p"]


@FAMILIES
class TestRoutes:
    def test_an_uplinks_table(self, family: Family) -> None:
        default, *connected, last = routes(samples.MASQUERADE, 7701, family)
        gateway = {4: "203.0.113.254", 6: "2001:db8:1::fe"}[family]
        assert (default.device, str(default.gateway)) == ("wan0", gateway)
        assert last.kind == "unreachable"
        assert last.metric > default.metric
        assert {each.kind for each in connected} == {"unreachable"}
        assert all(each.destination.prefixlen for each in connected)

    def test_an_uplink_without_interface_leads_nowhere(self, family: Family) -> None:
        found = routes(samples.MASQUERADE, 7701, family, samples.without_interface("wan0"))
        assert {each.kind for each in found} == {"unreachable"}

    def test_the_table_into_the_pair(self, family: Family) -> None:
        into, last = routes(samples.MASQUERADE, 7716, family)
        assert (into.device, into.onlink, last.kind) == ("nvi0", True, "unreachable")

    def test_an_nvi_that_fails_open_does_not_end_there(self, family: Family) -> None:
        found = routes(samples.SAMPLES["fails open"], 7716, family)
        assert [each.kind for each in found] == ["unicast"]

    @pytest.mark.parametrize(
        ("reach", "tables"),
        [('["arp", "route"]', {7700, 254}), ('["arp"]', {7700}), ("[]", {7700})],
    )
    def test_pools_are_in_main_where_reach_says_so(
        self, family: Family, reach: str, tables: set[int]
    ) -> None:
        """In nvid's own table always: errors about translated packets need the way back."""
        pool = {4: "198.51.100.0/29", 6: "2001:db8:100::/125"}[family]
        text = f'[nvi.nvi0]\ninterfaces=["lan0"]\nreach={reach}\n[[nvi.nvi0.snat]]\nto="{pool}"\n'
        found = samples.desired(text).routes
        assert {each.table for each in found if each.destination == ip_network(pool)} == tables

    def test_errors_come_from_the_routers_inner_address(self, family: Family) -> None:
        inner = {4: "10.1.0.1", 6: "fd00:1::1"}[family]
        found = routes(samples.EVERY_KIND, 7700, family)
        assert found
        assert {str(each.source) for each in found} == {inner}


@pytest.mark.parametrize("end", ["nvi0", "nvi0p"])
class TestForeignLink:
    """A link that has the name of an end and is somebody else's."""

    def machine(self, end: str) -> Machine:
        return samples.with_interfaces(Interface(end, 9, up=True, carrier=True))

    def test_nothing_leads_to_it_or_lies_on_it(self, end: str) -> None:
        found = samples.desired(samples.EVERY_KIND, self.machine(end))
        ends = {"nvi0", "nvi0p"}
        assert found.pairs == ()
        assert not {each.device for each in found.routes} & ends
        assert not {each.interface for each in found.addresses} & ends
        assert not {each.interface for each in found.neighbours} & ends

    def test_the_problem_says_what_to_do(self, end: str) -> None:
        found = samples.desired(samples.EVERY_KIND, self.machine(end))
        (problem,) = found.problems["nvi0"]
        assert f"a link {end} exists" in problem
        assert "rename" in problem

    @FAMILIES
    def test_traffic_fails_closed(self, end: str, family: Family) -> None:
        guards = {
            each.input_interface
            for each in rules(samples.EVERY_KIND, family, self.machine(end))
            if each.action == "blackhole"
        }
        assert {"lan0", "wan0", "wan1"} <= guards


def test_a_kernel_without_ipv6_has_no_ipv6_objects() -> None:
    found = samples.desired(samples.EVERY_KIND, replace(samples.MACHINE, ipv6=False))
    assert {each.family for each in found.rules} == {4}
    assert {each.destination.version for each in found.routes} == {4}
    assert {each.address.version for each in found.neighbours} == {4}
