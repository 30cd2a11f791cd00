"""The requirements of RFC 4787 (UDP), one by one, for both values of `mapping`: what
docs/nat-behaviour.md says of each, with packets. Where the default does less than a requirement
asks, the test shows what it does instead.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import pytest

from nvid.desired.ruleset.endpoint import TIMEOUT
from tests.lab import Observer, Seen, Unanswered, exchange
from tests.path.entries import SNAT_TO_POOL
from tests.path.site import CLOSED, UDP, Family, Site
from tests.translations.actors import PROBES, Mapped, endpoint

INDEPENDENT = SNAT_TO_POOL + 'mapping = "endpoint-independent"\n'
BOTH = pytest.mark.parametrize(
    "entries", [SNAT_TO_POOL, INDEPENDENT], ids=["port-dependent", "endpoint-independent"]
)
PORTS = itertools.count(8000)
LOW_PORTS = itertools.count(400)
MIDDLE_PORTS = itertools.count(700)


@pytest.fixture
def path() -> str:
    """The rules of translations are the same for both paths."""
    return "first-packet"


@pytest.fixture(scope="module", autouse=True)
def provider_answers(ground: Site) -> Iterator[Observer]:
    """The provider is a second server."""
    observer = ground.isp1.observe(udp=[UDP])
    yield observer
    observer.stop()


@pytest.fixture
def port() -> int:
    """Mappings outlive flows, so each test has an inside port of its own."""
    return next(PORTS)


def server(family: Family) -> tuple[str, int]:
    return family.server, UDP


def provider(family: Family) -> tuple[str, int]:
    return family.gateways[0], UDP


def answered(found: Mapped) -> list[Seen]:
    """Where each server saw the endpoint; all of them did."""
    assert None not in found.seen
    return [seen for seen in found.seen if seen is not None]


def reached(site: Site, outside: Seen, source: str, source_port: int = 0) -> bool:
    """Whether a datagram to the outside endpoint is answered; `source` says who sends it."""
    sender = site.isp1 if source not in {"198.18.0.10", "2001:db8:f::10"} else site.server
    try:
        sender.ask_udp(*outside, source=source, source_port=source_port, timeout=0.5)
    except Unanswered:
        return False
    return True


def seconds(site: Site, family: Family, port: int) -> int:
    """What conntrack gives the flow from this port of the client: seconds until it ends."""
    (line,) = flows(site, family, port)
    return int(line.split()[2])


def flows(site: Site, family: Family, port: int, target: int = UDP) -> list[str]:
    """The flows from this port of the client, as conntrack(8) shows them."""
    words = ("-L", "-f", f"ipv{family.version}", "-p", "udp", "-s", family.client)
    listed = site.router.run("conntrack", *words, "--sport", str(port), "--dport", str(target))
    return listed.stdout.splitlines()


class TestReq1EndpointIndependentMapping:
    """MUST have an "Endpoint-Independent Mapping" behavior."""

    def test_endpoint_independent(self, site: Site, family: Family, port: int) -> None:
        """Even where two hosts have the same port."""
        site.use(INDEPENDENT)
        for namespace in (site.client, site.second):
            with endpoint(namespace, port, provider(family), server(family)) as found:
                assert len(set(answered(found))) == 1

    def test_port_dependent(self, site: Site, family: Family, port: int) -> None:
        """Not so: where the five values of a flow would not be unique, its port is another one."""
        site.use(SNAT_TO_POOL)
        with endpoint(site.client, port, server(family)) as found:
            (first,) = answered(found)
            assert first.port == port
        with endpoint(site.second, port, provider(family), server(family)) as found:
            at_provider, at_server = answered(found)
            assert at_provider == first
            assert at_server != first


@BOTH
def test_req_2_paired_address_pooling(site: Site, family: Family, port: int, entries: str) -> None:
    """RECOMMENDED that a NAT have an "IP address pooling" behavior of "Paired"."""
    site.use(entries.replace("100.8", "100.8/29").replace("::8", "::8/125"))
    for namespace in (site.client, site.second, site.host):
        seen = set()
        for each in (port, port + 1000):
            with endpoint(namespace, each, server(family), provider(family)) as found:
                seen |= {outside.address for outside in answered(found)}
        assert len(seen) == 1


class TestReq3PortOverloading:
    """MUST NOT have a "Port assignment" behavior of "Port overloading"."""

    def test_endpoint_independent(self, site: Site, family: Family) -> None:
        """Each outside endpoint has one holder, though the servers differ."""
        site.use(INDEPENDENT)
        held: list[Seen] = []
        for each in itertools.islice(PORTS, 5):
            for namespace, target in ((site.client, server), (site.second, provider)):
                with endpoint(namespace, each, target(family)) as found:
                    held += answered(found)
        assert len(set(held)) == len(held) == 10

    def test_port_dependent(self, site: Site, family: Family, port: int) -> None:
        """Not so: a port is used again for another destination."""
        site.use(SNAT_TO_POOL)
        with (
            endpoint(site.client, port, server(family)) as one,
            endpoint(site.second, port, provider(family)) as other,
        ):
            assert answered(one) == answered(other)


class TestReq3aPortRange:
    """RECOMMENDED that ports of 0-1023 and of 1024-65535 stay in their range."""

    @pytest.mark.parametrize(
        ("ports", "first", "last"),
        [(LOW_PORTS, 1, 511), (MIDDLE_PORTS, 600, 1023), (PORTS, 1024, 65535)],
        ids=["low", "middle", "high"],
    )
    def test_port_dependent(
        self, site: Site, family: Family, ports: Iterator[int], first: int, last: int
    ) -> None:
        """Kept, or, where another host has it already, replaced by one of the same range."""
        site.use(SNAT_TO_POOL)
        inside = next(ports)
        with endpoint(site.client, inside, server(family)) as found:
            assert [seen.port for seen in answered(found)] == [inside]
        with endpoint(site.second, inside, server(family)) as found:
            (seen,) = answered(found)
            assert seen.port != inside
            assert first <= seen.port <= last

    @pytest.mark.parametrize("ports", [LOW_PORTS, PORTS], ids=["low", "high"])
    def test_endpoint_independent(self, site: Site, family: Family, ports: Iterator[int]) -> None:
        """Every port comes from 1024-65535, or from `ports`: half of what is recommended."""
        site.use(INDEPENDENT)
        with endpoint(site.client, next(ports), server(family)) as found:
            assert answered(found)[0].port >= 1024


def test_req_4_port_parity(site: Site, family: Family) -> None:
    """RECOMMENDED, and MAY be left out (RFC 7857, section 8): it is left out. Of twelve even ports
    all would stay even by chance in one run of 4096."""
    site.use(INDEPENDENT)
    outside = []
    for each in itertools.islice(PORTS, 24):
        if each % 2 == 0:
            with endpoint(site.client, each, server(family)) as found:
                outside += [seen.port for seen in answered(found)]
    assert len(outside) == 12
    assert any(each % 2 for each in outside)


class TestReq5MappingTimer:
    """MUST NOT expire in less than two minutes; five or more are RECOMMENDED."""

    def test_endpoint_independent(self, site: Site, family: Family, port: int) -> None:
        site.use(INDEPENDENT)
        with endpoint(site.client, port, server(family)) as found:
            (outside,) = answered(found)
        for left in expiring(site, family, port, outside).values():
            assert TIMEOUT - 5 <= left <= TIMEOUT + 1
        assert TIMEOUT == 5 * 60

    def test_port_dependent(self, site: Site, family: Family, port: int) -> None:
        """By conntrack's timers: 30 s at first, unless the configuration says otherwise."""
        site.use(SNAT_TO_POOL)
        with endpoint(site.client, port, server(family)):
            assert seconds(site, family, port) <= 30
        timers = '[conntrack]\ntimeouts = { udp = "5m", udp_stream = "5m" }\n'
        site.use_whole(timers + site.configuration(SNAT_TO_POOL))
        try:
            with endpoint(site.client, port + 1000, server(family)):
                assert 290 <= seconds(site, family, port + 1000) <= 300
        finally:
            site.use(SNAT_TO_POOL)
            site.router.sysctl("net.netfilter.nf_conntrack_udp_timeout", 30)
            site.router.sysctl("net.netfilter.nf_conntrack_udp_timeout_stream", 120)


