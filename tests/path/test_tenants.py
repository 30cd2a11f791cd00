"""Tenants: one address space behind several interfaces, each with its own hosts.

Red, blue and the LAN of the router itself all use the same networks, addresses and ports. Every
tenant counts and drops what it did not ask for; so do the providers.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from tests.lab import ForeignCounter, Namespace, Seen, Unanswered, wait_until
from tests.path.site import INTERFACES, ISP1_PREFERRED, TCP, UDP, Family, Site

HOSTS = ("10.1.0.2", "fd00:1::2")
"""Of red and of blue, and of the client in the LAN: the same ones."""
BEHIND = ("10.9.0.2", "fd00:9::2")
"""A host behind a router inside each tenant."""
INNER_ROUTER = ("10.1.0.254", "fd00:1::fe")
SERVERS = {"red": ("198.18.0.11", "2001:db8:f::11"), "blue": ("198.18.0.12", "2001:db8:f::12")}
"""Whom each tenant, and nobody else, talks to."""

COMMON = ("198.18.0.13", "2001:db8:f::13")
"""Whom all of them talk to."""

SPEAKERS = {
    "red": (
        *("198.51.100.20/31", "198.51.100.22", "198.51.100.12", "203.0.113.1"),
        *("2001:db8:100::20/126", "2001:db8:100::c", "2001:db8:1::1"),
    ),
    "blue": ("198.51.100.20/31", "198.51.100.22", "2001:db8:100::20/126"),
}
"""The global addresses of itself and of the other tenant that may speak to each tenant."""

TENANTS = """
[tenant.red]
interfaces = ["ten0"]
routes = [
    { to = "10.9.0.0/24", via = "10.1.0.254" }, { to = "fd00:9::/64", via = "fd00:1::fe" }
]
[tenant.blue]
interfaces = ["ten1"]
routes = [
    { to = "10.9.0.0/24", via = "10.1.0.254" }, { to = "fd00:9::/64", via = "fd00:1::fe" }
]
"""
SNATS = """
[[nvi.nvi0.snat]]
source = ["10.0.0.0/8", "fd00::/16"]
tenant = "red"
to = ["198.51.100.8/30", "2001:db8:100::8/126"]
[[nvi.nvi0.snat]]
source = ["10.0.0.0/8", "fd00::/16"]
tenant = "blue"
to = "uplink"
[[nvi.nvi0.snat]]
source = ["10.0.0.0/8", "fd00::/16"]
to = "uplink"
"""


SNAT_OF_NOBODY = """
[[nvi.nvi0.snat]]
to = "uplink"
"""
INWARD = "".join(
    f"""
[[nvi.nvi0.static]]
tenant = "{name}"
local = "{local}"
global = "{pool}{number}"
"""
    for name, number in (("red", 20), ("blue", 21))
    for local, pool in zip(HOSTS, ("198.51.100.", "2001:db8:100::"), strict=True)
) + "".join(
    f"""
[[nvi.nvi0.dnat]]
tenant = "blue"
destination = "{pool}22"
protocol = "{protocol}"
port = {port + 1000}
to = "{to}:{port}"
"""
    for to, pool in (("10.9.0.2", "198.51.100."), ("[fd00:9::2]", "2001:db8:100::"))
    for protocol, port in (("tcp", TCP), ("udp", UDP))
)


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant's host, the host behind its inner router, and what counts strangers."""

    name: str
    host: Namespace
    inner: Namespace
    foreign: ForeignCounter

    def server(self, family: Family) -> str:
        """The server that this tenant talks to."""
        return SERVERS[self.name][family.version == 6]


def host(family: Family) -> str:
    """The address that everybody has."""
    return HOSTS[family.version == 6]


def common(family: Family) -> str:
    """The server of all."""
    return COMMON[family.version == 6]


def behind(family: Family) -> str:
    """The address of the inner host of every tenant."""
    return BEHIND[family.version == 6]


