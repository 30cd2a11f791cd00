"""The network that all path tests send through, the daemon on its router, and its addresses."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.lab import (
    ForeignCounter,
    Lab,
    Namespace,
    Nvid,
    Observer,
    TwoUplinks,
    two_uplinks,
    wait_until,
)

PROBES = ("/usr/bin/python3", "-I", "-S", str(Path(__file__).with_name("probes.py")))

TCP, UDP = 80, 5300
"""Ports of the observers: at the server, the clients and the host in the second LAN."""
CLOSED = 9
"""A port that nobody listens on."""


@dataclass(frozen=True, slots=True)
class Family:
    """The addresses of one family; see TwoUplinks for where they are.

    `host` and `other` are in the second LAN, behind "dmz0" of the router. `inside_wan0` is a free
    address of the subnet between router and isp1. `pool(n)` is address n of the pool that isp1
    routes to the router, `pool2(n)` of isp2's.
    """

    version: Literal[4, 6]
    client: str
    second: str
    host: str
    router: tuple[str, ...]
    """On lan0, on dmz0, on wan0, on wan1."""
    gateways: tuple[str, str]
    server: str
    inside_wan0: str
    pools: tuple[str, str]

    @property
    def wan0(self) -> str:
        """The router's own address towards isp1."""
        return self.router[2]

    @property
    def wan1(self) -> str:
        """The router's own address towards isp2."""
        return self.router[3]

    def pool(self, number: int | str) -> str:
        """An address of isp1's pool."""
        return f"{self.pools[0]}{number}"

    def pool2(self, number: int) -> str:
        """An address of isp2's pool."""
        return f"{self.pools[1]}{number}"


IPV4 = Family(
    version=4,
    client="10.1.0.2",
    second="10.1.0.3",
    host="10.2.0.2",
    router=("10.1.0.1", "10.2.0.1", "203.0.113.1", "192.0.2.1"),
    gateways=("203.0.113.254", "192.0.2.254"),
    server="198.18.0.10",
    inside_wan0="203.0.113.10",
    pools=("198.51.100.", "198.51.101."),
)
IPV6 = Family(
    version=6,
    client="fd00:1::2",
    second="fd00:1::3",
    host="fd00:2::2",
    router=("fd00:1::1", "fd00:2::1", "2001:db8:1::1", "2001:db8:2::1"),
    gateways=("2001:db8:1::fe", "2001:db8:2::fe"),
    server="2001:db8:f::10",
    inside_wan0="2001:db8:1::10",
    pools=("2001:db8:100::", "2001:db8:101::"),
)

ISP1_PREFERRED = """
[uplink.isp1]
interface = "wan0"
gateway = ["203.0.113.254", "2001:db8:1::fe"]
priority = 10

[uplink.isp2]
interface = "wan1"
gateway = ["192.0.2.254", "2001:db8:2::fe"]
priority = 20
"""
ISP2_PREFERRED = ISP1_PREFERRED.replace("priority = 20", "priority = 5")

INTERFACES = ("lan0", "dmz0", "wan0", "wan1")

SNAT_TO_UPLINK = """
[[nvi.nvi0.snat]]
source = ["10.0.0.0/8", "fd00::/16"]
to = "uplink"
"""

_OWN = (
    ("203.0.113.0/24", "198.51.100.0/24", "2001:db8:1::/64", "2001:db8:100::/48"),
    ("192.0.2.0/24", "198.51.101.0/24", "2001:db8:2::/64", "2001:db8:101::/48"),
)
_GUEST = (("10.{}.0.1/24", "10.{}.0.2/24"), ("fd00:{}::1/64", "fd00:{}::2/64"))


