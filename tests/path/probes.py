"""Traffic that the lab's peers cannot make, run inside a namespace as a program of its own.

    probes.py hops PORT ADDRESS [--limit N] [--one-flow]
    probes.py largest PORT ADDRESS
    probes.py fragmented PORT ADDRESS [--octets N]
    probes.py forget PORT ADDRESS
    probes.py late PORT ADDRESS
    probes.py bulk PORT ADDRESS [--octets N]
    probes.py many PORT ADDRESS... [--count N]
    probes.py raw PROTOCOL ADDRESS [--source A]
    probes.py spray PORT ADDRESS... [--source-port P] [--pause SECONDS]

Standard library only. The other end is an observer of tests/lab/peers.py, except for spray.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import socket
import sys
import threading
import time

# linux/in.h and linux/in6.h; the socket module has no names for them in Python 3.11.
IP_MTU_DISCOVER, IP_RECVERR, IP_MTU, IP_PMTUDISC_DO = 10, 11, 14, 2
IP_PMTUDISC_DONT = 0
IPV6_MTU_DISCOVER, IPV6_MTU, IPV6_RECVERR, IPV6_DONTFRAG = 23, 24, 25, 62

HEADERS = {socket.AF_INET: 20 + 8, socket.AF_INET6: 40 + 8}
"""Octets before the payload of a UDP datagram without options."""
ETHERNET = 1500
PATIENCE = 1.5
"""Seconds until an answer counts as missing."""


def say(*words: object) -> None:
    os.write(sys.stdout.fileno(), (" ".join(map(str, words)) + "\n").encode())


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def datagrams(address: str, port: int, source: str | None = None) -> socket.socket:
    """A connected UDP socket that keeps the errors it gets (ip(7), IP_RECVERR)."""
    sock = socket.socket(family_of(address), socket.SOCK_DGRAM)
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IP_PMTUDISC_DO)
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_DONTFRAG, 1)
    if source:
        sock.bind((source, 0))
    sock.connect((address, port))
    return sock


def offender(sock: socket.socket) -> str:
    """Who sent the error that waits on the socket (struct sock_extended_err, ip(7))."""
    _, control, _, _ = sock.recvmsg(2048, 512, socket.MSG_ERRQUEUE)
    for _level, kind, data in control:
        if kind in {IP_RECVERR, IPV6_RECVERR}:
            if sock.family == socket.AF_INET:
                return socket.inet_ntop(socket.AF_INET, data[20:24])
            return socket.inet_ntop(socket.AF_INET6, data[24:40])
    return "?"


def hops(options: argparse.Namespace) -> int:
    """One line for each hop limit from 1 on: who complained, "*" or "arrived"."""
    address = options.addresses[0]
    sock = datagrams(address, options.port, options.source)
    if options.one_flow:
        sock.send(b"first")
        wait(sock)
        sock.recv(2048)
    for limit in range(1, options.limit + 1):
        if not options.one_flow:
            sock = datagrams(address, options.port, options.source)
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, limit)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, limit)
        sock.send(b"hop")
        happened = wait(sock)
        if happened & select.POLLERR:
            say(offender(sock))
        elif happened & select.POLLIN:
            say("arrived")
            return 0
        else:
            say("*")
    return 0


def wait(sock: socket.socket, seconds: float = PATIENCE) -> int:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    found = poll.poll(seconds * 1000)
    return found[0][1] if found else 0


def largest(options: argparse.Namespace) -> int:
    """Send datagrams that must not be fragmented, as large as the path is said to bear, until one
    is answered; say its size as an IP packet."""
    sock = datagrams(options.addresses[0], options.port, options.source)
    headers = HEADERS[sock.family]
    size = ETHERNET
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            sock.send(b"x" * (size - headers))
        # The answer may be too large in its turn, and lost: then the next one is not.
        happened = wait(sock, PATIENCE / 5)
        if happened & select.POLLERR:
            offender(sock)
        elif happened & select.POLLIN:
            with contextlib.suppress(OSError):
                sock.recv(65535)
                say(size)
                return 0
        level, key = (
            (socket.IPPROTO_IP, IP_MTU)
            if sock.family == socket.AF_INET
            else (socket.IPPROTO_IPV6, IPV6_MTU)
        )
        size = sock.getsockopt(level, key)
    say("nothing arrived; the path is said to bear", size)
    return 1


def fragmented(options: argparse.Namespace) -> int:
    """Send one datagram of this many octets, in fragments, to an observer; say whether it came
    back as it was."""
    address = options.addresses[0]
    payload = os.urandom(options.octets)
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as sock:
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
        if options.source:
            sock.bind((options.source, 0))
        sock.settimeout(PATIENCE)
        for _ in range(3):
            sock.sendto(payload, (address, options.port))
            # An IPv6 sender is told how large a fragment may be, and has to send again.
            with contextlib.suppress(TimeoutError):
                say("whole" if sock.recv(65535).endswith(payload) else "damaged")
                return 0
    say("nothing arrived")
    return 1


def forget(options: argparse.Namespace) -> int:
    """Send one datagram, and be gone when the answer comes."""
    with datagrams(options.addresses[0], options.port, options.source) as sock:
        sock.send(b"ask")
    return 0


def late(options: argparse.Namespace) -> int:
    """Wait for a datagram on an address of this host, say "asked"; answer it at SIGUSR1, and say
    who refused the answer, or "silence"."""
    address = options.addresses[0]
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as sock:
        sock.bind((address, options.port))
        say("ready")
        _, sender = sock.recvfrom(2048)
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        sock.connect(sender)
        say("asked")
        signal.sigwait({signal.SIGUSR1})
        sock.send(b"answer")
        say(offender(sock) if wait(sock) & select.POLLERR else "silence")
    return 0


def bulk(options: argparse.Namespace) -> int:
    """Send this many octets by TCP to an echoing observer; say how many came back."""
    with socket.socket(family_of(options.addresses[0])) as sock:
        sock.settimeout(10)
        if options.source:
            sock.bind((options.source, 0))
        sock.connect((options.addresses[0], options.port))
        with sock.makefile("rb") as stream:
            stream.readline()
            writer = threading.Thread(target=push, args=(sock, options.octets), daemon=True)
            writer.start()
            got = 0
            with contextlib.suppress(OSError):
                while got < options.octets and (data := stream.read1(65536)):
                    got += len(data)
    say(got)
    return 0


def push(sock: socket.socket, octets: int) -> None:
    with contextlib.suppress(OSError):
        sock.sendall(b"x" * octets)


def many(options: argparse.Namespace) -> int:
    """`count` flows to each address, each from a port of its own: the source that each is seen
    from, one line for each, or "*"."""
    for address in options.addresses:
        for _ in range(options.count):
            with datagrams(address, options.port, options.source) as sock:
                sock.settimeout(PATIENCE)
                try:
                    sock.send(b"ask")
                    say(sock.recv(2048).decode().split()[0])
                except OSError:
                    say("*")
    return 0


def spray(options: argparse.Namespace) -> int:
    """Send as fast as 1 ms allows, whatever comes back: to each address from one port that stays
    and from one that is new each time. Ends with SIGTERM."""
    constant = []
    for address in options.addresses:
        sock = socket.socket(family_of(address), socket.SOCK_DGRAM)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(("::" if ":" in address else "0.0.0.0", options.source_port))
        constant.append(sock)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    say("ready")
    while True:
        for address, sock in zip(options.addresses, constant, strict=True):
            with contextlib.suppress(OSError):
                sock.sendto(b"constant", (address, options.port))
            with (
                contextlib.suppress(OSError),
                socket.socket(sock.family, socket.SOCK_DGRAM) as fresh,
            ):
                fresh.sendto(b"fresh", (address, options.port))
        time.sleep(options.pause)


def raw(options: argparse.Namespace) -> int:
    """Three packets of a protocol without ports."""
    address = options.addresses[0]
    with socket.socket(family_of(address), socket.SOCK_RAW, options.port) as sock:
        if options.source:
            sock.bind((options.source, 0))
        for _ in range(3):
            sock.sendto(b"payload", (address, 0))
    return 0


VERBS = {
    "raw": raw,
    "hops": hops,
    "largest": largest,
    "fragmented": fragmented,
    "forget": forget,
    "late": late,
    "bulk": bulk,
    "many": many,
    "spray": spray,
}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("port", type=int)
    parser.add_argument("addresses", nargs="+")
    parser.add_argument("--limit", type=int, default=8)
    parser.add_argument("--one-flow", action="store_true")
    parser.add_argument("--octets", type=int, default=400_000)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--source")
    parser.add_argument("--source-port", type=int, default=4000)
    parser.add_argument("--pause", type=float, default=0.001)
    options = parser.parse_args()
    return VERBS[options.verb](options)


if __name__ == "__main__":
    sys.exit(main())
