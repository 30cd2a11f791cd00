"""Readers for numbers, choices, times, ports and routing numbers."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any

from nvid.configuration.reading import (
    Reader,
    list_reader,
    nearest,
    one_of,
    refuse,
    shown,
    text_reader,
    wrong_kind,
)
from nvid.configuration.values import Listen, PortRange, TableRange

PORTED_PROTOCOLS = ("tcp", "udp", "sctp")
PROTOCOLS = (*PORTED_PROTOCOLS, "icmp", "icmpv6", "gre", "esp", "ah")

# Who uses which protocol number on routes: linux/rtnetlink.h (RTPROT_*) and the programs
# themselves; all below 5 are the kernel's or the administrator's. With one of these nvid would
# take the routes of others for its own, or they nvid's.
ROUTE_PROTOCOL_USERS = {
    0: "the kernel (unspecified)",
    1: "the kernel (ICMP redirects)",
    2: "the kernel",
    3: "the kernel (boot)",
    4: "static routes of the administrator",
    8: "gated",
    9: "router advertisements",
    10: "mrt",
    11: "zebra (FRR)",
    12: "BIRD",
    13: "dnrouted",
    14: "XORP",
    15: "netsukuku",
    16: "DHCP clients",
    17: "mrouted",
    18: "keepalived",
    42: "babel",
    99: "Open/R",
    186: "BGP (FRR)",
    187: "IS-IS (FRR)",
    188: "OSPF (FRR)",
    189: "RIP (FRR)",
    192: "EIGRP (FRR)",
}

# linux/rtnetlink.h: RT_TABLE_UNSPEC, _DEFAULT, _MAIN, _LOCAL.
RESERVED_TABLES = {0: "unspec", 253: "default", 254: "main", 255: "local"}

FEWEST_MARK_BITS = 10

_LONGEST_SOCKET = 107  # sun_path with its final zero byte, unix(7)

_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_TABLES = re.compile(r"([0-9]{1,10})-([0-9]{1,10})")
_LISTEN = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):([0-9]{1,5})")


def choice(*words: str) -> Reader[Any]:
    """Exactly one of these words."""
    accepts = one_of(words)

    def parse(text: str) -> str:
        if text in words:
            return text
        like = nearest(text, words)
        meant = f'; "{like}" is the nearest' if like else ""
        raise refuse(f"{shown(text)} is not known here{meant}", f"write {accepts}")

    return text_reader(parse, accepts)


def choices(*words: str) -> Reader[tuple[Any, ...]]:
    """A list of these words, which may be empty."""
    return list_reader(choice(*words), empty=True)


def integer(low: int, high: int) -> Reader[int]:
    """A whole number, both limits included."""
    accepts = f"a whole number from {low} to {high}"

    def read(raw: object) -> int:
        if isinstance(raw, bool) or not isinstance(raw, int):
            raise wrong_kind(raw, f"{accepts}, without quotes")
        if not low <= raw <= high:
            raise refuse(f"{shown(raw)} is out of range", f"write {accepts}")
        return raw

    return Reader(read, accepts)


def duration(low: float, high: float) -> Reader[float]:
    """A time with its unit, in seconds, both limits included."""
    accepts = f'a time from "{_spelled(low)}" to "{_spelled(high)}" with its unit (ms, s, m, h, d)'

    def read(raw: object) -> float:
        if isinstance(raw, int) and not isinstance(raw, bool) and 0 <= raw < 10**9:
            raise refuse(f"{raw} has no unit", f'write "{raw}s" if seconds are meant')
        if not isinstance(raw, str):
            raise wrong_kind(raw, accepts)
        if (found := _DURATION.fullmatch(raw)) is None:
            raise refuse(f"{shown(raw)} is not a time", f"write {accepts}")
        seconds = int(found[1]) * _SECONDS[found[2]]
        if not low <= seconds <= high:
            raise refuse(f"{shown(raw)} is out of range", f"write {accepts}")
        return seconds

    return Reader(read, accepts)


def _spelled(seconds: float) -> str:
    for unit in ("d", "h", "m", "s"):
        if seconds % _SECONDS[unit] == 0:
            return f"{int(seconds // _SECONDS[unit])}{unit}"
    return f"{round(seconds * 1000)}ms"


def _boolean(raw: object) -> bool:
    if isinstance(raw, bool):
        return raw
    raise wrong_kind(raw, "true or false, without quotes")


def _absolute_path(text: str) -> str:
    if not text.startswith("/") or not text.isprintable() or ".." in text.split("/"):
        raise refuse(f"{shown(text)} is not an absolute path", _ABSOLUTE)
    return text


def _socket_path(text: str) -> str:
    path = _absolute_path(text)
    if len(path.encode()) > _LONGEST_SOCKET:
        raise refuse(
            f"{shown(text)} is longer than {_LONGEST_SOCKET} bytes", "write a shorter path"
        )
    return path


def _listen(text: str) -> Listen | None:
    if text == "off":
        return None
    if (found := _LISTEN.fullmatch(text)) is None:
        raise refuse(f"{shown(text)} is not an address and a port", f"write {_LISTEN_ACCEPTS}")
    try:
        host = ip_address(found[1] or found[2])
    except ValueError:
        raise refuse(f"{shown(text)} holds no address", f"write {_LISTEN_ACCEPTS}") from None
    if (host.version == 6) != (found[1] is not None):
        raise refuse(
            f"{shown(text)} has an address in the wrong spelling",
            "write IPv6 addresses, and only these, in brackets",
        )
    return Listen(str(host), _port_number(int(found[3])))


def _port_number(number: int) -> int:
    if 1 <= number <= 65535:
        return number
    raise refuse(f"port {shown(number)} is out of range", "write a port from 1 to 65535")


def _port(raw: object) -> int:
    found = _ports(raw)
    if found.first != found.last:
        raise refuse(f"{shown(raw)} is a range", "write a single port, such as 80")
    return found.first


def parse_ports(text: str) -> PortRange:
    """`80` or `8000-8099`; raises Unacceptable."""
    if (found := _PORTS.fullmatch(text)) is None:
        raise refuse(f"{shown(text)} is not a port", f"write {_PORTS_ACCEPTS}")
    first = _port_number(int(found[1]))
    last = first if found[2] is None else _port_number(int(found[2]))
    if last < first:
        raise refuse(f"{shown(text)} runs backwards", f'write "{last}-{first}"')
    return PortRange(first, last)


def _ports(raw: object) -> PortRange:
    if isinstance(raw, int) and not isinstance(raw, bool):
        port = _port_number(raw)
        return PortRange(port, port)
    if isinstance(raw, str):
        return parse_ports(raw)
    if isinstance(raw, list):
        raise refuse(
            "this is a list",
            "write one port or one range here, and a further entry for each other one",
        )
    raise wrong_kind(raw, _PORTS_ACCEPTS)


def _table_range(text: str) -> TableRange:
    if (found := _TABLES.fullmatch(text)) is None:
        raise refuse(f"{shown(text)} is not a range of tables", f"write {_TABLES_ACCEPTS}")
    first, last = int(found[1]), int(found[2])
    if last < first:
        raise refuse(f"{shown(text)} runs backwards", f'write "{last}-{first}"')
    if last >= 2**32:
        raise refuse(f"{last} is no table number", "write numbers below 4294967296")
    tables = TableRange(first, last)
    taken = [f"{number} ({name})" for number, name in RESERVED_TABLES.items() if number in tables]
    if taken:
        raise refuse(
            f"{shown(text)} contains {', '.join(taken)}",
            'write a range beside the kernel\'s own tables, such as "7700-7899"',
        )
    return tables


def _fwmark_mask(raw: object) -> int:
    mask = _MASK_INTEGER(raw)
    ones = f"{mask:b}".rstrip("0")
    if "0" in ones or len(ones) < FEWEST_MARK_BITS:
        said = "is not one run of bits" if "0" in ones else f"has {len(ones)} bits"
        raise refuse(f"0x{mask:08x} {said}", f"write {_MASK_ACCEPTS}")
    return mask


def _route_protocol(raw: object) -> int:
    number = _PROTOCOL_INTEGER(raw)
    if (user := ROUTE_PROTOCOL_USERS.get(number)) is not None:
        raise refuse(
            f"protocol {number} is used by {user}",
            "write a number that nobody uses, such as 77; see also /etc/iproute2/rt_protos",
        )
    return number


_ABSOLUTE = 'write a path that begins with "/" and has no ".." in it'
_LISTEN_ACCEPTS = '"off", or an address and a port such as "127.0.0.1:9477" or "[::1]:9477"'
_PORTS_ACCEPTS = 'a port from 1 to 65535 (80), or a range of ports ("8000-8099")'
_TABLES_ACCEPTS = 'a range of routing tables such as "7700-7899"'
_MASK_ACCEPTS = "one run of at least 10 bits inside 32, such as 0x00ffff00"
_MASK_INTEGER = integer(1, 2**32 - 1)
_PROTOCOL_ACCEPTS = "a whole number from 5 to 255 that no other program puts on its routes"
_PROTOCOL_INTEGER = integer(0, 255)

boolean: Reader[bool] = Reader(_boolean, "true or false")
absolute_path = text_reader(_absolute_path, "an absolute path")
socket_path = text_reader(_socket_path, "an absolute path of at most 107 bytes")
listen = text_reader(_listen, _LISTEN_ACCEPTS)
port: Reader[int] = Reader(_port, "a port from 1 to 65535")
ports: Reader[PortRange] = Reader(_ports, _PORTS_ACCEPTS)
table_range = text_reader(_table_range, _TABLES_ACCEPTS)
fwmark_mask: Reader[int] = Reader(_fwmark_mask, _MASK_ACCEPTS)
route_protocol: Reader[int] = Reader(_route_protocol, _PROTOCOL_ACCEPTS)
protocols = list_reader(choice(*PROTOCOLS))
protocol_with_ports = choice(*PORTED_PROTOCOLS)
