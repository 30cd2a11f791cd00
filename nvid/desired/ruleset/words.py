"""The few nftables statements and types that every part of the ruleset is written with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nvid import names
from nvid.configuration.types import Daemon, Nvi
from nvid.configuration.values import InterfacePattern, IPNetwork, PortRange, network_text
from nvid.desired.marks import Marks
from nvid.desired.numbers import Numbers
from nvid.desired.objects import Family
from nvid.desired.ruleset.model import Map
from nvid.desired.tenants import TenantState
from nvid.desired.uplinks import UplinkState
from nvid.machine import Machine

IP = {4: "ip", 6: "ip6"}
"""How nft names a family's header and its NAT statements."""
ADDRESS = {4: "ipv4_addr", 6: "ipv6_addr"}
"""nft's type of a family's addresses."""
NFPROTO = {4: "ipv4", 6: "ipv6"}

FROM_MAIN = f"iifgroup {names.MAIN_GROUP}"
FROM_PEER = f"iifgroup {names.PEER_GROUP}"
TO_MAIN = f"oifgroup {names.MAIN_GROUP}"
TO_PEER = f"oifgroup {names.PEER_GROUP}"
FROM_PAIR = f"iifgroup & {names.PAIR_GROUP_MASK:#010x} == {names.PAIR_GROUPS:#010x}"
TO_PAIR = f"oifgroup & {names.PAIR_GROUP_MASK:#010x} == {names.PAIR_GROUPS:#010x}"
"""Either end of a pair: one question for the many packets that have nothing to do with one."""
FROM_LOOPBACK = f'iif "{names.LOOPBACK}"'
TO_LOOPBACK = f'oif "{names.LOOPBACK}"'

PORT_PROTOCOLS = ("tcp", "udp")
"""What a port means when an entry names no protocol."""

WITH_PORTS = "meta l4proto { 6, 17, 132 }"
"""A match of the protocols whose ports nftables can translate: tcp, udp, sctp."""

ERRORS: tuple[tuple[Family, str, str], ...] = (
    (4, "ip", "meta l4proto 1 icmp type { 3, 11, 12 }"),
    (6, "ip6", "meta l4proto 58 icmpv6 type { 1, 2, 3, 4 }"),
)
"""Destination unreachable, time exceeded, parameter problem (RFC 792); the same and packet too
big (RFC 4443)."""

PROTOCOL_NUMBERS = {
    "icmp": 1,
    "tcp": 6,
    "udp": 17,
    "dccp": 33,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "icmpv6": 58,
    "sctp": 132,
    "udplite": 136,
}
"""IANA's numbers. Rules hold numbers: nft 1.0.6 takes names from /etc/protocols, which a small
system may lack."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the ruleset is made of: the configuration's NVIs, and everything derived for them."""

    daemon: Daemon
    nvis: tuple[Nvi, ...]
    uplinks: tuple[UplinkState, ...]
    numbers: Numbers
    machine: Machine
    tenants: tuple[TenantState, ...] = ()

    @property
    def marks(self) -> Marks:
        """The layout of the configured mask."""
        return Marks(self.daemon.fwmark_mask)

    def number(self, nvi: Nvi) -> int:
        """The NVI's stable number."""
        return self.numbers.nvis[nvi.name]

    @property
    def crosses_loopback(self) -> bool:
        """Whether an NVI has the loopback interface for its crossing."""
        return any(nvi.is_loopback for nvi in self.nvis)

    @property
    def entered(self) -> str:
        """A match of packets whose mark names their NVI, and the map that it is looked up in
        follows: ``meta mark & 0x00ffff00 vmap @...``."""
        return f"meta mark & {self.marks.mask:#010x} vmap"

    def by_nvi(self, name: str, chain: str, verdict: str, nvis: Iterable[Nvi]) -> Map:
        """The map from the mark of what enters an NVI to a verdict with that NVI's chain."""
        return Map(
            name,
            "mark",
            "verdict",
            {
                str(self.marks.enter(self.number(nvi))): f"{verdict} {chain}_{self.number(nvi)}"
                for nvi in nvis
            },
        )

    def tenant(self, name: str) -> TenantState:
        """The tenant of that name; the configuration's checks make sure that it exists."""
        return next(tenant for tenant in self.tenants if tenant.name == name)

    def uplink(self, name: str) -> UplinkState:
        """The uplink of that name; the configuration's checks make sure that it exists."""
        return next(uplink for uplink in self.uplinks if uplink.name == name)