def plug_in(site: Site, interface: str, name: str, vrf: str | None = None) -> Tenant:
    """A tenant with a host and, behind it as a router, one more network. Its interface belongs to
    `vrf` if that is given."""
    lab, router = site.lab, site.router
    tenant, inner = lab.namespace(name), lab.namespace(f"{name}-inner")
    lab.link(router, interface, tenant, "eth0")
    if vrf is not None:
        router.ip("link", "set", interface, "master", vrf)
    lab.link(tenant, "eth1", inner, "eth0")
    for ours, theirs, near, far in (
        ("10.1.0.1/24", "10.1.0.2/24", "10.9.0.1/24", "10.9.0.2/24"),
        ("fd00:1::1/64", "fd00:1::2/64", "fd00:9::1/64", "fd00:9::2/64"),
    ):
        router.address(interface, ours)
        tenant.address("eth0", theirs)
        tenant.address("eth1", near)
        inner.address("eth0", far)
    for route, via, near, second in (
        ("0.0.0.0/0", "10.1.0.1", "10.9.0.1", "10.1.0.254/24"),
        ("::/0", "fd00:1::1", "fd00:9::1", "fd00:1::fe/64"),
    ):
        tenant.address("eth0", second)
        tenant.route(route, "via", via)
        inner.route(route, "via", near)
    tenant.sysctl("net.ipv4.conf.all.forwarding", 1)
    tenant.sysctl("net.ipv6.conf.all.forwarding", 1)
    own = (*SERVERS[name], *COMMON, *SPEAKERS[name], "10.1.0.0/24", "fd00:1::/64")
    return Tenant(name, tenant, inner, ForeignCounter(tenant, "eth0", own))


@pytest.fixture(scope="module")
def tenants(ground: Site) -> tuple[Tenant, Tenant]:
    """Red behind ten0, blue behind ten1."""
    ground.tenants = TENANTS
    serve_everybody(ground)
    made = plug_in(ground, "ten0", "red"), plug_in(ground, "ten1", "blue")
    observe_hosts(ground, made)
    return made


def serve_everybody(ground: Site) -> None:
    """The server has the addresses of SERVERS and COMMON."""
    for number in (11, 12, 13):
        ground.server.address("lo", f"198.18.0.{number}/32")
        ground.server.address("lo", f"2001:db8:f::{number}/128")


def observe_hosts(ground: Site, tenants: Iterable[Tenant]) -> None:
    """Observers at all hosts of the tenants."""
    for tenant in tenants:
        ground.observe(tenant.host)
        ground.observe(tenant.inner)


@pytest.fixture
def red(tenants: tuple[Tenant, Tenant]) -> Iterator[Tenant]:
    """Red; fails the test if it was sent anything that is not its own."""
    yield from _watched(tenants[0])


@pytest.fixture
def blue(tenants: tuple[Tenant, Tenant]) -> Iterator[Tenant]:
    """Blue, likewise."""
    yield from _watched(tenants[1])


def _watched(tenant: Tenant) -> Iterator[Tenant]:
    before = tenant.foreign.packets()
    yield tenant
    assert tenant.foreign.packets() == before, tenant.foreign.seen()


def use(site: Site, entries: str = SNATS, tenants: str | None = None, keys: str = "") -> None:
    """Tenants (those of the site, if not told), both uplinks, and the interfaces of all."""
    site.use(
        entries,
        uplinks=ISP1_PREFERRED + (site.tenants if tenants is None else tenants),
        interfaces=(*INTERFACES, "ten0", "ten1"),
        keys=keys,
    )


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_one_address_and_port_in_each_tenant_at_once(
    site: Site, family: Family, red: Tenant, blue: Tenant, protocol: str
) -> None:
    use(site)
    port = TCP if protocol == "tcp" else UDP
    talking = [
        red.host.long_flow(red.server(family), port, protocol, source_port=4000),
        blue.host.long_flow(blue.server(family), port, protocol, source_port=4000),
        site.client.long_flow(family.server, port, protocol, source_port=4000),
        red.inner.long_flow(red.server(family), port, protocol, source_port=4000),
    ]
    for flow in talking:
        flow.wait_for_answers()
    reports = [flow.stop() for flow in talking]
    assert not any(report.broken for report in reports), reports
    seen = [report.sources[0].address for report in reports]
    pool = [family.pool(number) for number in (8, 9, "a", "b", 10, 11)]
    assert {seen[0], seen[3]} <= set(pool)
    assert seen[1] == seen[2] == family.wan0


def test_all_to_one_server_from_one_port(
    site: Site, family: Family, red: Tenant, blue: Tenant
) -> None:
    """Nothing but the tenant tells these flows apart before they are translated."""
    use(site)
    everybody = [red.host, blue.host, site.client]
    seen = [each.ask_udp(common(family), UDP, source_port=4001) for each in everybody]
    assert len(set(seen)) == 3