def holding_objects(site: Site, family: Family) -> dict[str, str]:
    """The objects that hold mappings: what for, and "map inet nvid NAME"."""
    listed = site.router.run("nft", "--stateless", "--terse", "list", "table", "inet", "nvid")
    found = re.findall(
        rf"(map|set) (\w+_ip{family.version}_(out|in|taken|pairs)) \{{", listed.stdout
    )
    return {what: f"{kind} inet nvid {name}" for kind, name, what in found}


def elements(family: Family, port: int, outside: Seen) -> dict[str, tuple[str, str]]:
    """Key and value of a mapping in each of the objects."""
    here, there = f"{family.client} . {port}", f"{outside.address} . {outside.port}"
    return {
        "out": (here, f" : {there}"),
        "in": (there, f" : {here}"),
        "taken": (there, ""),
        "pairs": (f"{there} . {here}", ""),
    }


def expiring(site: Site, family: Family, port: int, outside: Seen) -> dict[str, float]:
    """Seconds that a mapping still has, in each of the objects."""
    left: dict[str, float] = {}
    for what, words in holding_objects(site, family).items():
        key, _ = elements(family, port, outside)[what]
        listed = site.router.run("nft", "list", *words.split()).stdout
        (shown,) = re.findall(rf"{re.escape(key)}\b[^,]* expires (?:(\d+)m)?(?:(\d+)s)?", listed)
        left[what] = 60 * int(shown[0] or 0) + int(shown[1] or 0)
    return left


