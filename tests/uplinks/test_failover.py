"""An uplink without carrier: new flows move at once, its flows end, all others do not notice.

With `rp_filter` as distributions set it: nothing (Debian 12), 2 (systemd's own), 1 (hardened ones).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest

from tests.lab import Lab, wait_until
from tests.path.entries import ELSEWHERE
from tests.path.site import (
    ISP1_PREFERRED,
    ISP2_PREFERRED,
    SNAT_TO_UPLINK,
    TCP,
    UDP,
    Family,
    Site,
)

STATIC = """
[[nvi.nvi0.static]]
local = "10.1.0.2"
global = "198.51.100.10"

[[nvi.nvi0.static]]
local = "fd00:1::2"
global = "2001:db8:100::10"

[[nvi.nvi0.dnat]]
destination = "uplink:isp2"
protocol = "tcp"
port = 80
to = "10.1.0.3"

[[nvi.nvi0.dnat]]
destination = "uplink:isp2"
protocol = "tcp"
port = 80
to = "fd00:1::3"

[[nvi.nvi0.route]]
source = ["198.51.100.0/24", "2001:db8:100::/48"]
via = "isp1"
"""
ONLY_BY_ISP1 = """
[[nvi.nvi0.route]]
destination = ["198.18.0.10", "2001:db8:f::10"]
via = "isp1"
"""
BY_EITHER = STATIC + SNAT_TO_UPLINK + ELSEWHERE
OTHER = {4: "198.18.0.11", 6: "2001:db8:f::11"}


@pytest.fixture(scope="module", params=["0", "1", "2"], ids=lambda each: f"rp_filter {each}")
def rp_filter(request: pytest.FixtureRequest) -> str:
    """The value of "all", of "default" and of each interface before nvid starts."""
    return str(request.param)


@pytest.fixture(scope="module")
def ground(lab: Lab, default_route: Literal["isp1", "isp2"] | None, rp_filter: str) -> Site:
    """The site with that rp_filter."""
    made = Site(lab, default_route)
    router = made.router
    for name in ("all", "default", *router.interfaces()):
        router.sysctl(f"net/ipv4/conf/{name}/rp_filter", rp_filter)
    made.server.address("lo", "198.18.0.11/32")
    made.server.address("lo", "2001:db8:f::11/128")
    made.observe_everywhere()
    return made


@pytest.fixture(scope="module")
def lab(rp_filter: str) -> Iterator[Lab]:
    """A lab for each."""
    with Lab() as made:
        yield made


class TestReversePaths:
    """Replies come in by what the main table would not have chosen."""

    @pytest.fixture(params=["veth", "loopback"])
    def backend(self, request: pytest.FixtureRequest) -> str:
        """What comes back out of lo is asked about like what comes out of a peer."""
        found: str = request.param
        return found

    @pytest.mark.parametrize("uplinks", [ISP1_PREFERRED, ISP2_PREFERRED], ids=["isp1", "isp2"])
    def test_outwards_by_either_uplink(self, site: Site, family: Family, uplinks: str) -> None:
        site.use(STATIC + SNAT_TO_UPLINK, uplinks=uplinks)
        expected = family.wan0 if uplinks is ISP1_PREFERRED else family.wan1
        assert site.second.ask_tcp(family.server, TCP).address == expected
        assert site.second.ask_udp(family.server, UDP).address == expected
        assert site.second.ping(family.server)

    @pytest.mark.parametrize("uplinks", [ISP1_PREFERRED, ISP2_PREFERRED], ids=["isp1", "isp2"])
    def test_inwards_by_either_uplink(self, site: Site, family: Family, uplinks: str) -> None:
        site.use(STATIC + SNAT_TO_UPLINK, uplinks=uplinks)
        for address in (family.pool(10), family.wan1):
            assert site.server.ask_tcp(address, TCP, source=family.server).address == family.server

    def test_every_packet_through_the_pair(self, site: Site, family: Family) -> None:
        site.path = "every-packet"
        site.use(STATIC + SNAT_TO_UPLINK)
        assert site.client.ask_tcp(family.server, TCP).address == family.pool(10)
        assert site.second.ping(family.server)


class TestWithoutCarrier:
    def test_new_flows_move_and_come_back(self, site: Site, family: Family) -> None:
        site.use(BY_EITHER)
        assert site.second.ask_tcp(family.server, TCP).address == family.wan0
        with site.without_carrier(site.isp1):
            assert site.second.ask_tcp(family.server, TCP).address == family.wan1
            assert site.second.ask_udp(family.server, UDP).address == family.wan1
        assert site.second.ask_tcp(family.server, TCP).address == family.wan0

    def test_its_flows_end_and_no_others(self, site: Site, family: Family) -> None:
        site.use(BY_EITHER)
        tcp = site.second.long_flow(family.server, TCP)
        udp = site.second.long_flow(family.server, UDP, "udp")
        came_in = site.server.long_flow(family.pool(10), TCP, source=family.server)
        healthy = site.second.long_flow(OTHER[family.version], TCP)
        healthy_in = site.server.long_flow(family.wan1, TCP, source=OTHER[family.version])
        with site.without_carrier(site.isp1):
            wait_until(lambda: tcp.report().errors, message="the end of the connection")
            udp.wait_for_answers()
            wait_until(lambda: not came(site, family), message="the end of what came in by isp1")
        udp.wait_for_answers()
        sources = [each.address for each in udp.stop().sources]
        assert sources == [family.wan0, family.wan1], "recovery moves nothing that lives"
        came_in.stop()
        for flow in (healthy, healthy_in):
            flow.wait_for_answers()
            report = flow.stop()
            assert not report.broken
            assert report.longest_gap < 1

    def test_what_can_leave_by_it_alone_stays(self, site: Site, family: Family) -> None:
        """By an entry that names one uplink; when the entry names another one too, it ends."""
        site.use(SNAT_TO_UPLINK + ONLY_BY_ISP1)
        flow = site.second.long_flow(family.server, TCP)
        beside = site.second.long_flow(OTHER[family.version], UDP, "udp")
        with site.without_carrier(site.isp1):
            wait_until(
                lambda: beside.report().sources[-1].address == family.wan1,
                message="the flow that has another way",
            )
        flow.wait_for_answers()
        assert not flow.stop().broken
        flow = site.second.long_flow(family.server, UDP, "udp")
        with site.without_carrier(site.isp1):
            site.use(SNAT_TO_UPLINK + ONLY_BY_ISP1.replace('"isp1"', '["isp1", "isp2"]'))
            wait_until(
                lambda: flow.report().sources[-1].address == family.wan1,
                message="the flow that another entry gives a way",
            )
        for each in (flow, beside):
            each.stop()

    def test_while_nothing_else_is_up_flows_stay(self, site: Site, family: Family) -> None:
        only = ISP1_PREFERRED.partition("[uplink.isp2]")[0]
        site.use(SNAT_TO_UPLINK, uplinks=only)
        flow = site.second.long_flow(family.server, TCP)
        with site.without_carrier(site.isp1):
            pass
        flow.wait_for_answers()
        assert not flow.stop().broken

    def test_the_second_one_too(self, site: Site, family: Family) -> None:
        """When the second uplink comes up while the first is down, the flows of the first end."""
        site.use(SNAT_TO_UPLINK)
        with site.without_carrier(site.isp2):
            flow = site.second.long_flow(family.server, UDP, "udp")
            site.isp1.ip("link", "set", "wan", "down")
            site.wait_for_uplink("isp1", "down")
            assert flow.report().sources[0].address == family.wan0
        flow.wait_for_answers()
        assert [each.address for each in flow.stop().sources] == [family.wan0, family.wan1]
        with site.without_carrier(site.isp1):
            pass


def came(site: Site, family: Family) -> bool:
    """Whether there is a flow from the server to the pool. (What the other end sends again is a
    flow of its own, outwards.)"""
    lines = [line.split() for line in site.nvid.command("translations").stdout.splitlines()]
    return any(family.server in words[1] and family.pool(10) in words[3] for words in lines)
