"""Failing closed: whatever happens to nvid's objects or to nvid, no packet leaves untranslated,
or by another uplink than its own, and the router itself stays reachable from the LAN.

Main has a default route through isp2 and isp1 is preferred, so that whatever is routed as if nvid
did not exist leaves by the wrong provider, with the wrong source, and is counted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from tests.lab import Lab, LongFlow, Unanswered, wait_until
from tests.path.entries import SNAT_TO_POOL
from tests.path.site import IPV4, IPV6, SNAT_TO_UPLINK, TCP, UDP, Family, Site

MORE = """
[[nvi.nvi0.static]]
local = "10.1.0.77"
global = "198.51.100.77"

[[nvi.nvi0.dnat]]
destination = "2001:db8:100::30"
to = "fd00:1::77"
"""

LARGE = SNAT_TO_POOL + "".join(
    f"""
[[nvi.nvi0.static]]
local = "10.3.{number}.1"
global = "198.51.101.{number}"
"""
    for number in range(250)
)
"""Large enough that nftables takes a while to make all of it visible to packets: rules and the
elements of maps do not appear at the same moment."""

FLUSH_RULES = "; ".join(
    f"ip {version} rule flush; ip {version} rule add priority 32766 lookup main"
    for version in ("-4", "-6")
)
FLUSH_ROUTES = "ip route flush proto 77 table all"
ACCIDENTS = {
    "nft flush ruleset": {"veth": "nft flush ruleset", "loopback": "nft flush ruleset"},
    "ip rule flush": {"veth": FLUSH_RULES, "loopback": FLUSH_RULES},
    "the crossing is deleted": {
        "veth": "ip link delete nvi0",
        "loopback": "tc qdisc delete dev lo clsact",
    },
    "the crossing is down": {
        "veth": "ip link set nvi0 down",
        "loopback": "tc filter delete dev lo egress",
    },
    "its routes are flushed": {
        "veth": f"{FLUSH_ROUTES}; ip -6 route flush proto 77 table all",
        # iproute2 6.1 cannot flush a route that goes through a nexthop object.
        "loopback": f"{FLUSH_ROUTES}; ip nexthop flush protocol 77",
    },
}
"""By backend, in shell."""
ACCIDENT = pytest.mark.parametrize("accident", ACCIDENTS.values(), ids=ACCIDENTS, indirect=True)
SERVERS = (IPV4.server, IPV6.server)
SECONDS = 1.0
"""How long a loop of accidents goes on."""


@pytest.fixture(scope="module")
def default_route() -> str:
    return "isp2"


@pytest.fixture
def accident(request: pytest.FixtureRequest, backend: str) -> str:
    """What happens, for the backend of the test."""
    commands: dict[str, str] = request.param
    return commands[backend]


@pytest.fixture
def translating(site: Site) -> Iterator[Site]:
    """nvid runs and is healthy; so it is again afterwards, with the main rule in its place."""
    site.use(SNAT_TO_POOL)
    wait_until(lambda: all_translated(site), timeout=15, message="translation")
    yield site
    for version in ("-4", "-6"):
        if "lookup main" not in site.router.ip(version, "rule", "show", "priority", "32766"):
            site.router.ip(version, "rule", "add", "priority", "32766", "lookup", "main")
    if site.nvid.is_running:
        site.nvid.kill()
    site.use(SNAT_TO_POOL)


def all_translated(site: Site) -> bool:
    try:
        return all(
            site.client.ask_udp(family.server, UDP, timeout=0.3).address == family.pool(8)
            for family in (IPV4, IPV6)
        )
    except Unanswered:
        return False


@contextlib.contextmanager
def established(site: Site) -> Iterator[list[LongFlow]]:
    """A flow of each protocol and family that goes on meanwhile."""
    flows = [
        site.client.long_flow(family.server, port, protocol)
        for family in (IPV4, IPV6)
        for protocol, port in (("tcp", TCP), ("udp", UDP))
    ]
    try:
        yield flows
    finally:
        for flow in flows:
            flow.process.terminate()


def assert_reachable(site: Site) -> None:
    """The router answers the LAN. `ip rule flush` takes main along: it may take a moment."""
    for family in (IPV4, IPV6):
        wait_until(
            lambda: site.client.ping(family.router[0], timeout=1),  # noqa: B023
            timeout=5,
            message="an answer of the router",
        )


class TestWhileNvidRepairs:
    @ACCIDENT
    def test_in_a_tight_loop(self, translating: Site, accident: str) -> None:
        site = translating
        with established(site), site.spray(site.client, *SERVERS), site.repeatedly(accident):
            until = time.monotonic() + SECONDS
            while time.monotonic() < until:
                assert_reachable(site)
        wait_until(lambda: all_translated(site), timeout=20, message="repair")

    def test_during_reloads(self, translating: Site) -> None:
        site = translating
        with established(site), site.spray(site.client, *SERVERS):
            for number in range(6):
                site.use((SNAT_TO_POOL + MORE, SNAT_TO_UPLINK)[number % 2])
                assert_reachable(site)


@contextlib.contextmanager
def stopped(site: Site) -> Iterator[None]:
    """The daemon does nothing for the length of a block."""
    os.kill(site.nvid.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(site.nvid.pid, signal.SIGCONT)


def dropped_as_wrong_uplink(site: Site) -> int:
    shown = site.router.run("nft", "list", "counter", "inet", "nvid", "dropped_wrong_uplink").stdout
    return int(shown.split("packets")[1].split()[0])


class TestTheNetworkOfAClient:
    def test_that_is_gone_gets_no_replies_by_a_provider(self, translating: Site) -> None:
        """Main's default route would send them to isp2, untranslated."""
        site = translating
        network, device = ("10.1.0.0/24", "dev", "lan0"), ("proto", "kernel", "scope", "link")
        with established(site), stopped(site):
            before = dropped_as_wrong_uplink(site)
            site.router.ip("route", "delete", *network)
            with site.capture(site.isp2, "wan", f"dst host {IPV4.client}") as seen:
                wait_until(lambda: dropped_as_wrong_uplink(site) > before + 1)
                assert seen() == []
            site.router.ip("route", "add", *network, *device, "src", IPV4.router[0])


