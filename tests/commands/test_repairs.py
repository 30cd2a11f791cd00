"""Whatever somebody does to nvid's objects is mended, counted by kind, and has a culprit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from nvid import names
from tests import samples
from tests.commands.conftest import Router, converged, metric, plan
from tests.lab import Lab, Nvid, wait_until

ALL_WITH_PROXIES = (
    samples.EVERY_KIND
    + """
[[nvi.nvi0.static]]
local  = "10.1.0.9"
global = "203.0.113.9"

[[nvi.nvi0.static]]
local  = "fd00:1::9"
global = "2001:db8:1::9"

[nvi.nvi1]
interfaces = ["dmz0"]
backend    = "loopback"

[[nvi.nvi1.static]]
local  = "fd00:2::2"
global = "2001:db8:100:7::2"
"""
)


@dataclass(frozen=True)
class Disturbance:
    """What somebody does, in words of ``ip``, ``nft`` or ``sysctl``; which kind must be counted."""

    name: str
    kind: str
    commands: tuple[str, ...]
    silent: bool = False
    """The kernel sends no event about it: it is found at the next full check."""
    culprit: str | None = None
    """What the culprit's text must contain, where the kernel tells it."""


def ip(name: str, kind: str, *commands: str, silent: bool = False) -> Disturbance:
    return Disturbance(name, kind, tuple(f"ip {each}" for each in commands), silent)


def tc(name: str, *commands: str) -> Disturbance:
    return Disturbance(name, "filter", tuple(f"tc {each}" for each in commands))


def nft(name: str, *commands: str) -> Disturbance:
    return Disturbance(
        name, "ruleset", tuple(f"nft {each}" for each in commands), culprit="nft (pid "
    )


def sysctl(key: str, value: str) -> Disturbance:
    return Disturbance(key, "sysctl", (f"sysctl -q -w {key}={value}",), silent=True)


