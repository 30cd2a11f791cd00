"""snat: under which address flows leave."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import Unanswered, wait_until
from tests.path.entries import LAN_TO_POOL
from tests.path.site import (
    IPV4,
    IPV6,
    ISP2_PREFERRED,
    SNAT_TO_UPLINK,
    TCP,
    UDP,
    Family,
    Site,
)

TO_A_RANGE = """
[[nvi.nvi0.snat]]
source = ["10.1.0.0/24", "fd00:1::/64"]
to = ["198.51.100.16-198.51.100.18", "2001:db8:100::16-2001:db8:100::18"]
"""
TO_A_PREFIX = """
[[nvi.nvi0.snat]]
source = ["10.1.0.0/24", "fd00:1::/64"]
to = ["198.51.100.32/29", "2001:db8:100:32::/64"]
"""
TO_SEVERAL_POOLS = """
[[nvi.nvi0.snat]]
source = ["10.1.0.0/24", "fd00:1::/64"]
to = [
    "198.51.100.40", "198.51.100.48/30", "198.51.100.60-198.51.100.62",
    "2001:db8:100::40", "2001:db8:100:48::/64", "2001:db8:100::60-2001:db8:100::62",
]
"""
NONE_BEFORE_AN_ADDRESS = (
    """
[[nvi.nvi0.snat]]
source = ["10.1.0.0/24", "fd00:1::/64"]
destination = ["10.2.0.0/24", "fd00:2::/64"]
to = "none"
"""
    + LAN_TO_POOL
)
TO_ISP2 = SNAT_TO_UPLINK.replace('"uplink"', '"uplink:isp2"')
NOT_TO_THE_SECOND_LAN = LAN_TO_POOL + 'destination = ["!10.0.0.0/8", "!fd00::/8"]\n'
LIMITED = """
[[nvi.nvi0.snat]]
source = ["10.0.0.0/8", "fd00::/16"]
protocol = "udp"
to = ["198.51.100.70", "2001:db8:100::70"]

[[nvi.nvi0.snat]]
source = ["10.0.0.0/8", "fd00::/16"]
protocol = "tcp"
port = 80
to = ["198.51.100.71", "2001:db8:100::71"]

[[nvi.nvi0.snat]]
source = ["10.0.0.0/8", "fd00::/16"]
ingress = ["dmz0"]
to = ["198.51.100.72", "2001:db8:100::72"]

[[nvi.nvi0.snat]]
source = ["10.0.0.0/8", "fd00::/16"]
to = ["198.51.100.73", "2001:db8:100::73"]
"""
FIRST_MATCH = """
[[nvi.nvi0.snat]]
source = ["10.1.0.2", "fd00:1::2"]
to = ["198.51.100.80", "2001:db8:100::80"]

