"""Events of the kernel: they say which kind of object to look at again, and nothing else.

What to do is always decided from desired against observed state, so a lost event costs one full
look and never correctness. Messages are not decoded beyond what tells a kind and who did it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from nvid.errors import NotPermitted
from nvid.flows import Flow
from nvid.kernel import conntrack, processes, wire
from nvid.kernel.routes import OF_ADDRESS_MANAGERS

ROUTING = "routing"
RULESET = "ruleset"
EVERYTHING = frozenset({ROUTING, RULESET})

_NETLINK_ROUTE, _NETLINK_NETFILTER = 0, 12
_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP = 270, 1
_SO_RCVBUFFORCE = 33
_RECEIVE_BUFFER = 8 << 20

# rtnetlink.h: RTNLGRP_* and RTM_*.
_GROUPS = (1, 3, 4, 5, 7, 8, 9, 11, 19, 24, 25)
_RTNLGRP_NEXTHOP = 32
_RTM_QDISCS_AND_FILTERS = (36, 37, 44, 45)
_LOOPBACK_INDEX = 1
_RTM_NEWROUTE, _RTM_DELROUTE = 24, 25
_RTM_NEWNEIGH, _RTM_DELNEIGH = 28, 29
_NTF_PROXY = 0x08
# struct rtmsg
_ROUTE_LENGTH_OFFSET, _ROUTE_PROTOCOL_OFFSET = 1, 5

# nfnetlink.h, nf_tables.h.
_LARGEST_PID = (1 << 22) - 1
"""PID_MAX_LIMIT of the kernel; a larger port id is that of a second socket, not a process id."""

_NFNLGRP_NFTABLES = 7
_SUBSYSTEM_NFTABLES = 10
_NFT_MSG_NEWGEN = 15
_NFTA_TABLE = 1
_NFTA_GEN_PROC_PID, _NFTA_GEN_PROC_NAME = 2, 3


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to a kind (``ROUTING`` or ``RULESET``). ``culprit`` names the process
    where the kernel tells it; ``overrun`` says that events were lost."""

    kinds: frozenset[str]
    culprit: str | None = None
    overrun: bool = False


class Watch:
    """The two event sockets. Open it before the first look, so that nothing falls between.

    ``own_interfaces`` answers the indexes of nvid's pairs, ``protocol`` nvid's route protocol:
    events of other neighbours and routes, default ones excepted, are none of nvid's business.
    """

    def __init__(
        self, table: str, protocol: Callable[[], int], own_interfaces: Callable[[], frozenset[int]]
    ) -> None:
        self._table = table.encode() + b"\0"
        self._protocol = protocol
        self._own_interfaces = own_interfaces
        self._touched = False
        self.routing = _open(_NETLINK_ROUTE)
        self.routing.bind((0, sum(1 << group - 1 for group in _GROUPS)))
        self.routing.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _RTNLGRP_NEXTHOP)
        self.netfilter = _open(_NETLINK_NETFILTER)
        self.netfilter.bind((0, 0))
        try:
            self.netfilter.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)
        except PermissionError as error:
            self.close()
            raise NotPermitted(
                "events of nftables: not permitted; run nvid as root or with CAP_NET_ADMIN"
            ) from error

    def close(self) -> None:
        """Close both sockets."""
        self.routing.close()
        self.netfilter.close()

    def read_routing(self) -> Iterator[Event]:
        """The events that are waiting on ``routing``; never blocks."""
        for data in _datagrams(self.routing):
            if data is None:
                yield Event(EVERYTHING, overrun=True)
                continue
            for kind, sender, body in wire.messages(data):
                if self._concerns(kind, body):
                    yield Event(frozenset({ROUTING}), _process(sender))

    def _concerns(self, kind: int, body: memoryview) -> bool:
        if kind in (_RTM_NEWROUTE, _RTM_DELROUTE):
            protocol = body[_ROUTE_PROTOCOL_OFFSET]
            # An uplink may follow the default routes of others.
            is_default = body[_ROUTE_LENGTH_OFFSET] == 0
            return protocol == self._protocol() or (is_default and protocol in OF_ADDRESS_MANAGERS)
        if kind in (_RTM_NEWNEIGH, _RTM_DELNEIGH):
            index, _, flags = struct.unpack_from("=iHB", body, 4)
            return index in self._own_interfaces() or bool(flags & _NTF_PROXY)
        if kind in _RTM_QDISCS_AND_FILTERS:
            return bool(struct.unpack_from("=i", body, 4)[0] == _LOOPBACK_INDEX)
        return True

    def read_netfilter(self) -> Iterator[Event]:
        """The events that are waiting on ``netfilter``; never blocks.

        The messages of one transaction end with its generation, which tells the process. nvid's
        own transactions are known already.
        """
        for data in _datagrams(self.netfilter):
            if data is None:
                self._touched = False
                yield Event(EVERYTHING, overrun=True)
                continue
            for kind, _, body in wire.messages(data):
                if kind >> 8 != _SUBSYSTEM_NFTABLES:
                    continue
                attributes = wire.attributes(body[4:])
                if kind & 0xFF != _NFT_MSG_NEWGEN:
                    self._touched |= bytes(attributes.get(_NFTA_TABLE, b"")) == self._table
                elif self._touched:
                    self._touched = False
                    task = struct.unpack("!I", attributes[_NFTA_GEN_PROC_PID])[0]
                    if not Path(f"/proc/self/task/{task}").exists():
                        name = bytes(attributes[_NFTA_GEN_PROC_NAME]).rstrip(b"\0")
                        culprit = f"{name.decode(errors='replace')} (pid {task})"
                        yield Event(frozenset({RULESET}), culprit)


