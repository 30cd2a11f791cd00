"""`gateway = "auto"`: an uplink follows what DHCP and router advertisements say, both families."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import wait_until
from tests.path.site import IPV4, IPV6, SNAT_TO_UPLINK, TCP, UDP, Family, Site
from tests.uplinks.providers import Advertiser, DhcpClient, DhcpServer, addresses

AUTO = """
[uplink.isp1]
interface = "wan0"
gateway = "auto"
priority = 10

[uplink.isp2]
interface = "wan1"
gateway = "auto"
priority = 20
"""
ISP2_FIRST = AUTO.replace("priority = 20", "priority = 5")
LEASED = ("203.0.113.50", "192.0.2.50")
PREFIXES = ("2001:db8:1::/64", "2001:db8:2::/64")
RENUMBERED = "2001:db8:100:1::/64"
"""Of isp1's pool, so that the rest of the network knows the way."""


@pytest.fixture(scope="module")
def servers(ground: Site) -> tuple[DhcpServer, DhcpServer]:
    """What gives addresses."""
    return DhcpServer(ground.isp1), DhcpServer(ground.isp2)


@pytest.fixture(scope="module")
def clients(ground: Site) -> tuple[DhcpClient, DhcpClient]:
    """What asks for them."""
    return DhcpClient(ground.router, "wan0", 100), DhcpClient(ground.router, "wan1", 200)


@pytest.fixture(scope="module")
def advertisers(
    ground: Site,
    servers: tuple[DhcpServer, DhcpServer],
    clients: tuple[DhcpClient, DhcpClient],
) -> tuple[Advertiser, Advertiser]:
    """Nothing on the two uplinks but what the providers say; the daemon is there before them."""
    router = ground.router
    for interface in ("wan0", "wan1"):
        router.ip("address", "flush", "dev", interface, "scope", "global")
    ground.use(SNAT_TO_UPLINK, uplinks=AUTO)
    made = (Advertiser(ground.isp1), Advertiser(ground.isp2))
    for advertiser, prefix in zip(made, PREFIXES, strict=True):
        advertiser.advertise(prefix)
    for server, leased, gateway in zip(servers, LEASED, IPV4.gateways, strict=True):
        server.serve(leased, gateway)
    for client in clients:
        client.start()
    return made


@pytest.fixture(autouse=True)
def configured(site: Site, advertisers: tuple[Advertiser, Advertiser]) -> None:
    """Both uplinks with addresses and gateways of both families."""
    site.use(SNAT_TO_UPLINK, uplinks=AUTO)
    for name in ("isp1", "isp2"):
        wait_until(lambda name=name: len(gateways(site, name)) == 2, timeout=20)  # type: ignore[misc]


def gateways(site: Site, name: str) -> list[str]:
    uplinks = site.nvid.status()["uplinks"]
    assert isinstance(uplinks, list)
    (found,) = (each["gateway"] for each in uplinks if each["name"] == name)
    return list(found)


def own(site: Site, family: Family, interface: str) -> str:
    """The router's address there now."""
    return next(iter(addresses(site.router, interface, family.version)), "")


def seen(site: Site, family: Family) -> str:
    return site.client.ask_tcp(family.server, TCP).address


def test_addresses_and_gateways_are_those_that_the_provider_gave(
    site: Site, family: Family
) -> None:
    assert seen(site, family) == own(site, family, "wan0")
    assert site.client.ping(family.server)
    assert site.client.ask_udp(family.server, UDP).address == own(site, family, "wan0")


def test_each_uplink_keeps_its_own_gateway(site: Site, family: Family) -> None:
    site.use(SNAT_TO_UPLINK, uplinks=ISP2_FIRST)
    assert seen(site, family) == own(site, family, "wan1")
    first, second = gateways(site, "isp1"), gateways(site, "isp2")
    assert first[0] == IPV4.gateways[0]
    assert second[0] == IPV4.gateways[1]
    assert all(each[1].startswith("fe80::") for each in (first, second))
    assert first[1] != second[1]


@pytest.fixture
def renumbered(site: Site, advertisers: tuple[Advertiser, Advertiser]) -> Iterator[None]:
    """isp1 announces another prefix, and deprecates the one before."""
    before = own(site, IPV6, "wan0")
    site.isp1.address("wan", "2001:db8:100:1::fe/64")
    advertisers[0].advertise(RENUMBERED, PREFIXES[0])
    wait_until(lambda: own(site, IPV6, "wan0") != before, message="an address of the new prefix")
    yield
    site.isp1.ip("address", "delete", "2001:db8:100:1::fe/64", "dev", "wan")
    advertisers[0].advertise(PREFIXES[0])
    for address in addresses(site.router, "wan0", 6):
        if address.startswith("2001:db8:100:1:"):
            site.router.ip("address", "delete", f"{address}/64", "dev", "wan0")
    wait_until(lambda: own(site, IPV6, "wan0") == before, message="the first prefix again")


