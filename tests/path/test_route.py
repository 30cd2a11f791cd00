"""The second lookup: which uplink a translated flow leaves by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.lab import Unanswered
from tests.path.site import (
    ISP1_PREFERRED,
    ISP2_PREFERRED,
    SNAT_TO_UPLINK,
    TCP,
    UDP,
    Family,
    Site,
)

ONE_POOL_OF_EACH = """
[[nvi.nvi0.snat]]
source = ["10.1.0.2", "fd00:1::2"]
to = ["198.51.100.8", "2001:db8:100::8"]

[[nvi.nvi0.snat]]
source = ["10.1.0.3", "fd00:1::3"]
to = ["198.51.101.8", "2001:db8:101::8"]
"""
BY_SOURCE = (
    ONE_POOL_OF_EACH
    + """
[[nvi.nvi0.route]]
source = ["198.51.101.0/24", "2001:db8:101::/48"]
via = "isp2"
"""
)
BY_SOURCE_IN_ORDER = (
    BY_SOURCE
    + """
[[nvi.nvi0.route]]
source = ["0.0.0.0/0", "::/0"]
via = "isp1"
"""
)
BY_DESTINATION = (
    SNAT_TO_UPLINK
    + """
[[nvi.nvi0.route]]
destination = ["198.18.0.11", "2001:db8:f::11"]
via = "isp2"
"""
)
IN_ORDER_OF_PREFERENCE = (
    SNAT_TO_UPLINK
    + """
[[nvi.nvi0.route]]
via = ["isp2", "isp1"]
"""
)
ONLY_ISP1 = """
[[nvi.nvi0.snat]]
source = ["10.0.0.0/8", "fd00::/16"]
to = ["198.51.100.8", "2001:db8:100::8"]