def test_what_is_inside_stays_inside(site: Site, family: Family, red: Tenant, blue: Tenant) -> None:
    """Each tenant reaches its own inner host through the router, untranslated, and no other."""
    use(site, "")
    for tenant in (red, blue):
        near = tenant.host.ask_tcp(behind(family), TCP, source=host(family))
        assert near.address == host(family)
    assert len(set(red_and_blue_routes(site, family))) == 2


def red_and_blue_routes(site: Site, family: Family) -> list[str]:
    """The way to the inner network in each tenant's table."""
    shown = site.router.ip(f"-{family.version}", "route", "show", "table", "all")
    return [line for line in shown.splitlines() if "10.9.0" in line or "fd00:9" in line]


def test_without_an_entry_nothing_leaves_a_tenant(
    site: Site, family: Family, red: Tenant, blue: Tenant
) -> None:
    """Entries without a tenant are for flows of no tenant. (The providers count, too.)"""
    use(site, SNAT_OF_NOBODY)
    for tenant in (red, blue):
        with pytest.raises(Unanswered):
            tenant.host.ask_udp(tenant.server(family), UDP, timeout=0.5)
        with pytest.raises(Unanswered):
            tenant.host.ask_udp(family.host, UDP, timeout=0.5)
    assert site.client.ask_udp(family.server, UDP).address == family.wan0


def test_a_tenant_is_reached_by_its_global_address(
    site: Site, family: Family, red: Tenant, blue: Tenant
) -> None:
    """From outside, by static and by dnat; from the LAN, whose addresses are the same."""
    use(site, INWARD + SNATS)
    for protocol, port in (("tcp", TCP), ("udp", UDP)):
        for number, tenant in ((20, red), (21, blue)):
            seen = ask(site.server, protocol, family.pool(number), port, tenant.server(family))
            assert seen.address == tenant.server(family)
        seen = ask(site.server, protocol, family.pool(22), port + 1000, blue.server(family))
        assert seen.address == blue.server(family)


def ask(
    namespace: Namespace, protocol: str, address: str, port: int, source: str | None = None
) -> Seen:
    """One question to an observer, from one port, and from the address that all hosts have."""
    asking = namespace.ask_tcp if protocol == "tcp" else namespace.ask_udp
    if source is None and not namespace.label.endswith("inner"):
        source = HOSTS[":" in address]
    return asking(address, port, source=source, source_port=4002)


def test_one_client_port_to_the_same_host_of_each_tenant(
    site: Site, family: Family, red: Tenant, blue: Tenant
) -> None:
    """Both targets have one address and port, and so has the client: flows that last."""
    use(site, INWARD + SNATS)
    client = common(family)
    flows = [
        site.server.long_flow(
            family.pool(number), UDP, "udp", source=client, source_port=4003, interval=0.02
        )
        for number in (20, 21)
    ]
    for flow in flows:
        flow.wait_for_answers()
    assert not any(flow.stop().broken for flow in flows)


def test_from_tenant_to_tenant(site: Site, family: Family, red: Tenant, blue: Tenant) -> None:
    """By global addresses on both sides, static or not; every address and port is the same."""
    use(site, INWARD + SNATS.replace('tenant = "blue"\nto = "uplink"', INTO_POOL))
    for protocol, port in (("tcp", TCP), ("udp", UDP)):
        seen = ask(red.host, protocol, family.pool(21), port)
        assert seen == (family.pool(20), 4002)
        seen = ask(red.host, protocol, family.pool(22), port + 1000)
        assert seen == (family.pool(20), 4002)
        seen = ask(blue.inner, protocol, family.pool(20), port)
        assert seen.address in (family.pool(12), family.pool("c"))
    flow = red.host.long_flow(family.pool(21), TCP, source=host(family), source_port=4002)
    flow.wait_for_answers()
    assert not flow.stop().broken


INTO_POOL = 'tenant = "blue"\nto = ["198.51.100.12", "2001:db8:100::c"]'


def test_to_a_tenant_from_the_address_of_an_uplink(
    site: Site, family: Family, red: Tenant, blue: Tenant
) -> None:
    """The source becomes an address of the router itself; the lane stays the tenant's."""
    use(site, INWARD + SNATS)
    for asking in (blue.inner, site.client):
        seen = asking.ask_tcp(family.pool(20), TCP, source_port=4002)
        assert seen.address == family.wan0


def test_a_tenant_reaches_itself_by_its_global_address(
    site: Site, family: Family, red: Tenant, blue: Tenant
) -> None:
    """Hairpin: back to the interface that it came by, translated or not by an entry."""
    use(site, INWARD)
    assert ask(blue.inner, "tcp", family.pool(21), TCP).address == family.router[0]
    seen = ask(blue.host, "tcp", family.pool(22), TCP + 1000)
    assert seen.address == family.pool(21)


