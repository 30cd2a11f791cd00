"""What every kind of translation owes to the flows it makes: errors arrive, both ways; fragments
pass, both ways; path MTU discovery works; traceroute sees the router, and no star.

Main leads elsewhere than the preferred uplink, as in tests/path/test_errors.py, so that an error
that goes by main's default route is lost.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import pytest

from tests.lab import Namespace, Observer, Unanswered, wait_until
from tests.path.site import CLOSED, IPV4, IPV6, TCP, UDP, Family, Site
from tests.path.site import PROBES as PATH_PROBES
from tests.translations.actors import probing

INSIDE_PORTS = {UDP: 9001, CLOSED: 9002, TCP: 9003}
"""Where a range of ports leads to instead."""
ASKED_PORTS = {UDP: 8001, CLOSED: 8002, TCP: 8003}
CORE = {4: "198.18.1.1", 6: "2001:db8:f:1::1"}
"""The provider's end of the wire to the server: the first hop from outside."""

Side = Literal["from inside", "from outside", "behind one interface", "behind two interfaces"]
FIRST: tuple[str, ...] = ("first-packet",)
BOTH = ("first-packet", "every-packet")
OUTSIDE: tuple[Side, ...] = ("from outside", "behind one interface")
EVERYWHERE: tuple[Side, ...] = (*OUTSIDE, "behind two interfaces")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of translation. ``entries`` is a template, filled in once for each family.

    From inside, everybody asks the server; from elsewhere, `outside`, which is the client.
    ``asked`` are the ports to ask for instead of UDP, CLOSED and TCP, ``inside`` the ports that
    those become. A kind that looks at ports does not translate echo requests.

    Which packets cross the pair makes no difference to the rules of an entry, so that every kind
    is tried with one path, and one of each sort with both.
    """

    entries: str
    sides: tuple[Side, ...]
    outside: tuple[str, str] = ("198.51.100.10", "2001:db8:100::10")
    asked: Mapping[int, int] = field(default_factory=dict)
    inside: Mapping[int, int] = field(default_factory=dict)
    versions: tuple[int, ...] = (4, 6)
    paths: tuple[str, ...] = FIRST

    def text(self) -> str:
        """The entries of all its families."""
        return "".join(
            self.entries % _words(family) for family in FAMILIES if family.version in self.versions
        )


FAMILIES = (IPV4, IPV6)


def _words(family: Family) -> dict[str, str]:
    """What templates are filled in with."""
    is_ipv4 = family.version == 4
    return {
        "client": family.client,
        "at_client": family.client if is_ipv4 else f"[{family.client}]",
        "lan": "10.1.0.0/24" if is_ipv4 else "fd00:1::/64",
        "outside": family.pool(10),
        "net": "198.51.100.0/24" if is_ipv4 else "2001:db8:100:1::/64",
        "pool": "198.51.100.8/31" if is_ipv4 else "2001:db8:100::8/127",
        "more": "198.51.100.20-198.51.100.22" if is_ipv4 else "2001:db8:100::20-2001:db8:100::22",
        "part": "198.51.100.32/28" if is_ipv4 else "2001:db8:100:30::/64",
        "hosts": "10.1.0.0/28" if is_ipv4 else "fd00:1::/64",
    }


def snat(to: str, more: str = "") -> str:
    return f'[[nvi.nvi0.snat]]\nsource = "%(lan)s"\nto = {to}\n{more}\n'


def dnat(more: str, destination: str = "%(outside)s") -> str:
    return f'[[nvi.nvi0.dnat]]\ndestination = "{destination}"\n{more}\n'


STATIC = '[[nvi.nvi0.static]]\nlocal = "%(client)s"\nglobal = "%(outside)s"\n'
STATIC_PORTS = "".join(
    f"{STATIC}protocol = '{protocol}'\nlocal_port = {port}\nglobal_port = {ASKED_PORTS[port]}\n"
    for protocol, port in (("udp", UDP), ("udp", CLOSED), ("tcp", TCP))
)
DNAT_PORTS = "".join(
    dnat(f"protocol = '{protocol}'\nport = {ASKED_PORTS[port]}\nto = '%(at_client)s:{port}'")
    for protocol, port in (("udp", UDP), ("udp", CLOSED), ("tcp", TCP))
)
TWO = '[{ address = "%(client)s", weight = 3 }, { address = "%(client)s" }]'
PREFIXED = ("198.51.100.34", "2001:db8:100:30::2")

KINDS = {
    "static": Kind(STATIC, ("from inside", *EVERYWHERE), paths=BOTH),
    "static port": Kind(STATIC_PORTS, OUTSIDE, asked=ASKED_PORTS),
    "static prefix": Kind(
        '[[nvi.nvi0.static]]\nlocal = "%(lan)s"\nglobal = "%(net)s"\n',
        ("from inside", *OUTSIDE),
        ("198.51.100.2", "2001:db8:100:1::2"),
        paths=BOTH,
    ),
    "dnat": Kind(dnat('to = "%(client)s"'), EVERYWHERE),
    "dnat port": Kind(DNAT_PORTS, OUTSIDE, asked=ASKED_PORTS, paths=BOTH),
    "dnat range": Kind(
        dnat('port = "8000-8099"\nto = "%(at_client)s:9000-9099"'),
        OUTSIDE,
        asked=ASKED_PORTS,
        inside=INSIDE_PORTS,
    ),
    "dnat prefix": Kind(dnat('to = "%(hosts)s"', "%(part)s"), OUTSIDE, PREFIXED),
    "dnat by weight": Kind(dnat(f"to = {TWO}"), OUTSIDE),
    "dnat by ingress": Kind(
        dnat('ingress = ["wan*", "lan0", "dmz0"]\nto = "%(client)s"'), ("from outside",)
    ),
    "dnat of an uplink": Kind(
        DNAT_PORTS.replace("%(outside)s", "uplink:isp1"),
        ("from outside",),
        (IPV4.wan0, IPV6.wan0),
        asked=ASKED_PORTS,
    ),
    "dnat and snat": Kind(dnat('to = "%(client)s"') + snat('"%(pool)s"'), OUTSIDE, paths=BOTH),
    "snat to the uplink": Kind(snat('"uplink"'), ("from inside",), paths=BOTH),
    "snat to a named uplink": Kind(snat('"uplink:isp1"'), ("from inside",)),
    "snat to a pool": Kind(snat('"%(pool)s"'), ("from inside",), paths=BOTH),
    "snat to two ranges": Kind(snat('["%(pool)s", "%(more)s"]'), ("from inside",)),
    "snat with ports": Kind(snat('"%(pool)s"', 'ports = "20000-20999"'), ("from inside",)),
    "snat with a limit": Kind(snat('"%(pool)s"', "limit = 1000"), ("from inside",)),
    "snat endpoint-independent": Kind(
        snat('"%(outside)s"', 'mapping = "endpoint-independent"'), ("from inside",), versions=(4,)
    ),
    "snat with port blocks": Kind(
        snat('"%(pool)s"', "port_block = 200"), ("from inside",), versions=(4,)
    ),
}


@dataclass(frozen=True, slots=True)
class Case:
    """A kind, in one family, used from one side."""

    kind: Kind
    family: Family
    side: Side

    @property
    def address(self) -> str:
        """Who is asked."""
        if self.side == "from inside":
            return self.family.server
        return self.kind.outside[0 if self.family.version == 4 else 1]

    def port(self, port: int) -> int:
        """The port to ask for."""
        return port if self.side == "from inside" else self.kind.asked.get(port, port)

    def inside(self, port: int) -> int:
        """The port that is asked in the end."""
        return port if self.side == "from inside" else self.kind.inside.get(port, port)

    @property
    def has_ports(self) -> bool:
        """Whether the kind looks at ports, so that it leaves echo requests alone."""
        return self.side != "from inside" and bool(self.kind.asked)

    def asker(self, site: Site) -> tuple[Namespace, str]:
        """Who asks, and from which address."""
        return {
            "from inside": (site.client, self.family.client),
            "from outside": (site.server, self.family.server),
            "behind one interface": (site.second, self.family.second),
            "behind two interfaces": (site.host, self.family.host),
        }[self.side]

    def answerer(self, site: Site) -> tuple[Namespace, str]:
        """Who answers, and the address it knows itself by."""
        if self.side == "from inside":
            return site.server, self.family.server
        return site.client, self.family.client

    def probe(self, site: Site, verb: str, port: int, *words: str) -> list[str]:
        """Run a probe of tests/path against the address."""
        namespace, source = self.asker(site)
        return site.probe(
            namespace, verb, self.port(port), self.address, "--source", source, *words
        )


def cases(sides: Iterable[Side] = ("from inside", *EVERYWHERE)) -> pytest.MarkDecorator:
    """Parameters `path` and `case`, for each kind on each of these sides."""
    wanted = set(sides)
    return pytest.mark.parametrize(
        ("path", "case"),
        [
            pytest.param(
                path, Case(kind, family, side), id=f"{name}-{side}-{path}-IPv{family.version}"
            )
            for name, kind in KINDS.items()
            for side in kind.sides
            if side in wanted
            for path in kind.paths
            for family in FAMILIES
            if family.version in kind.versions
        ],
    )


@pytest.fixture
def backend() -> str:
    """The rules of an entry are the same for both; tests/path/test_errors.py tries the other."""
    return "veth"


@pytest.fixture(scope="module")
def default_route() -> str:
    """See above."""
    return "isp2"


@pytest.fixture(scope="module", autouse=True)
def in_the_range(ground: Site) -> Iterator[Observer]:
    """The client listens on ports of the range, too."""
    observer = ground.client.observe(tcp=[INSIDE_PORTS[TCP]], udp=[INSIDE_PORTS[UDP]])
    yield observer
    observer.stop()


@cases()
def test_fragments_and_errors_pass(site: Site, case: Case) -> None:
    """Large datagrams, large echo requests, and answers as large; port unreachable, about a packet
    of either direction."""
    site.use(case.kind.text())
    assert case.probe(site, "fragmented", UDP, "--octets", "5000") == ["whole"]
    asker, source = case.asker(site)
    assert case.has_ports or asker.ping(case.address, count=2, size=4000, source=source)
    with pytest.raises(Unanswered, match="refused"):
        asker.ask_udp(case.address, case.port(CLOSED), source=source)
    answerer, own = case.answerer(site)
    with probing(answerer, "late", str(case.inside(CLOSED)), own, program=PATH_PROBES) as late:
        late.wait_for("ready")
        case.probe(site, "forget", CLOSED)
        late.wait_for("asked")
        late.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: len(late.everything()) == 3, message="what became of the late answer")
        assert late.everything()[-1] != ["silence"]


@cases()
def test_traceroute_sees_each_hop(site: Site, case: Case) -> None:
    """The router once or twice, as itself or, where it complains about a packet whose destination
    it has translated, as that destination. By datagrams, each of a new flow and all of one that is
    established; by traceroute(8), with segments and with echo requests."""
    site.use(case.kind.text())
    assert_hops(site, case, case.probe(site, "hops", UDP))
    assert_hops(site, case, case.probe(site, "hops", UDP, "--one-flow"))
    assert_hops(site, case, traceroute(site, case, "-T", "-p", str(case.port(TCP))))
    if not case.has_ports:
        assert_hops(site, case, traceroute(site, case, "-I"), begins=True)


def traceroute(site: Site, case: Case, *words: str) -> list[str]:
    """traceroute(8), one probe after the other: who answered each, and "arrived"."""
    asker, source = case.asker(site)
    done = asker.run(
        *("traceroute", "-n", "-q", "1", "-N", "1", "-w", "1", "-m", "8", "-s", source),
        *(*words, case.address),
    )
    seen = [each[1] for line in done.stdout.splitlines() if (each := _HOP.match(line))]
    assert seen, done.stdout
    assert seen[-1] == case.address, seen
    return [*seen[:-1], "arrived"]


_HOP = re.compile(r" *\d+ +(\S+)")


def assert_hops(site: Site, case: Case, found: list[str], *, begins: bool = False) -> None:
    """``begins``: it was one flow that began with the first hop. With first-packet, what expires
    behind the pair binds the flow, and from then on the router is one hop instead of two: the hop
    behind it is passed over."""
    family = case.family
    assert "*" not in found, found
    before = [CORE[family.version]] if case.side == "from outside" else []
    passed_over = begins and site.path == "first-packet"
    behind = [family.gateways[0]] if case.side == "from inside" and not passed_over else []
    assert found[: len(before)] == before, found
    assert found[len(found) - len(behind) - 1 :] == [*behind, "arrived"], found
    router = found[len(before) : len(found) - len(behind) - 1]
    assert len(router) in {1, 2}, found
    assert set(router) <= {*family.router, case.address}, found


@cases(("from inside", "from outside", "behind two interfaces"))
def test_path_mtu_is_found(site: Site, case: Case) -> None:
    """RFC 1191 and RFC 8201. Where the narrow wire is decides who has to say so, and about a
    packet in which state of translation: by datagrams, and by a connection that has much to say in
    both directions."""
    site.use(case.kind.text())
    provider = ((site.isp1, "core"), (site.server, "isp1"))
    wires = {
        # The router says so, then the provider.
        "from inside": {1300: ((site.router, "wan0"), (site.isp1, "wan")), 1400: provider},
        # The router says so, behind DNAT; then the provider, about the answers.
        "from outside": {1300: ((site.router, "lan0"), (site.client, "eth0")), 1400: provider},
        "behind two interfaces": {1300: ((site.router, "lan0"), (site.client, "eth0"))},
    }[case.side]
    for mtu, ends in wires.items():
        with site.narrowed(mtu, *ends):
            assert case.probe(site, "largest", UDP) == [str(mtu)]
            assert case.probe(site, "bulk", TCP, "--octets", "100000") == ["100000"]


def test_a_mapping_held_by_a_host_owes_the_same(site: Site) -> None:
    """From outside, through an endpoint-independent mapping, by a stranger."""
    site.use(KINDS["snat endpoint-independent"].entries % _words(IPV4))
    ask = site.client.ask_udp
    held, closed = (
        ask(IPV4.server, UDP, source=IPV4.client, source_port=port) for port in (UDP, CLOSED)
    )
    words = (held.address, "--source", IPV4.server)
    assert site.probe(site.server, "fragmented", held.port, *words, "--octets", "5000") == ["whole"]
    found = site.probe(site.server, "hops", held.port, *words)
    assert "*" not in found
    assert found[-1] == "arrived"
    with site.narrowed(1300, (site.router, "lan0"), (site.client, "eth0")):
        assert site.probe(site.server, "largest", held.port, *words) == ["1300"]
    with pytest.raises(Unanswered, match="refused"):
        site.server.ask_udp(*closed, source=IPV4.server)
