"""A router whose main table has no default route at all: only nvid knows the way out."""

from __future__ import annotations

import pytest

from tests.lab import Unanswered
from tests.path.entries import LAN_TO_RANGE, STATIC
from tests.path.site import SNAT_TO_UPLINK, TCP, UDP, Family, Site

SSH = 22


@pytest.fixture(scope="module", autouse=True)
def ssh(ground: Site) -> None:
    """A service of the router itself."""
    ground.router.observe(tcp=[SSH], udp=[SSH])


@pytest.mark.parametrize("provider", [0, 1], ids=["by isp1", "by isp2"])
def test_a_service_of_the_router_is_answered(site: Site, family: Family, provider: int) -> None:
    site.use(SNAT_TO_UPLINK)
    address = family.router[2 + provider]
    for ask, port in ((site.server.ask_tcp, SSH), (site.server.ask_udp, SSH)):
        assert ask(address, port, source=family.server).address == family.server
    assert site.server.ping(address, source=family.server)


def test_errors_of_the_router_go_out(site: Site, family: Family) -> None:
    site.use(STATIC)
    found = site.probe(
        site.server, "hops", UDP, family.pool(10), "--source", family.server, "--limit", "3"
    )
    assert set(found[1:]) <= {*family.router, family.pool(10)}


def test_an_unused_pool_address_is_unreachable(site: Site, family: Family) -> None:
    site.use(LAN_TO_RANGE)
    with pytest.raises(Unanswered, match="No route to host"):
        site.server.ask_tcp(family.pool(12), TCP, source=family.server, timeout=8)


class TestFlowsOfTheMachineItself:
    """`local = true`."""

    def test_bound_to_an_uplinks_address(self, site: Site, family: Family) -> None:
        site.use(SNAT_TO_UPLINK, keys="local = true")
        for address in (family.wan0, family.wan1):
            assert site.router.ask_tcp(family.server, TCP, source=address).address == address

    def test_bound_to_nothing(self, site: Site, family: Family) -> None:
        site.use(SNAT_TO_UPLINK, keys="local = true")
        assert site.router.ask_tcp(family.server, TCP).address in {family.wan0, family.wan1}
        assert site.router.ping(family.server)
