"""Send UDP datagrams as fast as one core can, run inside a namespace as a program of its own.

sender.py ADDRESS CORE

A line ``send SOURCE COUNT FIRST PORTS`` on standard input sends COUNT datagrams from the port
SOURCE to the ports FIRST to FIRST + PORTS - 1 of ADDRESS, in turn, and answers the nanoseconds that
each took. veth carries a packet through the whole path within the sender's own system call, as long
as nobody takes the core away: the sender runs with real-time priority. A line ``ask SOURCE PORT``
sends one datagram and waits for an answer, so that conntrack has seen both directions.

Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

BATCH = 64
ESTABLISHED, NEW = 4000, 4001
"""Source ports: of the flow that stays, and of those that are forgotten after each round."""
PAYLOAD = b"x" * 18
"""The smallest Ethernet frame, 60 octets without its checksum."""


class _Vector(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.POINTER(_Vector)),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (("header", _Header), ("sent", ctypes.c_uint))


class Sender:
    """Unconnected sockets, and messages that are made before the clock runs."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._sockets = {port: _socket(port) for port in (ESTABLISHED, NEW)}
        self._send: Any = ctypes.CDLL(None, use_errno=True).sendmmsg
        self._payload = ctypes.create_string_buffer(PAYLOAD, len(PAYLOAD))
        self._vector = _Vector(ctypes.addressof(self._payload), len(PAYLOAD))

    def ask(self, source: int, port: int) -> bool:
        """Whether an answer came within half a second."""
        sock = self._sockets[source]
        sock.settimeout(0.5)
        sock.sendto(PAYLOAD, (self._address, port))
        try:
            sock.recv(2048)
        except TimeoutError:
            return False
        finally:
            sock.settimeout(None)
        return True

    def send(self, source: int, count: int, first: int, ports: int) -> float:
        """Nanoseconds for each of `count` datagrams."""
        names = [self._name(first + number % ports) for number in range(count)]
        messages = (_Message * count)()
        for message, name in zip(messages, names, strict=True):
            header = message.header
            header.name, header.name_length = ctypes.addressof(name), len(name)
            header.vectors, header.vector_count = ctypes.pointer(self._vector), 1
        descriptor, size = self._sockets[source].fileno(), ctypes.sizeof(_Message)
        start = ctypes.addressof(messages)
        began = time.perf_counter_ns()
        done = 0
        while done < count:
            batch = min(BATCH, count - done)
            sent = self._send(descriptor, ctypes.c_void_p(start + done * size), batch, 0)
            if sent < 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            done += sent
        return (time.perf_counter_ns() - began) / count

    def _name(self, port: int) -> ctypes.Array[ctypes.c_char]:
        packed = struct.pack("=H", socket.AF_INET) + struct.pack("!H", port)
        packed += socket.inet_aton(self._address) + bytes(8)
        return ctypes.create_string_buffer(packed, len(packed))


def _socket(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("", port))
    return sock


def say(answer: object) -> None:
    """One line."""
    sys.stdout.write(f"{answer}\n")
    sys.stdout.flush()


def main() -> None:
    """Do what standard input says until it ends."""
    address, core = sys.argv[1], int(sys.argv[2])
    os.sched_setaffinity(0, {core})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    sender = Sender(address)
    verbs: dict[str, Callable[..., object]] = {"ask": sender.ask, "send": sender.send}
    say("ready")
    for line in sys.stdin:
        verb, *numbers = line.split()
        say(verbs[verb](*map(int, numbers)))


if __name__ == "__main__":
    main()