def test_the_router_answers_every_tenant(
    site: Site, family: Family, red: Tenant, blue: Tenant
) -> None:
    """At its own address inside, which is the same in all of them; from one port in all of them."""
    use(site)
    observer = site.observe(site.router)
    try:
        for _ in range(2):
            for each in (red.host, blue.host, site.client):
                assert each.ping(family.router[0])
                assert ask(each, "tcp", family.router[0], TCP).address == host(family)
        flows = [
            each.host.long_flow(family.router[0], port, protocol, source_port=4005)
            for each in (red, blue)
            for protocol, port in (("tcp", TCP), ("udp", UDP))
        ]
        for flow in flows:
            flow.wait_for_answers()
        assert not any(flow.stop().broken for flow in flows)
    finally:
        observer.stop()
    assert red.inner.ping(family.router[0])


def test_only_the_tenant_that_was_asked_may_answer(
    site: Site, family: Family, red: Tenant, blue: Tenant
) -> None:
    """Blue and the LAN send what red's answer would be, from the same address and ports."""
    use(site, INWARD + SNATS)
    client = common(family)
    flow = site.server.long_flow(
        family.pool(20), UDP, "udp", source=client, source_port=4006, interval=0.05
    )
    before = dropped(site, "wrong_tenant")
    for stranger in (blue.host, site.client):
        script = (
            "import socket, sys\n"
            "s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET,"
            " socket.SOCK_DGRAM)\n"
            "s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"
            "s.bind((sys.argv[2], int(sys.argv[3])))\n"
            "for _ in range(5): s.sendto(b'forged', (sys.argv[1], 4006))\n"
        )
        stranger.run("/usr/bin/python3", "-c", script, client, host(family), str(UDP))
    assert dropped(site, "wrong_tenant") == before + 10
    flow.wait_for_answers()
    assert not flow.stop().broken


def dropped(site: Site, reason: str) -> int:
    """What the table has dropped for a reason so far."""
    name = f"dropped_{reason}"
    shown = site.router.run("nft", "-j", "list", "counter", "inet", "nvid", name).stdout
    found: int = json.loads(shown)["nftables"][1]["counter"]["packets"]
    return found


def test_without_rules_or_without_the_table_nothing_leaves_a_tenant(
    site: Site, family: Family, red: Tenant, blue: Tenant
) -> None:
    """Flushed in a loop, under traffic that begins new flows and keeps old ones."""
    use(site, INWARD + SNATS)
    for accident in (
        "nft flush ruleset",
        f"ip -{family.version} rule flush; ip -{family.version} rule add lookup main pref 32766",
    ):
        with (
            site.repeatedly(accident),
            site.spray(red.host, common(family)),
            site.spray(blue.host, blue.server(family)),
        ):
            enough = rounds(site) + 5
            wait_until(partial(has_tried, site, enough), timeout=20, message="rounds")
    wait_until(lambda: answers(red, family), timeout=15, message="red is served again")


def answers(tenant: Tenant, family: Family) -> bool:
    """Whether the tenant's server answers it."""
    try:
        ask(tenant.host, "udp", tenant.server(family), UDP)
    except Unanswered:
        return False
    return True


def has_tried(site: Site, enough: int) -> bool:
    """Whether nvid has looked so often; against such a loop not every repair succeeds."""
    return rounds(site) >= enough


def rounds(site: Site) -> int:
    """How often nvid has looked."""
    lines = site.nvid.metrics().splitlines()
    name = "nvid_reconcile_duration_seconds_count "
    return next(int(float(line.removeprefix(name))) for line in lines if line.startswith(name))


