"""reach: how neighbours find the addresses of a pool."""

from __future__ import annotations

import pytest

from tests.lab import Unanswered, wait_until
from tests.path.site import TCP, UDP, Family, Site

STATIC = """
[[nvi.nvi0.static]]
local = "10.1.0.2"
global = "203.0.113.10"

[[nvi.nvi0.static]]
local = "fd00:1::2"
global = "2001:db8:1::10"
"""
POOL = """
[[nvi.nvi0.snat]]
source = ["10.1.0.0/24", "fd00:1::/64"]
to = ["203.0.113.8/29", "2001:db8:1::8/125"]
"""
ELSEWHERE = """
[[nvi.nvi0.snat]]
source = ["10.1.0.0/24", "fd00:1::/64"]
to = ["198.51.100.8/29", "2001:db8:100::8/125"]
"""
ANNOUNCEMENTS = {4: "arp and arp[6:2] == 2 and host 203.0.113.10", 6: "icmp6 and ip6[40] == 136"}


@pytest.fixture
def path() -> str:
    return "first-packet"


@pytest.fixture(autouse=True)
def forgotten(site: Site) -> None:
    """The providers know no neighbour."""
    for isp in (site.isp1, site.isp2):
        isp.ip("neighbour", "flush", "all")


class TestArp:
    """`reach = ["arp"]`: the router answers for addresses inside an interface's own subnet."""

    def test_a_neighbour_reaches_a_static(self, site: Site, family: Family) -> None:
        site.use(STATIC, keys='reach = ["arp"]')
        assert site.isp1.ask_tcp(family.inside_wan0, TCP).address == family.gateways[0]
        assert site.isp1.ask_udp(family.inside_wan0, UDP).address == family.gateways[0]
        assert site.isp1.ping(family.inside_wan0)

    def test_the_world_behind_the_neighbour_reaches_a_static(
        self, site: Site, family: Family
    ) -> None:
        site.use(STATIC, keys='reach = ["arp"]')
        server = site.server
        assert server.ask_tcp(family.inside_wan0, TCP, source=family.server)
        assert server.ping(family.inside_wan0, source=family.server)

    def test_replies_to_a_pool_come_back(self, site: Site, family: Family) -> None:
        site.use(POOL, keys='reach = ["arp"]')
        start = {4: "203.0.113.", 6: "2001:db8:1::"}[family.version]
        seen = site.client.ask_tcp(family.server, TCP).address
        assert seen.startswith(start)
        assert seen != family.wan0

    def test_is_announced_when_it_appears(self, site: Site, family: Family) -> None:
        site.use(ELSEWHERE, keys='reach = ["arp"]')
        with site.capture(site.isp1, "wan", ANNOUNCEMENTS[family.version]) as seen:
            site.use(STATIC, keys='reach = ["arp"]')
            wait_until(
                lambda: [line for line in seen() if family.inside_wan0 in line],
                timeout=3,
                message="the announcement",
            )

    def test_only_its_own_segment_is_answered(self, site: Site, family: Family) -> None:
        """A pool of somewhere else has nothing to do with the neighbours."""
        site.use(ELSEWHERE, keys='reach = ["arp"]')
        assert proxied(site, family) == []

    def test_answers_end_with_the_translation(self, site: Site, family: Family) -> None:
        site.use(STATIC, keys='reach = ["arp"]')
        assert proxied(site, family) == [family.inside_wan0]
        site.use(ELSEWHERE, keys='reach = ["arp"]')
        assert proxied(site, family) == []


class TestRoute:
    """`reach = ["route"]`: a route in main, for routing daemons to export."""

    def test_is_in_main_with_the_protocol_of_nvid(self, site: Site, family: Family) -> None:
        site.use(ELSEWHERE, keys='reach = ["route"]')
        net = {4: "198.51.100.8/29", 6: "2001:db8:100::8/125"}[family.version]
        route = exported(site, family)
        assert route.startswith(f"{net} ")
        assert f" dev {'nvi0' if site.backend == 'veth' else 'lo'} " in route

    def test_goes_with_the_translation(self, site: Site, family: Family) -> None:
        site.use(ELSEWHERE, keys='reach = ["route"]')
        site.use(STATIC, keys='reach = ["route"]')
        assert {4: "198.51.100", 6: "2001:db8:100:"}[family.version] not in exported(site, family)

    def test_does_not_answer_neighbours(self, site: Site, family: Family) -> None:
        site.use(STATIC, keys='reach = ["route"]')
        assert proxied(site, family) == []


class TestNothing:
    """`reach = []`: somebody else takes care."""

    def test_a_neighbour_finds_nobody(self, site: Site, family: Family) -> None:
        site.use(STATIC, keys="reach = []")
        assert proxied(site, family) == []
        assert exported(site, family) == ""
        with pytest.raises(Unanswered):
            site.isp1.ask_tcp(family.inside_wan0, TCP, timeout=0.5)

    def test_a_route_of_somebody_else_is_enough(self, site: Site, family: Family) -> None:
        """The providers of this lab have routes to their pools."""
        site.use(
            """
            [[nvi.nvi0.static]]
            local = "10.1.0.2"
            global = "198.51.100.10"

            [[nvi.nvi0.static]]
            local = "fd00:1::2"
            global = "2001:db8:100::10"
            """,
            keys="reach = []",
        )
        assert site.server.ask_tcp(family.pool(10), TCP, source=family.server)


def proxied(site: Site, family: Family) -> list[str]:
    """The addresses for which the router answers on wan0."""
    listing = site.router.ip(f"-{family.version}", "neighbour", "show", "proxy", "dev", "wan0")
    return [line.split()[0] for line in listing.splitlines()]


def exported(site: Site, family: Family) -> str:
    return site.router.ip(f"-{family.version}", "route", "show", "table", "main", "proto", "77")