[[nvi.nvi0.route]]
source = ["198.51.100.0/24", "2001:db8:100::/48"]
via = "isp1"
"""
EQUAL = ISP1_PREFERRED.replace("priority = 20", "priority = 10")
THREE_TO_ONE = EQUAL.replace('interface = "wan0"', 'interface = "wan0"\nweight = 3')
STRANGER = {4: "10.99.0.1", 6: "fd00:99::1"}
"""An address behind the host of the second LAN, known to main by a static route."""


@pytest.fixture(scope="module", autouse=True)
def another_server(ground: Site) -> None:
    ground.server.address("lo", "198.18.0.11/32")
    ground.server.address("lo", "2001:db8:f::11/128")


@pytest.fixture
def behind_the_host(site: Site, family: Family) -> Iterator[str]:
    address, version = STRANGER[family.version], f"-{family.version}"
    site.host.address("lo", f"{address}/{32 if family.version == 4 else 128}")
    site.router.ip(version, "route", "add", address, "via", family.host)
    yield address
    site.router.ip(version, "route", "delete", address)
    site.host.ip("address", "flush", "dev", "lo", "to", address)


def other_server(family: Family) -> str:
    return {4: "198.18.0.11", 6: "2001:db8:f::11"}[family.version]


def test_by_the_translated_source(site: Site, family: Family) -> None:
    site.use(BY_SOURCE)
    assert site.client.ask_tcp(family.server, TCP).address == family.pool(8)
    assert site.second.ask_tcp(family.server, TCP).address == family.pool2(8)
    assert site.second.ping(family.server)


def test_by_the_translated_destination(site: Site, family: Family) -> None:
    site.use(BY_DESTINATION)
    assert site.client.ask_tcp(family.server, TCP).address == family.wan0
    assert site.client.ask_tcp(other_server(family), TCP).address == family.wan1


def test_the_destination_is_the_one_that_dnat_gives(site: Site, family: Family) -> None:
    """The client asks for a pool address; the server that dnat puts in its place decides."""
    site.use(f"""{BY_DESTINATION}
        [[nvi.nvi0.dnat]]
        destination = "{family.pool(40)}"
        to = "{other_server(family)}"
    """)
    assert site.client.ask_tcp(family.pool(40), TCP).address == family.wan1


def test_the_first_match_wins(site: Site, family: Family) -> None:
    site.use(BY_SOURCE_IN_ORDER, uplinks=ISP2_PREFERRED)
    assert site.client.ask_tcp(family.server, TCP).address == family.pool(8)
    assert site.second.ask_tcp(family.server, TCP).address == family.pool2(8)


def test_several_uplinks_are_in_order_of_preference(site: Site, family: Family) -> None:
    site.use(IN_ORDER_OF_PREFERENCE)
    assert site.client.ask_tcp(family.server, TCP).address == family.wan1
    with site.without_carrier(site.isp2):
        assert site.client.ask_tcp(family.server, TCP).address == family.wan0
    assert site.client.ask_tcp(family.server, TCP).address == family.wan1


def test_no_match_means_the_preferred_uplink(site: Site, family: Family) -> None:
    site.use(SNAT_TO_UPLINK)
    assert site.client.ask_tcp(family.server, TCP).address == family.wan0
    site.use(SNAT_TO_UPLINK, uplinks=ISP2_PREFERRED)
    assert site.client.ask_tcp(family.server, TCP).address == family.wan1


def test_an_address_of_an_uplink_leaves_by_it(site: Site, family: Family) -> None:
    """No route entry says so, and the other uplink is preferred."""
    site.use("""
        [[nvi.nvi0.snat]]
        source = ["10.0.0.0/8", "fd00::/16"]
        to = ["192.0.2.1", "2001:db8:2::1"]
    """)
    assert site.client.ask_tcp(family.server, TCP).address == family.wan1


@pytest.mark.parametrize(
    ("uplinks", "least", "most"), [(EQUAL, 20, 60), (THREE_TO_ONE, 42, 78)], ids=["1:1", "3:1"]
)
def test_equal_priorities_share_by_weight(
    site: Site, family: Family, uplinks: str, least: int, most: int
) -> None:
    """80 flows; the bounds are four standard deviations away."""
    site.use(SNAT_TO_UPLINK, uplinks=uplinks)
    found = Counter(site.probe(site.client, "many", UDP, family.server, "--count", "80"))
    assert set(found) == {family.wan0, family.wan1}
    assert least < found[family.wan0] < most


def test_what_main_knows_more_precisely_goes_there(
    site: Site, family: Family, behind_the_host: str
) -> None:
    site.use("""
        [[nvi.nvi0.snat]]
        source = ["10.1.0.0/24", "fd00:1::/64"]
        to = ["198.51.100.8", "2001:db8:100::8"]
    """)
    found = site.client.ask_tcp(behind_the_host, TCP)
    assert found.address == family.pool(8)


def test_an_uplink_on_another_interface_takes_no_flow_along(site: Site, family: Family) -> None:
    """Its lane stays; behind the other interface is another provider."""
    one = ISP1_PREFERRED.partition("[uplink.isp2]")[0]
    other = one.replace("wan0", "wan1").replace(
        '"203.0.113.254", "2001:db8:1::fe"', '"192.0.2.254", "2001:db8:2::fe"'
    )
    site.use(SNAT_TO_UPLINK, uplinks=one)
    flow = site.client.long_flow(family.server, UDP, "udp")
    site.use(SNAT_TO_UPLINK, uplinks=other)
    flow.wait_for_answers()
    assert [each.address for each in flow.stop().sources] == [family.wan0, family.wan1]


@pytest.mark.parametrize("rp_filter", ["1", "2"])
def test_a_table_without_a_default_route_where_rp_filter_is_on(
    site: Site, family: Family, rp_filter: str
) -> None:
    """The kernel asks for the source of what comes back, with the mark of the table's lane."""
    version, gateway = f"-{family.version}", family.gateways[0]
    site.router.ip(
        version, "route", "add", family.server, "via", gateway, "dev", "wan0", "table", "4300"
    )
    key = "net/ipv4/conf/all/rp_filter"
    before = site.router.sysctl(key)
    site.router.sysctl(key, rp_filter)
    try:
        site.use(f"{SNAT_TO_UPLINK}\n[[nvi.nvi0.route]]\ntable = 4300\n")
        assert site.client.ask_tcp(family.server, TCP).address == family.wan0
    finally:
        site.router.sysctl(key, before)
        site.router.ip(version, "route", "flush", "table", "4300")


class TestAnUplinkThatIsDown:
    """What is bound to it is refused, and never sent by another."""

    def test_without_carrier(self, site: Site, family: Family) -> None:
        site.use(ONLY_ISP1)
        with site.without_carrier(site.isp1), pytest.raises(Unanswered):
            site.client.ask_tcp(family.server, TCP, timeout=1)
        assert site.client.ask_tcp(family.server, TCP).address == family.pool(8)

    def test_that_is_switched_off_is_unreachable(self, site: Site, family: Family) -> None:
        site.use(ONLY_ISP1)
        with (
            site.switched_off("wan0"),
            pytest.raises(Unanswered, match=r"No route to host|unreachable"),
        ):
            site.client.ask_tcp(family.server, TCP)
        assert site.client.ask_tcp(family.server, TCP).address == family.pool(8)

    def test_long_flows_go_on_when_it_is_back(self, site: Site, family: Family) -> None:
        site.use(ONLY_ISP1)
        flow = site.client.long_flow(family.server, UDP, "udp")
        with site.without_carrier(site.isp1):
            pass
        flow.wait_for_answers()
        assert {each.address for each in flow.stop().sources} == {family.pool(8)}
