"""The difference of nvid's nftables table: one atomic transaction, as a value.

It prints itself as nft text (``text``) and as lines for ``nvid plan`` (``changes``). Only what
differs is in it: a translation more is an element more. Named counters outlive every change of
chains and maps; where the whole table was lost, they go on from what was last seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from nvid import names
from nvid.desired.ruleset.classify import GATE, GATE_CLOSED
from nvid.desired.ruleset.model import (
    Chain,
    CtHelper,
    Dynamic,
    Hook,
    Map,
    Ruleset,
    digest,
    needs_encoding,
)

_TABLE = f"inet {names.TABLE}"
_ELEMENTS_PER_LINE = 500
_TAKING_AWAY = ("add map", "delete map", "delete element", "flush map", "add chain")


@dataclass(frozen=True, slots=True)
class ObservedChain:
    """A chain in the kernel: its hook, and the digest (comment) of every rule, "" without one."""

    name: str
    hook: Hook | None
    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ObservedTable:
    """nvid's table in the kernel. ``strange`` are objects of kinds that nvid never makes, as nft
    spells them for deletion ("set inet nvid x"); ``counters`` hold (packets, bytes). One that is
    ``dormant`` sees no packet, and what is in it is not known."""

    chains: Mapping[str, ObservedChain] = field(default_factory=dict)
    maps: Mapping[str, Map] = field(default_factory=dict)
    counters: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    strange: tuple[str, ...] = ()
    dynamics: Mapping[str, Dynamic] = field(default_factory=dict)
    helpers: frozenset[CtHelper] = frozenset()
    dormant: bool = False


def as_observed(ruleset: Ruleset) -> ObservedTable:
    """What the kernel shows right after this ruleset was carried out."""
    return ObservedTable(
        {each.name: ObservedChain(each.name, each.hook, each.digests) for each in ruleset.chains},
        {each.name: each for each in ruleset.maps},
        dict.fromkeys(ruleset.counters, (0, 0)),
        dynamics={each.name: each for each in ruleset.dynamics},
        helpers=frozenset(ruleset.helpers),
    )


@dataclass(frozen=True, slots=True)
class Transaction:
    """Lines of nft text, and what they change in words; both empty when nothing differs."""

    lines: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    needs_gate: bool = False
    makes_gate: bool = False

    @property
    def text(self) -> str:
        """What is handed to nft, in one piece."""
        return "".join(f"{line}\n" for line in self.lines)

    def __bool__(self) -> bool:
        return bool(self.lines)

    @property
    def text_behind_gate(self) -> tuple[str, ...]:
        """Texts to be handed to nft one after the other. A change that takes something away from
        a map, or makes one, or is made in two steps, happens behind a closed gate: new flows wait
        (their first packets are dropped), bound flows do not notice."""
        if not self.needs_gate:
            return (self.text,) if self.lines else ()
        shut = f"add rule {_TABLE} {GATE} {GATE_CLOSED}\n"
        opened = f"flush chain {_TABLE} {GATE}\n"
        if self.makes_gate:
            return (self.text + shut, opened)
        return (shut, self.text, opened)


def transaction(
    desired: Ruleset | None,
    observed: ObservedTable | None,
    last_counters: Mapping[str, tuple[int, int]],
) -> Transaction:
    """What makes the kernel's table (None: there is none) the desired one (None: remove it)."""
    if desired is None:
        if observed is None:
            return Transaction()
        return Transaction((f"delete table {_TABLE}",), (f"- table {_TABLE}",))
    if observed is None or observed.dormant:
        created = _Steps(desired, ObservedTable(), last_counters).transaction()
        before = () if observed is None else (f"delete table {_TABLE}",)
        sign = "+" if observed is None else "~"
        return Transaction(
            (*before, f"add table {_TABLE}", *created.lines),
            (f"{sign} table {_TABLE}: {len(desired.chains)} chains, {len(desired.maps)} maps",),
            needs_gate=True,
            makes_gate=True,
        )
    return _Steps(desired, observed, {}).transaction()


