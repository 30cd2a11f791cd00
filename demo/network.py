"""The namespaces of the demonstration, the wires between them, and the counters at the providers.

Addresses are those of documentation and benchmarks (RFC 5737, RFC 3849, RFC 2544).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from demo.programs import Done, Started, must_run, run

PICTURE = """
client                                        +-- isp1 --+
10.1.0.2   ---- lan0 +--------+ wan0 ---------+          |
fd00:1::2            | router |                          +-- server 198.18.0.10
                     | (nvid) |                          |          2001:db8:f::10
web                  |        |                          |
10.2.0.10  ---- dmz0 +--------+ wan1 ---------+          |
fd00:2::10                                    +-- isp2 --+

         the router's address           and a pool that is routed to it
isp1     203.0.113.1, 2001:db8:1::1     198.51.100.0/24, 2001:db8:100::/48
isp2     192.0.2.1,   2001:db8:2::1     198.51.101.0/24, 2001:db8:101::/48
"""

SERVER = {4: "198.18.0.10", 6: "2001:db8:f::10"}
ROUTER_ON_WAN0 = {4: "203.0.113.1", 6: "2001:db8:1::1"}
STATIC = {4: "198.51.100.10", 6: "2001:db8:100::10"}

HOSTS = ("client", "web", "router", "isp1", "isp2", "server")

# Between two hosts: (host, interface, addresses) twice.
_WIRES = (
    (
        ("router", "lan0", "10.1.0.1/24 fd00:1::1/64"),
        ("client", "eth0", "10.1.0.2/24 fd00:1::2/64"),
    ),
    (("router", "dmz0", "10.2.0.1/24 fd00:2::1/64"), ("web", "eth0", "10.2.0.10/24 fd00:2::10/64")),
    (
        ("router", "wan0", "203.0.113.1/24 2001:db8:1::1/64"),
        ("isp1", "customer", "203.0.113.254/24 2001:db8:1::fe/64"),
    ),
    (
        ("router", "wan1", "192.0.2.1/24 2001:db8:2::1/64"),
        ("isp2", "customer", "192.0.2.254/24 2001:db8:2::fe/64"),
    ),
    (
        ("isp1", "core", "198.18.1.1/24 2001:db8:f:1::1/64"),
        ("server", "isp1", "198.18.1.2/24 2001:db8:f:1::2/64"),
    ),
    (
        ("isp2", "core", "198.18.2.1/24 2001:db8:f:2::1/64"),
        ("server", "isp2", "198.18.2.2/24 2001:db8:f:2::2/64"),
    ),
)
# The server knows each provider's customers; nobody but the router knows the private addresses.
_ROUTES = {
    "client": ("default via 10.1.0.1", "default via fd00:1::1"),
    "web": ("default via 10.2.0.1", "default via fd00:2::1"),
    "router": ("default via 203.0.113.254", "default via 2001:db8:1::fe"),
    "isp1": (
        "default via 198.18.1.2",
        "default via 2001:db8:f:1::2",
        "198.51.100.0/24 via 203.0.113.1",
        "2001:db8:100::/48 via 2001:db8:1::1",
    ),
    "isp2": (
        "default via 198.18.2.2",
        "default via 2001:db8:f:2::2",
        "198.51.101.0/24 via 192.0.2.1",
        "2001:db8:101::/48 via 2001:db8:2::1",
    ),
    "server": (
        "203.0.113.0/24 via 198.18.1.1 src 198.18.0.10",
        "198.51.100.0/24 via 198.18.1.1 src 198.18.0.10",
        "2001:db8:1::/64 via 2001:db8:f:1::1 src 2001:db8:f::10",
        "2001:db8:100::/48 via 2001:db8:f:1::1 src 2001:db8:f::10",
        "192.0.2.0/24 via 198.18.2.1 src 198.18.0.10",
        "198.51.101.0/24 via 198.18.2.1 src 198.18.0.10",
        "2001:db8:2::/64 via 2001:db8:f:2::1 src 2001:db8:f::10",
        "2001:db8:101::/48 via 2001:db8:f:2::1 src 2001:db8:f::10",
    ),
}
# Each provider counts what the router sends it (talk among neighbours apart), and what of that has
# a private source.
_COUNTERS = """
table inet demo {
    counter total { }
    counter private { }
    chain from_router {
        type filter hook prerouting priority raw; policy accept;
        iifname != "customer" accept
        ip6 daddr ff00::/8 accept
        ip6 saddr fe80::/10 accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
        counter name "total"
        ip saddr 10.0.0.0/8 counter name "private"
        ip6 saddr fc00::/7 counter name "private"
    }
}
"""


@dataclass(frozen=True, slots=True)
class Count:
    """Packets that came from the router to a provider; ``private`` of them were not translated."""

    all: int
    private: int

    def __sub__(self, before: Count) -> Count:
        return Count(self.all - before.all, self.private - before.private)


@dataclass(slots=True)
class Network:
    """The namespaces, by host; ``directory`` holds files of this demonstration alone."""

    prefix: str
    directory: Path
    _programs: list[Started] = field(default_factory=list)

    def namespace(self, host: str) -> str:
        """The name of a host's namespace, for ``ip netns``."""
        return f"{self.prefix}-{host}"

    def run(self, host: str, *argv: str) -> Done:
        """Run a program in a host's namespace, whatever it answers."""
        return run("ip", "netns", "exec", self.namespace(host), *argv)

    def must_run(self, host: str, *argv: str, input_text: str | None = None) -> str:
        """The same for what has to work. Raises ProgramFailed."""
        return must_run("ip", "netns", "exec", self.namespace(host), *argv, input_text=input_text)

    def start(self, host: str, *argv: str, **environment: str) -> Started:
        """Start a program that goes on; it ends with the network at the latest."""
        log = self.directory / f"{len(self._programs)}.log"
        command = ("ip", "netns", "exec", self.namespace(host), *argv)
        started = Started(command, log, {**os.environ, **environment})
        self._programs.append(started)
        return started

    def counts(self) -> dict[str, Count]:
        """What each provider has counted so far."""
        return {host: self._count(host) for host in ("isp1", "isp2")}

    def _count(self, host: str) -> Count:
        shown = json.loads(self.must_run(host, "nft", "-j", "list", "counters"))
        found = {
            each["counter"]["name"]: each["counter"]["packets"]
            for each in shown["nftables"]
            if "counter" in each
        }
        return Count(found["total"], found["private"])

    def end(self) -> None:
        """End every program and remove every namespace; goes on when one of them resists."""
        for program in reversed(self._programs):
            program.end()
        present = run("ip", "netns", "list").output
        for host in HOSTS:
            if self.namespace(host) in present:
                run("ip", "netns", "delete", self.namespace(host))
        shutil.rmtree(self.directory, ignore_errors=True)