class Site:
    """TwoUplinks with a second LAN, providers that drop what is not their own, and nvid.

    `path` and `backend` are written into every configuration that `use` makes; `tenants` are the
    tables of the tenants that are plugged in, if any, `daemon` is the table of that name.
    """

    def __init__(
        self, lab: Lab, default_route: Literal["isp1", "isp2"] | None, *, forwarding: bool = False
    ) -> None:
        self.lab = lab
        self.path = "first-packet"
        self.backend = "veth"
        self.tenants = ""
        self.daemon = ""
        self.network: TwoUplinks = two_uplinks(
            lab, default_route=default_route, forwarding=forwarding
        )
        network = self.network
        self.client, self.second = network.client, network.second_client
        self.router, self.server = network.router, network.server
        self.isp1, self.isp2 = network.isp1, network.isp2
        self.host = self.plug_in("dmz0", 2)
        self.nvid = Nvid(self.router, "", lab.scratch("nvid"))
        self._in_use = ""
        self._foreign = tuple(
            ForeignCounter(isp, "wan", own)
            for isp, own in zip((self.isp1, self.isp2), _OWN, strict=True)
        )

    @contextlib.contextmanager
    def plugged_in(self, interface: str, number: int) -> Iterator[Namespace]:
        """A LAN that goes again."""
        guest = self.plug_in(interface, number)
        try:
            yield guest
        finally:
            self.router.ip("link", "delete", interface)

    def plug_in(self, interface: str, number: int) -> Namespace:
        """One more LAN at the router, 10.NUMBER.0.0/24 and fd00:NUMBER::/64, with a host .2."""
        guest = self.lab.namespace(interface)
        self.lab.link(self.router, interface, guest, "eth0")
        for ours, theirs in _GUEST:
            self.router.address(interface, ours.format(number))
            guest.address("eth0", theirs.format(number))
        guest.route("0.0.0.0/0", "via", f"10.{number}.0.1")
        guest.route("::/0", "via", f"fd00:{number}::1")
        return guest

    def observe_everywhere(self) -> None:
        """Observers at the server, both clients and the host of the second LAN."""
        for namespace in (self.server, self.client, self.second, self.host):
            self.observe(namespace)

    @staticmethod
    def observe(namespace: Namespace) -> Observer:
        """An observer on the ports TCP and UDP."""
        return namespace.observe(tcp=[TCP], udp=[UDP])

    def configuration(
        self,
        entries: str,
        *,
        uplinks: str = ISP1_PREFERRED,
        interfaces: tuple[str, ...] = INTERFACES,
        keys: str = "",
    ) -> str:
        """A whole configuration with one NVI, nvi0; `keys` are further keys of it."""
        quoted = ", ".join(f'"{interface}"' for interface in interfaces)
        return (
            f"{self.daemon}{uplinks}\n[nvi.nvi0]\ninterfaces = [{quoted}]\n"
            f'path = "{self.path}"\nbackend = "{self.backend}"\n{keys}\n{entries}'
        )

    def use(
        self,
        entries: str,
        *,
        uplinks: str = ISP1_PREFERRED,
        interfaces: tuple[str, ...] = INTERFACES,
        keys: str = "",
    ) -> None:
        """Bring nvid to this configuration: started, or reloaded where it differs."""
        self.use_whole(
            self.configuration(entries, uplinks=uplinks, interfaces=interfaces, keys=keys)
        )

    def use_whole(self, configuration: str) -> None:
        """Like `use`, with the whole text."""
        if not self.nvid.is_running:
            self.nvid.write(configuration)
            self.nvid.start()
        elif configuration != self._in_use:
            done = self.nvid.reload(configuration)
            assert done.returncode == 0, done.stderr
        self._in_use = configuration

    def foreign(self) -> list[str]:
        """What the providers dropped since `forget_foreign`, in words; empty is as it must be."""
        return [
            f"{packets} at {isp.label}: {'; '.join(counter.seen())}"
            for isp, counter in zip((self.isp1, self.isp2), self._foreign, strict=True)
            if (packets := counter.packets())
        ]

    def forget_foreign(self) -> None:
        """Count from zero."""
        for isp in (self.isp1, self.isp2):
            isp.run("nft", "reset", "counters", "table", "inet", "foreign_wan")
            for version in ("4", "6"):
                isp.run("nft", "flush", "set", "inet", "foreign_wan", f"seen{version}")

    # Traffic

    def probe(self, namespace: Namespace, verb: str, port: int, *words: str) -> list[str]:
        """Run probes.py to its end; the lines that it says."""
        done = namespace.run(*PROBES, verb, str(port), *words, check=False, timeout=60)
        assert not done.stderr, done.stderr
        return done.stdout.splitlines()

    @contextlib.contextmanager
    def spray(self, namespace: Namespace, *addresses: str, pause: float = 0.001) -> Iterator[None]:
        """Send all the time, two datagrams to each address every ``pause`` seconds: one of a flow
        that goes on, and one of a new flow."""
        words = ("spray", str(UDP), *addresses, "--pause", str(pause))
        process = namespace.popen(*PROBES, *words)
        try:
            yield
        finally:
            assert process.poll() is None, "the sender ended by itself"
            process.terminate()
            process.wait(5)

    @contextlib.contextmanager
    def repeatedly(self, command: str) -> Iterator[None]:
        """A shell command on the router in a tight loop."""
        process = self.router.popen("bash", "-c", f"while :; do {command}; done 2>/dev/null")
        try:
            yield
        finally:
            process.terminate()
            process.wait(5)

    @contextlib.contextmanager
    def capture(
        self, namespace: Namespace, interface: str, expression: str
    ) -> Iterator[Callable[[], list[str]]]:
        """tcpdump(8) until the end of the block; call the value for the lines so far. Incoming
        and outgoing packets, one line each."""
        output = self.lab.scratch("tcpdump")
        words = ("tcpdump", "-l", "-n", "-e", "-i", interface, "--immediate-mode", expression)
        with output.open("wb") as stream:
            process = namespace.popen(*words, stdout=stream, stderr=stream)
        wait_until(lambda: "listening on" in output.read_text(), message="tcpdump")
        try:
            yield lambda: [line for line in output.read_text().splitlines() if " > " in line]
        finally:
            process.terminate()
            process.wait(5)

    def crossings(self) -> int:
        """How many packets have entered the pair of nvi0, or left by lo, redirected or not."""
        device = "nvi0" if self.backend == "veth" else "lo"
        path = f"/sys/class/net/{device}/statistics/tx_packets"
        sent = int(self.router.run("cat", path).stdout)
        if self.backend == "loopback":
            shown = self.router.run("tc", "-s", "filter", "show", "dev", "lo", "egress").stdout
            sent += sum(int(number) for number in re.findall(r"(\d+) pkt", shown))
        return sent

    @contextlib.contextmanager
    def narrowed(self, mtu: int, *wires: tuple[Namespace, str]) -> Iterator[None]:
        """Interfaces with this MTU; no host remembers a path MTU of before, or afterwards."""
        self._forget_path_mtus()
        for namespace, interface in wires:
            namespace.ip("link", "set", interface, "mtu", str(mtu))
        try:
            yield
        finally:
            for namespace, interface in wires:
                namespace.ip("link", "set", interface, "mtu", "1500")
            self._forget_path_mtus()

    def _forget_path_mtus(self) -> None:
        for namespace in (self.client, self.server, self.host, self.isp1, self.router):
            for version in ("-4", "-6"):
                namespace.ip(version, "route", "flush", "cache")

    @contextlib.contextmanager
    def without_carrier(self, isp: Namespace) -> Iterator[None]:
        """The provider's end of the wire is down; afterwards all is as before."""
        isp.ip("link", "set", "wan", "down")
        self.wait_for_uplink(isp.label, "down")
        try:
            yield
        finally:
            isp.ip("link", "set", "wan", "up")
            place = 0 if isp is self.isp1 else 1
            # With the link went its IPv6 address and all routes over it.
            isp.address("wan", f"{IPV6.gateways[place]}/64")
            for family, length in ((IPV4, 24), (IPV6, 48)):
                pool = f"{family.pools[place]}0/{length}"
                isp.route(pool, "via", family.router[2 + place])
            self.wait_for_uplink(isp.label, "up")

    @contextlib.contextmanager
    def switched_off(self, interface: str) -> Iterator[None]:
        """The router's interface to a provider is set down; afterwards all is as before."""
        place = ("wan0", "wan1").index(interface)
        name = ("isp1", "isp2")[place]
        self.router.ip("link", "set", interface, "down")
        self.wait_for_uplink(name, "down")
        try:
            yield
        finally:
            self.router.ip("link", "set", interface, "up")
            self.router.address(interface, f"{IPV6.router[2 + place]}/64")
            self.wait_for_uplink(name, "up")

    def wait_for_uplink(self, name: str, state: str) -> None:
        """Wait until nvid says so."""

        def reached() -> bool:
            uplinks = self.nvid.status()["uplinks"]
            assert isinstance(uplinks, list)
            return any(each["name"] == name and each["state"] == state for each in uplinks)

        wait_until(reached, message=f"uplink {name} {state}")
