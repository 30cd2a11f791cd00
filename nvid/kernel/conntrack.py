"""Conntrack entries: counted, and ended selectively.

Spoken in raw netlink (linux/netfilter/nfnetlink_conntrack.h), because decoding every attribute of
every flow costs a dozen times as much as walking over the messages, and because an entry is ended
by handing its own tuple back as it came. The kernel filters by mark.
"""

from __future__ import annotations

import socket
import struct
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from pyroute2.netlink.exceptions import NetlinkError

from nvid.configuration.values import IPAddress, Pools
from nvid.flows import Flow
from nvid.kernel import nfnetlink, requests, wire

COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")
LIMIT = Path("/proc/sys/net/netfilter/nf_conntrack_max")

_CT_GET, _CT_DELETE, _CT_STATISTICS = (nfnetlink.of_conntrack(kind) for kind in (1, 2, 4))
_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY, _CTA_MARK = 1, 2, 8
_CTA_COUNTERS_ORIG, _CTA_COUNTERS_REPLY = 9, 10
_CTA_ZONE, _CTA_TIMESTAMP, _CTA_MARK_MASK, _CTA_LABELS = 18, 20, 21, 22
_CTA_TUPLE_IP, _CTA_TUPLE_PROTO, _CTA_TUPLE_ZONE = 1, 2, 3
_NESTED = 0x8000
_STATS_INSERT_FAILED, _STATS_DROP, _STATS_EARLY_DROP = 9, 10, 11


@dataclass(frozen=True, slots=True)
class MarkFilter:
    """Entries with ``mark & mask == value``."""

    value: int
    mask: int


@dataclass(frozen=True, slots=True)
class FlowTable:
    """The table of all flows. ``limit`` is the most that it may hold, 0 for no limit. The others
    count since the network namespace began (nf_conntrack_core.c).

    ``refused``: packets that conntrack dropped, because the table was full, or because of two
    flows that cannot be told apart. ``displaced``: flows without an answer that the kernel ended to
    make room. ``clashed``: flows that became like another one before they were in the table.
    """

    entries: int
    limit: int
    refused: int = 0
    displaced: int = 0
    clashed: int = 0


def flow_table() -> FlowTable | None:
    """How full the table is; None without conntrack. Costs the same whatever is in it."""
    try:
        entries, limit = int(COUNT.read_text()), int(LIMIT.read_text())
    except FileNotFoundError:
        return None
    totals = dict.fromkeys((_STATS_DROP, _STATS_EARLY_DROP, _STATS_INSERT_FAILED), 0)
    with nfnetlink.refusing("conntrack"), nfnetlink.connected() as sock:
        # One message for each processor.
        for _, data in nfnetlink.dump(sock, _CT_STATISTICS, socket.AF_UNSPEC, b""):
            found = wire.attributes(data)
            for kind in totals:
                totals[kind] += _number(found, kind)
    return FlowTable(entries, limit, *totals.values())


def flows(wanted: MarkFilter) -> Iterator[Flow]:
    """The flows with the mark, one datagram of the kernel's at a time: a reader that is slow, or
    stops, costs nothing but its socket."""
    for family, attributes in _dump(wanted):
        flow = flow_of(family, attributes)
        if flow is not None:
            yield flow


def marks(wanted: MarkFilter) -> frozenset[int]:
    """The ct marks that flows have, of those that are wanted: a quick look at a large table."""
    return frozenset(
        _number(wire.attributes(attributes), _CTA_MARK) for _, attributes in _dump(wanted)
    )


def end(wanted: MarkFilter, chosen: Callable[[Flow], bool]) -> int:
    """End the flows with the mark that are ``chosen``; the answer is their number."""
    with nfnetlink.connected() as deleting:
        return sum(chosen(flow) and _delete(deleting, flow) for flow in flows(wanted))


def _dump(wanted: MarkFilter) -> Iterator[tuple[int, memoryview]]:
    """(address family, attributes) of each entry; one datagram is in memory at a time. Raises
    NotPermitted or KernelRefused."""
    attributes = wire.attribute(_CTA_MARK, struct.pack("!I", wanted.value))
    attributes += wire.attribute(_CTA_MARK_MASK, struct.pack("!I", wanted.mask))
    with nfnetlink.refusing("conntrack"), nfnetlink.connected() as sock:
        yield from nfnetlink.dump(sock, _CT_GET, socket.AF_UNSPEC, attributes)


def flow_of(family: int, attributes: memoryview) -> Flow | None:
    """The entry in a message of conntrack's; None for what is none."""
    found = wire.attributes(attributes)
    original, reply = found.get(_CTA_TUPLE_ORIG), found.get(_CTA_TUPLE_REPLY)
    if original is None or reply is None:
        return None
    source, destination, number, ports = _tuple(family, original)
    reply_source, reply_destination, _, reply_ports = _tuple(family, reply)
    return Flow(
        (family, bytes(original), bytes(found.get(_CTA_ZONE, b""))),
        number,
        source,
        destination,
        reply_source,
        reply_destination,
        *ports,
        *reply_ports,
        # The event of a flow's end carries no status (nf_conntrack_netlink.c), so it is derived.
        snat=(source, ports[0]) != (reply_destination, reply_ports[1]),
        dnat=(destination, ports[1]) != (reply_source, reply_ports[0]),
        mark=int.from_bytes(found.get(_CTA_MARK, b"")),
        label=int.from_bytes(found.get(_CTA_LABELS, b""), "little"),
        # One direction alone has a zone here; a zone of both directions is somebody else's.
        zone=_zone_of(found),
        octets=_octets(found),
        started=_started(found),
    )


