"""A sender, a router and a sink for each variant, all there at the same time, so that rounds can go
from one to the next."""

from __future__ import annotations

import os
import re
import subprocess  # noqa: TID251 - the bench talks to programs, as the tests do
from dataclasses import dataclass
from pathlib import Path

from bench.sender import ESTABLISHED, NEW
from bench.variants import CLIENT, GATEWAYS, POOL, SERVER, Variant
from tests.lab import Lab, Namespace

SENDER = ("/usr/bin/python3", "-I", "-S", str(Path(__file__).with_name("sender.py")))
ESTABLISHED_PORT = 7
FIRST_NEW_PORT, PORTS = 10_000, 50_000

SINK = """
table inet sink {{
    chain early {{
        type filter hook prerouting priority raw;
        ip saddr {} meta l4proto udp counter name seen
        drop
    }}
    counter seen {{ }}
}}
"""
ECHO = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); " + (
    f"s.bind(('{SERVER}', {ESTABLISHED_PORT})); [s.sendto(*s.recvfrom(2048)) for _ in range(1)]"
)


class Lost(Exception):
    """Fewer packets arrived than were sent: what was measured is not the job."""


@dataclass(frozen=True, slots=True)
class Bench:
    """One variant, ready to send through; `tracking` are its namespaces with a conntrack."""

    variant: Variant
    tracking: tuple[Namespace, ...]
    sink: Namespace
    sender: subprocess.Popen[str]

    def measure(self, count: int, *, new: bool) -> float:
        """Nanoseconds for each of `count` packets: of one flow that conntrack has seen both
        directions of, or each of a flow of its own. Raises Lost."""
        before = self._arrived()
        if new:
            for namespace in self.tracking:
                words = ("conntrack", "-D", "-p", "udp", "--orig-port-src", str(NEW))
                namespace.run(*words, check=False)
            clock = float(self._say("send", NEW, count, FIRST_NEW_PORT, PORTS))
        else:
            clock = float(self._say("send", ESTABLISHED, count, ESTABLISHED_PORT, 1))
        arrived = self._arrived() - before
        if arrived != count:
            raise Lost(f"{self.variant.name}: {arrived} of {count} packets arrived")
        return clock

    def establish(self) -> None:
        """Have the one flow answered."""
        echo = self.sink.popen("/usr/bin/python3", "-c", ECHO)
        for _ in range(5):
            if self._say("ask", ESTABLISHED, ESTABLISHED_PORT) == "True":
                break
        else:
            raise Lost(f"{self.variant.name}: no answer")
        echo.wait(5)
        # Nothing but the job counts: a source that is not translated does not.
        self.sink.nft(SINK.format(self.variant.seen_as))

    def _say(self, *words: object) -> str:
        assert self.sender.stdin is not None
        assert self.sender.stdout is not None
        print(*words, file=self.sender.stdin, flush=True)
        return self.sender.stdout.readline().strip()

    def _arrived(self) -> int:
        shown = self.sink.run("nft", "list", "counter", "inet", "sink", "seen").stdout
        found = re.search(r"packets (\d+)", shown)
        assert found is not None
        return int(found[1])


def build(lab: Lab, variant: Variant) -> Bench:
    """The namespaces of one variant."""
    client, router, sink = (lab.namespace(each) for each in ("client", "router", "sink"))
    lab.link(client, "eth0", router, "lan0")
    for number, (interface, gateway) in enumerate(GATEWAYS.items()):
        lab.link(router, interface, sink, interface)
        router.address(interface, f"{('203.0.113.1', '192.0.2.1')[number]}/24")
        sink.address(interface, f"{gateway}/24")
    client.address("eth0", f"{CLIENT}/24")
    router.address("lan0", "10.1.0.1/24")
    client.route("0.0.0.0/0", "via", "10.1.0.1")
    sink.address("lo", f"{SERVER}/32")
    for network in (f"{POOL}/32", "10.1.0.0/24"):
        sink.route(network, "via", "203.0.113.1")
    router.sysctl("net.ipv4.ip_forward", 1)
    tracking = variant.set_up(lab, router)
    sender = client.popen(
        *SENDER,
        SERVER,
        str(max(os.sched_getaffinity(0))),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert sender.stdout is not None
    assert sender.stdout.readline() == "ready\n"
    bench = Bench(variant, tracking, sink, sender)
    bench.establish()
    return bench