def test_another_prefix_is_followed_and_living_flows_stay(site: Site, renumbered: None) -> None:
    wait_until(lambda: seen(site, IPV6) == own(site, IPV6, "wan0"), message="the new address")
    assert own(site, IPV6, "wan0").startswith("2001:db8:100:1:")


def test_a_flow_of_a_deprecated_prefix_goes_on_until_its_address_is_gone(
    site: Site, advertisers: tuple[Advertiser, Advertiser], request: pytest.FixtureRequest
) -> None:
    before = own(site, IPV6, "wan0")
    flow = site.client.long_flow(IPV6.server, TCP)
    stays = site.client.long_flow(IPV4.server, TCP)
    request.getfixturevalue("renumbered")
    wait_until(lambda: seen(site, IPV6) == own(site, IPV6, "wan0"), message="the new address")
    flow.wait_for_answers()
    site.router.ip("address", "delete", f"{before}/64", "dev", "wan0")
    wait_until(lambda: before not in translated(site), message="its flows are ended")
    assert flow.stop().broken
    stays.wait_for_answers()
    assert not stays.stop().broken
    assert site.client.ask_tcp(IPV6.server, TCP).address != before


def translated(site: Site) -> set[str]:
    """The sources that flows are seen from. (The far end of a flow that was ended sends again; that
    is a flow of its own, which nothing translates.)"""
    lines = [line.split() for line in site.nvid.command("translations").stdout.splitlines()]
    sources = [(words[1], words[words.index("=>") + 1]) for words in lines]
    return {after.rpartition(":")[0].strip("[]") for before, after in sources if before != after}


class TestALease:
    """DHCP."""

    def test_another_address_and_gateway_are_followed(
        self,
        site: Site,
        servers: tuple[DhcpServer, DhcpServer],
        clients: tuple[DhcpClient, DhcpClient],
    ) -> None:
        """The flows of the address before can never work again; all others do not notice."""
        udp = site.client.long_flow(IPV4.server, UDP, "udp")
        tcp = site.client.long_flow(IPV4.server, TCP)
        stays = site.client.long_flow(IPV6.server, TCP)
        clients[0].stop()
        site.isp1.address("wan", "198.51.100.254/25")
        servers[0].serve("198.51.100.150", "198.51.100.254")
        clients[0].start()
        wait_until(lambda: gateways(site, "isp1")[0] == "198.51.100.254")
        wait_until(lambda: LEASED[0] not in translated(site), message="its flows are ended")
        assert seen(site, IPV4) == "198.51.100.150"
        # What begins anew by itself, does.
        udp.wait_for_answers()
        assert LEASED[0] not in {each.address for each in udp.stop().sources[-1:]}
        assert tcp.stop().broken
        stays.wait_for_answers()
        assert not stays.stop().broken
        clients[0].stop()
        site.isp1.ip("address", "delete", "198.51.100.254/25", "dev", "wan")
        servers[0].serve(LEASED[0], IPV4.gateways[0])
        clients[0].start()

    def test_without_a_route_the_uplink_is_down_and_the_other_one_takes_over(
        self, site: Site
    ) -> None:
        stays = site.client.long_flow(IPV6.server, TCP)
        site.router.ip("-4", "route", "delete", "default", "dev", "wan0")
        wait_until(lambda: seen(site, IPV4) == LEASED[1], message="isp2")
        assert seen(site, IPV6) == own(site, IPV6, "wan0")
        site.router.ip(
            "-4", "route", "add", "default", "via", IPV4.gateways[0], "dev", "wan0", "metric", "100"
        )
        wait_until(lambda: seen(site, IPV4) == LEASED[0], message="isp1 again")
        stays.wait_for_answers()
        assert not stays.stop().broken


def test_a_router_that_says_goodbye_is_followed(
    site: Site, advertisers: tuple[Advertiser, Advertiser]
) -> None:
    """Its last advertisement has a lifetime of 0; IPv4 is none of its business."""
    stays = site.client.long_flow(IPV4.server, TCP)
    advertisers[0].stop()
    wait_until(lambda: seen(site, IPV6) == own(site, IPV6, "wan1"), message="isp2")
    assert seen(site, IPV4) == LEASED[0]
    advertisers[0].advertise(PREFIXES[0])
    wait_until(lambda: seen(site, IPV6) == own(site, IPV6, "wan0"), message="isp1 again")
    stays.wait_for_answers()
    assert not stays.stop().broken


def test_numbers_of_lanes_survive_the_loss_of_the_state(site: Site) -> None:
    flow = site.client.long_flow(IPV4.server, TCP)
    site.nvid.kill()
    (site.nvid.state_directory / "state.json").unlink()
    site.nvid.start()
    flow.wait_for_answers()
    assert not flow.stop().broken
    assert site.nvid.command("plan", check=False).returncode == 0
