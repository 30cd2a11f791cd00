"""Hosts of many namespaces that all have the same addresses and ports, in one program.

    crowd.py NAMESPACE... < commands

Standard library only. The sockets of each host are made inside its namespace (setns(2)) and stay
what they are from command to command:

    out PROTOCOL LOCAL SERVER PORT   from LOCAL, port 4000, to SERVER: all at once
    serve LOCAL                      answer datagrams to LOCAL, port 5300, with the host's own name
    foreign                          packets that any host got and that are not its own

Each answer is one line of JSON. Every packet carries the name of its host; whatever reaches a host
is seen by a packet socket there, and its name compared.
"""

from __future__ import annotations

import ctypes
import json
import select
import socket
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

CLONE_NEWNET = 0x40000000
ETH_P_ALL = 3
SOURCE_PORT = 4000
MARK = b"<host:"
SERVICE_PORT = 5300
PATIENCE = 5.0

libc = ctypes.CDLL(None, use_errno=True)


class Host:
    """One namespace. Its name, behind a mark, is in every packet of its own."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.name = MARK + f"{namespace}>".encode()
        self.flows: dict[tuple[str, str, str], socket.socket] = {}
        self.enter()
        self.tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self.tap.bind(("eth0", ETH_P_ALL))
        self.tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.tap.setblocking(False)
        self.foreign = 0

    def enter(self) -> None:
        """This program's next sockets belong to the host."""
        with Path("/run/netns", self.namespace).open() as handle:
            if libc.setns(handle.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")

    def bound(self, kind: int, local: str, port: int) -> socket.socket:
        """A socket with an address of the host's."""
        self.enter()
        family = socket.AF_INET6 if ":" in local else socket.AF_INET
        made = socket.socket(family, kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((local, port))
        made.setblocking(False)
        return made

    def listen(self) -> None:
        """Look at all that has arrived."""
        while True:
            try:
                data, where = self.tap.recvfrom(2048)
            except BlockingIOError:
                return
            arrived = where[2] != socket.PACKET_OUTGOING
            if arrived and MARK in data and self.name not in data:
                self.foreign += 1


def ready(sockets: Iterable[socket.socket], seconds: float | None) -> list[socket.socket]:
    """Those that can be read. There are too many for select(2)."""
    poll, known = select.poll(), {}
    for sock in sockets:
        known[sock.fileno()] = sock
        poll.register(sock, select.POLLIN)
    return [known[number] for number, _ in poll.poll(None if seconds is None else seconds * 1000)]


def out(hosts: list[Host], protocol: str, local: str, server: str, port: int) -> dict[str, str]:
    """Every host asks at once; what each was answered: the source that the server saw."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    key = (protocol, local, server)
    waiting: dict[socket.socket, Host] = {}
    fresh = set()
    for host in hosts:
        if key not in host.flows:
            host.flows[key] = host.bound(kind, local, SOURCE_PORT)
            host.flows[key].connect_ex((server, port))
            fresh.add(host.flows[key])
        waiting[host.flows[key]] = host
    if protocol == "udp":
        for sock, host in waiting.items():
            sock.send(host.name)
    answers: dict[str, str] = {}
    heard: dict[socket.socket, bytes] = dict.fromkeys(waiting, b"")
    if protocol == "tcp":
        for sock, host in waiting.items():
            sock.setblocking(True)
            sock.settimeout(PATIENCE)
            try:
                if sock in fresh:
                    heard[sock] = sock.recv(2048)
                sock.sendall(host.name + b"\n")
            except OSError:
                continue
            sock.setblocking(False)
    deadline = time.monotonic() + PATIENCE
    while waiting and time.monotonic() < deadline:
        for sock in ready(waiting, 0.1):
            try:
                heard[sock] += sock.recv(2048)
            except OSError:
                del waiting[sock]
                continue
            host = waiting[sock]
            if host.name in heard[sock]:
                seen = heard[sock].decode().split()
                answers[host.namespace] = f"{seen[0]} {seen[1]}" if len(seen) > 3 else "again"
                del waiting[sock]
    return answers


def serve(hosts: list[Host], local: str) -> dict[str, str]:
    """Answer from now on, in a thread for all."""
    sockets = {host.bound(socket.SOCK_DGRAM, local, SERVICE_PORT): host for host in hosts}

    def answer() -> None:
        while True:
            for sock in ready(sockets, None):
                data, sender = sock.recvfrom(2048)
                sock.sendto(sockets[sock].name + b" " + data, sender)

    threading.Thread(target=answer, daemon=True).start()
    return {}


def main() -> int:
    hosts = [Host(name) for name in sys.argv[1:]]
    print("{}", flush=True)
    for line in sys.stdin:
        verb, *words = line.split()
        answer: object = {}
        if verb == "out":
            answer = out(hosts, words[0], words[1], words[2], int(words[3]))
        elif verb == "serve":
            answer = serve(hosts, words[0])
        for host in hosts:
            host.listen()
        if verb == "foreign":
            answer = {host.namespace: host.foreign for host in hosts if host.foreign}
        print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
