"""dnat: ranges onto ranges, prefixes onto prefixes, shares by weight, limits by source and
interface, and the address of an uplink."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import LongFlow, Observer, Unanswered, exchange, wait_until
from tests.path.site import SNAT_TO_UPLINK, TCP, UDP, Family, Site
from tests.translations.actors import explain, written

RANGE = """
[[nvi.nvi0.dnat]]
destination = "198.51.100.30"
port = "8000-8099"
to = "10.1.0.2:9000-9099"

[[nvi.nvi0.dnat]]
destination = "2001:db8:100::30"
port = "8000-8099"
to = "[fd00:1::2]:9000-9099"
"""
LONG_RANGE = RANGE.replace("8000-8099", "10000-19999").replace("9000-9099", "20000-29999")
PREFIX = """
[[nvi.nvi0.dnat]]
destination = "198.51.100.32/28"
to = "10.1.0.0/28"

[[nvi.nvi0.dnat]]
destination = "2001:db8:100:30::/64"
to = "fd00:1::/64"
"""
SHARED = """
[[nvi.nvi0.dnat]]
destination = "198.51.100.30"
to = [{ address = "10.1.0.2", weight = 3 }, { address = "10.2.0.2" }]

[[nvi.nvi0.dnat]]
destination = "2001:db8:100::30"
to = [{ address = "fd00:1::2", weight = 3 }, { address = "fd00:2::2" }]
"""
BY_SOURCE = """
[[nvi.nvi0.dnat]]
destination = "198.51.100.30"
protocol = "tcp"
port = 80
source = ["198.18.0.10"]
to = "10.1.0.2"

[[nvi.nvi0.dnat]]
destination = "198.51.100.30"
protocol = "tcp"
port = 80
source = ["198.18.1.0/24"]
to = "10.2.0.2"

[[nvi.nvi0.dnat]]
destination = "2001:db8:100::30"
protocol = "tcp"
port = 80
source = ["2001:db8:f::10"]
to = "fd00:1::2"

[[nvi.nvi0.dnat]]
destination = "2001:db8:100::30"
protocol = "tcp"
port = 80
source = ["2001:db8:f:1::/64"]
to = "fd00:2::2"
"""
BY_INTERFACE = """
[[nvi.nvi0.dnat]]
destination = "198.51.100.30"
protocol = "tcp"
port = 80
ingress = ["wan*"]
to = "10.1.0.2"

[[nvi.nvi0.dnat]]
destination = "198.51.100.30"
protocol = "tcp"
port = 80
ingress = ["dmz0"]
to = "10.1.0.3"

[[nvi.nvi0.dnat]]
destination = "2001:db8:100::30"
protocol = "tcp"
port = 80
ingress = ["wan*"]
to = "fd00:1::2"

[[nvi.nvi0.dnat]]
destination = "2001:db8:100::30"
protocol = "tcp"
port = 80
ingress = ["dmz0"]
to = "fd00:1::3"
"""
OF_THE_UPLINK = """
[[nvi.nvi0.dnat]]
destination = "uplink:isp1"
protocol = "tcp"
port = 8080
to = "10.1.0.2:80"

[[nvi.nvi0.dnat]]
destination = "uplink:isp1"
protocol = "tcp"
port = 8080
to = "[fd00:1::2]:80"
"""
SECOND_SERVER = {4: "198.18.1.2", 6: "2001:db8:f:1::2"}
"""Another address of the server."""
EDGES = (9000, 9049, 9099, 20000, 25000, 29999)
SHARE = 7777


@pytest.fixture
def path() -> str:
    """The rules of translations are the same for both paths."""
    return "first-packet"


@pytest.fixture(scope="module", autouse=True)
def in_the_ranges(ground: Site) -> Iterator[Observer]:
    """The client also listens on ports of the ranges."""
    observer = ground.client.observe(tcp=EDGES, udp=EDGES)
    yield observer
    observer.stop()


@pytest.fixture(scope="module")
def targets(ground: Site) -> Iterator[tuple[Observer, Observer]]:
    """The two that flows are shared among; they remember what came."""
    both = (ground.client.observe(udp=[SHARE]), ground.host.observe(udp=[SHARE]))
    yield both
    for each in both:
        each.stop()


def answering(site: Site, family: Family, protocol: str, address: str, port: int) -> object:
    """Who answers the server, as it knows itself. It must see the server's true address."""
    found = exchange(site.server, protocol, address, port, source=family.server, timeout=0.5)
    assert found.seen.address == family.server
    return found.answered_by


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize(
    ("entries", "asked", "first"), [(RANGE, 8000, 9000), (LONG_RANGE, 10000, 20000)]
)
def test_a_range_of_ports_onto_a_range(
    site: Site, family: Family, protocol: str, entries: str, asked: int, first: int
) -> None:
    site.use(entries + SNAT_TO_UPLINK)
    for port in (each for each in EDGES if first <= each < first + 10000):
        if port - first < (100 if asked == 8000 else 10000):
            found = answering(site, family, protocol, family.pool(30), asked + port - first)
            assert found == (family.client, port)


