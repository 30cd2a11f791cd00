"""Requests to netfilter: conntrack's and nftables' own, each with struct nfgenmsg in front
(linux/netfilter/nfnetlink.h)."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from pyroute2.netlink.exceptions import NetlinkError

from nvid.errors import KernelRefused, NotPermitted
from nvid.kernel import requests

INET = 1
"""NFPROTO_INET, the family of tables that serve both IP versions."""
NFTABLES = 10
"""NFNL_SUBSYS_NFTABLES; as a resource, what a batch is for."""

_NETLINK_NETFILTER = 12
_CONNTRACK = 1
_HEADER = struct.Struct(">BBH")
"""Family, version, resource."""


def connected() -> AbstractContextManager[socket.socket]:
    """A socket for the functions of this module."""
    return requests.connected(_NETLINK_NETFILTER)


def of_conntrack(message: int) -> int:
    """The type of an IPCTNL_MSG_CT_* message."""
    return _CONNTRACK << 8 | message


def of_nftables(message: int) -> int:
    """The type of an NFT_MSG_* message."""
    return NFTABLES << 8 | message


def header(family: int, resource: int = 0) -> bytes:
    """What every message begins with."""
    return _HEADER.pack(family, 0, resource)


def dump(
    sock: socket.socket, kind: int, family: int, attributes: bytes = b""
) -> Iterator[tuple[int, memoryview]]:
    """(family, attributes) of each object. Raises NetlinkError."""
    for body in requests.ask(sock, kind, requests.DUMP, header(family) + attributes):
        yield body[0], body[_HEADER.size :]


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """NetlinkError becomes NotPermitted, or KernelRefused that says ``what`` was asked for."""
    try:
        yield
    except NetlinkError as error:
        if error.code in (errno.EPERM, errno.EACCES):
            raise NotPermitted(
                f"{what}: not permitted; run nvid as root or with CAP_NET_ADMIN"
            ) from error
        raise KernelRefused(f"{what}: {error.args[1]} (errno {error.code})") from error