@contextmanager
def network() -> Iterator[Network]:
    """The whole network, removed again however the demonstration ends."""
    directory = Path(tempfile.mkdtemp(prefix="nvid-demo-"))
    made = Network(f"nvid-demo-{os.getpid()}", directory)
    try:
        _build(made)
        yield made
    finally:
        # What is being removed is removed to the end, however often somebody presses Ctrl-C.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        made.end()


def _build(net: Network) -> None:
    for host in HOSTS:
        must_run("ip", "netns", "add", net.namespace(host))
        net.must_run(host, "ip", "link", "set", "lo", "up")
        # No waiting for duplicate address detection: nobody else is on these wires.
        _set(net, host, "net.ipv6.conf.default.accept_dad=0", "net.ipv4.conf.all.rp_filter=0")
    for one, other in _WIRES:
        _wire(net, one, other)
    for address in SERVER.values():
        net.must_run("server", "ip", "address", "add", address, "dev", "lo")
    for host, routes in _ROUTES.items():
        batch = "".join(f"route add {route}\n" for route in routes)
        net.must_run(host, "ip", "-batch", "-", input_text=batch)
    for host in ("router", "isp1", "isp2"):
        _set(net, host, "net.ipv4.conf.all.forwarding=1", "net.ipv6.conf.all.forwarding=1")
    for host in ("isp1", "isp2"):
        net.must_run(host, "nft", "-f", "-", input_text=_COUNTERS)


def _set(net: Network, host: str, *settings: str) -> None:
    net.must_run(host, "sysctl", "-q", "-w", *settings)


def _wire(net: Network, one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    (host, name, _), (other_host, other_name, _) = one, other
    must_run(
        *("ip", "-netns", net.namespace(host), "link", "add", name, "type", "veth"),
        *("peer", "name", other_name, "netns", net.namespace(other_host)),
    )
    for end, interface, addresses in (one, other):
        lines = [f"address add {address} dev {interface}" for address in addresses.split()]
        batch = "\n".join([f"link set {interface} up", *lines, ""])
        net.must_run(end, "ip", "-batch", "-", input_text=batch)
