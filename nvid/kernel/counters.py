"""The named counters of nvid's table, read in raw netlink (linux/netfilter/nf_tables.h).

libnftables reads all elements of all sets before it lists a counter; endpoints that hosts hold are
such elements, and whoever scrapes the metrics must not pay for them.
"""

from __future__ import annotations

import errno
import os
import socket
import struct

from nvid import names
from nvid.errors import KernelRefused, NotPermitted
from nvid.kernel import wire

_NETLINK_NETFILTER, _NFPROTO_INET = 12, 1
_SUBSYSTEM_NFTABLES = 10
_GET_OBJECT = _SUBSYSTEM_NFTABLES << 8 | 19
_REQUEST, _DUMP = 0x1, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_OBJECT_TABLE, _OBJECT_NAME, _OBJECT_TYPE, _OBJECT_DATA = 1, 2, 3, 4
_TYPE_COUNTER = 1
_COUNTER_BYTES, _COUNTER_PACKETS = 1, 2
_NFGENMSG = 4
"""Octets of struct nfgenmsg, which every message begins with."""
_BUFFER = 1 << 16


def read() -> dict[str, tuple[int, int]]:
    """Packets and bytes of every named counter; none where there is no table.

    Raises NotPermitted or KernelRefused.
    """
    request = struct.pack(">BBH", _NFPROTO_INET, 0, 0)
    request += wire.attribute(_OBJECT_TABLE, names.TABLE.encode() + b"\0")
    request += wire.attribute(_OBJECT_TYPE, struct.pack(">I", _TYPE_COUNTER))
    found: dict[str, tuple[int, int]] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as sock:
        sock.bind((0, 0))
        sock.send(wire.message(_GET_OBJECT, _REQUEST | _DUMP, request))
        while True:
            for kind, _, body in wire.messages(memoryview(sock.recv(_BUFFER))):
                if kind == _NLMSG_DONE:
                    return found
                if kind == _NLMSG_ERROR:
                    raise _refusal(-struct.unpack_from("=i", body)[0])
                name, value = _counter(body[_NFGENMSG:])
                found[name] = value


def _counter(message: memoryview) -> tuple[str, tuple[int, int]]:
    found = dict(wire.attributes(message))
    data = dict(wire.attributes(found[_OBJECT_DATA]))
    numbers = (data[_COUNTER_PACKETS], data[_COUNTER_BYTES])
    packets, octets = (int.from_bytes(each) for each in numbers)
    return bytes(found[_OBJECT_NAME]).rstrip(b"\0").decode(), (packets, octets)


def _refusal(code: int) -> KernelRefused | NotPermitted:
    if code in (errno.EPERM, errno.EACCES):
        return NotPermitted("nftables: not permitted; run nvid as root or with CAP_NET_ADMIN")
    return KernelRefused(f"nftables: counters: {os.strerror(code)} (errno {code})")
