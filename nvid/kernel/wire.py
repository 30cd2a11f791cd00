"""Netlink messages and attributes as bytes: walked over, not decoded (netlink(7))."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

HEADER: Final = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence number, port id."""
ATTRIBUTE: Final = struct.Struct("=HH")
"""struct nlattr: length, type."""
_TYPE_MASK: Final = 0x3FFF


def messages(data: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """(type, port id of the sender, body) of each message in a datagram."""
    while len(data) >= HEADER.size:
        length, kind, _, _, port = HEADER.unpack_from(data)
        if length < HEADER.size:
            return
        yield kind, port, data[HEADER.size : length]
        data = data[(length + 3) & ~3 :]


def attributes(data: memoryview) -> dict[int, memoryview]:
    """The value of each attribute by its type without its flags; of several of one type, the last
    one's. A table of 200,000 flows has four million of them: this loop is most of reading it."""
    found: dict[int, memoryview] = {}
    unpack, offset, end = ATTRIBUTE.unpack_from, 0, len(data) - ATTRIBUTE.size
    while offset <= end:
        length, kind = unpack(data, offset)
        if length < 4:
            break
        found[kind & _TYPE_MASK] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    padding = b"\0" * (-len(value) % 4)
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value + padding


def message(kind: int, flags: int, body: bytes, number: int = 1) -> bytes:
    """One request. Its sequence ``number`` matters where a socket has several at a time."""
    return HEADER.pack(HEADER.size + len(body), kind, flags, number, 0) + body
