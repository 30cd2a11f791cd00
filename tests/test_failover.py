"""Which flows end when an uplink is lost or its address is gone, and which do not."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from nvid import failover
from nvid.desired.marks import Marks
from nvid.desired.numbers import Numbers
from nvid.desired.objects import Family
from nvid.desired.ruleset.words import Plan
from nvid.desired.uplinks import UplinkState, uplink_states
from nvid.flows import Flow
from nvid.ways import Ways
from tests import samples

MARKS = Marks(0x00FFFF00)
FAMILIES = pytest.mark.parametrize("family", [4, 6])
CLIENT = {4: "10.1.0.2", 6: "fd00:1::2"}
SERVER = {4: "198.18.0.10", 6: "2001:db8:f::10"}
OWN = {4: "203.0.113.1", 6: "2001:db8:1::1"}
POOL = {4: "198.51.100.8", 6: "2001:db8:100::8"}
NVI = '[nvi.nvi0]\ninterfaces = ["lan0", "wan0", "wan1"]\n'
MODEM = {4: "203.0.113.254", 6: "2001:db8:1::fe"}


def uplinks() -> tuple[UplinkState, UplinkState]:
    first, second = uplink_states(
        samples.configuration(samples.UPLINKS), samples.MACHINE, Numbers({"isp1": 1, "isp2": 2})
    )
    return first, second


def flow(source: str, destination: str, reply_source: str, reply_destination: str) -> Flow:
    return Flow(
        key=(2, b"", b""),
        protocol=6,
        source=ip_address(source),
        destination=ip_address(destination),
        reply_source=ip_address(reply_source),
        reply_destination=ip_address(reply_destination),
    )


def outwards(family: Family, to: str | None = None) -> Flow:
    target = to or SERVER[family]
    return flow(CLIENT[family], target, target, OWN[family])


def inwards(family: Family, to: str | None = None) -> Flow:
    return flow(SERVER[family], to or OWN[family], CLIENT[family], SERVER[family])


def only_by_none(uplink: UplinkState, flow: Flow) -> bool:
    return False


@FAMILIES
class TestLost:
    def test_nothing_while_all_is_well(self, family: Family) -> None:
        assert failover.lost(uplinks()) == frozenset()

    def test_what_fails_while_another_one_works(self, family: Family) -> None:
        first, second = uplinks()
        failing = replace(first, failing={family: "silence"})
        assert failover.lost([failing, second]) == {("isp1", family)}

    def test_nothing_while_no_other_works_either(self, family: Family) -> None:
        first, second = uplinks()
        failing = [replace(each, failing={family: "silence"}) for each in (first, second)]
        assert failover.lost(failing) == frozenset()

    def test_without_carrier_both_families(self, family: Family) -> None:
        first, second = uplinks()
        assert ("isp1", family) in failover.lost([replace(first, linked=False), second])


@FAMILIES
class TestFlowsOfLostUplinks:
    def endings(self, family: Family) -> list[failover.Ending]:
        lost = frozenset({("isp1", family)})
        return list(failover.of_lost(lost, uplinks(), samples.MACHINE, MARKS, only_by_none))

    def test_both_directions_are_found_by_their_lane(self, family: Family) -> None:
        forward, back = self.endings(family)
        for mark, matches in (
            (MARKS.bound | MARKS.forward_lane(1), (True, False)),
            (MARKS.bound | MARKS.forward_lane(1) | MARKS.return_lane(2), (True, False)),
            (MARKS.bound | MARKS.return_lane(1), (False, True)),
            (MARKS.bound | MARKS.forward_lane(2) | MARKS.return_lane(2), (False, False)),
            (MARKS.forward_lane(1), (False, False)),
        ):
            found = tuple(mark & each.mask == each.value for each in (forward, back))
            assert found == matches

    def test_those_that_go_beyond_the_gateway(self, family: Family) -> None:
        forward, back = self.endings(family)
        assert forward.chosen(outwards(family))
        assert back.chosen(inwards(family, POOL[family]))

    def test_neither_neighbours_nor_the_other_family(self, family: Family) -> None:
        forward, back = self.endings(family)
        other: Family = 6 if family == 4 else 4
        assert not forward.chosen(outwards(family, MODEM[family]))
        assert not forward.chosen(outwards(other))
        assert not back.chosen(inwards(other))

    def test_none_that_no_other_uplink_can_have(self, family: Family) -> None:
        lost = frozenset({("isp1", family)})
        forward, _ = failover.of_lost(
            lost, uplinks(), samples.MACHINE, MARKS, lambda uplink, _: uplink.name == "isp1"
        )
        assert not forward.chosen(outwards(family))

    def test_none_to_its_own_address(self, family: Family) -> None:
        _, back = self.endings(family)
        assert not back.chosen(inwards(family))
        assert back.chosen(inwards(family, POOL[family]))


@FAMILIES
class TestWays:
    """Where flows would leave if they began anew."""

    def only_by_isp1(self, text: str, flow: Flow, *uplinks: UplinkState) -> bool:
        wanted = samples.configuration(samples.UPLINKS + NVI + text)
        numbers = Numbers({"isp1": 1, "isp2": 2}, {"nvi0": 1})
        plan = Plan(wanted.daemon, wanted.nvis, uplinks, numbers, samples.MACHINE)
        own = frozenset(samples.MACHINE.addresses())
        return Ways(plan, own, {}).only_by(uplinks[0], flow)

    def lost(self, family: Family) -> tuple[UplinkState, UplinkState]:
        first, second = uplinks()
        return replace(first, failing={family: "silence"}), second

    def test_to_uplink_has_any(self, family: Family) -> None:
        text = '[[nvi.nvi0.snat]]\nto = "uplink"\n'
        assert not self.only_by_isp1(text, outwards(family), *self.lost(family))

    def test_to_a_named_uplink_has_that(self, family: Family) -> None:
        text = '[[nvi.nvi0.snat]]\nto = "uplink:isp1"\n'
        assert self.only_by_isp1(text, outwards(family), *self.lost(family))

    @pytest.mark.parametrize(("via", "only"), [('"isp1"', True), ('["isp1", "isp2"]', False)])
    def test_an_entry_picks_for_to_uplink(self, family: Family, via: str, only: bool) -> None:
        text = f'[[nvi.nvi0.snat]]\nto = "uplink"\n[[nvi.nvi0.route]]\nvia = {via}\n'
        assert self.only_by_isp1(text, outwards(family), *self.lost(family)) is only

    @pytest.mark.parametrize(("via", "only"), [('"isp1"', True), ('["isp1", "isp2"]', False)])
    def test_an_entry_decides_by_the_pool(self, family: Family, via: str, only: bool) -> None:
        pool = POOL[family]
        text = f"""