def test_commands_know_the_tenants(site: Site, family: Family, red: Tenant, blue: Tenant) -> None:
    use(site, INWARD + SNATS)
    site.nvid.command("clear", "--nvi", "nvi0")
    flows = [
        tenant.host.long_flow(
            tenant.server(family), UDP, "udp", source=host(family), source_port=4007
        )
        for tenant in (red, blue)
    ]
    to_red = site.server.long_flow(family.pool(20), TCP, source=common(family))
    shown = translations(site)
    found = [each["tenant"] for each in shown if each["original"]["source_port"] == 4007]
    assert sorted(found) == ["blue", "red"]
    (inward,) = [each for each in shown if each["original"]["destination"] == family.pool(20)]
    assert inward["tenant"] == "red"
    assert {each["tenant"] for each in translations(site, "--tenant", "red")} == {"red"}
    status = site.nvid.status()["tenants"]
    assert isinstance(status, list)
    assert [(each["name"], each["state"], each["interfaces"]) for each in status] == [
        ("red", "up", ["ten0"]),
        ("blue", "up", ["ten1"]),
    ]
    metrics = site.nvid.metrics()
    for name in ("red", "blue"):
        for way in ("from", "to"):
            line = f'nvid_tenant_packets_total{{direction="{way}",tenant="{name}"}} '
            values = [each for each in metrics.splitlines() if each.startswith(line)]
            assert values, [each for each in metrics.splitlines() if "tenant" in each]
            assert float(values[0].removeprefix(line)) > 0
    # Of two flows with one address and port, only the one that is meant ends.
    ended = json.loads(
        site.nvid.command("clear", "--tenant", "blue", "--source", host(family), "--json").stdout
    )
    assert ended["ended"] >= 1
    assert {each["tenant"] for each in translations(site)} >= {"red"}
    for flow in (*flows[:1], to_red):
        flow.wait_for_answers()
        assert not flow.stop().broken
    flows[1].stop()


def translations(site: Site, *words: str) -> list[dict[str, Any]]:
    """`nvid translations --json`."""
    found: list[dict[str, Any]] = json.loads(
        site.nvid.command("translations", "--json", *words).stdout
    )["translations"]
    return found


def test_explain_says_what_happens(site: Site, family: Family, red: Tenant, blue: Tenant) -> None:
    use(site, INWARD + SNATS)

    def explained(interface: str, source: str, destination: str) -> dict[str, Any]:
        words = ("--in", interface, "--json", "udp", end(source, 4008), end(destination, UDP))
        done = site.nvid.command("explain", *words, check=False)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    away = explained("ten0", host(family), red.server(family))
    assert (away["tenant"], away["target_tenant"], away["uplink"]) == ("red", None, "isp1")
    seen = ask(red.host, "udp", red.server(family), UDP)
    assert away["translated_source"] == end(family.pool(20), 4008)
    assert seen.address == family.pool(20)
    inside = explained("ten1", host(family), behind(family))
    assert (inside["target_tenant"], inside["interface"]) == ("blue", "ten1")
    across = explained("ten1", behind(family), family.pool(20))
    assert (across["tenant"], across["target_tenant"]) == ("blue", "red")
    assert (across["interface"], across["translated_source"]) == ("ten0", family.wan0)
    assert "tenant blue" in across["replies"]
    use(site, INWARD)
    kept = explained("ten1", behind(family), blue.server(family))
    assert "stays inside" in kept["dropped"]


def end(address: str, port: int) -> str:
    """An address and a port, as commands take them."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def test_a_tenant_that_goes_takes_its_flows_along_and_no_others(
    site: Site, family: Family, red: Tenant, blue: Tenant
) -> None:
    use(site, SNATS)
    flows = [
        tenant.host.long_flow(
            tenant.server(family), UDP, "udp", source=host(family), source_port=4009
        )
        for tenant in (red, blue)
    ]
    stays = site.client.long_flow(family.server, UDP, "udp", source_port=4009)
    only_blue = TENANTS[TENANTS.index("[tenant.blue]") :]
    parts = SNATS.split("[[nvi.nvi0.snat]]")
    without_red = "[[nvi.nvi0.snat]]".join(part for part in parts if '"red"' not in part)
    # Main has the same network as red: red's interface goes with it.
    with unplugged(site, "ten0"):
        use(site, without_red, only_blue)
        for flow in (flows[1], stays):
            flow.wait_for_answers()
            assert not flow.stop().broken
        flows[0].stop()
        shown = translations(site)
        assert not [each for each in shown if each["translated"]["source"] in POOL_OF_RED]
    use(site)
    wait_until(lambda: red.host.ping(family.router[0]), message="red reaches the router again")


@contextlib.contextmanager
def unplugged(site: Site, interface: str) -> Iterator[None]:
    """A tenant's interface is down; afterwards it is as before."""
    site.router.ip("link", "set", interface, "down")
    try:
        yield
    finally:
        site.router.ip("link", "set", interface, "up")
        site.router.address(interface, "fd00:1::1/64")


POOL_OF_RED = {
    *(f"198.51.100.{number}" for number in range(8, 12)),
    *(f"2001:db8:100::{number:x}" for number in range(8, 12)),
}
