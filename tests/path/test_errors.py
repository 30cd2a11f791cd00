"""Errors about translated packets reach whoever sent the packet, as if nothing was translated."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.lab import Unanswered
from tests.path.entries import LAN_TO_POOL, LAN_TO_RANGE, STATIC, STATIC_PREFIX
from tests.path.site import CLOSED, SNAT_TO_UPLINK, TCP, UDP, Family, Site

DNAT = """
[[nvi.nvi0.dnat]]
destination = "198.51.100.30"
protocol = ["tcp", "udp"]
port = 8000
to = "10.1.0.2:9"

[[nvi.nvi0.dnat]]
destination = "2001:db8:100::30"
protocol = ["tcp", "udp"]
port = 8000
to = "[fd00:1::2]:9"
"""
FROM_INSIDE = {
    "snat to an uplink": SNAT_TO_UPLINK,
    "snat to a pool": LAN_TO_POOL,
    "static": STATIC,
    "static prefix": STATIC_PREFIX,
}
TRANSLATED = pytest.mark.parametrize("entries", FROM_INSIDE.values(), ids=FROM_INSIDE)
PLAIN_AND_PREFIX = pytest.mark.parametrize(
    "entries", [SNAT_TO_UPLINK, STATIC_PREFIX], ids=["snat to an uplink", "static prefix"]
)
ROUTER_MTU, ISP_MTU = 1300, 1400


@pytest.fixture(scope="module")
def default_route() -> str:
    """Main leads elsewhere than the preferred uplink: an error must not leave by what main says,
    nor take its source address from there."""
    return "isp2"


@TRANSLATED
def test_port_unreachable_comes_back_from_the_server(
    site: Site, family: Family, entries: str
) -> None:
    site.use(entries)
    with pytest.raises(Unanswered, match="refused"):
        site.client.ask_udp(family.server, CLOSED)


@TRANSLATED
def test_an_unreachable_destination_is_reported_by_the_provider(
    site: Site, family: Family, entries: str
) -> None:
    """isp1 has a prohibiting route there."""
    nowhere = {4: "198.18.7.7", 6: "2001:db8:f:7::7"}[family.version]
    site.isp1.ip(f"-{family.version}", "route", "replace", "prohibit", nowhere)
    site.use(entries)
    # TCP asks again: the kernel gives an address five such errors, then one in a second, which no
    # namespace can change (ip_error in net/ipv4/route.c).
    with pytest.raises(Unanswered, match=r"No route to host|Permission denied"):
        site.client.ask_tcp(nowhere, TCP)


def test_port_unreachable_goes_out_from_a_static_host(site: Site, family: Family) -> None:
    site.use(STATIC)
    with pytest.raises(Unanswered, match="refused"):
        site.server.ask_udp(family.pool(10), CLOSED, source=family.server)


def test_port_unreachable_goes_out_from_behind_dnat(site: Site, family: Family) -> None:
    """The inner packet has another address and another port than the one that was sent."""
    site.use(DNAT)
    with pytest.raises(Unanswered, match="refused"):
        site.server.ask_udp(family.pool(30), 8000, source=family.server)


class TestTraceroute:
    """Every hop answers; the router is seen under one of its own addresses."""

    @TRANSLATED
    def test_of_new_flows(self, site: Site, family: Family, entries: str) -> None:
        """Each probe is a new flow: the first two expire at the router, in front of the pair and
        behind it."""
        site.use(entries)
        assert_path(family, site.probe(site.client, "hops", UDP, family.server), router=2)

    @TRANSLATED
    def test_of_one_flow(self, site: Site, family: Family, entries: str) -> None:
        """Of an established flow only every-packet has packets on the pair."""
        site.use(entries)
        found = site.probe(site.client, "hops", UDP, family.server, "--one-flow")
        assert_path(family, found, router={"first-packet": 1, "every-packet": 2}[site.path])

    def test_from_outside(self, site: Site, family: Family) -> None:
        """The kernel's NAT shows errors about a translated destination as coming from there."""
        site.use(STATIC)
        found = site.probe(site.server, "hops", UDP, family.pool(10), "--source", family.server)
        assert found[-1] == "arrived"
        assert set(found[1:-1]) <= {*family.router, family.pool(10)}

    def test_by_icmp(self, site: Site, family: Family) -> None:
        site.use(LAN_TO_POOL)
        for limit in ("1", "2"):
            done = site.client.run(
                *("ping", "-n", "-c", "1", "-W", "1", "-t", limit, family.server), check=False
            )
            assert "exceeded" in done.stdout
            assert any(f"From {address} " in done.stdout for address in family.router)


