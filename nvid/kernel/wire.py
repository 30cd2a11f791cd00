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


def attributes(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(type without its flags, value) of each attribute."""
    while len(data) >= ATTRIBUTE.size:
        length, kind = ATTRIBUTE.unpack_from(data)
        if length < ATTRIBUTE.size:
            return
        yield kind & _TYPE_MASK, data[ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    padding = b"\0" * (-len(value) % 4)
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value + padding


def message(kind: int, flags: int, body: bytes) -> bytes:
    """One request; its sequence number is 1, for sockets that have one request at a time."""
    return HEADER.pack(HEADER.size + len(body), kind, flags, 1, 0) + body
