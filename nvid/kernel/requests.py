"""One request at a time over a netlink socket, and its answers (netlink(7)): for what neither
pyroute2 nor libnftables can do, or cannot do fast enough."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from pyroute2.netlink.exceptions import NetlinkError

from nvid.kernel import wire

REQUEST, ACKNOWLEDGE, DUMP = 0x1, 0x4, 0x300
"""NLM_F_REQUEST, NLM_F_ACK and NLM_F_DUMP."""
BUFFER = 1 << 20
"""Octets, more than the kernel ever puts into a datagram."""

_ERROR, _DONE = 2, 3
_SOL_NETLINK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 270, 11, 12
_NLMSGERR_ATTR_MSG = 1


@contextmanager
def connected(protocol: int) -> Iterator[socket.socket]:
    """A socket of one netlink family (NETLINK_*): the kernel explains errors to it in words, and
    dumps only what a request asks for."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as sock:
        for option in (_NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            sock.setsockopt(_SOL_NETLINK, option, 1)
        sock.bind((0, 0))
        yield sock


def ask(sock: socket.socket, kind: int, flags: int, body: bytes) -> Iterator[memoryview]:
    """Send a request with ``ACKNOWLEDGE`` or ``DUMP``; the bodies of the answers, one datagram of
    the kernel's at a time. Raises NetlinkError with the kernel's own words."""
    sock.send(wire.message(kind, flags | REQUEST, body))
    while True:
        for answer, _, answered in wire.messages(memoryview(sock.recv(BUFFER))):
            if answer == _DONE:
                return
            if answer == _ERROR:
                raise_for(answered)
                return
            yield answered


def do(sock: socket.socket, kind: int, flags: int, body: bytes) -> None:
    """Have a request carried out. Raises NetlinkError."""
    for _ in ask(sock, kind, flags | ACKNOWLEDGE, body):
        pass


def raise_for(error: memoryview) -> None:
    """struct nlmsgerr: the error, the request's header, and behind both the kernel's words."""
    code = -struct.unpack_from("=i", error)[0]
    if code == 0:
        return
    length = wire.HEADER.unpack_from(error, 4)[0]
    words = wire.attributes(error[4 + length :]).get(_NLMSGERR_ATTR_MSG, memoryview(b""))
    raise NetlinkError(code, bytes(words).rstrip(b"\0").decode(errors="replace") or None)