def _octets(found: dict[int, memoryview]) -> int | None:
    """CTA_COUNTERS_BYTES (2) of both directions; net.netfilter.nf_conntrack_acct keeps them."""
    counters = [found[kind] for kind in (_CTA_COUNTERS_ORIG, _CTA_COUNTERS_REPLY) if kind in found]
    if not counters:
        return None
    return sum(int.from_bytes(wire.attributes(each).get(2, b"")) for each in counters)


def _started(found: dict[int, memoryview]) -> float | None:
    """CTA_TIMESTAMP_START (1), in ns; net.netfilter.nf_conntrack_timestamp keeps it."""
    if _CTA_TIMESTAMP not in found:
        return None
    started = wire.attributes(found[_CTA_TIMESTAMP]).get(1)
    return None if started is None else int.from_bytes(started) / 1e9


def _tuple(family: int, data: memoryview) -> tuple[IPAddress, IPAddress, int, tuple[int, int]]:
    """Source, destination, protocol number and ports (0 without) of one direction."""
    nested = wire.attributes(data)
    addresses = wire.attributes(nested[_CTA_TUPLE_IP])
    layer4 = wire.attributes(nested[_CTA_TUPLE_PROTO])
    # CTA_IP_V4_SRC and _DST are 1 and 2, CTA_IP_V6_SRC and _DST are 3 and 4.
    first = 1 if family == socket.AF_INET else 3
    # CTA_PROTO_NUM is 1, CTA_PROTO_SRC_PORT and _DST_PORT are 2 and 3.
    ports = [int.from_bytes(layer4.get(kind, b"")) for kind in (2, 3)]
    return (
        _address(bytes(addresses[first])),
        _address(bytes(addresses[first + 1])),
        layer4[1][0],
        (ports[0], ports[1]),
    )


@lru_cache(maxsize=4096)
def _address(octets: bytes) -> IPAddress:
    """Many flows, few addresses: each is made once."""
    return IPv4Address(octets) if len(octets) == 4 else IPv6Address(octets)


def _delete(sock: socket.socket, flow: Flow) -> bool:
    """Whether it is ended: it may have gone (ENOENT), or be in a flowtable's hands (EBUSY)."""
    family, original, zone = flow.key
    entry = wire.attribute(_CTA_TUPLE_ORIG | _NESTED, original)
    if zone:
        entry += wire.attribute(_CTA_ZONE, zone)
    try:
        requests.do(sock, _CT_DELETE, 0, nfnetlink.header(family) + entry)
    except NetlinkError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Usage:
    """Flows counted: all, by conntrack label bit (of NVIs), by pool, and by tenant's lane (those
    that a tenant began, and those that go to it)."""

    flows: int
    by_label: Mapping[int, int]
    by_pool: tuple[int, ...]
    by_lane: Mapping[int, int]


def usage(
    wanted: MarkFilter,
    label_bits: Iterable[int],
    pools: Iterable[Pools],
    lanes: Iterable[int] = (),
    forward_lane_of: Callable[[int], int] = lambda mark: 0,
) -> Usage:
    """Count the marked flows in one pass. A flow uses each pool that its replies are sent to:
    pools may overlap."""
    by_lane = dict.fromkeys(lanes, 0)
    bits, pools = tuple(label_bits), tuple(pools)
    by_pool = [0] * len(pools)
    starts, places = _segments(pools)
    flows, by_label = 0, dict.fromkeys(bits, 0)
    for _, data in _dump(wanted):
        found = wire.attributes(data)
        flows += 1
        if bits and _CTA_LABELS in found:
            label = int.from_bytes(found[_CTA_LABELS], "little")
            for bit in bits:
                by_label[bit] += label >> bit & 1
        if starts:
            for place in places[bisect_right(starts, _seen_from(found)) - 1]:
                by_pool[place] += 1
        if by_lane:
            for lane in {_zone_of(found), forward_lane_of(_number(found, _CTA_MARK))}:
                if lane in by_lane:
                    by_lane[lane] += 1
    return Usage(flows, by_label, tuple(by_pool), by_lane)


def _zone_of(found: Mapping[int, memoryview]) -> int:
    return _number(wire.attributes(found[_CTA_TUPLE_ORIG]), _CTA_TUPLE_ZONE)


def _number(found: Mapping[int, memoryview], kind: int) -> int:
    return int.from_bytes(found.get(kind, b""))


def _segments(pools: Iterable[Pools]) -> tuple[list[bytes], list[tuple[int, ...]]]:
    """All addresses cut where a pool begins or ends: the first address of each piece, ascending,
    and the places of the pools that have it. None of pools, no pieces."""
    changes: dict[int, list[tuple[int, int]]] = {}
    for place, pool in enumerate(pools):
        for part in pool.ranges:
            changes.setdefault(int(part.first), []).append((place, 1))
            changes.setdefault(int(part.last) + 1, []).append((place, -1))
    if not changes:
        return [], []
    changes.setdefault(0, [])
    covering: Counter[int] = Counter()
    starts, places = [], []
    for first in sorted(changes):
        for place, more in changes[first]:
            covering[place] += more
            if not covering[place]:
                del covering[place]
        starts.append(first.to_bytes(_WIDE))
        places.append(tuple(covering))
    return starts, places


_WIDE = 17
"""Octets of an address here: what lies behind the last IPv6 address is a number too."""


def _seen_from(found: dict[int, memoryview]) -> bytes:
    """The address that replies are sent to."""
    addresses = wire.attributes(wire.attributes(found[_CTA_TUPLE_REPLY])[_CTA_TUPLE_IP])
    return bytes(addresses.get(2) or addresses.get(4) or b"").rjust(_WIDE, b"\0")
