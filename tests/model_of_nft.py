"""A small model of nftables: carries out the text of nvid's transactions on a table as a value.

It knows the few commands that nvid writes, and refuses what the kernel refuses: unknown names,
names that exist, and deleting what is still referred to. A refused transaction changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass, field

from nvid.desired.ruleset.model import CtHelper, Dynamic, Hook, Map
from nvid.transaction import ObservedChain, ObservedTable

_HOOK = re.compile(r"\{ type (\w+) hook (\w+) priority (-?\d+); policy accept; \}")
_DYNAMIC = re.compile(
    r"\{ type (.+?)(?: : (.+?))?; flags dynamic(?:,timeout)?; size (\d+)(?:; timeout (\d+)s)?; \}"
)
_REFERENCE = re.compile(r"@(\w+)|(?:goto|jump) (\w+)|counter name \"(\w+)\"")


class Refused(Exception):
    """What the kernel would not do."""


@dataclass
class _Chain:
    hook: Hook | None
    rules: list[str] = field(default_factory=list)


@dataclass
class _Map:
    declaration: str
    elements: dict[str, str] = field(default_factory=dict)


class Table:
    """nvid's table; None as ``observed`` before it is added."""

    def __init__(self) -> None:
        self.exists = False
        self.chains: dict[str, _Chain] = {}
        self.maps: dict[str, _Map] = {}
        self.counters: dict[str, tuple[int, int]] = {}
        self.strange: list[str] = []
        self.dynamics: dict[str, Dynamic] = {}
        self.helpers: set[CtHelper] = set()

    def run(self, text: str) -> None:
        """Carry out a transaction. Raises Refused; what then is in the table does not matter."""
        for each in text.splitlines():
            # The one kind of object that has two words.
            line = re.sub(r"^(add|delete) ct helper ", r"\1 helper ", each)
            command, kind, family, table, *rest = line.split(" ", 5)
            if (family, table) != ("inet", "nvid"):
                raise Refused(f"not nvid's table: {line}")
            words = " ".join(rest)
            try:
                getattr(self, f"_{command}_{kind}")(words)
            except (KeyError, ValueError) as error:
                raise Refused(f"{line}: {error!r}") from error
        self._check_references()

    def observed(self) -> ObservedTable | None:
        """The table as ``nvid.kernel.ruleset`` would show it."""
        if not self.exists:
            return None
        return ObservedTable(
            {
                name: ObservedChain(name, chain.hook, tuple(_digest(r) for r in chain.rules))
                for name, chain in self.chains.items()
            },
            {name: _as_map(name, each) for name, each in self.maps.items()},
            dict(self.counters),
            tuple(self.strange),
            dict(self.dynamics),
            frozenset(self.helpers),
        )

    def _check_references(self) -> None:
        for name, words in self._referring():
            for map_name, chain, counter in _REFERENCE.findall(words):
                known: tuple[tuple[str, Container[str]], ...] = (
                    (map_name, {*self.maps, *self.dynamics}),
                    (chain, self.chains),
                    (counter, self.counters),
                )
                for target, there in known:
                    if target and target not in there:
                        raise Refused(f"{name} refers to {target}, which does not exist")

    def _referring(self) -> Iterable[tuple[str, str]]:
        for name, chain in self.chains.items():
            yield from ((name, rule) for rule in chain.rules)
        for name, each in self.maps.items():
            for value in each.elements.values():
                yield name, (f'counter name "{value}"' if _holds_counters(each) else value)

    # The commands

    def _add_table(self, _words: str) -> None:
        self.exists = True

    def _delete_table(self, _words: str) -> None:
        if not self.exists:
            raise Refused("no such table")
        self.__init__()  # type: ignore[misc]

    def _add_counter(self, words: str) -> None:
        found = re.fullmatch(r"(\w+) \{ packets (\d+) bytes (\d+); \}", words)
        if found is None or found[1] in self.counters:
            raise Refused(words)
        self.counters[found[1]] = int(found[2]), int(found[3])

    def _delete_counter(self, name: str) -> None:
        del self.counters[name]

    def _add_chain(self, words: str) -> None:
        name, _, hook = words.partition(" ")
        if name in self.chains:
            raise Refused(f"{name} exists")
        found = _HOOK.fullmatch(hook)
        self.chains[name] = _Chain(Hook(found[1], found[2], int(found[3])) if found else None)

    def _flush_chain(self, name: str) -> None:
        self.chains[name].rules.clear()

    def _delete_chain(self, name: str) -> None:
        if self.chains[name].rules:
            raise Refused(f"{name} is not empty")
        del self.chains[name]

    def _add_rule(self, words: str) -> None:
        name, _, rule = words.partition(" ")
        self.chains[name].rules.append(rule)

    def _add_map(self, words: str) -> None:
        name, _, declaration = words.partition(" ")
        if "flags dynamic" in declaration:
            self._add_dynamic(words)
            return
        if name in self.maps:
            raise Refused(f"{name} exists")
        self.maps[name] = _Map(declaration.removeprefix("{ ").removesuffix("; }"))

    def _flush_map(self, name: str) -> None:
        self.maps[name].elements.clear()

    def _delete_map(self, name: str) -> None:
        if any(f"@{name}" in f"{rule} ".split() for _, rule in self._referring()):
            raise Refused(f"{name} is in use")
        del (self.dynamics if name in self.dynamics else self.maps)[name]

    def _add_element(self, words: str) -> None:
        name, elements = _elements(words)
        for element in elements:
            key, _, value = element.partition(" : ")
            if self.maps[name].elements.get(key, value) != value:
                raise Refused(f"{key} exists in {name}")
            self.maps[name].elements[key] = value
        size = _as_map(name, self.maps[name]).size
        if size and len(self.maps[name].elements) > size:
            raise Refused(f"{name} is full")

    def _delete_element(self, words: str) -> None:
        name, elements = _elements(words)
        for element in elements:
            del self.maps[name].elements[element]

    def _add_set(self, words: str) -> None:
        self._add_dynamic(words)

    def _delete_set(self, name: str) -> None:
        if name in self.dynamics:
            self._delete_map(name)
        else:
            self.strange.remove(f"set inet nvid {name}")

    def _add_dynamic(self, words: str) -> None:
        name, _, declaration = words.partition(" ")
        found = _DYNAMIC.fullmatch(declaration)
        if found is None or name in self.dynamics:
            raise Refused(words)
        self.dynamics[name] = Dynamic(
            name, found[1], found[2] or "", int(found[3]), int(found[4] or 0)
        )

    def _add_helper(self, words: str) -> None:
        name, _, declaration = words.partition(" ")
        found = re.fullmatch(r'\{ type "(\w+)" protocol (\w+); \}', declaration)
        if found is None or any(each.name == name for each in self.helpers):
            raise Refused(words)
        self.helpers.add(CtHelper(name, found[1], found[2]))

    def _delete_helper(self, name: str) -> None:
        (found,) = (each for each in self.helpers if each.name == name)
        if any(f'ct helper set "{found.name}"' in rule for _, rule in self._referring()):
            raise Refused(f"{found.name} is in use")
        self.helpers.remove(found)


def _elements(words: str) -> tuple[str, list[str]]:
    """The elements without the quotes around names of interfaces, as nft lists them."""
    name, _, rest = words.partition(" ")
    return name, rest.replace('"', "").removeprefix("{ ").removesuffix(" }").split(", ")


def _digest(rule: str) -> str:
    found = re.search(r' comment "([0-9a-f]*)"$', rule)
    return found[1] if found else ""


def _holds_counters(each: _Map) -> bool:
    return " : counter" in each.declaration


def _as_map(name: str, each: _Map) -> Map:
    form = r"type (.+?) : (.+?)(?:(; flags interval)|; size (\d+))"
    found = re.fullmatch(form, each.declaration)
    assert found is not None
    return Map(
        name,
        found[1],
        found[2],
        dict(each.elements),
        interval=found[3] is not None,
        size=int(found[4] or 0),
    )