DISTURBANCES = [
    *(
        disturbance
        for end in ("nvi0", "nvi0p")
        for disturbance in (
            ip(f"{end} deleted", "link", f"link delete {end}"),
            ip(f"{end} set down", "link", f"link set {end} down"),
            ip(f"{end} renamed", "link", f"link set {end} down", f"link set {end} name other"),
            ip(f"{end} renamed while up", "link", f"link set {end} name other"),
            ip(f"{end} has another MAC", "link", f"link set {end} address 02:00:00:00:00:07"),
            ip(f"{end} has another MTU", "link", f"link set {end} mtu 1400"),
            ip(f"{end} has another group", "link", f"link set {end} group 7"),
            ip(f"{end} has another alias", "link", f"link set {end} alias other"),
        )
    ),
    ip("the peer's address deleted", "address", "addr del 169.254.128.2/32 dev nvi0p"),
    ip("an address added to the pair", "address", "addr add 192.168.77.1/24 dev nvi0"),
    ip("an IPv6 address added to the pair", "address", "addr add fd77::1/64 dev nvi0p nodad"),
    ip("the pair's neighbour deleted", "neighbour", "neigh del 169.254.128.3 dev nvi0"),
    ip("the pair's IPv6 neighbour deleted", "neighbour", "neigh del fe80::1 dev nvi0"),
    ip(
        "the pair's neighbour changed",
        "neighbour",
        "neigh replace 169.254.128.3 lladdr 02:00:00:00:00:07 nud permanent dev nvi0",
    ),
    ip(
        "a proxy neighbour deleted",
        "neighbour",
        "neigh del proxy 203.0.113.9 dev wan0",
        silent=True,
    ),
    ip(
        "an IPv6 proxy neighbour deleted",
        "neighbour",
        "neigh del proxy 2001:db8:1::9 dev wan0",
        silent=True,
    ),
    ip("a lane's rule deleted", "rule", "rule del priority 7711"),
    ip("an IPv6 lane's rule deleted", "rule", "-6 rule del priority 7711"),
    ip("a guard deleted", "rule", "rule del priority 7790 iif lan0"),
    ip("a rule added with nvid's protocol", "rule", "rule add priority 7705 table 254 protocol 77"),
    ip("all rules flushed", "rule", "rule flush", "-6 rule flush"),
    ip("an uplink's route deleted", "route", "route del default table 7701"),
    ip("an uplink's IPv6 route deleted", "route", "-6 route del default dev wan0 table 7701"),
    ip(
        "an uplink's route changed",
        "route",
        "route replace default via 203.0.113.77 dev wan0 onlink table 7701 proto 77",
    ),
    ip("the route into the pair deleted", "route", "route del default table 7716 metric 0"),
    ip("a table flushed", "route", "route flush table 7716"),
    ip("an IPv6 table flushed", "route", "-6 route flush table 7716"),
    ip("a pool's route in main deleted", "route", "route del 198.51.100.10/32"),
    ip("an IPv6 pool's route in main deleted", "route", "-6 route del 2001:db8:100::10/128"),
    ip(
        "a route added with nvid's protocol",
        "route",
        "route add 198.18.77.0/24 dev lan0 proto 77 table 7701",
    ),
    ip("a nexthop deleted", "nexthop", f"nexthop del id {names.LOOPBACK_NEXTHOP}"),
    ip(
        "a nexthop changed",
        "nexthop",
        f"nexthop del id {names.LOOPBACK_NEXTHOP}",
        f"-6 nexthop add id {names.LOOPBACK_NEXTHOP} dev lan0 protocol 77",
    ),
    ip("a route over lo deleted", "route", "-6 route del 2001:db8:100:7::2 table 7700"),
    tc("the filter on lo deleted", "filter del dev lo egress pref 7700"),
    tc("all filters on lo deleted", "filter del dev lo egress"),
    tc("the qdisc on lo deleted", "qdisc del dev lo clsact"),
    nft("the ruleset flushed", "flush ruleset"),
    nft("the table deleted", "delete table inet nvid"),
    nft("a rule inserted", "insert rule inet nvid classify drop"),
    nft("a rule appended", "add rule inet nvid bind drop"),
    nft("a chain's rules flushed", "flush chain inet nvid translate_source"),
    nft("the rules of all chains flushed", "flush table inet nvid"),
    nft("an empty chain deleted", "delete chain inet nvid owned_by_nvid"),
    nft(
        "a chain deleted",
        "flush chain inet nvid second_pass",
        "delete chain inet nvid second_pass",
    ),
    nft("a chain added", "add chain inet nvid somebodys"),
    nft("a policy changed", "chain inet nvid bind '{ policy drop; }'"),
    nft("an element added", "add element inet nvid snat_of '{ 7 : accept }'"),
    nft("an element deleted", "delete element inet nvid snat_of '{ 0x00800100 }'"),
    nft("a map emptied", "flush map inet nvid offer"),
    nft(
        "a map deleted",
        "flush chain inet nvid translate_source",
        "delete map inet nvid snat_of",
    ),
    nft("a map added", "add map inet nvid somebodys '{ type mark : verdict; }'"),
    nft("a set added", "add set inet nvid somebodys '{ type mark; }'"),
    nft("a counter added", "add counter inet nvid somebodys"),
    nft(
        "everything deleted from the offers",
        "flush map inet nvid offer",
        "flush map inet nvid dnat_of",
    ),
    sysctl("net.ipv4.conf.nvi0.forwarding", "0"),
    sysctl("net.ipv4.conf.nvi0p.rp_filter", "1"),
    sysctl("net.ipv4.conf.nvi0p.accept_local", "0"),
    sysctl("net.ipv4.conf.lo.accept_local", "0"),
    sysctl("net.ipv4.conf.lan0.forwarding", "0"),
    sysctl("net.ipv6.conf.all.forwarding", "0"),
    sysctl("net.ipv6.conf.nvi0.disable_ipv6", "1"),
    sysctl("net.ipv6.conf.wan0.proxy_ndp", "0"),
]

