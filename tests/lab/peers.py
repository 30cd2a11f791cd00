"""The far ends of test traffic, run inside a namespace as a program of its own.

    peers.py observe [--tcp PORT]... [--udp PORT]...
    peers.py ask (tcp|udp) ADDRESS PORT [--source A] [--source-port P] [--timeout S]
    peers.py flow (tcp|udp) ADDRESS PORT [--source A] [--source-port P] [--interval S]

Standard library only, and no import from the project: it must start in some 20 ms, and say what
was on the wire whatever the project believes.

An observer greets a TCP connection with one line, "SOURCE PORT DESTINATION PORT" as it sees them,
and then echoes lines. It answers each datagram with the same line, a space and the payload.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import struct
import sys
import threading
import time

# linux/in.h; the socket module has the name from Python 3.14 on.
IP_PKTINFO = 8
LARGEST_DATAGRAM = 65535


def say(*words: object) -> None:
    """One line, in one write: lines of several threads do not mix."""
    os.write(sys.stdout.fileno(), (" ".join(map(str, words)) + "\n").encode())


# The observer


def observe(tcp: list[int], udp: list[int]) -> None:
    threads = []
    for family in (socket.AF_INET, socket.AF_INET6):
        for port in tcp:
            listener = bound(family, socket.SOCK_STREAM, port)
            listener.listen(1024)
            threads.append(threading.Thread(target=accept, args=(listener,), daemon=True))
        for port in udp:
            receiver = bound(family, socket.SOCK_DGRAM, port)
            threads.append(threading.Thread(target=answer, args=(receiver, family), daemon=True))
    for thread in threads:
        thread.start()
    say("ready")
    signal.pause()


def bound(family: int, kind: int, port: int) -> socket.socket:
    server = socket.socket(family, kind)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if kind == socket.SOCK_DGRAM:
        # Which of our addresses was asked? The answer has to come from that one.
        if family == socket.AF_INET:
            server.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        else:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    server.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
    return server


def accept(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=echo, args=(connection,), daemon=True).start()


def echo(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        greeting = " ".join(map(str, connection.getpeername()[:2] + connection.getsockname()[:2]))
        say("tcp", greeting)
        connection.sendall(greeting.encode() + b"\n")
        while data := connection.recv(LARGEST_DATAGRAM):
            connection.sendall(data)


def answer(receiver: socket.socket, family: int) -> None:
    port = receiver.getsockname()[1]
    while True:
        try:
            data, control, _, sender = receiver.recvmsg(LARGEST_DATAGRAM, 256)
        except OSError:
            continue  # an ICMP error that an earlier answer caused
        asked, reply_control = destination(family, control)
        line = f"{sender[0]} {sender[1]} {asked} {port}"
        say("udp", line)
        with contextlib.suppress(OSError):
            receiver.sendmsg([line.encode() + b" " + data], reply_control, 0, sender)


def destination(
    family: int, control: list[tuple[int, int, bytes]]
) -> tuple[str, list[tuple[int, int, bytes]]]:
    """The address that a datagram was sent to, and what makes an answer leave from it.

    The structures are those of ip(7) and ipv6(7): in_pktinfo and in6_pktinfo.
    """
    for level, kind, data in control:
        if family == socket.AF_INET and (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            asked = data[8:12]
            info = struct.pack("=i4s4s", 0, asked, b"\0" * 4)
            return socket.inet_ntop(family, asked), [(level, kind, info)]
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            asked, interface = data[:16], struct.unpack("=i", data[16:20])[0]
            # Without a scope a link-local answer would not know its link.
            scope = interface if asked[:2] == b"\xfe\x80" else 0
            info = asked + struct.pack("=i", scope)
            return socket.inet_ntop(family, asked), [(level, kind, info)]
    raise AssertionError("the kernel did not say where a datagram was sent to")


# The clients


def connect(options: argparse.Namespace, timeout: float) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.address else socket.AF_INET
    kind = socket.SOCK_STREAM if options.protocol == "tcp" else socket.SOCK_DGRAM
    client = socket.socket(family, kind)
    client.settimeout(timeout)
    if options.source or options.source_port:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        unbound = "::" if family == socket.AF_INET6 else "0.0.0.0"
        client.bind((options.source or unbound, options.source_port))
    client.connect((options.address, options.port))
    if kind == socket.SOCK_STREAM:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def ask(options: argparse.Namespace) -> int:
    try:
        with connect(options, options.timeout) as client:
            if options.protocol == "udp":
                client.send(b"ask")
                line = client.recv(LARGEST_DATAGRAM)
            else:
                with client.makefile("rb") as stream:
                    line = stream.readline()
    except OSError as error:
        say(type(error).__name__, error)
        return 1
    if not line:
        say("the connection was closed without a word")
        return 1
    say(line.decode().strip())
    return 0


def flow(options: argparse.Namespace) -> int:
    """Send a number every interval, note every answer; the log is read by LongFlow.

    Lines: "sent NUMBER TIME", "answered NUMBER TIME SOURCE PORT", "error TIME WORDS";
    times are CLOCK_MONOTONIC seconds, which all processes of the machine share.
    """
    try:
        client = connect(options, 10)
        stream = client.makefile("rb") if options.protocol == "tcp" else None
        seen = stream.readline().decode().split()[:2] if stream else []
    except OSError as error:
        say("error", time.monotonic(), error)
        return 1
    client.settimeout(None)
    stopping = threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: stopping.set())
    reader = threading.Thread(target=note_answers, args=(client, stream, seen), daemon=True)
    reader.start()
    number = 0
    due = time.monotonic()
    while not stopping.is_set():
        number += 1
        say("sent", number, time.monotonic())
        try:
            client.send(b"%d\n" % number)
        except OSError as error:
            say("error", time.monotonic(), error)
            if stream:
                return 1
        due += options.interval
        stopping.wait(max(0.0, due - time.monotonic()))
    say("stopped", time.monotonic())
    # What is on its way may still arrive; LongFlow ends this program.
    signal.pause()
    return 0


def note_answers(client: socket.socket, stream: object, seen: list[str]) -> None:
    while True:
        try:
            if stream is None:
                *seen, _, _, number = client.recv(LARGEST_DATAGRAM).decode().split()
            else:
                number = stream.readline().decode().strip()  # type: ignore[attr-defined]
        except OSError as error:
            say("error", time.monotonic(), error)
            if stream is None:
                continue
            return
        if not number:
            say("error", time.monotonic(), "the far end closed the connection")
            return
        say("answered", number, time.monotonic(), *seen)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(dest="verb", required=True)
    observing = verbs.add_parser("observe")
    observing.add_argument("--tcp", type=int, action="append", default=[])
    observing.add_argument("--udp", type=int, action="append", default=[])
    for verb in ("ask", "flow"):
        asking = verbs.add_parser(verb)
        asking.add_argument("protocol", choices=("tcp", "udp"))
        asking.add_argument("address")
        asking.add_argument("port", type=int)
        asking.add_argument("--source")
        asking.add_argument("--source-port", type=int, default=0)
        asking.add_argument("--timeout", type=float, default=3)
        asking.add_argument("--interval", type=float, default=0.02)
    return parser.parse_args()


def main() -> int:
    options = arguments()
    if options.verb == "observe":
        observe(options.tcp, options.udp)
        return 0
    return ask(options) if options.verb == "ask" else flow(options)


if __name__ == "__main__":
    sys.exit(main())
