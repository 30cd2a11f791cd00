"""snat with mapping = "endpoint-independent": one inside endpoint has one outside endpoint, towards
everybody and for everybody (RFC 4787, REQ-1 and REQ-8; UDP, both families).

The router's second provider stands for the third party: whatever it is asked from, it has an
address of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.lab import Observer, Seen, Unanswered
from tests.path.entries import INDEPENDENT
from tests.path.site import UDP, Family, Site
from tests.translations.actors import endpoint

POOL = INDEPENDENT.replace("198.51.100.8", "198.51.100.8/30").replace("::8", "::8/126")
WITH_DNAT = (
    INDEPENDENT
    + """
[[nvi.nvi0.dnat]]
destination = "198.51.100.30"
protocol = "udp"
to = "10.1.0.2"
[[nvi.nvi0.dnat]]
destination = "2001:db8:100::30"
protocol = "udp"
to = "fd00:1::2"
"""
)
PORTS = itertools.count(6100)


def server(family: Family) -> tuple[str, int]:
    """A server behind the provider."""
    return family.server, UDP


def provider(family: Family) -> tuple[str, int]:
    """The provider itself."""
    return family.gateways[0], UDP


@pytest.fixture(scope="module", autouse=True)
def second_server(ground: Site) -> Iterator[Observer]:
    """The provider answers as well."""
    observer = ground.isp1.observe(udp=[UDP])
    yield observer
    observer.stop()


@pytest.fixture
def port() -> int:
    """Mappings outlive flows, so each test has an inside port of its own."""
    return next(PORTS)


def only(seen: tuple[Seen | None, ...]) -> Seen:
    """The one outside endpoint that everybody saw."""
    assert None not in seen
    (one,) = set(seen)
    assert one is not None
    return one


@pytest.mark.parametrize("entries", [INDEPENDENT, POOL], ids=["one address", "pool"])
def test_everybody_sees_the_same_endpoint(
    site: Site, family: Family, port: int, entries: str
) -> None:
    site.use(entries)
    with endpoint(site.client, port, server(family), provider(family)) as mapped:
        only(mapped.seen)


def test_a_stranger_reaches_the_host_through_it(site: Site, family: Family, port: int) -> None:
    site.use(INDEPENDENT)
    with endpoint(site.client, port, server(family)) as mapped:
        outside = only(mapped.seen)
        assert outside.address == family.pool(8)
        answer = site.isp1.ask_udp(*outside, source=family.gateways[0])
        assert answer.address == family.gateways[0]
        # The same server from another port is a stranger too.
        assert site.server.ask_udp(*outside, source=family.server, source_port=7).port == 7
        assert len(mapped.received()) == 2


def test_nobody_reaches_the_host_before_it_has_sent(site: Site, family: Family, port: int) -> None:
    site.use(INDEPENDENT)
    with endpoint(site.client, port, version=family.version) as mapped:
        with pytest.raises(Unanswered):
            site.server.ask_udp(family.pool(8), port, source=family.server, timeout=0.5)
        assert not mapped.received()


def test_two_hosts_with_one_port_have_two_endpoints(site: Site, family: Family, port: int) -> None:
    site.use(INDEPENDENT)
    with (
        endpoint(site.client, port, server(family), provider(family)) as first,
        endpoint(site.second, port, server(family), provider(family)) as second,
    ):
        assert only(first.seen) != only(second.seen)
        site.server.ask_udp(*only(second.seen), source=family.server, source_port=7)
        assert (len(first.received()), len(second.received())) == (0, 1)


def test_a_flow_that_began_outside_makes_no_mapping(site: Site, family: Family, port: int) -> None:
    site.use(WITH_DNAT)
    with endpoint(site.client, port, version=family.version) as mapped:
        assert site.server.ask_udp(family.pool(30), port, source=family.server).port
        with pytest.raises(Unanswered):
            site.isp1.ask_udp(family.pool(8), port, source=family.gateways[0], timeout=0.5)
        assert len(mapped.received()) == 1


def test_survives_a_reload_and_a_restart_of_the_daemon(
    site: Site, family: Family, port: int
) -> None:
    site.use(INDEPENDENT)
    with endpoint(site.client, port, server(family)) as mapped:
        outside = only(mapped.seen)
        site.use(WITH_DNAT)
        site.isp1.ask_udp(*outside, source=family.gateways[0], source_port=8)
        site.nvid.kill()
        site.use(WITH_DNAT)
        site.isp1.ask_udp(*outside, source=family.gateways[0], source_port=9)
        assert [seen.port for seen in mapped.received()] == [8, 9]
    with endpoint(site.client, port, provider(family)) as mapped:
        assert only(mapped.seen) == outside


def test_survives_the_end_of_its_flows(site: Site, family: Family, port: int) -> None:
    """The mapping is the host's, not the flow's."""
    site.use(INDEPENDENT)
    with endpoint(site.client, port, server(family)) as mapped:
        outside = only(mapped.seen)
        site.nvid.command("clear", "--source", family.client)
        site.isp1.ask_udp(*outside, source=family.gateways[0])
        assert len(mapped.received()) == 1


@pytest.mark.parametrize("other", ["second", "host"], ids=["same interface", "another interface"])
def test_two_mapped_hosts_meet(site: Site, family: Family, port: int, other: str) -> None:
    """RFC 4787, REQ-9: hairpinning, and each is seen from its outside endpoint."""
    site.use(INDEPENDENT)
    peer = {"second": site.second, "host": site.host}[other]
    with endpoint(peer, port, server(family)) as theirs:
        outside = only(theirs.seen)
        with endpoint(site.client, port, server(family), outside) as ours:
            seen_by_server, seen_by_peer = ours.seen
            assert seen_by_peer == seen_by_server
            assert theirs.received() == [seen_by_server]


def test_tcp_keeps_working(site: Site, family: Family) -> None:
    site.use(INDEPENDENT)
    assert site.client.ask_tcp(family.server, 80).address == family.pool(8)
    assert site.client.ping(family.server)
