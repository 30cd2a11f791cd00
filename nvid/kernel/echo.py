"""Echo requests out of one interface, in one lane, and the answers that come in by it.

A raw socket, which needs CAP_NET_RAW. The unprivileged one ("ping socket") would need
net.ipv4.ping_group_range, which most systems leave empty.
"""

from __future__ import annotations

import ctypes
import secrets
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address

from nvid.configuration.values import IPAddress

# socket(7); the socket module of Python 3.11 has no name for them.
_SO_BINDTODEVICE, _SO_MARK = 25, 36
# icmp.h, icmpv6.h: the options that say which types a raw socket does not hear.
_SOL_RAW, _ICMP_FILTER = 255, 1
_ICMPV6_FILTER = 1
_TOKEN_LENGTH = 16
_SO_ATTACH_FILTER = 26
_STEP = struct.Struct("=HBBI")
"""struct sock_filter of linux/filter.h: code, jump if true, jump if false, operand."""
_MOST_ANSWERS = 1000
"""More than fit into a socket's buffer, unless somebody has made buffers large."""


class EchoSocket:
    """Asks addresses of one family, and hears their answers to nobody but itself.

    The socket is bound to ``interface``: what comes in by another one is not heard. ``mark`` sends
    the requests through the lane's own table, whatever the main table says. ``source`` is the
    address to ask from; None leaves it to the kernel. Raises OSError.
    """

    def __init__(self, interface: str, family: int, mark: int, source: IPAddress | None) -> None:
        self._ipv6 = family == 6
        self._identifier = secrets.randbits(16)
        self._token = secrets.token_bytes(_TOKEN_LENGTH)
        self._scope = socket.if_nametoindex(interface)
        kind = (
            (socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
            if self._ipv6
            else (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        )
        self._socket = socket.socket(*kind)
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_BINDTODEVICE, interface.encode())
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_MARK, mark)
            self._hear_answers_only()
            self._hear_own_only()
            if source is not None:
                self._socket.bind(self._address(source))
        except OSError:
            self._socket.close()
            raise

    def _hear_answers_only(self) -> None:
        """A bit that is set shuts a type out: all of them but echo reply."""
        if self._ipv6:
            words = [0xFFFFFFFF] * 8
            words[129 >> 5] ^= 1 << (129 & 31)
            self._socket.setsockopt(
                socket.IPPROTO_ICMPV6, _ICMPV6_FILTER, struct.pack("=8I", *words)
            )
        else:
            self._socket.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", 0xFFFFFFFE))

    def _hear_own_only(self) -> None:
        """The kernel drops what carries another identifier or token, so that a flood of answers
        neither fills the socket's buffer nor costs anybody time (bpf(4) as in socket(7),
        SO_ATTACH_FILTER). An IPv4 raw socket's data begins with the IP header."""
        token = int.from_bytes(self._token[:4])
        half, word = (0x28, 0x20) if self._ipv6 else (0x48, 0x40)
        steps = [
            *([] if self._ipv6 else [(0xB1, 0, 0, 0)]),  # x = length of the IP header
            (half, 0, 0, 4),  # the identifier
            (0x15, 0, 3, self._identifier),
            (word, 0, 0, 8),  # the token's beginning
            (0x15, 0, 1, token),
            (0x06, 0, 0, 0xFFFFFFFF),  # all of it
            (0x06, 0, 0, 0),  # nothing
        ]
        program = ctypes.create_string_buffer(b"".join(_STEP.pack(*each) for each in steps))
        head = struct.pack("@HP", len(steps), ctypes.addressof(program))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, head)

    def _address(self, address: IPAddress) -> tuple[str, int] | tuple[str, int, int, int]:
        if not self._ipv6:
            return (str(address), 0)
        return (str(address), 0, 0, self._scope if address.is_link_local else 0)

    def ask(self, target: IPAddress, sequence: int) -> None:
        """Send one request. Raises OSError, for instance when there is no way out."""
        kind = 128 if self._ipv6 else 8
        rest = struct.pack("!HH", self._identifier, sequence & 0xFFFF) + self._token
        # The kernel fills in the checksum of ICMPv6 (RFC 3542 section 3.1).
        checksum = 0 if self._ipv6 else _checksum(struct.pack("!BBH", kind, 0, 0) + rest)
        request = struct.pack("!BBH", kind, 0, checksum) + rest
        self._socket.sendto(request, self._address(target))

    def answers(self) -> Iterator[IPAddress]:
        """Who has answered since the last time; never waits, and reads no more than so many
        messages, whatever is sent meanwhile."""
        for _ in range(_MOST_ANSWERS):
            try:
                data, sender = self._socket.recvfrom(2048)
            except BlockingIOError:
                return
            except OSError:
                continue  # An error that an earlier request met; it is told once.
            # In IPv4 the IP header comes along (raw(7)).
            message = data if self._ipv6 else data[(data[0] & 0xF) * 4 :]
            if self._is_mine(message):
                yield ip_address(str(sender[0]).partition("%")[0])

    def _is_mine(self, message: bytes) -> bool:
        if len(message) < 8 + _TOKEN_LENGTH or message[0] != (129 if self._ipv6 else 0):
            return False
        (identifier,) = struct.unpack_from("!H", message, 4)
        return bool(identifier == self._identifier) and message[8:] == self._token

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _checksum(data: bytes) -> int:
    """RFC 1071, over an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