def grow_old(site: Site, family: Family, port: int, outside: Seen) -> None:
    """Leave a mapping only 100 seconds to live."""
    for what, words in holding_objects(site, family).items():
        key, value = elements(family, port, outside)[what]
        name = words.partition(" ")[2]
        site.router.nft(f"delete element {name} {{ {key} }}")
        limit = f"timeout {TIMEOUT}s expires 100s"
        site.router.nft(f"add element {name} {{ {key} {limit}{value} }}")


class TestReq6RefreshDirection:
    """MUST have a "NAT Outbound refresh behavior" of "True"; inbound MAY be true."""

    def test_endpoint_independent(self, site: Site, family: Family, port: int) -> None:
        """From outside nothing is refreshed: nobody else decides how long a host is open."""
        site.use(INDEPENDENT)
        with endpoint(site.client, port, server(family)) as found:
            (outside,) = answered(found)
            grow_old(site, family, port, outside)
            # The answer to this belongs to a flow that began outside; nor does it refresh.
            assert reached(site, outside, family.gateways[0])
            assert max(expiring(site, family, port, outside).values()) <= 100
        with endpoint(site.client, port, server(family)) as found:
            assert answered(found) == [outside]
            assert min(expiring(site, family, port, outside).values()) >= TIMEOUT - 5

    def test_port_dependent(self, site: Site, family: Family, port: int) -> None:
        """By packets of both directions, as conntrack does."""
        site.use(SNAT_TO_POOL)
        with endpoint(site.client, port, server(family)):
            words = ("-U", "-f", f"ipv{family.version}", "-p", "udp", "-s", family.client)
            site.router.run("conntrack", *words, "--sport", str(port), "--timeout", "5")
            assert seconds(site, family, port) <= 5
        with endpoint(site.client, port, server(family)):
            assert seconds(site, family, port) > 5


class TestReq8Filtering:
    """RECOMMENDED: "Endpoint-Independent Filtering" for transparency, else "Address-Dependent"."""

    def test_endpoint_independent(self, site: Site, family: Family, port: int) -> None:
        site.use(INDEPENDENT)
        with endpoint(site.client, port, server(family)) as found:
            (outside,) = answered(found)
            assert reached(site, outside, family.server, source_port=7)
            assert reached(site, outside, family.gateways[0])

    def test_port_dependent(self, site: Site, family: Family, port: int) -> None:
        """Stricter than both: by address and port."""
        site.use(SNAT_TO_POOL)
        with endpoint(site.client, port, server(family)) as found:
            (outside,) = answered(found)
            assert not reached(site, outside, family.server, source_port=7)
            assert not reached(site, outside, family.gateways[0])
            assert not found.received()