[[nvi.nvi0.snat]]
source = ["10.1.0.0/24", "fd00:1::/64"]
to = ["198.51.100.81", "2001:db8:100::81"]
"""

POOLS = {
    "an address": LAN_TO_POOL,
    "a range": TO_A_RANGE,
    "a prefix": TO_A_PREFIX,
    "several pools": TO_SEVERAL_POOLS,
}
SSH = 22


@pytest.fixture(scope="module", autouse=True)
def _another_port(ground: Site) -> None:
    ground.server.observe(tcp=[SSH])


@pytest.fixture(scope="module")
def destinations(ground: Site) -> dict[int, list[str]]:
    """Twenty addresses of the server."""
    found: dict[int, list[str]] = {4: [], 6: []}
    for number in range(20, 40):
        for version, address, length in (
            (4, f"198.18.0.{number}", 32),
            (6, f"2001:db8:f::{number}", 128),
        ):
            ground.server.address("lo", f"{address}/{length}")
            found[version].append(address)
    return found


def seen(site: Site, family: Family) -> set[str]:
    """The sources from which the server sees a client by TCP and by UDP."""
    return {
        site.client.ask_tcp(family.server, TCP).address,
        site.client.ask_udp(family.server, UDP).address,
    }


def source_of_a_flow(site: Site, family: Family) -> str:
    """How the server sees a new flow of the client, or nothing while it is not answered."""
    try:
        return site.client.ask_udp(family.server, UDP, timeout=0.3).address
    except Unanswered:
        return ""


def test_to_an_address(site: Site, family: Family) -> None:
    site.use(LAN_TO_POOL)
    assert seen(site, family) == {family.pool(8)}
    assert site.client.ping(family.server)


def test_to_a_range(site: Site, family: Family) -> None:
    site.use(TO_A_RANGE)
    assert seen(site, family) <= {family.pool(number) for number in (16, 17, 18)}
    assert site.client.ping(family.server)


def test_to_a_prefix(site: Site, family: Family) -> None:
    site.use(TO_A_PREFIX)
    start = {4: "198.51.100.3", 6: "2001:db8:100:32:"}[family.version]
    assert all(address.startswith(start) for address in seen(site, family))
    assert site.client.ping(family.server)


@pytest.mark.parametrize("pools", POOLS.values(), ids=POOLS)
def test_an_inside_address_has_one_outside_address(
    site: Site, family: Family, destinations: dict[int, list[str]], pools: str
) -> None:
    """RFC 4787 REQ-2, "paired" pooling, over many destinations and both protocols."""
    site.use(pools)
    sources = set(site.probe(site.client, "many", UDP, *destinations[family.version]))
    assert sources == {site.client.ask_tcp(family.server, TCP).address}


def test_an_inside_address_keeps_its_outside_address_over_a_restart(
    site: Site, family: Family
) -> None:
    site.use(TO_SEVERAL_POOLS)
    before = seen(site, family)
    site.nvid.kill()
    site.router.run("nft", "delete", "table", "inet", "nvid")
    site.use(TO_SEVERAL_POOLS)
    assert seen(site, family) == before


def test_none_leaves_the_source_as_it_is(site: Site, family: Family) -> None:
    site.use(NONE_BEFORE_AN_ADDRESS)
    assert site.client.ask_tcp(family.host, TCP).address == family.client
    assert seen(site, family) == {family.pool(8)}


def test_an_excluded_destination_is_not_translated(site: Site, family: Family) -> None:
    site.use(NOT_TO_THE_SECOND_LAN)
    assert site.client.ask_tcp(family.host, TCP).address == family.client
    assert seen(site, family) == {family.pool(8)}


def test_protocol_port_and_ingress_limit_an_entry(site: Site, family: Family) -> None:
    site.use(LIMITED)
    assert site.client.ask_udp(family.server, UDP).address == family.pool(70)
    assert site.client.ask_tcp(family.server, TCP).address == family.pool(71)
    assert site.host.ask_tcp(family.server, SSH).address == family.pool(72)
    assert site.client.ask_tcp(family.server, SSH).address == family.pool(73)


def test_the_first_match_wins(site: Site, family: Family) -> None:
    site.use(FIRST_MATCH)
    assert site.client.ask_tcp(family.server, TCP).address == family.pool(80)
    assert site.second.ask_tcp(family.server, TCP).address == family.pool(81)


def test_to_a_named_uplink_leaves_by_it_though_another_is_preferred(
    site: Site, family: Family
) -> None:
    site.use(TO_ISP2)
    assert seen(site, family) == {family.wan1}
    assert site.client.ping(family.server)


def test_to_a_named_uplink_that_has_no_carrier_is_never_sent_by_another(
    site: Site, family: Family
) -> None:
    site.use(TO_ISP2)
    with site.without_carrier(site.isp2), pytest.raises(Unanswered):
        site.client.ask_tcp(family.server, TCP, timeout=1)
    assert seen(site, family) == {family.wan1}


class TestUplink:
    """`to = "uplink"`: the address of the uplink that the second lookup picks."""

    def test_is_the_preferred_one(self, site: Site, family: Family) -> None:
        site.use(SNAT_TO_UPLINK)
        assert seen(site, family) == {family.wan0}
        site.use(SNAT_TO_UPLINK, uplinks=ISP2_PREFERRED)
        assert seen(site, family) == {family.wan1}

    def test_is_the_next_one_while_the_preferred_one_has_no_carrier(
        self, site: Site, family: Family
    ) -> None:
        site.use(SNAT_TO_UPLINK)
        with site.without_carrier(site.isp1):
            assert seen(site, family) == {family.wan1}
        assert seen(site, family) == {family.wan0}

    def test_is_the_one_that_a_route_entry_names(self, site: Site, family: Family) -> None:
        site.use(f"""{SNAT_TO_UPLINK}
            [[nvi.nvi0.route]]
            destination = ["{family.server}"]
            via = "isp2"
        """)
        assert seen(site, family) == {family.wan1}

    def test_is_not_named_by_a_route_entry_with_a_source(self, site: Site, family: Family) -> None:
        """Its source is the translated one, which is not known before the uplink is."""
        site.use(f"""{SNAT_TO_UPLINK}
            [[nvi.nvi0.route]]
            source = ["203.0.113.1", "2001:db8:1::1"]
            via = "isp2"
        """)
        assert seen(site, family) == {family.wan0}

    def test_is_the_one_on_whose_segment_the_destination_is(
        self, site: Site, family: Family
    ) -> None:
        site.use(SNAT_TO_UPLINK)
        assert site.client.ping(family.gateways[1])
        assert site.client.ping(family.gateways[0])

    def test_is_the_one_that_a_more_precise_route_in_main_leads_to(
        self, site: Site, family: Family, precise_route: None
    ) -> None:
        site.use(SNAT_TO_UPLINK)
        assert seen(site, family) == {family.wan1}

    def test_replaces_the_uplink_when_its_address_changes(self, site: Site, family: Family) -> None:
        site.use(SNAT_TO_UPLINK)
        length = {4: 24, 6: 64}[family.version]
        new = {4: "203.0.113.77", 6: "2001:db8:1::77"}[family.version]
        site.router.ip("address", "delete", f"{family.wan0}/{length}", "dev", "wan0")
        site.router.address("wan0", f"{new}/{length}")
        try:
            wait_until(lambda: source_of_a_flow(site, family) == new, message="the new address")
        finally:
            site.router.ip("address", "delete", f"{new}/{length}", "dev", "wan0")
            site.router.address("wan0", f"{family.wan0}/{length}")
        wait_until(lambda: source_of_a_flow(site, family) == family.wan0, message="the old one")

    @pytest.fixture
    def precise_route(self, site: Site, family: Family) -> Iterator[None]:
        words = (f"{family.server}", "via", family.gateways[1])
        site.router.route(*words)
        yield
        site.router.ip(f"-{family.version}", "route", "delete", *words)


def test_both_families_are_translated_by_one_entry(site: Site) -> None:
    site.use(LAN_TO_POOL)
    assert seen(site, IPV4) | seen(site, IPV6) == {IPV4.pool(8), IPV6.pool(8)}
