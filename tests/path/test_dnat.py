"""dnat: flows to an outside address reach a host inside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import Observer, Unanswered, exchange
from tests.path.entries import DNAT
from tests.path.site import ISP2_PREFERRED, SNAT_TO_UPLINK, TCP, UDP, Family, Site

TO_A_PORT = """
[[nvi.nvi0.dnat]]
destination = "198.51.100.30"
protocol = "tcp"
port = 8080
to = "10.1.0.2:80"

[[nvi.nvi0.dnat]]
destination = "2001:db8:100::30"
protocol = "tcp"
port = 8080
to = "[fd00:1::2]:80"
"""
A_RANGE_OF_PORTS = """
[[nvi.nvi0.dnat]]
destination = "198.51.100.30"
port = "7000-7009"
to = "10.1.0.2"

[[nvi.nvi0.dnat]]
destination = "2001:db8:100::30"
port = "7000-7009"
to = "fd00:1::2"
"""
A_RANGE_OF_PORTS_TO_ONE = A_RANGE_OF_PORTS.replace('10.1.0.2"', '10.1.0.2:80"').replace(
    'fd00:1::2"', '[fd00:1::2]:80"'
)
UDP_ONLY = """
[[nvi.nvi0.dnat]]
destination = "198.51.100.30"
protocol = "udp"
to = "10.1.0.2"

[[nvi.nvi0.dnat]]
destination = "2001:db8:100::30"
protocol = "udp"
to = "fd00:1::2"
"""
A_PREFIX_TO_ONE = DNAT.replace(".30", ".32/28").replace("::30", ":30::/64")
THE_ROUTERS_OWN = "".join(
    f"""
[[nvi.nvi0.dnat]]
destination = "{outside}"
protocol = "tcp"
port = 8080
to = "{inside}:80"
"""
    for outside, inside in (
        ("203.0.113.1", "10.1.0.2"),
        ("192.0.2.1", "10.1.0.2"),
        ("2001:db8:1::1", "[fd00:1::2]"),
        ("2001:db8:2::1", "[fd00:1::2]"),
    )
)


@pytest.fixture(scope="module", autouse=True)
def in_the_range(ground: Site) -> Iterator[Observer]:
    """The client also listens on ports of the range."""
    observer = ground.client.observe(tcp=[7000, 7009], udp=[7005])
    yield observer
    observer.stop()


def ask(site: Site, family: Family, protocol: str, address: str, port: int) -> tuple[str, int]:
    """Ask as the server; the address and port that answered, as they know themselves. The target
    must see the server's true address."""
    found = exchange(site.server, protocol, address, port, source=family.server, timeout=8)
    assert found.seen.address == family.server
    return found.answered_by.address, found.answered_by.port


def test_to_an_address(site: Site, family: Family) -> None:
    site.use(DNAT)
    outside = family.pool(30)
    assert ask(site, family, "tcp", outside, TCP) == (family.client, TCP)
    assert ask(site, family, "udp", outside, UDP) == (family.client, UDP)
    assert site.server.ping(outside, source=family.server)


def test_to_an_address_and_port(site: Site, family: Family) -> None:
    site.use(TO_A_PORT)
    assert ask(site, family, "tcp", family.pool(30), 8080) == (family.client, TCP)


def test_a_range_of_ports_keeps_the_port(site: Site, family: Family) -> None:
    site.use(A_RANGE_OF_PORTS)
    outside = family.pool(30)
    for protocol, port in (("tcp", 7000), ("udp", 7005), ("tcp", 7009)):
        assert ask(site, family, protocol, outside, port) == (family.client, port)
    with pytest.raises(Unanswered):
        ask(site, family, "tcp", outside, TCP)


def test_a_range_of_ports_to_one_port(site: Site, family: Family) -> None:
    site.use(A_RANGE_OF_PORTS_TO_ONE)
    for port in (7000, 7004, 7009):
        assert ask(site, family, "tcp", family.pool(30), port) == (family.client, TCP)


def test_another_protocol_is_not_translated(site: Site, family: Family) -> None:
    site.use(UDP_ONLY)
    assert ask(site, family, "udp", family.pool(30), UDP) == (family.client, UDP)
    with pytest.raises(Unanswered, match="No route to host"):
        ask(site, family, "tcp", family.pool(30), TCP)


def test_a_prefix_to_one_address(site: Site, family: Family) -> None:
    site.use(A_PREFIX_TO_ONE)
    for number in (33, 34):
        outside = {4: f"198.51.100.{number}", 6: f"2001:db8:100:30::{number}"}[family.version]
        assert ask(site, family, "tcp", outside, TCP) == (family.client, TCP)


@pytest.mark.parametrize("uplinks", ["isp1 preferred", "isp2 preferred"])
@pytest.mark.parametrize("snat", ["", SNAT_TO_UPLINK], ids=["alone", "beside snat"])
def test_the_routers_own_address_at_either_uplink(
    site: Site, family: Family, uplinks: str, snat: str
) -> None:
    """Replies leave by the uplink that the flow came in by: the other one would drop them."""
    entries = THE_ROUTERS_OWN + snat
    if uplinks == "isp2 preferred":
        site.use(entries, uplinks=ISP2_PREFERRED)
    else:
        site.use(entries)
    assert ask(site, family, "tcp", family.wan0, 8080) == (family.client, TCP)
    assert ask(site, family, "tcp", family.wan1, 8080) == (family.client, TCP)


def test_from_the_lan(site: Site, family: Family) -> None:
    """Hairpin: the client is in the second LAN, the target in the first."""
    site.use(TO_A_PORT + THE_ROUTERS_OWN)
    for address in (family.pool(30), family.wan0, family.wan1):
        found = exchange(site.host, "tcp", address, 8080)
        assert (found.seen.address, found.answered_by) == (family.host, (family.client, TCP))