def assert_path(family: Family, found: list[str], router: int) -> None:
    assert "*" not in found, found
    assert set(found[:router]) <= set(family.router), found
    assert found[router:] == [family.gateways[0], "arrived"], found


@pytest.fixture(params=["the router's link is narrow", "a provider's link is narrow"])
def narrow(request: pytest.FixtureRequest, site: Site) -> Iterator[int]:
    """The MTU of the path; who has to say so is one or the other."""
    if request.param.startswith("the router"):
        mtu, wires = ROUTER_MTU, [(site.router, "wan0"), (site.isp1, "wan")]
    else:
        mtu, wires = ISP_MTU, [(site.isp1, "core"), (site.server, "isp1")]
    with site.narrowed(mtu, *wires):
        yield mtu


class TestPathMtu:
    """RFC 1191 and RFC 8201 through translation."""

    @PLAIN_AND_PREFIX
    def test_is_found_by_datagrams(
        self, site: Site, family: Family, entries: str, narrow: int
    ) -> None:
        site.use(entries)
        assert site.probe(site.client, "largest", UDP, family.server) == [str(narrow)]

    @PLAIN_AND_PREFIX
    def test_is_found_by_tcp(self, site: Site, family: Family, entries: str, narrow: int) -> None:
        assert narrow
        site.use(entries)
        assert site.probe(site.client, "bulk", TCP, family.server) == ["400000"]

    def test_is_found_from_outside(self, site: Site, family: Family, narrow: int) -> None:
        site.use(STATIC)
        arguments = (UDP, family.pool(10), "--source", family.server)
        assert site.probe(site.server, "largest", *arguments) == [str(narrow)]


@pytest.mark.parametrize("entries", [SNAT_TO_UPLINK, STATIC], ids=["snat", "static"])
def test_fragments_pass(site: Site, family: Family, entries: str) -> None:
    site.use(entries)
    assert site.client.ping(family.server, count=3, size=4000)


def test_fragments_pass_from_outside(site: Site, family: Family) -> None:
    site.use(STATIC)
    assert site.server.ping(family.pool(10), count=3, size=4000, source=family.server)


def test_fragments_pass_a_narrow_link(site: Site, family: Family, narrow: int) -> None:
    """IPv4 fragments once more on the way; IPv6 senders are told (RFC 8200, section 5): first the
    client, then the server."""
    site.use(LAN_TO_POOL)
    if family.version == 6:
        for _ in ("towards the server", "back"):
            site.client.ping(family.server, size=4000, timeout=1)
    assert narrow
    assert site.client.ping(family.server, count=2, size=4000)


REACH = pytest.mark.parametrize("reach", ["[]", '["arp", "route"]'], ids=["no reach", "reach"])


class TestUnusedPoolAddress:
    """An address of a pool that no flow uses is unreachable, and nothing circles."""

    @REACH
    def test_from_outside(self, site: Site, family: Family, reach: str) -> None:
        site.use(LAN_TO_RANGE, keys=f"reach = {reach}")
        with unreachable(site):
            site.server.ask_tcp(family.pool(12), TCP, source=family.server)

    @REACH
    def test_from_the_lan(self, site: Site, family: Family, reach: str) -> None:
        site.use(LAN_TO_RANGE, keys=f"reach = {reach}")
        with unreachable(site):
            site.client.ask_tcp(family.pool(12), TCP)

    def test_inside_the_routers_own_subnet(self, site: Site, family: Family) -> None:
        site.use(
            """
            [[nvi.nvi0.snat]]
            source = ["10.1.0.0/24", "fd00:1::/64"]
            to = ["203.0.113.8/29", "2001:db8:1::10/124"]
            """,
            keys='reach = ["arp"]',
        )
        with unreachable(site):
            site.server.ask_tcp(family.inside_wan0, TCP, source=family.server, timeout=8)

    def test_from_an_interface_that_is_not_nat_enabled(self, site: Site, family: Family) -> None:
        """Nor does a static or dnat address take part in translation there."""
        site.use(STATIC, interfaces=("lan0", "wan0", "wan1"))
        site.router.sysctl("net.ipv4.conf.dmz0.forwarding", 1)
        with unreachable(site):
            site.host.ask_tcp(family.pool(10), TCP)


@contextlib.contextmanager
def unreachable(site: Site) -> Iterator[None]:
    before = site.crossings()
    with pytest.raises(Unanswered, match="No route to host"):
        yield
    # At most one packet for each attempt of TCP to connect, and the error about it.
    assert site.crossings() - before <= 6
