"""Events say which kind to look at, and who did it; nvid's own doings are no news."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator

import pytest

from nvid.kernel.events import EVERYTHING, ROUTING, RULESET, Event, FlowWatch, Watch
from nvid.kernel.nft import Nft
from tests import samples
from tests.kernel.conftest import Router


@pytest.fixture
def watch(router: Router) -> Iterator[Watch]:
    """Opened after nvid has made its objects, so that what comes is somebody else's doing."""
    router.converge(samples.EVERY_KIND)
    own = frozenset(
        int(line.split(":")[0])
        for line in router.ip("-o", "link").splitlines()
        if "nvi0" in line.split(":")[1]
    )
    made = router.call(Watch, "nvid", lambda: 77, lambda: own)
    yield made
    made.close()


def events(router: Router, watch: Watch) -> list[Event]:
    """Everything that has come; a command that has ended has sent its events."""
    found = router.call(lambda: [*watch.read_routing(), *watch.read_netfilter()])
    return list(found)


def kinds(found: list[Event]) -> set[str]:
    return {kind for event in found for kind in event.kinds}


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("ip link set nvi0 mtu 1400", ROUTING),
        ("ip link set nvi0p address 02:00:00:00:00:07", ROUTING),
        ("ip link set nvi0 alias other", ROUTING),
        ("ip link set nvi0 group 7", ROUTING),
        ("ip link delete nvi0", ROUTING),
        ("ip link set wan0 down", ROUTING),
        ("ip addr add 10.7.0.1/24 dev lan0", ROUTING),
        ("ip addr add fd07::1/64 dev lan0 nodad", ROUTING),
        ("ip addr del 169.254.128.2/32 dev nvi0p", ROUTING),
        ("ip neigh del 169.254.128.3 dev nvi0", ROUTING),
        ("ip neigh del fe80::1 dev nvi0", ROUTING),
        ("ip rule del priority 7711", ROUTING),
        ("ip -6 rule add priority 7705 table main", ROUTING),
        ("ip route del default table 7701", ROUTING),
        ("ip -6 route flush table 7716", ROUTING),
        ("sysctl -qw net.ipv4.conf.nvi0.forwarding=0", ROUTING),
        ("sysctl -qw net.ipv4.conf.wan0.rp_filter=1", ROUTING),
        ("sysctl -qw net.ipv6.conf.all.forwarding=0", ROUTING),
        ("nft insert rule inet nvid classify drop", RULESET),
        ("nft flush map inet nvid offer", RULESET),
        ("nft add counter inet nvid x", RULESET),
        ("nft delete table inet nvid", RULESET),
        ("nft flush ruleset", RULESET),
    ],
)
def test_a_disturbance_marks_its_kind(
    router: Router, watch: Watch, command: str, kind: str
) -> None:
    router.namespace.run("sh", "-c", command)
    assert kinds(events(router, watch)) == {kind}


@pytest.mark.parametrize(
    "command",
    [
        "ip route add 198.18.0.0/24 dev lan0",
        "ip -6 route add 2001:db8:77::/64 dev lan0 proto bird",
        "ip neigh add 10.1.0.77 lladdr 02:00:00:00:00:07 dev lan0",
        "nft add table inet somebodys",
        "nft add table inet nvid2",
    ],
)
def test_what_belongs_to_others_marks_nothing(router: Router, watch: Watch, command: str) -> None:
    router.namespace.run("sh", "-c", command)
    assert events(router, watch) == []


class TestCulprits:
    def test_nft_is_named(self, router: Router, watch: Watch) -> None:
        process = router.namespace.popen("nft", "flush", "ruleset")
        assert process.wait(5) == 0
        (event,) = events(router, watch)
        assert event == Event(frozenset({RULESET}), f"nft (pid {process.pid})")

    @pytest.mark.parametrize(
        "words",
        [
            ("rule", "del", "priority", "7711"),
            ("route", "del", "default", "table", "7701"),
            ("addr", "del", "169.254.128.2/32", "dev", "nvi0p"),
        ],
    )
    def test_ip_is_known_by_its_process_at_least(
        self, router: Router, watch: Watch, words: tuple[str, ...]
    ) -> None:
        """By its number only, because it has ended."""
        process = router.namespace.popen("ip", *words)
        assert process.wait(5) == 0
        assert f"pid {process.pid}" in {event.culprit for event in events(router, watch)}

    def test_a_sysctl_is_nobodys(self, router: Router, watch: Watch) -> None:
        router.namespace.sysctl("net.ipv4.conf.nvi0.forwarding", 0)
        assert {event.culprit for event in events(router, watch)} == {None}


class TestOwnDoings:
    def test_own_transactions_are_ignored(self, router: Router, watch: Watch) -> None:
        router.call(lambda: Nft().run("add counter inet nvid mine"))
        assert events(router, watch) == []

    def test_somebody_elses_between_own_ones_is_not(self, router: Router, watch: Watch) -> None:
        router.call(lambda: Nft().run("add counter inet nvid mine"))
        router.nft("add counter inet nvid theirs")
        router.call(lambda: Nft().run("delete counter inet nvid mine"))
        (event,) = events(router, watch)
        assert event.culprit is not None
        assert event.culprit.startswith("nft (pid ")

    def test_own_routing_changes_accuse_nobody(self, router: Router, watch: Watch) -> None:
        router.converge(samples.MASQUERADE)
        found = {event.culprit for event in events(router, watch)}
        assert found <= {None, "the kernel"}
        assert str(os.getpid()) not in str(found)


@pytest.mark.parametrize("which", ["routing", "netfilter"])
def test_an_overrun_is_told_and_costs_one_full_look(
    router: Router, watch: Watch, which: str
) -> None:
    sock: socket.socket = getattr(watch, which)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    if which == "routing":
        rules = "".join(f"rule add priority {n} table main\n" for n in range(9000, 9400))
        router.namespace.run("ip", "-batch", "-", input=rules)
    else:
        router.nft("".join(f"add counter inet nvid c{n}\n" for n in range(400)))
    found = events(router, watch)
    assert [event for event in found if event.overrun] == [Event(EVERYTHING, overrun=True)]
    # It goes on as before.
    router.namespace.run("sh", "-c", "ip rule del priority 7711; nft add counter inet nvid late")
    assert kinds(events(router, watch)) == {ROUTING, RULESET}


def test_reading_without_events_does_not_wait(router: Router, watch: Watch) -> None:
    assert not select.select([watch.routing, watch.netfilter], [], [], 0)[0]
    assert events(router, watch) == []


@pytest.mark.parametrize("family", [4, 6])
def test_flows_are_watched_until_the_end_and_not_until_silence(router: Router, family: int) -> None:
    """A storm of new flows must not keep a thread from ending."""
    # Conntrack works in a namespace from the first rule that asks it.
    router.nft("table inet x { chain y { type filter hook output priority 0; ct state new; }; }")
    address = {4: "10.1.0.2", 6: "fd00:1::2"}[family]
    # Nobody answers there, and nothing must wait for that.
    router.ip("neigh", "add", address, "lladdr", "02:00:00:00:00:07", "dev", "lan0")
    watch = router.call(FlowWatch)
    router.call(send_to_many_ports, address)
    seen = 0
    for _ in watch.events():
        if seen == 0:
            watch.stop()
        seen += 1
    assert 1 <= seen < WAITING / 2


WAITING = 2000


def send_to_many_ports(address: str) -> None:
    """As many new flows; the kernel has told of each when this returns."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        for port in range(1024, 1024 + WAITING):
            sender.sendto(b"x", (address, port))
