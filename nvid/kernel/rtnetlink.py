"""Requests to the routing side of the kernel for kinds of objects that pyroute2 0.9 does not know:
nexthop objects, and classifiers made of classic BPF (rtnetlink(7))."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from nvid.kernel import requests

CREATE, EXCLUSIVE = 0x400, 0x200
"""NLM_F_CREATE and NLM_F_EXCL."""


def change(kind: int, body: bytes, flags: int = 0) -> None:
    """Make, or delete, an object. Raises NetlinkError with the kernel's own words."""
    with requests.connected(socket.NETLINK_ROUTE) as sock:
        requests.do(sock, kind, flags, body)


def dump(kind: int, body: bytes) -> Iterator[memoryview]:
    """The bodies of all objects of a kind. Raises NetlinkError."""
    with requests.connected(socket.NETLINK_ROUTE) as sock:
        yield from requests.ask(sock, kind, requests.DUMP, body)
