"""Echo requests of checks, with real packets."""

from __future__ import annotations

import textwrap
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

import pytest
from pyroute2 import netns

from nvid.kernel.echo import EchoSocket
from tests.lab import Lab, Namespace, wait_until

NEAR, FAR = {4: "192.0.2.1", 6: "2001:db8::1"}, {4: "192.0.2.2", 6: "2001:db8::2"}
FLOOD = textwrap.dedent("""
    import socket, sys
    ipv6 = ":" in sys.argv[1]
    family, protocol = (10, 58) if ipv6 else (2, 1)
    sender = socket.socket(family, socket.SOCK_RAW, protocol)
    # An echo reply with a checksum of its own; the kernel writes that of ICMPv6.
    reply = bytes([129, 0, 0, 0]) if ipv6 else bytes([0, 0, 0xFF, 0xFF])
    while True:
        sender.sendto(reply + bytes(28), (sys.argv[1], 0))
""")


@pytest.fixture(params=[4, 6])
def family(request: pytest.FixtureRequest) -> int:
    """IPv4, and IPv6."""
    found: int = request.param
    return found


@pytest.fixture
def ends(lab: Lab) -> tuple[Namespace, Namespace]:
    """Two machines on a wire."""
    near, far = lab.namespace("near"), lab.namespace("far")
    lab.link(near, "eth0", far, "eth0")
    for version, length in ((4, 24), (6, 64)):
        near.address("eth0", f"{NEAR[version]}/{length}")
        far.address("eth0", f"{FAR[version]}/{length}")
    return near, far


def opened_in(namespace: Namespace, family: int) -> EchoSocket:
    """A socket of that namespace; the thread that has made it goes."""
    with ThreadPoolExecutor(1, initializer=netns.setns, initargs=(namespace.name,)) as thread:
        return thread.submit(EchoSocket, "eth0", family, 0, None).result()


def test_an_answer_is_heard_in_a_flood_of_others(
    ends: tuple[Namespace, Namespace], family: int
) -> None:
    """Whoever sends more than can be read must neither hold the reader nor drown the answer."""
    near, far = ends
    target = ip_address(FAR[family])
    asking = opened_in(near, family)
    floods = [
        far.popen("/usr/bin/python3", "-I", "-S", "-c", FLOOD, NEAR[family]) for _ in range(2)
    ]
    try:
        wait_until(lambda: received(near) > 10_000, message="a flood")
        for sequence in range(20):
            asking.ask(target, sequence)
            wait_until(
                lambda: list(asking.answers()) == [target],
                timeout=2,
                message="the answer, and nothing else",
            )
        assert all(flood.poll() is None for flood in floods)
    finally:
        for flood in floods:
            flood.kill()
            flood.wait()
        asking.close()


def received(namespace: Namespace) -> int:
    return int(namespace.run("cat", "/sys/class/net/eth0/statistics/rx_packets").stdout)