class _Steps:
    """The parts of a transaction, in the order that nftables' reference counts ask for."""

    def __init__(
        self,
        desired: Ruleset,
        observed: ObservedTable,
        last_counters: Mapping[str, tuple[int, int]],
    ) -> None:
        self._chains = {chain.name: chain for chain in desired.chains}
        self._maps = {each.name: each for each in desired.maps}
        self._counters = dict.fromkeys(desired.counters)
        self._helpers = dict.fromkeys(desired.helpers)
        self._dynamics = {each.name: each for each in desired.dynamics}
        self._observed = observed
        self._last_counters = last_counters
        self._recast = {
            name
            for name, each in self._maps.items()
            if name in observed.maps and not _can_become(observed.maps[name], each)
        }
        self._old_dynamics = [
            each for name, each in observed.dynamics.items() if self._dynamics.get(name) != each
        ]
        gone_maps = observed.maps.keys() - self._maps.keys()
        # A map that is made anew must not be referred to meanwhile: all rules are written again.
        self._rewrite_all = bool(
            self._recast or gone_maps or self._old_dynamics or observed.strange
        )

    def transaction(self) -> Transaction:
        changed = [chain for chain in self._chains.values() if self._differs(chain)]
        lines = [
            *self._new_counters(),
            *self._new_helpers(),
            *self._cleared_chains(),
            *self._old_maps(),
            # Chains before maps: nft 1.0.6 writes the elements of a new interval map right behind
            # its declaration, and their verdicts must find their chains.
            *self._new_chains(),
            *self._new_maps(),
            *(line for chain in changed for line in _rules(chain)),
            *self._elements(),
            *self._old_chains(),
            *self._old_counters(),
            *self._old_helpers(),
        ]
        return Transaction(
            tuple(lines),
            tuple(self._words()),
            needs_gate=any(line.startswith(_TAKING_AWAY) or needs_encoding(line) for line in lines),
            makes_gate=any(line.startswith(f"add chain {_TABLE} {GATE}") for line in lines),
        )

    def _differs(self, chain: Chain) -> bool:
        present = self._observed.chains.get(chain.name)
        return (
            self._rewrite_all
            or present is None
            or present.hook != chain.hook
            or present.digests != chain.digests
        )

    def _new_counters(self) -> Iterator[str]:
        for name in self._counters:
            if name not in self._observed.counters:
                packets, octets = self._last_counters.get(name, (0, 0))
                yield (f"add counter {_TABLE} {name} {{ packets {packets} bytes {octets}; }}")

    def _new_helpers(self) -> Iterator[str]:
        for each in self._helpers:
            if each not in self._observed.helpers:
                yield f"add ct helper {_TABLE} {each.name} {{ {each.declaration}; }}"

    def _old_helpers(self) -> Iterator[str]:
        for each in self._observed.helpers:
            if each not in self._helpers:
                yield f"delete ct helper {_TABLE} {each.name}"

    def _cleared_chains(self) -> Iterator[str]:
        for name, present in self._observed.chains.items():
            chain = self._chains.get(name)
            if chain is None or self._differs(chain):
                yield f"flush chain {_TABLE} {name}"
            if chain is not None and present.hook != chain.hook:
                yield f"delete chain {_TABLE} {name}"

    def _old_maps(self) -> Iterator[str]:
        for name in self._observed.maps:
            if name not in self._maps or name in self._recast:
                yield f"flush map {_TABLE} {name}"
                yield f"delete map {_TABLE} {name}"
        for old in self._old_dynamics:
            yield f"delete {old.kind} {_TABLE} {old.name}"
        for words in self._observed.strange:
            yield f"delete {words}"

    def _new_maps(self) -> Iterator[str]:
        for name, each in self._maps.items():
            if name not in self._observed.maps or name in self._recast:
                yield f"add map {_TABLE} {name} {{ {each.declaration}; }}"
        for name, dynamic in self._dynamics.items():
            if self._observed.dynamics.get(name) != dynamic:
                yield f"add {dynamic.kind} {_TABLE} {name} {{ {dynamic.declaration}; }}"

    def _new_chains(self) -> Iterator[str]:
        for name, chain in self._chains.items():
            present = self._observed.chains.get(name)
            if present is None or present.hook != chain.hook:
                yield f"add chain {_TABLE} {name}{_hook(chain.hook)}"

    def _elements(self) -> Iterator[str]:
        for name in self._maps:
            gone, fresh = self._element_difference(name)
            spelled = _quoted if self._maps[name].key.startswith("ifname") else str
            yield from _element_lines("delete", name, [spelled(key) for key in gone])
            pairs = [f"{spelled(key)} : {value}" for key, value in fresh.items()]
            yield from _element_lines("add", name, pairs)

    def _element_difference(self, name: str) -> tuple[list[str], dict[str, str]]:
        wanted = self._maps[name].elements
        there: Mapping[str, str] = {}
        if name in self._observed.maps and name not in self._recast:
            there = self._observed.maps[name].elements
        gone = [key for key, value in there.items() if wanted.get(key) != value]
        fresh = {key: value for key, value in wanted.items() if there.get(key) != value}
        return gone, fresh

    def _old_chains(self) -> Iterator[str]:
        for name in self._observed.chains:
            if name not in self._chains:
                yield f"delete chain {_TABLE} {name}"

    def _old_counters(self) -> Iterator[str]:
        for name in self._observed.counters:
            if name not in self._counters:
                yield f"delete counter {_TABLE} {name}"

    def _words(self) -> Iterator[str]:
        yield from self._chain_words()
        yield from self._map_words()
        for old in self._old_dynamics:
            yield f"- {old.kind} {old.name}"
        for name, dynamic in self._dynamics.items():
            if self._observed.dynamics.get(name) != dynamic:
                yield f"+ {dynamic.kind} {name}"
        for name in self._counters:
            if name not in self._observed.counters:
                yield f"+ counter {name}"
        for name in self._observed.counters:
            if name not in self._counters:
                yield f"- counter {name}"
        for helper in self._helpers:
            if helper not in self._observed.helpers:
                yield f"+ ct helper {helper.name}"
        for helper in self._observed.helpers:
            if helper not in self._helpers:
                yield f"- ct helper {helper.name}"
        for words in self._observed.strange:
            yield f"- {words}"

    def _chain_words(self) -> Iterator[str]:
        for name, chain in self._chains.items():
            present = self._observed.chains.get(name)
            if present is None:
                yield f"+ chain {name}"
            elif present.hook != chain.hook or present.digests != chain.digests:
                yield f"~ chain {name}"
        for name in self._observed.chains:
            if name not in self._chains:
                yield f"- chain {name}"

    def _map_words(self) -> Iterator[str]:
        for name in self._maps:
            gone, fresh = self._element_difference(name)
            if name not in self._observed.maps:
                yield f"+ map {name}: {len(fresh)} elements"
            elif gone or fresh or name in self._recast:
                yield f"~ map {name}: {len(fresh)} elements added, {len(gone)} deleted"
        for name in self._observed.maps:
            if name not in self._maps:
                yield f"- map {name}"


def _can_become(present: Map, wanted: Map) -> bool:
    """Whether elements alone make a map that is there the wanted one. Its size counts those that
    the same transaction takes away."""
    together = len(present.elements.keys() | wanted.elements.keys())
    return present.kind == wanted.kind and (not present.size or together <= present.size)


def _quoted(key: str) -> str:
    """An interface in quotes: one called "ip" or "6in4" would be a word of nft or a number."""
    interface, *rest = key.split(" . ")
    return " . ".join([f'"{interface}"', *rest])


def _rules(chain: Chain) -> Iterator[str]:
    for rule in chain.rules:
        yield f'add rule {_TABLE} {chain.name} {rule} comment "{digest(rule)}"'


def _hook(hook: Hook | None) -> str:
    if hook is None:
        return ""
    return f" {{ type {hook.type} hook {hook.hook} priority {hook.priority}; policy accept; }}"


def _element_lines(command: str, name: str, elements: list[str]) -> Iterator[str]:
    for start in range(0, len(elements), _ELEMENTS_PER_LINE):
        part = ", ".join(elements[start : start + _ELEMENTS_PER_LINE])
        yield f"{command} element {_TABLE} {name} {{ {part} }}"