class TestAPacketInTheMiddle:
    """The ruleset is flushed while a packet is between prerouting and postrouting."""

    def test_is_still_translated(self, translating: Site) -> None:
        """Somebody else's table gives packets the marks that they had got before the flush: of
        lane 1, and of what is let pass."""
        site = translating
        with established(site) as flows, stopped(site):
            site.router.nft("flush ruleset")
            site.router.nft(
                "table inet in_the_middle { chain prerouting { "
                "type filter hook prerouting priority -90; "
                # Nobody translates what conntrack does not know.
                "ct state invalid drop; "
                'iifname "lan0" meta l4proto { tcp, udp } meta mark set 0x00c00100; '
                'iifname "wan0" meta l4proto { tcp, udp } meta mark set 0x00400000; }; }'
            )
            try:
                for flow in flows:
                    flow.wait_for_answers()
            finally:
                site.router.nft("delete table inet in_the_middle")
        for flow in flows:
            assert len({each.address for each in flow.stop().sources}) == 1

    def test_its_table_goes_with_the_daemon(self, translating: Site) -> None:
        site = translating
        assert "nvid-hooks" in site.router.run("nft", "list", "tables").stdout
        site.nvid.kill()
        assert "nvid-hooks" not in site.router.run("nft", "list", "tables").stdout
        assert "table inet nvid\n" in site.router.run("nft", "list", "tables").stdout


class TestWhileNvidIsDead:
    """kill -9, and then an accident: what guards then is in the kernel already."""

    @ACCIDENT
    def test_nothing_leaves(self, translating: Site, accident: str) -> None:
        site = translating
        with established(site):
            site.nvid.kill()
            site.router.run("bash", "-c", accident)
            with site.spray(site.client, *SERVERS):
                assert_reachable(site)
                with contextlib.suppress(Unanswered):
                    site.client.ask_tcp(IPV4.server, TCP, timeout=0.5)
                with contextlib.suppress(Unanswered):
                    site.client.ask_tcp(IPV6.server, TCP, timeout=0.5)
        site.use(SNAT_TO_POOL)
        wait_until(lambda: all_translated(site), message="translation")

    def test_translation_goes_on(self, translating: Site) -> None:
        site = translating
        site.nvid.kill()
        with site.spray(site.client, *SERVERS):
            assert all_translated(site)
            assert_reachable(site)


