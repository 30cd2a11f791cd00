"""What only NVIs that cross lo have: they share it with the machine's own traffic."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.lab import Unanswered, wait_until
from tests.path.entries import SNAT_TO_POOL
from tests.path.site import CLOSED, IPV4, TCP, UDP, Family, Site

FILTER = "tc filter delete dev lo egress preference 7700"
TTL = 64


@pytest.fixture
def backend() -> str:
    return "loopback"


@pytest.fixture(scope="module", autouse=True)
def service(ground: Site) -> None:
    """The router talks to itself."""
    ground.router.observe(tcp=[TCP], udp=[UDP])


@pytest.fixture
def alone(site: Site) -> Iterator[Site]:
    """The daemon is dead: nothing mends what happens."""
    site.use(SNAT_TO_POOL)
    assert site.client.ask_udp(IPV4.server, UDP).address == IPV4.pool(8)
    site.nvid.kill()
    yield site
    site.use(SNAT_TO_POOL)
    wait_until(lambda: site.nvid.status()["state"] == "healthy", message="a healthy nvid")


def sent_by_lo(site: Site) -> int:
    """Packets that the loopback device itself has sent: those that are redirected are not."""
    return int(site.router.run("cat", "/sys/class/net/lo/statistics/tx_packets").stdout)


def dropped(site: Site, reason: str) -> int:
    shown = site.router.run("nft", "list", "counter", "inet", "nvid", f"dropped_{reason}").stdout
    found = re.search(r"packets (\d+)", shown)
    assert found is not None
    return int(found[1])


def give_up(site: Site, destination: str) -> None:
    with pytest.raises(Unanswered):
        site.client.ask_udp(destination, UDP, timeout=0.3)


class TestTheMachinesOwnTraffic:
    @pytest.mark.parametrize("local", ["true", "false"])
    def test_is_as_it_was(self, site: Site, family: Family, local: str) -> None:
        site.use(SNAT_TO_POOL, keys=f"local = {local}")
        own = {4: "127.0.0.1", 6: "::1"}[family.version]
        for address in (own, *family.router):
            assert site.router.ask_tcp(address, TCP).address == address
            assert site.router.ask_udp(address, UDP, source=address).address == address
            with pytest.raises(Unanswered, match="refused"):
                site.router.ask_tcp(address, CLOSED)

    def test_is_not_redirected(self, site: Site, family: Family) -> None:
        """Whatever bits of the mark other programs use."""
        site.use(SNAT_TO_POOL, keys="local = true")
        site.router.nft(
            "table inet others { chain out { type route hook output priority -150;"
            ' oif "lo" meta mark set 0xff0000ff; }; }'
        )
        try:
            before = site.crossings() - sent_by_lo(site)
            assert site.router.ask_tcp(family.wan0, TCP).address == family.wan0
            assert site.crossings() - sent_by_lo(site) == before
        finally:
            site.router.run("nft", "delete", "table", "inet", "others")


def test_large_packets_cross(site: Site, family: Family) -> None:
    """Segments that no interface has cut yet, with checksums that none has filled in."""
    site.use(SNAT_TO_POOL, keys="local = true")
    for sender in (site.client, site.router):
        assert site.probe(sender, "bulk", TCP, family.server, "--octets", "400000") == ["400000"]


class TestWithoutTheRedirect:
    def test_a_packet_goes_once_and_is_dropped(self, alone: Site, family: Family) -> None:
        alone.router.run("sh", "-c", FILTER)
        before, counted = sent_by_lo(alone), dropped(alone, "not_redirected")
        give_up(alone, family.server)
        assert dropped(alone, "not_redirected") > counted
        assert sent_by_lo(alone) - before == dropped(alone, "not_redirected") - counted

    def test_nor_the_table(self, alone: Site, family: Family) -> None:
        """Pool addresses are routed into lo with or without the table."""
        alone.router.run("sh", "-c", f"{FILTER}; nft flush ruleset")
        before = sent_by_lo(alone)
        give_up(alone, family.server)
        assert sent_by_lo(alone) == before


def test_without_the_table_nothing_circles_for_ever(alone: Site, family: Family) -> None:
    """What goes to a pool address then has its route into lo, and keeps it."""
    alone.router.run("nft", "flush", "ruleset")
    before = sent_by_lo(alone)
    with pytest.raises(Unanswered):
        alone.server.ask_udp(family.pool(8), UDP, source=family.server, timeout=0.3)
    assert sent_by_lo(alone) - before <= TTL


def test_many_destinations_of_ipv6(site: Site) -> None:
    """Over lo each of them is a neighbour of its own to the kernel, which remembers 1024 of them
    (net.ipv6.neigh.default.gc_thresh3) and forgets them in time."""
    site.use(SNAT_TO_POOL)
    site.server.nft(
        "table inet counting { chain in { type filter hook prerouting priority 0;"
        " ip6 daddr 2001:db8:f:7::/64 ip6 saddr 2001:db8:100::8 counter drop; }; }"
    )
    script = (
        "import socket\n"
        "s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)\n"
        "[s.sendto(b'x', ('2001:db8:f:7::%x' % n, 9)) for n in range(1, 3001)]\n"
    )
    try:
        site.client.run("/usr/bin/python3", "-c", script)
        shown = site.server.run("nft", "list", "table", "inet", "counting").stdout
        assert "packets 3000 " in shown
    finally:
        site.server.run("nft", "delete", "table", "inet", "counting")
