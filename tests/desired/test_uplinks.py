"""Uplinks as they are at the moment: healthy or not, which address, which one is preferred."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest

from nvid.desired.numbers import Numbers
from nvid.desired.objects import Family
from nvid.desired.uplinks import UplinkState, best_there_is, preferred, uplink_states
from nvid.machine import DefaultRoute, Interface, InterfaceAddress, Machine
from tests import samples

FAMILIES = pytest.mark.parametrize("family", [4, 6])
ANOTHER = {4: "100.64.0.7/10", 6: "2001:db8:99::7/64"}
NEAR = {4: "203.0.113.1", 6: "2001:db8:1::1"}
GATEWAY = {4: "203.0.113.254", 6: "2001:db8:1::fe"}


def isp1(machine: Machine) -> UplinkState:
    return uplink_states(
        samples.configuration(samples.UPLINKS), machine, Numbers({"isp1": 1, "isp2": 2})
    )[0]


def wan0(*addresses: InterfaceAddress) -> Machine:
    return samples.with_interfaces(replace(samples.WAN0, addresses=addresses))


def address(text: str, *, usable: bool = True, lasting: bool = True) -> InterfaceAddress:
    return InterfaceAddress(ip_interface(text), usable=usable, lasting=lasting)


class TestHealth:
    def test_an_interface_with_carrier_is_up(self) -> None:
        uplink = isp1(samples.MACHINE)
        assert (uplink.up, uplink.reason, uplink.present) == (True, "", True)

    @pytest.mark.parametrize(
        ("change", "reason", "present"),
        [
            ({"up": False, "carrier": False}, "interface wan0 is down", False),
            ({"carrier": False}, "interface wan0 has no carrier", True),
        ],
    )
    def test_the_reason_says_what_is_missing(
        self, change: dict[str, bool], reason: str, present: bool
    ) -> None:
        uplink = isp1(samples.with_interfaces(replace(samples.WAN0, **change)))  # type: ignore[arg-type]
        assert (uplink.up, uplink.reason, uplink.present) == (False, reason, present)

    def test_an_interface_that_does_not_exist(self) -> None:
        uplink = isp1(samples.without_interface("wan0"))
        assert (uplink.up, uplink.present) == (False, False)
        assert uplink.reason == "interface wan0 does not exist"
        assert uplink.addresses == {}

    @FAMILIES
    def test_a_family_without_gateway_is_not_carried(self, family: Family) -> None:
        uplink = replace(
            isp1(samples.MACHINE), gateways={10 - family: ip_address(GATEWAY[10 - family])}
        )
        assert not uplink.carries(family)


@FAMILIES
class TestTranslatedSource:
    """The address that ``to = "uplink"`` means."""

    def test_one_in_the_subnet_of_the_gateway_wins(self, family: Family) -> None:
        near = address(f"{NEAR[family]}/{24 if family == 4 else 64}")
        machine = wan0(address(ANOTHER[family]), near)
        assert str(isp1(machine).addresses[family]) == NEAR[family]

    def test_any_other_does_where_none_is_near(self, family: Family) -> None:
        machine = wan0(address(ANOTHER[family]))
        assert isp1(machine).addresses[family] == ip_interface(ANOTHER[family]).ip

    @pytest.mark.parametrize("flaw", ["usable", "lasting"])
    def test_neither_tentative_nor_temporary_addresses(self, family: Family, flaw: str) -> None:
        near = ip_interface(f"{NEAR[family]}/{24 if family == 4 else 64}")
        flawed = replace(InterfaceAddress(near), **{flaw: False})  # type: ignore[arg-type]
        assert family not in isp1(wan0(flawed)).addresses
        assert isp1(wan0(flawed, address(ANOTHER[family]))).addresses[family] == (
            ip_interface(ANOTHER[family]).ip
        )

    def test_no_address_is_no_reason_to_fail(self, family: Family) -> None:
        assert family not in isp1(wan0()).addresses


@FAMILIES
class TestPreference:
    def uplinks(self, **priorities: int) -> list[UplinkState]:
        base = isp1(samples.MACHINE)
        return [replace(base, name=name, priority=each) for name, each in priorities.items()]

    def test_the_lowest_priority_wins(self, family: Family) -> None:
        found = preferred(self.uplinks(a=20, b=10), family)
        assert [each.name for each in found] == ["b"]

    def test_equal_priorities_share(self, family: Family) -> None:
        found = preferred(self.uplinks(a=10, b=10, c=11), family)
        assert [each.name for each in found] == ["a", "b"]

    def test_what_is_down_does_not_count(self, family: Family) -> None:
        best, other = self.uplinks(a=1, b=2)
        assert [each.name for each in preferred([replace(best, linked=False), other], family)] == [
            "b"
        ]

    def test_what_lacks_the_family_does_not_count(self, family: Family) -> None:
        best, other = self.uplinks(a=1, b=2)
        assert [each.name for each in preferred([replace(best, gateways={}), other], family)] == [
            "b"
        ]

    def test_none_at_all(self, family: Family) -> None:
        assert preferred([], family) == ()


def test_down_is_told_apart_from_gone(  # a route can point to the one and not to the other
) -> None:
    no_carrier = Interface("wan0", 3, up=True, carrier=False)
    assert isp1(samples.with_interfaces(no_carrier)).present
    assert not isp1(samples.without_interface("wan0")).present


def route(family: Family, gateway: str | None, **more: object) -> DefaultRoute:
    hop = None if gateway is None else ip_address(gateway)
    return DefaultRoute("wan0", family, hop, **more)  # type: ignore[arg-type]


class TestFollowing:
    """gateway = "auto"."""

    AUTO = samples.UPLINKS.replace('["203.0.113.254", "2001:db8:1::fe"]', '"auto"')

    def isp1(self, *routes: DefaultRoute, machine: Machine = samples.MACHINE) -> UplinkState:
        return uplink_states(
            samples.configuration(self.AUTO),
            replace(machine, default_routes=routes),
            Numbers({"isp1": 1, "isp2": 2}),
        )[0]

    @FAMILIES
    def test_the_gateway_is_that_of_the_default_route(self, family: Family) -> None:
        uplink = self.isp1(route(family, GATEWAY[family]))
        assert uplink.gateways == {family: ip_address(GATEWAY[family])}
        assert (uplink.up, uplink.reason) == (True, "")
        assert not uplink.carries(4 if family == 6 else 6)

    def test_without_one_it_is_down(self) -> None:
        uplink = self.isp1()
        assert not uplink.up
        assert uplink.reason.startswith("no default route on wan0")

    @FAMILIES
    def test_a_point_to_point_link_needs_no_gateway(self, family: Family) -> None:
        uplink = self.isp1(route(family, None))
        assert uplink.gateways == {family: None}
        assert uplink.carries(family)

    @pytest.mark.parametrize(
        "worse", [{"metric": 1}, {"in_main": False, "metric": -1}, {"preference": -1}]
    )
    def test_the_best_route_counts(self, worse: dict[str, int]) -> None:
        routes = [route(6, "fe80::1", **worse), route(6, "fe80::2")]
        for found in (self.isp1(*routes), self.isp1(*reversed(routes))):
            assert found.gateways == {6: ip_address("fe80::2")}

    def test_the_preferred_source_is_the_address_where_the_machine_has_it(self) -> None:
        """Such as an address of a delegated prefix, on another interface."""
        has, lacks = ip_address("10.1.0.1"), ip_address("198.51.100.77")
        assert self.isp1(route(4, GATEWAY[4], source=has)).addresses[4] == has
        assert self.isp1(route(4, GATEWAY[4], source=lacks)).addresses[4] == ip_address(NEAR[4])


class TestFailing:
    """What the checks say."""

    CHECKED = samples.UPLINKS.replace(
        "priority  = 10", 'priority  = 10\ncheck = { targets = ["198.18.0.10"] }'
    )

    def isp1(self, text: str, **failing: str) -> UplinkState:
        machine = replace(
            samples.MACHINE, failing={("isp1", int(key[-1])): said for key, said in failing.items()}
        )
        return uplink_states(samples.configuration(text), machine, Numbers({"isp1": 1, "isp2": 2}))[
            0
        ]

    def test_both_families_are_down(self) -> None:
        uplink = self.isp1(self.CHECKED, ipv4="silence", ipv6="silence")
        assert (uplink.up, uplink.reason) == (False, "silence")

    @FAMILIES
    def test_the_other_family_goes_on(self, family: Family) -> None:
        uplink = self.isp1(self.CHECKED, **{f"ipv{family}": "silence"})
        assert (uplink.up, uplink.reason) == (True, f"IPv{family}: silence")
        assert not uplink.carries(family)
        assert uplink.carries(4 if family == 6 else 6)

    @FAMILIES
    def test_its_table_keeps_the_way_out(self, family: Family) -> None:
        assert self.isp1(self.CHECKED, **{f"ipv{family}": "silence"}).leads_out(family)

    def test_without_a_check_it_does_not_count(self) -> None:
        assert self.isp1(samples.UPLINKS, ipv4="silence", ipv6="silence").reason == ""


@FAMILIES
class TestBestThereIs:
    def test_the_preferred_one_while_one_is_healthy(self, family: Family) -> None:
        first = isp1(samples.MACHINE)
        failing = replace(first, name="bad", priority=0, failing={family: "silence"})
        assert [each.name for each in best_there_is([failing, first], family)] == ["isp1"]

    def test_one_that_leads_out_when_none_is(self, family: Family) -> None:
        bad = replace(isp1(samples.MACHINE), failing={family: "silence"})
        dead = replace(bad, linked=False, priority=0)
        assert [each.failing for each in best_there_is([dead, bad], family)] == [{}]
