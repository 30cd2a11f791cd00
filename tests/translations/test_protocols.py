"""Protocols without ports, or with ports that NAT leaves alone, pass by address alone; the rules
are in docs/nat-behaviour.md."""

from __future__ import annotations

import pytest

from tests.lab import wait_until
from tests.path.entries import STATIC
from tests.path.site import SNAT_TO_UPLINK, Family, Site
from tests.translations.actors import PROBES

DNAT_AND_SNAT = """
[[nvi.nvi0.dnat]]
destination = "198.51.100.10"
to = "10.1.0.2"

[[nvi.nvi0.dnat]]
destination = "2001:db8:100::10"
to = "fd00:1::2"

[[nvi.nvi0.snat]]
source = ["10.0.0.0/8", "fd00::/16"]
to = ["198.51.100.10", "2001:db8:100::10"]
"""


@pytest.fixture
def path() -> str:
    """The rules of translations are the same for both paths."""
    return "first-packet"


PREFIX = """
[[nvi.nvi0.static]]
local = "10.1.0.0/24"
global = "198.51.100.0/24"

[[nvi.nvi0.static]]
local = "fd00:1::/64"
global = "2001:db8:100::/64"
"""
POOL = """
[[nvi.nvi0.snat]]
source = ["10.0.0.0/8", "fd00::/16"]
to = ["198.51.100.10", "2001:db8:100::10"]
"""
SCTP_PORTS = """
[[nvi.nvi0.static]]
local = "10.1.0.2"
global = "198.51.100.10"
protocol = "sctp"
local_port = 6000
global_port = 5000

[[nvi.nvi0.static]]
local = "fd00:1::2"
global = "2001:db8:100::10"
protocol = "sctp"
local_port = 6000
global_port = 5000
"""
SCTP_DNAT = """
[[nvi.nvi0.dnat]]
destination = "198.51.100.10"
protocol = "sctp"
port = 5000
to = "10.1.0.2:6000"

[[nvi.nvi0.dnat]]
destination = "2001:db8:100::10"
protocol = "sctp"
port = 5000
to = "[fd00:1::2]:6000"
"""
NUMBERS = {"gre": 47, "esp": 50, "sctp": 132}


def seen_between(family: Family, protocol: str, source: str, destination: str) -> str:
    """What tcpdump is to look for."""
    ip = {4: "ip", 6: "ip6"}[family.version]
    return f"{ip} proto {NUMBERS[protocol]} and src host {source} and dst host {destination}"


def passes_inwards(site: Site, family: Family, protocol: str, outside: str) -> None:
    """From the server to the client."""
    wanted = seen_between(family, protocol, family.server, family.client)
    with site.capture(site.client, "eth0", wanted) as seen:
        site.server.run(*PROBES, "crafted", protocol, outside, family.server)
        wait_until(seen, message=f"{protocol} at the client")


def passes_outwards(site: Site, family: Family, protocol: str, outside: str) -> None:
    """From the client to the server."""
    wanted = seen_between(family, protocol, outside, family.server)
    with site.capture(site.server, "isp1", wanted) as seen:
        site.client.run(*PROBES, "crafted", protocol, family.server, family.client)
        wait_until(seen, message=f"{protocol} at the server")


@pytest.mark.parametrize("protocol", NUMBERS)
@pytest.mark.parametrize(
    ("entries", "number"),
    [(STATIC, 10), (DNAT_AND_SNAT, 10), (PREFIX, 2)],
    ids=["static", "dnat and snat", "static prefix"],
)
def test_passes_both_ways(
    site: Site, family: Family, entries: str, number: int, protocol: str
) -> None:
    site.use(entries)
    site.nvid.command("clear", "--nvi", "nvi0")
    passes_inwards(site, family, protocol, family.pool(number))
    # The reply of that flow would pass in any case; this one is new.
    site.nvid.command("clear", "--nvi", "nvi0")
    passes_outwards(site, family, protocol, family.pool(number))


@pytest.mark.parametrize("protocol", ["gre", "esp"])
@pytest.mark.parametrize("to", ["a pool", "a pool and ports", "the uplink"])
def test_an_answer_finds_its_way(site: Site, family: Family, to: str, protocol: str) -> None:
    """Ports of an entry do not concern what has none."""
    entries = {
        "a pool": POOL,
        "a pool and ports": f'{POOL}ports = "20000-20999"\n',
        "the uplink": SNAT_TO_UPLINK,
    }[to]
    outside = family.wan0 if to == "the uplink" else family.pool(10)
    site.use(entries)
    site.nvid.command("clear", "--nvi", "nvi0")
    passes_outwards(site, family, protocol, outside)
    passes_inwards(site, family, protocol, outside)


@pytest.mark.parametrize("protocol", ["gre", "esp"])
def test_one_address_serves_one_host_for_each_peer(
    site: Site, family: Family, protocol: str
) -> None:
    """Nothing in the packets tells two hosts apart: the second is dropped, as long as the first
    one's flow lives, and never leaves untranslated. Towards another peer it passes."""
    site.use(POOL)
    site.nvid.command("clear", "--nvi", "nvi0")
    passes_outwards(site, family, protocol, family.pool(10))
    wanted = (
        f"proto {NUMBERS[protocol]}" if family.version == 4 else f"ip6 proto {NUMBERS[protocol]}"
    )
    with site.capture(site.isp1, "wan", wanted) as seen:
        site.second.run(*PROBES, "crafted", protocol, family.server, family.second)
        peer = family.gateways[0]
        site.second.run(*PROBES, "crafted", protocol, peer, family.second)
        wait_until(lambda: any(peer in line for line in seen()), message="the other peer's")
        assert not any(family.server in line for line in seen())


@pytest.mark.parametrize("entries", [SCTP_PORTS, SCTP_DNAT], ids=["static", "dnat"])
def test_ports_of_sctp_are_translated(site: Site, family: Family, entries: str) -> None:
    site.use(entries)
    site.nvid.command("clear", "--nvi", "nvi0")
    wanted = seen_between(family, "sctp", family.server, family.client)
    with site.capture(site.client, "eth0", wanted) as seen:
        site.server.run(*PROBES, "crafted", "sctp", family.pool(10), family.server)
        wait_until(lambda: any(".6000: sctp" in line for line in seen()), message="port 6000")
