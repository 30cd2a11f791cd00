"""Tables, rules and numbers of tenants."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from nvid.configuration.types import Daemon
from nvid.desired import Desired
from nvid.desired.marks import Marks
from nvid.desired.numbers import apart_table, tenant_table
from nvid.desired.objects import Rule
from nvid.machine import Interface, Machine
from nvid.names import FIRST_TENANT_LANE
from tests import samples

BASE = '[nvi.nvi0]\ninterfaces = ["lan0", "wan0", "ten*"]\n'


def tenants(number: int, more: str = "") -> str:
    """Tenants t0, t1 and so on, behind ten0, ten1 and so on."""
    return BASE + "".join(f'[tenant.t{n}]\ninterfaces = "ten{n}"\n{more}' for n in range(number))


def machine(number: int, *addresses: str) -> Machine:
    """Interfaces with the same addresses."""
    return samples.with_interfaces(
        *(samples.interface(f"ten{n}", 100 + n, *addresses) for n in range(number))
    )


def table_of(wanted: Desired, mark: int) -> int | str:
    """Where the rules lead an IPv4 packet with a mark that came out of the peer: the kernel's walk
    (net/core/fib_rules.c)."""
    rules = sorted((r for r in wanted.rules if r.family == 4), key=lambda rule: rule.priority)
    place = 0
    while place < len(rules):
        rule = rules[place]
        if matches(rule, mark):
            if rule.target is not None:
                assert rule.target > rule.priority
                place = next(n for n, one in enumerate(rules) if one.priority == rule.target)
                continue
            if rule.suppress_prefix_length is None:
                return rule.action if rule.table is None else rule.table
        place += 1
    return "nowhere"


def matches(rule: Rule, mark: int) -> bool:
    return rule.input_interface in (None, "nvi0p") and (
        rule.fwmark is None or mark & rule.fwmask == rule.fwmark
    )


@pytest.mark.parametrize("number", [1, 33, 150])
def test_every_lane_leads_to_its_own_table(number: int) -> None:
    wanted = samples.desired(tenants(number), machine(number, "10.7.0.1/24"))
    marks, daemon = Marks(Daemon().fwmark_mask), Daemon()
    lanes = [tenant.lane for tenant in wanted.tenants]
    assert lanes == list(range(FIRST_TENANT_LANE, FIRST_TENANT_LANE + number))
    for lane in lanes:
        assert table_of(wanted, marks.lane(lane)) == tenant_table(daemon, lane)
    assert table_of(wanted, marks.lane(lanes[-1] + 1)) == "unreachable"
    devices = {route.device for route in wanted.routes if route.table == tenant_table(daemon, 16)}
    assert devices == {"ten0", None}


def test_a_packet_meets_few_rules_however_many_tenants() -> None:
    few, many = (
        samples.desired(tenants(number), machine(number, "10.7.0.1/24")) for number in (1, 150)
    )
    before = [sum(rule.priority < 32766 for rule in each.rules) for each in (few, many)]
    # One guard for each interface; none of the lanes.
    assert before[1] - before[0] == 149 * 2


def test_routes_of_a_tenant_find_their_interface() -> None:
    more = (
        'routes = [{ to = "10.9.0.0/16", via = "10.7.0.254" }, '
        '{ to = "10.8.0.0/24", dev = "ten0" },'
        ' { to = "fd00:9::/64", via = "fd00:7::fe" }, { to = "10.6.0.0/16", via = "10.66.0.1" }]\n'
    )
    wanted = samples.desired(tenants(1, more), machine(1, "10.7.0.1/24", "fd00:7::1/64"))
    table = tenant_table(Daemon(), FIRST_TENANT_LANE)
    found = {
        str(route.destination): (str(route.gateway), route.device, route.onlink)
        for route in wanted.routes
        if route.table == table and route.kind == "unicast"
    }
    assert found == {
        "10.7.0.0/24": ("None", "ten0", False),
        "fd00:7::/64": ("None", "ten0", False),
        "10.9.0.0/16": ("10.7.0.254", "ten0", True),
        "10.8.0.0/24": ("None", "ten0", False),
        "fd00:9::/64": ("fd00:7::fe", "ten0", False),
    }


def test_networks_of_main_that_a_tenant_has_too_are_apart() -> None:
    wanted = samples.desired(tenants(1), machine(1, "10.1.0.1/25"))
    apart = [route for route in wanted.routes if route.table == apart_table(Daemon())]
    assert [(route.destination, route.device) for route in apart] == [
        (ip_network("10.1.0.0/24"), "lan0")
    ]
    marks = Marks(Daemon().fwmark_mask)
    assert table_of(wanted, marks.lane(0)) == apart_table(Daemon())
    assert table_of(wanted, marks.lane(FIRST_TENANT_LANE)) == tenant_table(Daemon(), 16)


def test_a_vrf_has_its_own_table() -> None:
    text = "[daemon]\nrule_priority = 800\n" + tenants(1, 'vrf = "vrf-red"\n')
    down = samples.desired(text, machine(1, "10.7.0.1/24"))
    assert [(each.up, each.reason) for each in down.tenants] == [(False, "there is no VRF vrf-red")]
    vrf = replace(Interface("vrf-red", 90, up=True, carrier=True), vrf_table=1010)
    there = samples.with_interfaces(vrf, *machine(1, "10.7.0.1/24").interfaces)
    wanted = samples.desired(text, there)
    assert wanted.tenants[0].up
    assert table_of(wanted, Marks(Daemon().fwmark_mask).lane(16)) == 1010
    assert not [route for route in wanted.routes if route.table == 1010]
    assert wanted.ruleset is not None
    zones = next(each for each in wanted.ruleset.maps if each.name == "tenant_zones")
    assert set(zones.elements) == {"ten0", "vrf-red"}
    assert [each.name for each in wanted.tenants[0].members] == ["ten0"]


def test_a_vrf_that_is_up_is_no_interface_that_is_up() -> None:
    text = "[daemon]\nrule_priority = 800\n" + tenants(1, 'vrf = "vrf-red"\n')
    vrf = replace(Interface("vrf-red", 90, up=True, carrier=True), vrf_table=1010)
    alone = samples.desired(text, samples.with_interfaces(vrf))
    assert [each.reason for each in alone.tenants] == ["none of its interfaces is up"]


def test_what_goes_back_to_a_vrf_came_out_of_the_vrf() -> None:
    text = "[daemon]\nrule_priority = 800\n" + tenants(1, 'vrf = "vrf-red"\n')
    vrf = replace(Interface("vrf-red", 90, up=True, carrier=True), vrf_table=1010)
    there = samples.with_interfaces(vrf, *machine(1, "10.7.0.1/24").interfaces)
    ruleset = samples.desired(text, there).ruleset
    assert ruleset is not None
    (hairpin,) = [each for each in ruleset.maps if each.name.startswith("hairpin_1_16_ip4")]
    assert [key.split(" . ")[0] for key in hairpin.elements] == ["vrf-red"]