[[nvi.nvi0.snat]]
to = "{pool}"
[[nvi.nvi0.route]]
source = "{pool}"
via = {via}
"""
        found = replace(outwards(family), reply_destination=ip_address(pool), snat=True)
        assert self.only_by_isp1(text, found, *self.lost(family)) is only

    def test_a_pool_that_no_entry_names_has_any(self, family: Family) -> None:
        pool = POOL[family]
        found = replace(outwards(family), reply_destination=ip_address(pool), snat=True)
        text = f'[[nvi.nvi0.snat]]\nto = "{pool}"\n'
        assert not self.only_by_isp1(text, found, *self.lost(family))

    def test_an_entry_with_an_ingress_may_not_have_been_the_one(self, family: Family) -> None:
        text = '[[nvi.nvi0.snat]]\nto = "uplink"\n[[nvi.nvi0.route]]\nvia = "isp1"\n'
        text += 'ingress = "lan0"\n'
        assert not self.only_by_isp1(text, outwards(family), *self.lost(family))


@FAMILIES
class TestGone:
    def gone(self, family: Family, *uplinks: UplinkState) -> frozenset[object]:
        machine = samples.without_interface("wan0")
        known = {ip_address(OWN[4]), ip_address(OWN[6]), ip_address("192.0.2.1")}
        return frozenset(failover.gone(known, uplinks, machine))

    def test_what_the_machine_has_no_longer(self, family: Family) -> None:
        _, second = uplinks()
        assert ip_address(OWN[family]) in self.gone(family, second)
        assert ip_address("192.0.2.1") not in self.gone(family, second)

    def test_waits_for_an_address_to_begin_anew_with(self, family: Family) -> None:
        _, second = uplinks()
        without = replace(second, addresses={10 - family: second.addresses[10 - family]})
        assert ip_address(OWN[family]) not in self.gone(family, without)

    def test_flows_from_and_to_it(self, family: Family) -> None:
        ending = failover.of_gone(frozenset({ip_address(OWN[family])}), MARKS)
        assert ending.chosen(outwards(family))
        assert ending.chosen(inwards(family))
        other: Family = 6 if family == 4 else 4
        assert not ending.chosen(outwards(other))
