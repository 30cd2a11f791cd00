"""One look at, or one change of, the kernel's routing side: a short-lived netlink socket.

A socket of pyroute2 that lives long keeps an acknowledgement in memory for every ``get``; one for
each pass costs 0.4 ms and leaks nothing. Dumps are filtered by the kernel where it can.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkDumpInterrupted, NetlinkError
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from nvid.errors import KernelRefused, NotPermitted

# pyroute2 0.9 knows the attributes of routes up to RTA_EXPIRES (linux/rtnetlink.h).
rtmsg.nla_map = (
    *rtmsg.nla_map[:24],
    ("RTA_PAD", "none"),
    ("RTA_UID", "uint32"),
    ("RTA_TTL_PROPAGATE", "uint8"),
    ("RTA_IP_PROTO", "uint8"),
    ("RTA_SPORT", "be16"),
    ("RTA_DPORT", "be16"),
    ("RTA_NH_ID", "uint32"),
)

AF_FAMILY = {4: 2, 6: 10}
"""AF_INET and AF_INET6 of Linux."""

_NOTHING_THERE = {errno.ENOENT, errno.EOPNOTSUPP, errno.EAFNOSUPPORT}
_GONE = {errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL, errno.ENXIO}


@contextmanager
def session() -> Iterator[IPRoute]:
    """A netlink socket in the network namespace of the calling thread."""
    with IPRoute(ext_ack=True, strict_check=True) as ipr:
        yield ipr


def dump(ipr: IPRoute, what: str, **filters: Any) -> list[Any]:
    """All messages of one kind; asked again when somebody changed things meanwhile.

    ``filters`` stand in the request's own header, so that the kernel applies them: without a
    callable of its own, pyroute2 0.9 takes them for a filter that it applies to what came back.
    A table that was never used, or a family that the kernel lacks, has no messages.
    Raises KernelRefused.
    """
    while True:
        try:
            return list(getattr(ipr, what)("dump", dump_filter=lambda _: True, **filters))
        except NetlinkDumpInterrupted:
            continue
        except NetlinkError as error:
            if error.code in _NOTHING_THERE:
                return []
            raise KernelRefused(f"cannot list {what}: {error}") from error


@contextmanager
def refusing(what: object, *, gone_is_fine: bool = False) -> Iterator[None]:
    """Turn the kernel's refusal into an error that says what was tried.

    ``gone_is_fine`` is for deletions: somebody was quicker, or the interface took it along.
    Raises NotPermitted for EPERM, KernelRefused for anything else.
    """
    try:
        yield
    except NetlinkError as error:
        if gone_is_fine and error.code in _GONE:
            return
        if error.code in (errno.EPERM, errno.EACCES):
            raise NotPermitted(
                f"{what}: the kernel does not permit it; run nvid as root or with CAP_NET_ADMIN"
            ) from error
        words = error.args[1] if len(error.args) > 1 else error
        raise KernelRefused(f"{what}: {words} (errno {error.code})") from error
