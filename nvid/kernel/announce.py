"""Tell neighbours where a pool address is now: gratuitous ARP and unsolicited advertisements."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from nvid.configuration.values import IPAddress
from nvid.desired.objects import Neighbour
from nvid.difference import Change

_ETH_P_ARP, _ETH_P_IPV6 = 0x0806, 0x86DD
_ARP_REQUEST, _ARP_REPLY = 1, 2
_BROADCAST = b"\xff" * 6
_ALL_NODES_MAC = bytes.fromhex("333300000001")
_ALL_NODES = IPv6Address("ff02::1").packed
_ICMPV6 = 58
_ADVERTISEMENT = 136
_OVERRIDE = 0x20000000


def announce(interface: str, addresses: Iterable[IPAddress]) -> None:
    """Send one frame for each address out of ``interface`` (RFC 5227 section 3, RFC 4861 section
    7.2.6). Raises OSError, PermissionError without CAP_NET_RAW."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((interface, 0))
        mac = sock.getsockname()[4]
        if len(mac) != len(_BROADCAST):
            return  # No Ethernet: nobody resolves addresses there.
        for address in addresses:
            if address.version == 6:
                sock.send(_neighbour(mac, address))
            else:
                # Some neighbours believe only the one, some only the other.
                for operation in (_ARP_REQUEST, _ARP_REPLY):
                    sock.send(_arp(mac, address, operation))


def announce_new(changes: Iterable[Change[Neighbour]]) -> str | None:
    """Tell neighbours about addresses that appeared; the answer says what went wrong."""
    fresh: dict[str, list[IPAddress]] = {}
    for change in changes:
        if change.before is None and change.after is not None and change.after.mac is None:
            fresh.setdefault(change.after.interface, []).append(change.after.address)
    for interface, addresses in fresh.items():
        try:
            announce(interface, addresses)
        except OSError as error:
            return f"cannot announce addresses on {interface}: {error.strerror}"
    return None


def _arp(mac: bytes, address: IPv4Address, operation: int) -> bytes:
    """ARP about the sender's own address: every neighbour that has it updates it."""
    header = _BROADCAST + mac + struct.pack("!H", _ETH_P_ARP)
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    return header + body + mac + address.packed + _BROADCAST + address.packed


def _neighbour(mac: bytes, address: IPv6Address) -> bytes:
    """An unsolicited neighbour advertisement with the override flag, to all nodes."""
    option = struct.pack("!BB", 2, 1) + mac
    body = struct.pack("!BBHI", _ADVERTISEMENT, 0, 0, _OVERRIDE) + address.packed + option
    pseudo = address.packed + _ALL_NODES + struct.pack("!II", len(body), _ICMPV6)
    checked = body[:2] + struct.pack("!H", _checksum(pseudo + body)) + body[4:]
    ipv6 = struct.pack("!IHBB", 6 << 28, len(body), _ICMPV6, 255) + address.packed + _ALL_NODES
    return _ALL_NODES_MAC + mac + struct.pack("!H", _ETH_P_IPV6) + ipv6 + checked


def _checksum(data: bytes) -> int:
    """RFC 1071, over an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