def _open(protocol: int) -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
    except PermissionError:
        # Without CAP_NET_ADMIN in the initial user namespace: as large as rmem_max allows.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    return sock


def _datagrams(sock: socket.socket) -> Iterator[memoryview | None]:
    """Waiting datagrams; None where the kernel had to drop some (ENOBUFS)."""
    while True:
        try:
            yield memoryview(sock.recv(1 << 16))
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            yield None


def _process(port: int) -> str | None:
    """Who sent a request, by its port id: a process id in the programs that matter (netlink(7)).
    None for nvid, and for 0: the kernel does not say who (of links it never does)."""
    if port == 0:
        return None
    # pyroute2 puts the number of the socket above the 22 bits of the process id.
    if port & _LARGEST_PID == os.getpid() or port > _LARGEST_PID:
        return None
    name = processes.name_of(port)
    return f"pid {port}" if name is None else f"{name} (pid {port})"


_NFNLGRP_CONNTRACK_NEW, _NFNLGRP_CONNTRACK_DESTROY = 1, 3
_IPCTNL_MSG_CT_DELETE = 2
_DATAGRAMS_AT_ONCE = 64
"""Then the end is looked for."""


@dataclass(frozen=True, slots=True)
class FlowEvent:
    """A flow that was ``made`` or ``ended``; without a flow, events were lost."""

    what: str
    flow: Flow | None


def _flow_events(data: memoryview | None) -> Iterator[FlowEvent]:
    if data is None:
        yield FlowEvent("lost", None)
        return
    for kind, _, body in wire.messages(data):
        flow = conntrack.flow_of(body[0], body[4:])
        if flow is not None:
            ended = kind & 0xFF == _IPCTNL_MSG_CT_DELETE
            yield FlowEvent("ended" if ended else "made", flow)


class FlowWatch:
    """Conntrack's events of new and ended flows, for a thread of its own."""

    def __init__(self) -> None:
        self._socket = _open(_NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        for group in (_NFNLGRP_CONNTRACK_NEW, _NFNLGRP_CONNTRACK_DESTROY):
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
        self._stopping, self._stopped = socket.socketpair()

    def events(self) -> Iterator[FlowEvent]:
        """Events until ``stop``; however many are waiting, no more than a few come after it. The
        sockets are closed then."""
        with self._socket, self._stopping, self._stopped:
            while True:
                readable, _, _ = select.select([self._socket, self._stopped], [], [])
                if self._stopped in readable:
                    return
                for data in islice(_datagrams(self._socket), _DATAGRAMS_AT_ONCE):
                    yield from _flow_events(data)

    def stop(self) -> None:
        """End ``events``, if it has not ended by itself; callable from another thread."""
        with contextlib.suppress(OSError):
            self._stopping.send(b"\0")
