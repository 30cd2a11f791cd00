"""nvid's table in the kernel: observed as a value, changed by one transaction."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any

from nvid import names
from nvid.desired.ruleset.model import CtHelper, Dynamic, Hook, Map
from nvid.errors import ForeignObject
from nvid.kernel import tables
from nvid.kernel.nft import Nft
from nvid.transaction import ObservedChain, ObservedTable, Transaction

_HOOKS_TABLES = tuple(f"{family} {names.HOOKS_TABLE}" for family in ("ip", "ip6"))
_DIGEST = re.compile(r"[0-9a-f]{12}")


def observe(nft: Nft) -> ObservedTable | None:
    """The table as it is, None where there is none.

    Raises ForeignObject for a table of that name which nvid did not make.
    """
    flags = tables.flags()
    own = flags.pop(names.TABLE, None)
    if own is None:
        return None
    if own:
        return _flagged(own)
    # Of all the commands of libnftables 1.0.6 that show rules only ``list ruleset`` can leave
    # elements out without reading them: those that rules fill, 65536 endpoints in each of four,
    # would take a gigabyte and seconds. It shows all tables, though.
    command = f"list table inet {names.TABLE}" if any(flags.values()) else "list ruleset inet"
    shown = [item for item in nft.show(command, elements=False) or [] if _in_it(item)]
    table = _table([_with_elements(nft, item) for item in shown])
    if not _is_ours(table) and (table.chains or table.maps or table.strange):
        raise ForeignObject(
            f"an nftables table inet {names.TABLE} exists that is not nvid's (it has no chain "
            f"{names.OWNER_CHAIN}): rename it or delete it"
        )
    return table


def _in_it(item: dict[str, Any]) -> bool:
    kind, each = next(iter(item.items()))
    return bool(each.get("name" if kind == "table" else "table") == names.TABLE)


def _with_elements(nft: Nft, item: dict[str, Any]) -> dict[str, Any]:
    """A map with its elements; anything else, and a map that rules fill, as it is."""
    if "map" not in item or _is_dynamic("map", item["map"]):
        return item
    shown = nft.show(f"list map inet {names.TABLE} {item['map']['name']}") or []
    # A map that has gone meanwhile has no elements; an event says so.
    return next((each for each in shown if "map" in each), item)


def _flagged(flags: int) -> ObservedTable:
    """A table that sees no packet: what is in it cannot be listed before it does again."""
    if flags != tables.DORMANT or names.OWNER_CHAIN not in tables.chains(names.TABLE):
        raise ForeignObject(
            f"an nftables table inet {names.TABLE} exists that is not nvid's (it has flags that "
            "nvid never sets): rename it or delete it"
        )
    return ObservedTable(dormant=True)


def _is_ours(table: ObservedTable) -> bool:
    """By the owner chain; where somebody deleted that, by the digests on most rules."""
    if names.OWNER_CHAIN in table.chains:
        return True
    digests = [each for chain in table.chains.values() for each in chain.digests]
    known = sum(_DIGEST.fullmatch(each) is not None for each in digests)
    return known * 2 > len(digests)


def apply(nft: Nft, transaction: Transaction) -> None:
    """Carry the transaction out. Raises KernelRefused, and then nothing has changed, but that
    the gate may be closed: the next look sees it, and opens it."""
    for text in transaction.text_behind_gate:
        nft.run(text)


def hold_hooks(nft: Nft) -> None:
    """Keep this namespace's hooks of NAT and conntrack registered for as long as ``nft`` lives.

    The kernel has one NAT hook for all nat chains of a namespace, and removes it with the last of
    them (net/netfilter/nf_nat_core.c). ``nft flush ruleset`` may come while a packet is between
    prerouting and postrouting: it would leave untranslated. A table with an owner stays when
    somebody else flushes, and goes with its owner's socket (Linux 5.12). There is one for each
    family, because tables of family inet are listed together, and libnftables may not list one
    with a flag (``kernel.tables``). Raises KernelRefused.
    """
    for table in _HOOKS_TABLES:
        chains = "".join(
            f"add chain {table} {hook} {{ type nat hook {hook} priority {priority}; }}\n"
            for hook, priority in (("prerouting", -100), ("output", -100), ("postrouting", 100))
        )
        # A rule that asks for a ct state keeps conntrack's hooks, wherever it stands.
        tracking = f"add chain {table} tracking\nadd rule {table} tracking ct state invalid\n"
        nft.run(f"add table {table} {{ flags owner; }}\n{chains}{tracking}")


def release_hooks(nft: Nft) -> None:
    """Take the tables of ``hold_hooks`` away; only their owner can."""
    nft.run("".join(f"delete table {table}\n" for table in _HOOKS_TABLES))


def _counters(shown: list[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    return {
        each["name"]: (each["packets"], each["bytes"])
        for item in shown
        if (each := item.get("counter")) is not None and each["table"] == names.TABLE
    }


def _table(shown: list[dict[str, Any]]) -> ObservedTable:
    hooks: dict[str, Hook | None] = {}
    digests: dict[str, list[str]] = {}
    maps: dict[str, Map] = {}
    dynamics: dict[str, Dynamic] = {}
    helpers: list[CtHelper] = []
    strange: list[str] = []
    for item in shown:
        kind, each = next(iter(item.items()))
        if kind == "chain":
            hooks[each["name"]] = _hook(each)
        elif kind == "rule":
            digests.setdefault(each["chain"], []).append(each.get("comment", ""))
        elif kind in ("map", "set") and _is_dynamic(kind, each):
            dynamics[each["name"]] = _dynamic(each)
        elif kind == "ct helper":
            helpers.append(CtHelper(each["name"], each["type"], each["protocol"]))
        elif kind == "map":
            maps[each["name"]] = _map(each)
        elif kind not in ("metainfo", "table", "counter"):
            strange.append(f"{kind} inet {names.TABLE} {each['name']}")
    return ObservedTable(
        {
            name: ObservedChain(name, hook, tuple(digests.get(name, ())))
            for name, hook in hooks.items()
        },
        maps,
        _counters(shown),
        tuple(strange),
        dynamics,
        frozenset(helpers),
    )


def _hook(chain: dict[str, Any]) -> Hook | None:
    if "hook" not in chain:
        return None
    policy = chain.get("policy", "accept")
    # A policy other than accept is somebody's change: no hook of nvid's equals this one.
    kind = chain["type"] if policy == "accept" else f"{chain['type']} policy {policy}"
    return Hook(kind, chain["hook"], chain["prio"])


def _map(each: dict[str, Any]) -> Map:
    flags = each.get("flags", [])
    return Map(
        each["name"],
        _type(each["type"]),
        _value_type(each),
        {_text(key): _text(_plain(value)) for key, value in each.get("elem", [])},
        interval="interval" in flags,
        size=each.get("size", 0),
    )


def _is_dynamic(kind: str, each: dict[str, Any]) -> bool:
    """nft 1.0.6 does not show the flag "dynamic". Of nvid's own, all sets are, and those maps whose
    elements end by themselves."""
    return "size" in each and (kind == "set" or "timeout" in each)


def _dynamic(each: dict[str, Any]) -> Dynamic:
    return Dynamic(
        each["name"],
        _type(each["type"]),
        _type(each["map"]) if "map" in each else "",
        each.get("size", 0),
        each.get("timeout", 0),
    )


def _value_type(each: dict[str, Any]) -> str:
    value = _type(each["map"])
    elements = each.get("elem", [])
    # nft 1.0.6 does not show that the values of a map are prefixes, or hold ranges.
    return f"interval {value}" if elements and _is_interval(elements[0][1]) else value


def _is_interval(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    parts = value.get("concat", [value])
    return any(isinstance(part, dict) and ("prefix" in part or "range" in part) for part in parts)


def _type(shown: str | list[str]) -> str:
    """nft 1.0.6 prints a concatenation as text, 1.1 as a list."""
    return shown if isinstance(shown, str) else " . ".join(shown)


def _plain(value: Any) -> Any:
    """A value without the wrapper that holds an element's own statements."""
    if isinstance(value, dict) and "elem" in value:
        return value["elem"]["val"]
    return value


def _text(value: Any) -> str:
    """A key or value in the spelling that ``desired.ruleset`` uses."""
    value = _plain(value)
    if isinstance(value, str):
        return _address(value)
    if isinstance(value, int):
        return str(value)
    kind, inner = next(iter(value.items()))
    if kind == "concat":
        return " . ".join(_text(part) for part in inner)
    if kind == "prefix":
        return f"{_address(inner['addr'])}/{inner['len']}"
    if kind == "range":
        return f"{_text(inner[0])}-{_text(inner[1])}"
    if kind in ("jump", "goto"):
        return f"{kind} {inner['target']}"
    return str(value)


def _address(text: str) -> str:
    """Addresses as Python spells them; anything else as it is."""
    try:
        return str(ip_address(text))
    except ValueError:
        return text
