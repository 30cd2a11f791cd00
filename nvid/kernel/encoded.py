"""Rules that libnftables 1.0.6 cannot write, written in netlink (decision 10).

They stand in the transaction like all others, in nft's own words; ``divide`` takes them out, and
``append`` puts each at the end of its chain. libnftables reads them without trouble. Numbers are
those of linux/netfilter/nf_tables.h; registers are counted in 32-bit units from NFT_REG32_00.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from nvid.desired.ruleset.model import needs_encoding
from nvid.kernel import nfnetlink, requests, wire

_NFPROTO_IPV6 = 10
_BATCH_BEGIN, _BATCH_END, _NEW_RULE = 16, 17, nfnetlink.of_nftables(6)
_CREATE, _APPEND = 0x400, 0x800
_NESTED = 0x8000
_RULE_TABLE, _RULE_CHAIN, _RULE_EXPRESSIONS, _RULE_USERDATA = 1, 2, 4, 7
_REGISTER, _UNIT = 8, 4
_META_NFPROTO, _META_L4PROTO = 15, 16
_IPV6_SOURCE_OFFSET, _IPV6_LENGTH = 8, 16

_FIELDS = {
    "ct original ip6 saddr": (21, 0, 16),
    "ct original proto-src": (11, 0, 2),
    "ct reply ip6 daddr": (22, 1, 16),
    "ct reply proto-dst": (12, 1, 2),
}
"""nft's words for a part of a flow: NFT_CT key, direction, octets."""

_RULE = re.compile(
    r"add rule (?P<family>inet) (?P<table>\w+) (?P<chain>\w+) meta l4proto (?P<protocol>\d+) "
    r'(?P<statement>.+) comment "(?P<comment>\w+)"'
)
_UPDATE = re.compile(r"update @(\w+) \{ (.+) : (.+) \}")
_BLOCK = re.compile(r"snat ip6 interval to ip6 saddr map @(\w+)")


_PORTION = 100
"""Rules in one batch: the acknowledgements of 300 do not fit into a socket's buffer."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A rule as netlink attributes, and as text for errors."""

    text: str
    body: bytes


def divide(text: str) -> tuple[str, tuple[Encoded, ...]]:
    """The text without the rules that have to be encoded, and those rules, in order."""
    if not needs_encoding(text):
        return text, ()
    ours = [line for line in text.splitlines() if needs_encoding(line)]
    others = [f"{line}\n" for line in text.splitlines() if not needs_encoding(line)]
    return "".join(others), tuple(map(_encode, ours))


def append(rules: Iterable[Encoded]) -> None:
    """Add the rules to the ends of their chains, in portions that a socket takes.

    Raises KernelRefused or NotPermitted with the kernel's reason and the rule's text.
    """
    rules = tuple(rules)
    for first in range(0, len(rules), _PORTION):
        _append(rules[first : first + _PORTION])


def _append(rules: tuple[Encoded, ...]) -> None:
    """All of them or none."""
    limits = nfnetlink.header(0, nfnetlink.NFTABLES)
    flags = requests.REQUEST | requests.ACKNOWLEDGE | _CREATE | _APPEND
    batch = [wire.message(_BATCH_BEGIN, requests.REQUEST, limits, 0)]
    for number, rule in enumerate(rules, 1):
        body = nfnetlink.header(nfnetlink.INET) + rule.body
        batch.append(wire.message(_NEW_RULE, flags, body, number))
    batch.append(wire.message(_BATCH_END, requests.REQUEST, limits, 0))
    with nfnetlink.connected() as sock:
        sock.send(b"".join(batch))
        left = len(rules)
        while left:
            for _, _, answer in wire.messages(memoryview(sock.recv(requests.BUFFER))):
                # struct nlmsgerr: an error, and the header that it is about.
                number = wire.HEADER.unpack_from(answer, 4)[3]
                about = rules[number - 1].text if number else "the batch"
                with nfnetlink.refusing(f"nftables: {about}"):
                    requests.raise_for(answer)
                left -= 1


