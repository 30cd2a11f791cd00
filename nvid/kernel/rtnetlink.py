"""Requests to the routing side of the kernel for kinds of objects that pyroute2 0.9 does not know:
nexthop objects, and classifiers made of classic BPF (rtnetlink(7))."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from pyroute2.netlink.exceptions import NetlinkError

from nvid.kernel import wire

CREATE, EXCLUSIVE = 0x400, 0x200
"""NLM_F_CREATE and NLM_F_EXCL."""

_NETLINK_ROUTE = 0
_REQUEST, _ACKNOWLEDGE, _DUMP = 0x1, 0x4, 0x300
_ERROR, _DONE = 2, 3
_SOL_NETLINK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 270, 11, 12
_NLMSGERR_ATTR_MSG = 1
_BUFFER = 1 << 16


def change(kind: int, body: bytes, flags: int = 0) -> None:
    """Make, or delete, an object. Raises NetlinkError with the kernel's own words."""
    with _socket() as sock:
        sock.send(wire.message(kind, _REQUEST | _ACKNOWLEDGE | flags, body))
        for _ in _answers(sock):
            return


def dump(kind: int, body: bytes) -> Iterator[memoryview]:
    """The bodies of all objects of a kind. Raises NetlinkError."""
    with _socket() as sock:
        sock.send(wire.message(kind, _REQUEST | _DUMP, body))
        yield from _answers(sock)


@contextmanager
def _socket() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE) as sock:
        for option in (_NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            sock.setsockopt(_SOL_NETLINK, option, 1)
        sock.bind((0, 0))
        yield sock


def _answers(sock: socket.socket) -> Iterator[memoryview]:
    while True:
        data = memoryview(sock.recv(_BUFFER))
        for kind, _, body in wire.messages(data):
            if kind == _DONE:
                return
            if kind == _ERROR:
                _raise(body)
                return
            yield body


def _raise(body: memoryview) -> None:
    """struct nlmsgerr: the error, the request's header, and behind both the kernel's words."""
    code = -struct.unpack_from("=i", body)[0]
    if code == 0:
        return
    length = wire.HEADER.unpack_from(body, 4)[0]
    words = wire.attributes(body[4 + length :]).get(_NLMSGERR_ATTR_MSG, memoryview(b""))
    raise NetlinkError(code, bytes(words).rstrip(b"\0").decode(errors="replace") or None)