class TestLongFlows:
    """An established flow never breaks, and never changes its source."""

    def unbroken(self, site: Site, event: Callable[[], object]) -> None:
        with established(site) as flows:
            event()
            for flow in flows:
                flow.wait_for_answers(timeout=20)
                report = flow.stop()
                assert not report.broken, report

    def test_over_a_reload_that_adds_translations(self, translating: Site) -> None:
        self.unbroken(translating, lambda: translating.use(SNAT_TO_POOL + MORE))

    def test_over_a_reload_that_changes_the_preference(self, translating: Site) -> None:
        self.unbroken(
            translating,
            lambda: translating.use(
                SNAT_TO_POOL + '[[nvi.nvi0.route]]\ndestination = ["0.0.0.0/0"]\nvia = "isp2"\n'
                '[[nvi.nvi0.route]]\ndestination = ["2001:db8:f::9"]\nvia = "isp2"\n'
            ),
        )

    def test_over_kill_and_restart(self, translating: Site) -> None:
        def restart() -> None:
            translating.nvid.kill()
            translating.nvid.start()

        self.unbroken(translating, restart)

    def test_over_an_orderly_restart(self, translating: Site) -> None:
        def restart() -> None:
            assert translating.nvid.terminate() == 0
            translating.nvid.start()

        self.unbroken(translating, restart)

    @ACCIDENT
    def test_over_an_accident_and_its_repair(self, translating: Site, accident: str) -> None:
        self.unbroken(translating, lambda: translating.router.run("bash", "-c", accident))

    @ACCIDENT
    def test_over_an_accident_while_nvid_was_dead(self, translating: Site, accident: str) -> None:
        def restart() -> None:
            translating.nvid.kill()
            translating.router.run("bash", "-c", accident)
            translating.nvid.start()

        self.unbroken(translating, restart)


class TestStart:
    """Flows that begin before nvid is there."""

    @pytest.fixture(params=[False, True], ids=["untracked", "tracked"])
    def early(self, request: pytest.FixtureRequest, lab_of_its_own: Lab) -> Site:
        """A router that forwards already, and perhaps tracks connections for a firewall."""
        site = Site(lab_of_its_own, "isp1", forwarding=True)
        site.observe_everywhere()
        if request.param:
            site.router.nft(
                "table inet firewall { chain forward { type filter hook forward priority 0;"
                " ct state established,related accept; }; }"
            )
        return site

    @pytest.fixture
    def lab_of_its_own(self) -> Iterator[Lab]:
        with Lab() as made:
            yield made

    def test_they_are_translated_once_nvid_is_ready(
        self, early: Site, path: str, backend: str
    ) -> None:
        """UDP with a constant port: the same flow all the time, as conntrack sees it."""
        early.path, early.backend = path, backend
        with early.spray(early.client, *SERVERS):
            wait_until(lambda: len(early.foreign()) == 1, message="the leak before nvid")
            early.use(LARGE)
            early.forget_foreign()
            for family in (IPV4, IPV6):
                with early.capture(
                    early.server, "isp1", f"src {family.pool(8)} and udp"
                ) as translated:
                    wait_until(
                        lambda: len({line.split(" > ")[0] for line in translated()}) > 3,
                        message="translated datagrams",
                    )
                    early_flow_translated(early, family)
            assert early.foreign() == []

    def test_a_start_with_old_state_is_closed_from_the_first_packet(
        self, translating: Site
    ) -> None:
        site = translating
        site.nvid.kill()
        with site.spray(site.client, *SERVERS):
            site.nvid.start()
            assert all_translated(site)


def early_flow_translated(site: Site, family: Family) -> None:
    """conntrack shows the flow of the constant port, and that it is translated."""
    done = site.router.run(
        *("conntrack", "-L", "-f", f"ipv{family.version}", "-p", "udp"),
        *("--orig-src", family.client, "--orig-port-src", "4000"),
        check=False,
    )
    assert family.pool(8) in done.stdout, done.stdout