HEARD = [each for each in DISTURBANCES if not each.silent]
UNHEARD = [each for each in DISTURBANCES if each.silent]


def disturb(router: Router, disturbance: Disturbance) -> None:
    for command in disturbance.commands:
        router.namespace.run("sh", "-c", command)


def repairs(nvid: Nvid, kind: str) -> float:
    return metric(nvid, f'nvid_reconcile_repairs_total{{object="{kind}"}}')


def mended(nvid: Nvid, disturbance: Disturbance, before: float) -> dict[str, Any]:
    """Wait until it is mended and counted; the status then."""

    def counted() -> bool:
        assert repairs(nvid, disturbance.kind) > before
        return True

    wait_until(counted, message=f"a repair of {disturbance.kind} is counted")
    converged(nvid)
    status: dict[str, Any] = nvid.status()
    return status


class Shared:
    """One router for many disturbances, each of which is mended before the next one; another one
    after a test that failed.

    The daemon is started again now and then: it takes many repairs in a row for a fight, and
    waits longer each time.
    """

    def __init__(self, resync: str) -> None:
        self.is_fine = False
        self._uses = 0
        self._resync = resync
        self._lab: Lab | None = None
        self._made: tuple[Router, Nvid] | None = None

    def get(self) -> tuple[Router, Nvid]:
        if self._made is None or not self.is_fine:
            self.close()
            self._lab = Lab()
            directory = self._lab.scratch("files")
            directory.mkdir(parents=True)
            router = Router(self._lab, directory)
            text = f'[daemon]\nresync = "{self._resync}"\n{ALL_WITH_PROXIES}'
            self._made = router, router.nvid(text).start()
            self._uses = 0
        elif self._uses % 3 == 0:
            self._made[1].terminate()
            self._made[1].start()
        self._uses += 1
        self.is_fine = False
        return self._made

    def close(self) -> None:
        if self._lab is not None:
            self._lab.close()


@pytest.fixture(scope="module")
def listening() -> Iterator[Shared]:
    """A daemon that never looks without being told by the kernel."""
    made = Shared("1h")
    yield made
    made.close()


@pytest.fixture(scope="module")
def looking() -> Iterator[Shared]:
    """A daemon that makes a full check every second."""
    made = Shared("1s")
    yield made
    made.close()


@pytest.mark.parametrize("disturbance", HEARD, ids=lambda each: each.name)
def test_a_disturbance_is_mended_at_once(listening: Shared, disturbance: Disturbance) -> None:
    router, nvid = listening.get()
    before = repairs(nvid, disturbance.kind)
    disturb(router, disturbance)
    status = mended(nvid, disturbance, before)
    assert status["state"] == "healthy"
    assert status["reconcile"]["repairs_total"] > 0
    if disturbance.culprit is not None:
        culprits = {each["culprit"] for each in status["reconcile"]["last_repairs"]}
        assert any(disturbance.culprit in (each or "") for each in culprits)
        assert f'culprit="{disturbance.culprit}' in nvid.log()
    listening.is_fine = True


@pytest.mark.parametrize("disturbance", UNHEARD, ids=lambda each: each.name)
def test_what_the_kernel_does_not_tell_is_found_by_the_full_check(
    looking: Shared, disturbance: Disturbance
) -> None:
    router, nvid = looking.get()
    before = repairs(nvid, disturbance.kind)
    disturb(router, disturbance)
    assert mended(nvid, disturbance, before)["state"] == "healthy"
    looking.is_fine = True


def test_a_quiet_machine_is_not_repaired(router: Router) -> None:
    """Rounds without a disturbance change nothing and count nothing."""
    nvid = router.nvid("[daemon]\nresync = '1s'\n" + ALL_WITH_PROXIES).start()
    first = metric(nvid, "nvid_reconcile_duration_seconds_count")
    wait_until(lambda: metric(nvid, "nvid_reconcile_duration_seconds_count") >= first + 3)
    assert nvid.status()["reconcile"]["repairs_total"] == 0  # type: ignore[index]
    assert "repaired" not in nvid.log()