class TestReq9Hairpinning:
    """MUST support "Hairpinning", a) with "External source IP address and port"."""

    def test_endpoint_independent(self, site: Site, family: Family, port: int) -> None:
        site.use(INDEPENDENT)
        with endpoint(site.second, port, server(family)) as theirs:
            (outside,) = answered(theirs)
            with endpoint(
                site.client, port, server(family), (outside.address, outside.port)
            ) as ours:
                at_server, at_peer = answered(ours)
                assert at_peer == at_server
                assert theirs.received() == [at_server]

    def test_port_dependent(self, site: Site, family: Family, port: int) -> None:
        """To a static address; the source is what the entry makes of it everywhere."""
        site.use(
            SNAT_TO_POOL
            + '[[nvi.nvi0.static]]\nlocal = "10.1.0.3"\nglobal = "198.51.100.10"\n'
            + '[[nvi.nvi0.static]]\nlocal = "fd00:1::3"\nglobal = "2001:db8:100::10"\n'
        )
        with endpoint(site.client, port, (family.pool(10), UDP)) as found:
            assert answered(found) == [Seen(family.pool(8), port)]


@BOTH
def test_req_11_determinism(site: Site, family: Family, port: int, entries: str) -> None:
    """MUST NOT change at any point in time: neither by a reload nor by a restart does a flow, or a
    mapping, become another one."""
    site.use(entries)
    with endpoint(site.client, port, server(family)) as found:
        before = answered(found)
    site.use(entries + '[[nvi.nvi0.static]]\nlocal = "10.2.0.9"\nglobal = "198.51.100.20"\n')
    site.nvid.kill()
    site.use(entries)
    with endpoint(site.client, port, server(family)) as found:
        assert answered(found) == before


class TestReq12Icmp:
    """Receipt of any sort of ICMP message MUST NOT terminate the NAT mapping."""

    def test_endpoint_independent(self, site: Site, family: Family, port: int) -> None:
        site.use(INDEPENDENT)
        with endpoint(site.client, port, server(family)) as found:
            (outside,) = answered(found)
        refused(site, family, port)
        with endpoint(site.client, port, provider(family)) as found:
            assert answered(found) == [outside]
            assert reached(site, outside, family.server, source_port=7)

    def test_port_dependent(self, site: Site, family: Family, port: int) -> None:
        site.use(SNAT_TO_POOL)
        refused(site, family, port)
        assert len(flows(site, family, port, CLOSED)) == 1
        refused(site, family, port)
        assert len(flows(site, family, port, CLOSED)) == 1


def refused(site: Site, family: Family, port: int) -> None:
    """The client sends to a port that nobody listens on, and hears of it (REQ-12b)."""
    with pytest.raises(Unanswered, match="refused"):
        site.client.ask_udp(family.server, CLOSED, source_port=port)


@BOTH
@pytest.mark.parametrize("order", ["0,1,2", "2,1,0", "1,2,0"])
def test_req_14_fragments_in_any_order(
    site: Site, family: Family, port: int, entries: str, order: str
) -> None:
    """MUST support receiving in-order and out-of-order fragments."""
    site.use(entries)
    words = (order, family.client, str(port), family.server, str(UDP))
    done = site.client.run(*PROBES, "fragments", *words)
    assert done.stdout.split() == ["whole"]


def test_a_static_translation_is_endpoint_independent_before_the_first_packet(
    site: Site, family: Family
) -> None:
    site.use(
        '[[nvi.nvi0.static]]\nlocal = "10.1.0.2"\nglobal = "198.51.100.10"\n'
        '[[nvi.nvi0.static]]\nlocal = "fd00:1::2"\nglobal = "2001:db8:100::10"\n'
    )
    found = exchange(site.server, "udp", family.pool(10), UDP, source=family.server)
    assert found.answered_by == (family.client, UDP)
