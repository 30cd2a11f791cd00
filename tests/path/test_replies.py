"""Replies leave by the uplink that a flow came in by, whichever is preferred and whatever main
says. The providers drop what does not belong to them, so an answer proves it."""

from __future__ import annotations

import pytest

from tests.path.site import ISP1_PREFERRED, ISP2_PREFERRED, SNAT_TO_UPLINK, TCP, UDP, Family, Site

SERVICES = """
[[nvi.nvi0.static]]
local = "10.1.0.2"
global = "198.51.100.10"

[[nvi.nvi0.static]]
local = "fd00:1::2"
global = "2001:db8:100::10"

[[nvi.nvi0.static]]
local = "10.1.0.3"
global = "198.51.101.10"

[[nvi.nvi0.static]]
local = "fd00:1::3"
global = "2001:db8:101::10"

[[nvi.nvi0.dnat]]
destination = "203.0.113.1"
protocol = "tcp"
port = 8080
to = "10.2.0.2:80"

[[nvi.nvi0.dnat]]
destination = "192.0.2.1"
protocol = "tcp"
port = 8080
to = "10.2.0.2:80"

[[nvi.nvi0.dnat]]
destination = "2001:db8:1::1"
protocol = "tcp"
port = 8080
to = "[fd00:2::2]:80"

[[nvi.nvi0.dnat]]
destination = "2001:db8:2::1"
protocol = "tcp"
port = 8080
to = "[fd00:2::2]:80"
"""
SSH = 22


@pytest.fixture(scope="module")
def default_route() -> str:
    """What main says must not matter: it names one uplink, flows belong to both."""
    return "isp2"


@pytest.fixture(scope="module", autouse=True)
def ssh(ground: Site) -> None:
    """A service of the router itself."""
    ground.router.observe(tcp=[SSH], udp=[SSH])


@pytest.fixture(params=[ISP1_PREFERRED, ISP2_PREFERRED], ids=["isp1 preferred", "isp2 preferred"])
def serving(request: pytest.FixtureRequest, site: Site) -> Site:
    site.use(SERVICES + SNAT_TO_UPLINK, uplinks=request.param)
    return site


@pytest.mark.parametrize("provider", [0, 1], ids=["by isp1", "by isp2"])
class TestReplies:
    def test_of_a_static(self, serving: Site, family: Family, provider: int) -> None:
        address = (family.pool(10), family.pool2(10))[provider]
        server = serving.server
        assert server.ask_tcp(address, TCP, source=family.server).address == family.server
        assert server.ask_udp(address, UDP, source=family.server).address == family.server

    def test_of_a_dnat(self, serving: Site, family: Family, provider: int) -> None:
        address = family.router[2 + provider]
        seen = serving.server.ask_tcp(address, 8080, source=family.server)
        assert seen.address == family.server

    def test_of_a_service_on_the_router(self, serving: Site, family: Family, provider: int) -> None:
        address = family.router[2 + provider]
        server = serving.server
        assert server.ask_tcp(address, SSH, source=family.server).address == family.server
        assert server.ask_udp(address, SSH, source=family.server).address == family.server
        assert server.ping(address, source=family.server)

    def test_of_the_router_to_its_neighbour(
        self, serving: Site, family: Family, provider: int
    ) -> None:
        address = family.router[2 + provider]
        isp = (serving.isp1, serving.isp2)[provider]
        assert isp.ask_tcp(address, SSH).address == family.gateways[provider]
        assert isp.ping(address)


def test_the_router_answers_the_lan(serving: Site, family: Family) -> None:
    for address in family.router:
        assert serving.client.ask_tcp(address, SSH).address == family.client
        assert serving.client.ping(address)


@pytest.mark.parametrize("provider", [0, 1], ids=["by isp1", "by isp2"])
def test_a_long_flow_from_outside_stays_when_preference_changes(
    site: Site, family: Family, provider: int
) -> None:
    site.use(SERVICES)
    addresses = ((family.pool(10), family.pool2(10))[provider], family.router[2 + provider])
    flows = [
        site.server.long_flow(address, port, source=family.server)
        for address, port in zip(addresses, (TCP, SSH), strict=True)
    ]
    site.use(SERVICES, uplinks=ISP2_PREFERRED)
    for flow in flows:
        flow.wait_for_answers()
        assert not flow.stop().broken