def test_ports_beside_the_range_are_not_translated(site: Site, family: Family) -> None:
    site.use(RANGE + SNAT_TO_UPLINK)
    for port in (7999, 8100):
        with pytest.raises(Unanswered):
            answering(site, family, "tcp", family.pool(30), port)


def test_a_prefix_onto_a_prefix(site: Site, family: Family) -> None:
    site.use(PREFIX + SNAT_TO_UPLINK)
    for number, inside in ((2, family.client), (3, family.second)):
        outside = {4: f"198.51.100.{32 + number}", 6: f"2001:db8:100:30::{number}"}[family.version]
        assert answering(site, family, "tcp", outside, TCP) == (inside, TCP)
        assert answering(site, family, "udp", outside, UDP) == (inside, UDP)
        assert site.server.ping(outside, source=family.server)
        told = explain(site, "wan0", "tcp", written(family.server, 4000), written(outside, TCP))
        assert told["translated_destination"] == written(inside, TCP)


def test_flows_are_shared_by_weight(
    site: Site, family: Family, targets: tuple[Observer, Observer]
) -> None:
    site.use(SHARED + SNAT_TO_UPLINK)
    before = [len(each.exchanges()) for each in targets]
    words = (family.pool(30), "--count", "200", "--source", family.server)
    answers = site.probe(site.server, "many", SHARE, *words)
    assert answers == [family.server] * 200
    first, second = (
        len(each.exchanges()) - number for each, number in zip(targets, before, strict=True)
    )
    assert first + second == 200
    # 150 on the average, with a deviation of 6.
    assert 115 <= first <= 185


def test_a_flow_stays_with_its_target(
    site: Site, family: Family, targets: tuple[Observer, Observer]
) -> None:
    site.use(SHARED + SNAT_TO_UPLINK)
    # The targets remember what they met over either backend.
    first = {"veth": 6001, "loopback": 6011}[site.backend]
    ports = range(first, first + 4)
    flows = [
        LongFlow(
            *(site.server, family.pool(30), SHARE, "udp", family.server),
            source_port=port,
            interval=0.005,
        )
        for port in ports
    ]
    for flow in flows:
        flow.wait_for_answers(20)
    for flow in flows:
        assert not flow.stop().broken
    met = [
        {each.seen.port for each in target.exchanges() if each.seen.address == family.server}
        for target in targets
    ]
    asked = set(ports)
    assert (met[0] | met[1]) & asked == asked
    assert not met[0] & met[1] & asked


def test_entries_are_kept_apart_by_source(site: Site, family: Family) -> None:
    site.use(BY_SOURCE + SNAT_TO_UPLINK)
    outside = family.pool(30)
    assert answering(site, family, "tcp", outside, TCP) == (family.client, TCP)
    other = exchange(site.server, "tcp", outside, TCP, source=SECOND_SERVER[family.version])
    assert other.answered_by == (family.host, TCP)
    with pytest.raises(Unanswered):
        site.second.ask_tcp(outside, TCP, timeout=0.5)
    for source, inside in (
        (family.server, family.client),
        (SECOND_SERVER[family.version], family.host),
    ):
        told = explain(site, "wan0", "tcp", written(source, 4000), written(outside, TCP))
        assert told["translated_destination"] == written(inside, TCP)


def test_entries_are_kept_apart_by_interface(site: Site, family: Family) -> None:
    site.use(BY_INTERFACE + SNAT_TO_UPLINK)
    outside = family.pool(30)
    assert answering(site, family, "tcp", outside, TCP) == (family.client, TCP)
    assert exchange(site.host, "tcp", outside, TCP).answered_by == (family.second, TCP)
    with pytest.raises(Unanswered):
        site.client.ask_tcp(outside, TCP, timeout=0.5)
    told = explain(site, "dmz0", "tcp", written(family.host, 4000), written(outside, TCP))
    assert told["translated_destination"] == written(family.second, TCP)


def test_the_address_of_an_uplink_is_followed(site: Site, family: Family) -> None:
    """Without a reload: the new address is translated, and the old one no longer is."""
    site.use(OF_THE_UPLINK + SNAT_TO_UPLINK)
    assert answering(site, family, "tcp", family.wan0, 8080) == (family.client, TCP)
    length = {4: 24, 6: 64}[family.version]
    new = {4: "203.0.113.77", 6: "2001:db8:1::77"}[family.version]

    def reached(address: str) -> bool:
        try:
            return answering(site, family, "tcp", address, 8080) == (family.client, TCP)
        except Unanswered:
            return False

    generation = site.nvid.status()["config"]
    site.router.ip("address", "delete", f"{family.wan0}/{length}", "dev", "wan0")
    site.router.address("wan0", f"{new}/{length}")
    try:
        wait_until(lambda: reached(new), message="the new address of the uplink")
        assert site.client.ask_tcp(family.server, TCP).address == new
        assert not reached(family.wan0)
        assert site.nvid.status()["config"] == generation
    finally:
        site.router.ip("address", "delete", f"{new}/{length}", "dev", "wan0")
        site.router.address("wan0", f"{family.wan0}/{length}")
    wait_until(lambda: reached(family.wan0), message="the old address again")