@dataclass(frozen=True, slots=True)
class Counting:
    """The rules that count a packet of a bound flow: ``by_entry`` where it counts for the
    translations of its flow, whatever its direction; the others where it counts for the NVI."""

    by_entry: tuple[str, ...]
    original: tuple[str, ...]
    reply: tuple[str, ...]

    @property
    def of_either(self) -> tuple[str, ...]:
        """All of them, for a chain where packets of both directions come by."""
        return (
            *self.by_entry,
            *(f"ct direction original {rule}" for rule in self.original),
            *(f"ct direction reply {rule}" for rule in self.reply),
        )


def set_fwmark(marks: Marks, value: int) -> str:
    """Write nvid's bits of the packet's mark and keep all others."""
    return _set("meta mark", marks.keep, value)


def set_ct_mark(marks: Marks, field: int, value: int) -> str:
    """Write the bits of ``field`` in the flow's mark and keep all others."""
    return _set("ct mark", ~field & 0xFFFFFFFF, value)


def _set(key: str, keep: int, value: int) -> str:
    if keep == 0:
        return f"{key} set {value:#010x}"
    return f"{key} set {key} & {keep:#010x} | {value:#010x}"


def one_of(values: Iterable[object]) -> str:
    """An anonymous set, or the value itself when there is only one."""
    texts = [str(value) for value in values]
    return texts[0] if len(texts) == 1 else "{ " + ", ".join(texts) + " }"


def networks(values: Iterable[IPNetwork], family: int) -> str:
    """The networks of one family as an anonymous set; empty text when there is none."""
    texts = [network_text(value) for value in values if value.version == family]
    return one_of(texts) if texts else ""


def interfaces(patterns: Iterable[InterfacePattern]) -> str:
    """An ``iifname`` match of validated patterns."""
    return "iifname " + one_of(f'"{pattern}"' for pattern in widest(patterns))


def interface_map(name: str, verdicts: Iterable[tuple[Iterable[InterfacePattern], str]]) -> Map:
    """A map from interface patterns, of NVIs or of tenants, to the verdict of each. Globs stand in
    it as they are, so that an interface is covered from its first packet on."""
    elements: dict[str, str] = {}
    for patterns, verdict in verdicts:
        for pattern in widest(patterns):
            elements.setdefault(pattern.text, verdict)
    has_globs = any(key.endswith("*") for key in elements)
    return Map(name, "ifname", "verdict", elements, interval=has_globs)


def widest(patterns: Iterable[InterfacePattern]) -> tuple[InterfacePattern, ...]:
    """The patterns without those that a glob among them covers: nft refuses overlaps."""
    patterns = tuple(dict.fromkeys(patterns))
    return tuple(
        each
        for each in patterns
        if not any(
            other.is_glob and other != each and each.prefix.startswith(other.prefix)
            for other in patterns
        )
    )


def protocol(name: str) -> int:
    """The number of a protocol of the configuration language."""
    return PROTOCOL_NUMBERS[name]


def protocols_and_ports(protocols: tuple[str, ...], ports: PortRange | None) -> str:
    """A match of protocols and destination ports, or empty text when the entry names neither."""
    if not protocols and ports is None:
        return ""
    match = "meta l4proto " + one_of(map(protocol, protocols or PORT_PROTOCOLS))
    return match if ports is None else f"{match} th dport {ports}"