# Encoding


def _encode(text: str) -> Encoded:
    rule = _RULE.fullmatch(text)
    if rule is None:
        raise ValueError(f"not a rule that can be encoded: {text}")
    statement = rule["statement"]
    protocol = _equals(_META_L4PROTO, int(rule["protocol"]))
    if update := _UPDATE.fullmatch(statement):
        expressions = protocol + _update(*update.groups())
    elif block := _BLOCK.fullmatch(statement):
        expressions = _equals(_META_NFPROTO, _NFPROTO_IPV6) + protocol + _block(block[1])
    else:
        raise ValueError(f"not a statement that can be encoded: {statement}")
    comment = _text(rule["comment"])
    return Encoded(
        text,
        wire.attribute(_RULE_TABLE, _text(rule["table"]))
        + wire.attribute(_RULE_CHAIN, _text(rule["chain"]))
        + wire.attribute(_RULE_EXPRESSIONS | _NESTED, expressions)
        # libnftnl's user data: type 0 is a comment, then its length.
        + wire.attribute(_RULE_USERDATA, bytes([0, len(comment)]) + comment),
    )


def _update(name: str, key: str, value: str) -> bytes:
    """``update @map { key : value }``: libnftables 1.0.6 keeps 16 octets for each of the two, and
    aborts where one is longer (netlink_linearize.c, "dreg < ctx->reg_low")."""
    key_loads, after = _load(key, _REGISTER)
    value_loads, _ = _load(value, after)
    update = 1
    statement = _expression(
        "dynset", (1, _text(name)), (3, _be(update)), (4, _be(_REGISTER)), (5, _be(after))
    )
    return key_loads + value_loads + statement


def _load(fields: str, register: int) -> tuple[bytes, int]:
    """Loads of parts of a flow, from this register on; and the next one that is free."""
    loads = b""
    for field in fields.split(" . "):
        key, direction, length = _FIELDS[field]
        loads += _expression("ct", (1, _be(register)), (2, _be(key)), (3, bytes([direction])))
        register += -(-length // _UNIT)
    return loads, register


def _block(name: str) -> bytes:
    """``snat`` to the addresses and ports of an interval: both ends, one behind the other.
    libnftables 1.0.6 takes the second end of an IPv6 value from wrong registers."""
    first_port = _REGISTER + _IPV6_LENGTH // _UNIT
    last = first_port + 1
    last_port = last + _IPV6_LENGTH // _UNIT
    network_header, snat = 1, 0
    return (
        _expression(
            "payload",
            (1, _be(_REGISTER)),
            (2, _be(network_header)),
            (3, _be(_IPV6_SOURCE_OFFSET)),
            (4, _be(_IPV6_LENGTH)),
        )
        + _expression("lookup", (1, _text(name)), (2, _be(_REGISTER)), (3, _be(_REGISTER)))
        + _expression(
            "nat",
            (1, _be(snat)),
            (2, _be(_NFPROTO_IPV6)),
            (3, _be(_REGISTER)),
            (4, _be(last)),
            (5, _be(first_port)),
            (6, _be(last_port)),
        )
    )


def _equals(meta_key: int, octet: int) -> bytes:
    equal, value = 0, wire.attribute(1, bytes([octet]))
    return _expression("meta", (1, _be(_REGISTER)), (2, _be(meta_key))) + _expression(
        "cmp", (1, _be(_REGISTER)), (2, _be(equal)), (3 | _NESTED, value)
    )


def _expression(name: str, *attributes: tuple[int, bytes]) -> bytes:
    data = b"".join(wire.attribute(kind, value) for kind, value in attributes)
    inner = wire.attribute(1, _text(name)) + wire.attribute(2 | _NESTED, data)
    return wire.attribute(1 | _NESTED, inner)


def _be(number: int) -> bytes:
    return struct.pack(">I", number)


def _text(text: str) -> bytes:
    return text.encode() + b"\0"
