"""An nftables ruleset as a value: chains, maps and counters, in canonical text.

Every rule carries a digest of its own text as its comment, because no version of nft prints a rule
the way it was written: ``kernel.ruleset`` compares digests, so a rule that somebody changed,
added, removed or moved is seen, on any version. Map elements are kept in the one spelling that
``kernel.ruleset`` also makes of what the kernel shows.

Only typed values are ever rendered; no text of a configuration file reaches a rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2s
from types import MappingProxyType

_DIGEST_BYTES = 6
_NEEDS_ENCODING = re.compile(
    r" update @\w+ \{[^:{}]* ip6 [^:{}]* : | snat ip6 interval to ip6 saddr map @"
)


def needs_encoding(text: str) -> bool:
    """Whether there is a rule that libnftables 1.0.6 cannot write: one that updates a map of IPv6
    endpoints, or translates to an interval of them. ``kernel.encoded`` writes it, behind the
    others, so that in its chain only such rules may follow it."""
    return _NEEDS_ENCODING.search(text) is not None


LEAST_ROOM = 1024
"""Elements that every map has room for: 16 KiB of buckets."""

NUMBER = "integer"
"""The type of a key that nftables has no name for, such as a conntrack zone: it is declared by the
expression that is looked up, and shown as this."""


def digest(text: str) -> str:
    """Twelve hexadecimal digits that stand for a rule's text."""
    return blake2s(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()


@dataclass(frozen=True, slots=True)
class Hook:
    """Where a base chain hangs: ``type filter hook forward priority -5``."""

    type: str
    hook: str
    priority: int


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain and its rules, in order; a chain without a hook is only jumped to."""

    name: str
    rules: tuple[str, ...] = ()
    hook: Hook | None = None

    def __post_init__(self) -> None:
        encoded = [needs_encoding(rule) for rule in self.rules]
        assert encoded == sorted(encoded), f"in {self.name} rules follow those to be encoded"

    @property
    def digests(self) -> tuple[str, ...]:
        """What identifies the rules in the kernel, in order."""
        return tuple(digest(rule) for rule in self.rules)


@dataclass(frozen=True, slots=True)
class Map:
    """A named map: ``key`` and ``value`` are nft type names, elements canonical texts. Where the
    key is a ``NUMBER``, ``expression`` says what is looked up.

    An interval map takes ranges and prefixes as keys; the kernel keeps it as a tree, so one more
    element costs a look at all of them: host entries belong into maps without intervals. Any other
    has a size, because the kernel is faster with a table that need not grow (nft_hash against
    nft_rhash in net/netfilter/nft_set_hash.c). ``size``: of a map in the kernel; 0 for none.
    """

    name: str
    key: str
    value: str
    elements: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    interval: bool = False
    expression: str = field(default="", compare=False)
    size: int = field(default=0, compare=False)

    @property
    def room(self) -> int:
        """The size to make it with: with as much again, a map is seldom outgrown."""
        return max(LEAST_ROOM, 2 << max(1, len(self.elements)).bit_length())

    @property
    def kind(self) -> tuple[str, str, bool]:
        """What the kernel cannot change in a map that exists."""
        return (self.key, self.value, self.interval)

    @property
    def declaration(self) -> str:
        """All but the elements, as nft reads it."""
        more = "; flags interval" if self.interval else f"; size {self.room}"
        if self.expression:
            return f"typeof {self.expression} : {self.value}{more}"
        return f"type {self.key} : {self.value}{more}"


@dataclass(frozen=True, slots=True)
class Dynamic:
    """A set (no ``value``) or map that rules fill while packets pass: nvid declares it, bounds it
    by ``size`` elements and a ``timeout`` in seconds (0: none), and leaves its elements alone."""

    name: str
    key: str
    value: str = ""
    size: int = 65535
    timeout: int = 0

    @property
    def kind(self) -> str:
        """``map`` or ``set``."""
        return "map" if self.value else "set"

    @property
    def declaration(self) -> str:
        """All of it, as nft reads it."""
        value = f" : {self.value}" if self.value else ""
        flags = "dynamic,timeout" if self.timeout else "dynamic"
        timeout = f"; timeout {self.timeout}s" if self.timeout else ""
        return f"type {self.key}{value}; flags {flags}; size {self.size}{timeout}"


@dataclass(frozen=True, slots=True)
class CtHelper:
    """A conntrack helper object: ``type`` is the kernel's name for it, ``protocol`` tcp or udp."""

    name: str
    type: str
    protocol: str

    @property
    def declaration(self) -> str:
        """All of it, as nft reads it."""
        return f'type "{self.type}" protocol {self.protocol}'


@dataclass(frozen=True, slots=True)
class Ruleset:
    """The whole of nvid's table, or a part of it. Names are unique among each kind."""

    chains: tuple[Chain, ...] = ()
    maps: tuple[Map, ...] = ()
    counters: tuple[str, ...] = ()
    dynamics: tuple[Dynamic, ...] = ()
    helpers: tuple[CtHelper, ...] = ()

    def __add__(self, other: Ruleset) -> Ruleset:
        return Ruleset(
            self.chains + other.chains,
            self.maps + other.maps,
            self.counters + other.counters,
            self.dynamics + other.dynamics,
            self.helpers + other.helpers,
        )


def join(parts: Iterable[Ruleset]) -> Ruleset:
    """The parts as one ruleset."""
    whole = Ruleset()
    for part in parts:
        whole += part
    return whole
