"""Flows of the machine itself: `local = true` offers them to the NVI, `local = false` does not."""

from __future__ import annotations

import pytest

from tests.lab import exchange
from tests.path.entries import DNAT
from tests.path.site import ISP1_PREFERRED, ISP2_PREFERRED, TCP, UDP, Family, Site

OWN = """
[[nvi.nvi0.snat]]
source = ["203.0.113.1", "192.0.2.1", "2001:db8:1::1", "2001:db8:2::1"]
to = ["198.51.100.8", "2001:db8:100::8"]
"""
LAN_ONLY = """
[[nvi.nvi0.snat]]
source = ["10.0.0.0/8", "fd00::/16"]
destination = ["!10.0.0.0/8", "!fd00::/16"]
to = "uplink"
"""
EITHER = pytest.mark.parametrize(
    "uplinks", [ISP1_PREFERRED, ISP2_PREFERRED], ids=["isp1 preferred", "isp2 preferred"]
)


@pytest.fixture(scope="module")
def default_route() -> str:
    """What main says must not matter: it names one uplink, flows belong to both."""
    return "isp2"


class TestOffered:
    """`local = true`."""

    @EITHER
    def test_leave_by_the_uplink_whose_address_they_are_bound_to(
        self, site: Site, family: Family, uplinks: str
    ) -> None:
        site.use(LAN_ONLY, uplinks=uplinks, keys="local = true")
        for address in (family.wan0, family.wan1):
            assert site.router.ask_tcp(family.server, TCP, source=address).address == address
            assert site.router.ask_udp(family.server, UDP, source=address).address == address
            assert site.router.ping(family.server, source=address)

    @EITHER
    def test_are_answered_when_bound_to_nothing(
        self, site: Site, family: Family, uplinks: str
    ) -> None:
        site.use(LAN_ONLY, uplinks=uplinks, keys="local = true")
        own = {family.wan0, family.wan1}
        assert site.router.ask_tcp(family.server, TCP).address in own
        assert site.router.ask_udp(family.server, UDP).address in own
        assert site.router.ping(family.server)

    def test_are_translated_like_others(self, site: Site, family: Family) -> None:
        site.use(OWN, keys="local = true")
        assert site.router.ask_tcp(family.server, TCP).address == family.pool(8)
        assert site.router.ask_udp(family.server, UDP).address == family.pool(8)
        assert site.router.ping(family.server)

    def test_bound_to_the_lan_address_are_translated(self, site: Site, family: Family) -> None:
        site.use(LAN_ONLY, keys="local = true")
        lan = family.router[0]
        assert site.router.ask_tcp(family.server, TCP, source=lan).address == family.wan0
        assert site.router.ping(family.server, source=lan)

    def test_reach_what_dnat_leads_to(self, site: Site, family: Family) -> None:
        site.use(DNAT, keys="local = true")
        found = exchange(site.router, "tcp", family.pool(30), TCP)
        assert found.answered_by == (family.client, TCP)
        assert found.seen.address in family.router
        assert site.router.ping(family.pool(30))

    def test_long_flows_stay(self, site: Site, family: Family) -> None:
        site.use(LAN_ONLY, keys="local = true")
        flow = site.router.long_flow(family.server, TCP, source=family.wan1)
        flow.wait_for_answers()
        site.use(LAN_ONLY + DNAT, keys="local = true")
        flow.wait_for_answers()
        assert not flow.stop().broken

    def test_reach_the_lan_as_without_nvid(self, site: Site, family: Family) -> None:
        site.use(LAN_ONLY, keys="local = true")
        assert site.router.ask_tcp(family.client, TCP).address == family.router[0]
        assert site.router.ask_tcp(family.host, TCP).address == family.router[1]
        assert site.router.ping(family.gateways[0])
        assert site.router.ping(family.gateways[1])

    def test_reach_the_machine_itself(self, site: Site, family: Family) -> None:
        site.use(LAN_ONLY, keys="local = true")
        for address in (*family.router, {4: "127.0.0.1", 6: "::1"}[family.version]):
            assert site.router.ping(address)


def test_what_is_not_offered_is_left_alone(site: Site, family: Family) -> None:
    """It leaves as main says, untranslated."""
    site.use(OWN, keys="local = false")
    assert site.router.ask_tcp(family.server, TCP).address == family.wan1
    assert site.router.ping(family.gateways[0])
    assert site.router.ping(family.gateways[1])