def test_changes_that_concern_nobody_cost_no_round(router: Router, daemon: Nvid) -> None:
    """Other people's routes and tables: a router with a routing daemon has many."""
    wait_until(lambda: plan(daemon) == [])
    first = metric(daemon, "nvid_reconcile_duration_seconds_count")
    routes = "".join(f"route add 198.18.{n}.0/24 dev lan0 proto bird\n" for n in range(200))
    router.namespace.run("ip", "-batch", "-", input=routes)
    router.namespace.nft("add table inet somebodys; add chain inet somebodys c")
    assert daemon.command("status").returncode == 0
    assert metric(daemon, "nvid_reconcile_duration_seconds_count") - first <= 1


def test_a_fight_slows_down_and_ends(router: Router, daemon: Nvid) -> None:
    """Somebody undoes every repair: nvid goes on, says so, and does not run hot."""
    stop = router.lab.scratch("stop")
    router.namespace.popen(
        *("sh", "-c"),
        f"while [ ! -e {stop} ]; do ip link set nvi0 mtu 1400; sleep 0.01; done",
    )
    wait_until(lambda: "keeps undoing repairs" in daemon.log(), timeout=20)
    first = metric(daemon, "nvid_reconcile_duration_seconds_count")
    assert daemon.command("status", check=False).returncode in (0, 1)
    stop.touch()
    converged(daemon, timeout=30)
    assert metric(daemon, "nvid_reconcile_duration_seconds_count") - first < 100


class TestInterfaces:
    """A NAT-enabled interface goes and comes back, or is another one under the same name."""

    @pytest.mark.parametrize("name", ["lan0", "wan0"])
    def test_gone_and_back(self, router: Router, daemon: Nvid, name: str) -> None:
        router.namespace.ip("link", "delete", name)
        wait_until(lambda: name not in str(daemon.status()["nvis"]))
        converged(daemon)
        router.plug(name)
        for each in {"lan0": samples.LAN0, "wan0": samples.WAN0}[name].addresses:
            router.namespace.address(name, str(each.interface))
        wait_until(lambda: daemon.status()["state"] == "healthy")
        converged(daemon)

    def test_an_uplink_without_its_interface_is_down_and_says_why(
        self, router: Router, daemon: Nvid
    ) -> None:
        router.namespace.ip("link", "set", "wan0", "down")

        def reported() -> bool:
            uplinks: Any = daemon.status()["uplinks"]
            isp1 = uplinks[0]
            assert (isp1["state"], isp1["reason"]) == ("down", "interface wan0 is down")
            return True

        wait_until(reported)
        assert daemon.status()["state"] == "degraded"
        assert daemon.command("status", check=False).returncode == 1
        assert metric(daemon, 'nvid_uplink_up{uplink="isp1"}') == 0
        router.namespace.ip("link", "set", "wan0", "up")
        wait_until(lambda: daemon.status()["state"] == "healthy")
        converged(daemon)

    def test_one_that_appears_late_is_guarded_from_its_first_packet(self, router: Router) -> None:
        nvid = router.nvid(samples.SAMPLES["globs"]).start()
        router.plug("lan7")

        def covered() -> bool:
            assert "fwmark 0/0xc00000 iif lan7 blackhole" in router.namespace.ip("rule")
            return True

        wait_until(covered)
        # Forwarding comes last, and a moment later.
        converged(nvid)
        assert router.namespace.sysctl("net.ipv4.conf.lan7.forwarding") == "1"

    def test_a_new_address_on_an_uplink_is_used(self, router: Router, daemon: Nvid) -> None:
        router.namespace.ip("addr", "del", "203.0.113.1/24", "dev", "wan0")
        router.namespace.address("wan0", "203.0.113.7/24")

        def used() -> bool:
            chain = router.namespace.run("nft", "list", "chain", "inet", "nvid", "source_1").stdout
            assert "snat ip to 203.0.113.7" in chain
            return True

        wait_until(used)
        converged(daemon)
