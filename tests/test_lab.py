"""The lab itself: it must work before it can prove anything, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.lab import (
    CommandFailed,
    ForeignCounter,
    Lab,
    Namespace,
    Nvid,
    TwoUplinks,
    Unanswered,
    exchange,
    machine_state,
    namespaces_of_this_run,
    two_uplinks,
    wait_until,
)
from tests.lab.daemon import with_daemon_table

SERVER = {4: "198.18.0.10", 6: "2001:db8:f::10"}
ROUTER_ON_WAN0 = {4: "203.0.113.1", 6: "2001:db8:1::1"}
CLIENT = {4: "10.1.0.2", 6: "fd00:1::2"}
FAMILIES = pytest.mark.parametrize("family", [4, 6])

# What nvid will be in these tests: a masquerading router, written by hand.
SOURCE_NAT = """
table inet handmade {
    chain leaving {
        type nat hook postrouting priority srcnat;
        oifname "wan0" ip saddr 10.1.0.0/24 snat ip to 203.0.113.1
        oifname "wan0" ip6 saddr fd00:1::/64 snat ip6 to 2001:db8:1::1
    }
}
"""


def pair(lab: Lab) -> tuple[Namespace, Namespace]:
    left, right = lab.namespace("left"), lab.namespace("right")
    lab.link(left, "a0", right, "b0")
    for namespace, interface, host in ((left, "a0", 1), (right, "b0", 2)):
        namespace.address(interface, f"10.0.0.{host}/24")
        namespace.address(interface, f"fd00::{host}/64")
    return left, right


def translating(lab: Lab) -> TwoUplinks:
    network = two_uplinks(lab, forwarding=True, default_route="isp1")
    network.router.nft(SOURCE_NAT)
    return network


class TestNamespaces:
    def test_link_carries_both_families(self, lab: Lab) -> None:
        left, right = pair(lab)
        assert left.interfaces() == ("lo", "a0")
        assert left.ping("10.0.0.2")
        assert right.ping("fd00::1", count=3)
        assert not left.ping("10.0.0.77", timeout=1)

    def test_ping_respects_do_not_fragment(self, lab: Lab) -> None:
        left, _ = pair(lab)
        for address in ("10.0.0.2", "fd00::2"):
            assert left.ping(address, size=3000)
            assert not left.ping(address, size=3000, df=True, timeout=1)

    def test_run_reports_the_words_of_a_failing_program(self, lab: Lab) -> None:
        namespace = lab.namespace("alone")
        with pytest.raises(CommandFailed, match="does-not-exist"):
            namespace.run("ip", "link", "show", "dev", "does-not-exist")
        assert namespace.run("false", check=False).returncode == 1
        assert namespace.run("cat", input="text").stdout == "text"

    def test_sysctls_and_routes_belong_to_the_namespace(self, lab: Lab) -> None:
        left, right = pair(lab)
        assert left.sysctl("net.ipv4.ip_forward", 1) == "1"
        assert right.sysctl("net.ipv4.ip_forward") == "0"
        left.route("192.0.2.0/24", "via", "10.0.0.2")
        left.route("2001:db8::/32", "via", "fd00::2")
        assert "192.0.2.0/24 via 10.0.0.2" in left.ip("route")
        assert "2001:db8::/32 via fd00::2" in left.ip("-6", "route")

    def test_labs_do_not_share_names(self, lab: Lab) -> None:
        with Lab() as other:
            assert other.namespace("one").name != lab.namespace("one").name

    def test_everything_goes_with_the_lab(self) -> None:
        lab = Lab()
        left, _ = pair(lab)
        stubborn = left.popen(
            *("bash", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"),
            stdout=subprocess.PIPE,
        )
        assert stubborn.stdout is not None
        assert stubborn.stdout.readline() == "deaf\n"
        scratch = lab.scratch("file")
        scratch.write_text("x")
        with pytest.raises(ZeroDivisionError), lab:
            raise ZeroDivisionError
        assert left.name not in namespaces_of_this_run()
        assert stubborn.returncode == -signal.SIGKILL
        assert not scratch.exists()

    def test_grandchildren_end_with_the_lab(self) -> None:
        with Lab() as lab:
            shell = lab.namespace("alone").popen(
                "bash", "-c", "sleep 1000 & echo $!", stdout=subprocess.PIPE
            )
            assert shell.stdout is not None
            orphan = int(shell.stdout.readline())
            assert shell.wait() == 0
        wait_until(lambda: not is_alive(orphan), message="the end of the orphan")

    def test_popen_gives_the_pid_of_the_program(self, lab: Lab) -> None:
        process = lab.namespace("alone").popen("sleep", "1000")
        comm = Path(f"/proc/{process.pid}/comm")
        wait_until(lambda: comm.read_text() == "sleep\n", message="the program's own name")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def all_namespaces() -> set[str]:
    return {entry.name for entry in Path("/run/netns").iterdir()}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """A whole pytest of its own is interrupted in the middle of a test."""
    names = tmp_path / "names"
    (tmp_path / "test_waiting.py").write_text(
        textwrap.dedent(
            f"""
            import pathlib, time
            from tests.lab import Lab

            def test_waits(lab):
                process = lab.namespace("alone").popen("sleep", "1000")
                loose = Lab().namespace("forgotten")
                path = pathlib.Path({str(names)!r})
                path.with_suffix(".draft").write_text(
                    f"{{lab.namespaces[0].name}} {{loose.name}} {{process.pid}}")
                path.with_suffix(".draft").rename(path)
                time.sleep(60)
            """
        )
    )
    plugins = ["-p", "no:cacheprovider", "-p", "tests.conftest"]
    with (tmp_path / "output").open("wb") as output:
        run = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", *plugins, str(tmp_path)],
            cwd=Path(__file__).parents[1],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: names.exists() or run.poll() is not None, timeout=30)
        assert names.exists(), (tmp_path / "output").read_text()
        first, second, pid = names.read_text().split()
        assert {first, second} <= all_namespaces()
        run.send_signal(number)
        run.wait(20)
    finally:
        run.kill()
        run.wait()
    assert not {first, second} & all_namespaces()
    assert not is_alive(int(pid))


class TestWaiting:
    def test_returns_the_first_true_answer(self) -> None:
        answers = iter([0, "", None, 7, 8])
        assert wait_until(lambda: next(answers)) == 7

    def test_shows_the_last_thing_seen(self) -> None:
        def never() -> bool:
            assert [1] == [2], "not yet"
            return True

        with pytest.raises(TimeoutError, match=r"the impossible.*not yet"):
            wait_until(never, timeout=0.02, message="the impossible")

    def test_lets_other_exceptions_through(self) -> None:
        empty: dict[str, str] = {}
        with pytest.raises(KeyError):
            wait_until(lambda: empty["x"])


@FAMILIES
class TestTwoUplinks:
    def test_router_forwards_nothing_by_itself(self, lab: Lab, family: int) -> None:
        network = two_uplinks(lab)
        assert network.client.ping("10.1.0.1" if family == 4 else "fd00:1::1")
        assert network.second_client.ping(CLIENT[family])
        assert not network.client.ping(SERVER[family], timeout=1)
        assert not network.router.ip(f"-{family}", "route", "show", "default")

    def test_translated_traffic_arrives(self, lab: Lab, family: int) -> None:
        network = translating(lab)
        network.server.observe(tcp=[80], udp=[53])
        client, server = network.client, SERVER[family]
        assert client.ping(server)
        assert client.ask_tcp(server, 80).address == ROUTER_ON_WAN0[family]
        assert client.ask_udp(server, 53, source_port=4001) == (ROUTER_ON_WAN0[family], 4001)

    def test_untranslated_traffic_finds_no_way_back(self, lab: Lab, family: int) -> None:
        network = two_uplinks(lab, forwarding=True, default_route="isp1")
        network.server.observe(tcp=[80])
        with pytest.raises(Unanswered, match=r"[Tt]imed? ?out"):
            network.client.ask_tcp(SERVER[family], 80, timeout=0.5)

    def test_pools_are_routed_to_the_router_by_their_provider(self, lab: Lab, family: int) -> None:
        network = two_uplinks(lab, forwarding=True)
        pools = {
            4: ("198.51.100.9", "198.51.101.9"),
            6: ("2001:db8:100::9", "2001:db8:101::9"),
        }[family]
        for pool, isp in zip(pools, (network.isp1, network.isp2), strict=True):
            network.router.address("lo", pool + ("/32" if family == 4 else "/128"))
            counter = ForeignCounter(isp, "core", allowed=[])
            # The router has no default route: the request arrives, the answer cannot leave.
            assert not network.server.ping(pool, source=SERVER[family], timeout=1)
            assert counter.packets() == 1
            network.router.ip(
                *(f"-{family}", "route", "replace", SERVER[family], "via"),
                gateway(isp, family),
            )
            isp.nft("flush ruleset")
            assert network.server.ping(pool, source=SERVER[family])

    def test_one_family_only(self, lab: Lab, family: int) -> None:
        network = two_uplinks(lab, families=[family])
        other = 10 - family
        addresses = network.router.ip(f"-{other}", "-o", "address", "show", "scope", "global")
        assert addresses == ""
        assert network.client.ping("10.1.0.1" if family == 4 else "fd00:1::1")


def gateway(isp: Namespace, family: int) -> str:
    words = isp.ip(f"-{family}", "-o", "address", "show", "dev", "wan", "scope", "global").split()
    return words[3].split("/")[0]


@FAMILIES
class TestTraffic:
    def test_observer_tells_both_ends(self, lab: Lab, family: int) -> None:
        left, right = pair(lab)
        here, there = ("10.0.0.1", "10.0.0.2") if family == 4 else ("fd00::1", "fd00::2")
        right.address("b0", "10.0.0.3/24" if family == 4 else "fd00::3/64")
        also = "10.0.0.3" if family == 4 else "fd00::3"
        observer = right.observe(tcp=[80, 81], udp=[53])
        assert left.ask_tcp(there, 81, source=here, source_port=5000) == (here, 5000)
        for protocol, port in (("tcp", 80), ("udp", 53)):
            found = exchange(left, protocol, also, port)
            assert found.seen.address == here
            assert found.answered_by == (also, port)
        assert [found.answered_by.port for found in observer.exchanges()] == [81, 80, 53]
        assert len(observer.exchanges("udp")) == 1

    def test_refusal_and_silence_are_told_apart(self, lab: Lab, family: int) -> None:
        left, right = pair(lab)
        there = "10.0.0.2" if family == 4 else "fd00::2"
        with pytest.raises(Unanswered, match="refused"):
            left.ask_tcp(there, 80)
        with pytest.raises(Unanswered, match="refused"):
            left.ask_udp(there, 80)
        right.nft(
            "table inet t { chain c { type filter hook input priority 0; tcp dport 80 drop; }\n}"
        )
        with pytest.raises(Unanswered, match="timed out"):
            left.ask_tcp(there, 80, timeout=0.3)

    @pytest.mark.parametrize("protocol", ["tcp", "udp"])
    def test_undisturbed_flow_is_whole(self, lab: Lab, family: int, protocol: str) -> None:
        left, right = pair(lab)
        here, there = ("10.0.0.1", "10.0.0.2") if family == 4 else ("fd00::1", "fd00::2")
        right.observe(tcp=[80], udp=[80])
        flow = left.long_flow(there, 80, protocol, source_port=4000)
        flow.wait_for_answers(10)
        report = flow.stop()
        assert report.answered == report.sent >= 10
        assert report.lost == 0
        assert report.longest_gap < 0.5
        assert report.sources == ((here, 4000),)
        assert not report.broken
        assert not report.errors

    @pytest.mark.parametrize("protocol", ["tcp", "udp"])
    def test_interruption_shows_as_a_gap(self, lab: Lab, family: int, protocol: str) -> None:
        left, right = pair(lab)
        right.observe(tcp=[80], udp=[80])
        flow = left.long_flow("10.0.0.2" if family == 4 else "fd00::2", 80, protocol)
        right.ip("link", "set", "b0", "down")
        before = flow.report().sent
        wait_until(lambda: flow.report().sent >= before + 25, message="half a second of sending")
        assert flow.report().broken
        right.ip("link", "set", "b0", "up")
        if family == 6:  # which the kernel takes away with the link
            right.address("b0", "fd00::2/64")
        flow.wait_for_answers(3)
        report = flow.stop()
        assert report.longest_gap > 0.4
        assert not report.broken
        assert (report.lost > 0) == (protocol == "udp")

    def test_reset_connection_is_broken(self, lab: Lab, family: int) -> None:
        left, right = pair(lab)
        observer = right.observe(tcp=[80])
        flow = left.long_flow("10.0.0.2" if family == 4 else "fd00::2", 80)
        observer.stop()
        with pytest.raises(Unanswered, match="ended"):
            flow.wait_for_answers(1)
        assert flow.stop().broken

    def test_flow_that_changes_its_source_is_broken(self, lab: Lab, family: int) -> None:
        network = translating(lab)
        network.server.observe(udp=[53])
        flow = network.client.long_flow(SERVER[family], 53, "udp", source_port=4000)
        network.router.run("conntrack", "-F")
        network.router.nft(
            "flush ruleset\n"
            + SOURCE_NAT.replace("to 203.0.113.1", "to 203.0.113.1:9000")
            .replace("to 2001:db8:1::1", "to [2001:db8:1::1]:9000")
            .replace("snat ip", "meta l4proto udp snat ip")
        )
        network.router.run("conntrack", "-F")
        flow.wait_for_answers(3)
        report = flow.stop()
        assert report.sources[-1] == (ROUTER_ON_WAN0[family], 9000)
        assert report.broken


class TestForeignCounter:
    def test_counts_private_sources_and_lets_the_rest_pass(self, lab: Lab) -> None:
        network = two_uplinks(lab, forwarding=True, default_route="isp1")
        counter = ForeignCounter(network.isp1, "wan", ["203.0.113.0/24", "2001:db8:1::/64"])
        for family in (4, 6):
            assert network.router.ping(SERVER[family])
        assert counter.packets() == 0
        assert counter.seen() == []
        for family in (4, 6):
            assert not network.client.ping(SERVER[family], timeout=1)
        assert counter.packets() == 2
        assert {line.split()[0] for line in counter.seen()} == set(CLIENT.values())


class TestSnapshot:
    def test_traffic_changes_nothing(self, lab: Lab) -> None:
        network = translating(lab)
        before = machine_state(network.router)
        network.server.observe(tcp=[80])
        for family in (4, 6):
            network.client.ask_tcp(SERVER[family], 80)
        after = machine_state(network.router)
        assert before.difference(after) == ""
        assert before == after

    @pytest.mark.parametrize(
        ("section", "commands"),
        [
            ("link", ["ip link set a0 alias x"]),
            ("link", ["ip link add v0 type veth peer name v1"]),
            ("address", ["ip address add 10.9.9.9/32 dev a0"]),
            ("rule", ["ip -6 rule add priority 77 fwmark 1 table 77"]),
            ("route", ["ip route add 192.0.2.0/24 dev a0 table 77"]),
            ("route", ["ip -6 route add blackhole 2001:db8::/32 table 77"]),
            ("neighbour", ["ip neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev a0 nud permanent"]),
            ("proxy", ["ip -6 neigh add proxy fd00::99 dev a0"]),
            ("qdisc", ["tc qdisc add dev a0 clsact"]),
            ("nft", ["nft add table inet x"]),
            ("sysctl", ["sysctl -q -w net.ipv4.conf.a0.rp_filter=2"]),
        ],
    )
    def test_every_kind_of_change_is_seen(
        self, lab: Lab, section: str, commands: list[str]
    ) -> None:
        left, _ = pair(lab)
        before = machine_state(left)
        for command in commands:
            left.run(*command.split())
        difference = before.difference(machine_state(left))
        assert f"+ {section}: " in difference
        assert before != machine_state(left)


STAND_IN = """#!/usr/bin/python3
import os, signal, socket, sys, time
def tell(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(text.encode(), os.environ["NOTIFY_SOCKET"])
if sys.argv[1] == "run":
    print("stand-in", *sys.argv[1:], os.environ.get("WATCHDOG_USEC"), file=sys.stderr, flush=True)
    if "broken" in open(sys.argv[3]).read():
        sys.exit("the configuration is broken")
    signal.signal(signal.SIGHUP, lambda *_: tell("RELOADING=1\\nMONOTONIC_USEC=5"))
    tell("READY=1\\nSTATUS=all is well")
    while True:
        signal.pause()
print(*sys.argv[1:])
"""


def running(daemon: Nvid) -> bool:
    # A call, because mypy believes that a property keeps its value.
    return daemon.is_running


class TestDaemonWrapper:
    def daemon(self, lab: Lab, directory: Path, text: str = "") -> Nvid:
        program = directory / "stand-in"
        program.write_text(STAND_IN)
        program.chmod(0o755)
        namespace = lab.namespace("router")
        return Nvid(namespace, text, directory, watchdog=2.5, executable=program)

    def test_life_of_a_daemon(self, lab: Lab, tmp_path: Path) -> None:
        daemon = self.daemon(lab, tmp_path)
        assert not running(daemon)
        daemon.start()
        assert running(daemon)
        assert daemon.notified("STATUS") == ["all is well"]
        assert "2500000" in daemon.log()
        daemon.hang_up()
        wait_until(lambda: daemon.notified("RELOADING"), message="the answer to SIGHUP")
        assert daemon.terminate() == -signal.SIGTERM
        assert not running(daemon)
        daemon.start()
        assert daemon.notified("READY") == ["1", "1"]
        assert daemon.kill() == -signal.SIGKILL

    def test_early_end_shows_what_it_said(self, lab: Lab, tmp_path: Path) -> None:
        with pytest.raises(CommandFailed, match="the configuration is broken"):
            self.daemon(lab, tmp_path, "# broken").start()

    def test_commands_are_pointed_at_this_daemon(self, lab: Lab, tmp_path: Path) -> None:
        daemon = self.daemon(lab, tmp_path)
        socket_words = f"--socket {daemon.socket_path}"
        assert daemon.command("status", "--json").stdout == f"status {socket_words} --json\n"
        assert daemon.reload("# new", "--confirm", "3").stdout.startswith(f"reload {socket_words}")
        assert "# new" in daemon.configuration_path.read_text()
        assert daemon.command("check").stdout == f"check --config {daemon.configuration_path}\n"

    def test_daemon_table_is_completed_not_replaced(self) -> None:
        keys = {"socket": "/s", "metrics": "m"}
        assert with_daemon_table("[uplink.a]\n", keys) == (
            '[daemon]\nsocket = "/s"\nmetrics = "m"\n\n[uplink.a]\n'
        )
        assert with_daemon_table('[daemon]\nmetrics = "off"\n[uplink.a]\nsocket = 1\n', keys) == (
            '[daemon]\nsocket = "/s"\nmetrics = "off"\n[uplink.a]\nsocket = 1\n'
        )
