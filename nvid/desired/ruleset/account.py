"""Counters for every NVI and every translation, of both directions of a flow.

A packet finds its counters by what its flow was translated from and to (one lookup in each case),
not by going through the translations. Only entries that share an address, or translate nothing,
are told apart by a bit of the flow's conntrack label.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2s

from nvid.configuration.translations import Dnat, Snat
from nvid.configuration.types import Nvi
from nvid.configuration.values import AddressRange, Pools, merged_ranges
from nvid.desired.ruleset.classify import FIRST_NVI_LABEL, nvi_label
from nvid.desired.ruleset.destination import (
    Selector,
    needs_label,
    selectors,
    static_selector,
)
from nvid.desired.ruleset.endpoint import refreshes
from nvid.desired.ruleset.identity import counted, counter_name
from nvid.desired.ruleset.model import Map, Ruleset
from nvid.desired.ruleset.selection import applies_to
from nvid.desired.ruleset.words import ADDRESS, IP, NFPROTO, Counting, Plan
from nvid.desired.uplinks import FAMILIES, UplinkState

LABEL_BITS = FIRST_NVI_LABEL
"""Conntrack labels have 128 bits (net/netfilter/nf_conntrack_labels.c); these are for entries."""

DIRECTIONS = ("original", "reply")


def labels_of(nvis: tuple[Nvi, ...], uplinks: tuple[UplinkState, ...]) -> dict[str, int]:
    """The label bit of each entry that its addresses do not identify, by key path: snat entries
    that share an address, have none of their own, keep mappings or are logged; dnat entries that
    are limited by source or ingress.

    The bit follows from the entry's own label, so that it stays when others come and go.
    """
    ambiguous: list[tuple[Nvi, Snat | Dnat]] = [*needs_label(nvis), *_sharing(nvis, uplinks)]
    # Those that work by their bit come first; the others are merely not counted without one.
    ambiguous.sort(key=lambda each: not (isinstance(each[1], Snat) and each[1].is_followed))
    taken: dict[int, str] = {}
    for nvi, entry in ambiguous[:LABEL_BITS]:
        name = counter_name(nvi, entry)
        bit = int.from_bytes(blake2s(name.encode(), digest_size=4).digest()) % LABEL_BITS
        while bit in taken:
            bit = (bit + 1) % LABEL_BITS
        taken[bit] = entry.key_path
    return {key_path: bit for bit, key_path in taken.items()}


def _sharing(nvis: tuple[Nvi, ...], uplinks: tuple[UplinkState, ...]) -> Iterator[tuple[Nvi, Snat]]:
    """The snat entries whose pool somebody else uses too, that have none, or that must be known
    flow by flow."""
    spans: list[tuple[int, int, int, str]] = []
    for nvi in nvis:
        spans += [_span(AddressRange.of(each.global_), each.key_path) for each in nvi.statics]
        for snat in nvi.snats:
            if isinstance(snat.to, Pools):
                spans += [_span(part, snat.key_path) for part in snat.to.ranges]
    for uplink in uplinks:
        spans += [_span(AddressRange(each, each), uplink.name) for each in uplink.own_addresses]
    shared = _overlapping(sorted(spans))
    for nvi in nvis:
        for snat in nvi.snats:
            own = isinstance(snat.to, Pools) and snat.key_path not in shared
            if not own or snat.is_followed:
                yield nvi, snat


def _span(part: AddressRange, owner: str) -> tuple[int, int, int, str]:
    return part.version, int(part.first), int(part.last), owner


def _overlapping(spans: list[tuple[int, int, int, str]]) -> set[str]:
    """The owners of sorted spans that touch another owner's; n spans cost n."""
    found: set[str] = set()
    reach: tuple[int, int, str] | None = None
    for version, first, last, owner in spans:
        if reach is not None and reach[0] == version and first <= reach[1]:
            if owner != reach[2]:
                found |= {owner, reach[2]}
            if last <= reach[1]:
                continue
        reach = (version, last, owner)
    return found


def nvi_counter(number: int, direction: str) -> str:
    """The named counter of an NVI's packets in one direction of their flows."""
    return f"nvi_{number}_{direction}"


def accounting(plan: Plan, label_bits: dict[str, int]) -> tuple[Counting, Ruleset]:
    """The rules that count a packet of a bound flow, and the maps and counters they need."""
    maps = _maps(plan, label_bits)
    counters = [nvi_counter(plan.number(nvi), way) for nvi in plan.nvis for way in DIRECTIONS]
    counters += [each.counter for each in counted(plan.nvis)]
    several = len(plan.nvis) > 1
    lookups = [
        rule
        for shape in maps
        for rule in shape.rules(f"ct label {nvi_label(shape.number)} " if several else "")
    ]
    counting = Counting(
        (*lookups, *_label_rules(plan, label_bits), *_mapping_rules(plan, label_bits)),
        original=tuple(_nvi_rules(plan, "original")),
        reply=tuple(_nvi_rules(plan, "reply")),
    )
    return counting, Ruleset(maps=tuple(maps.values()), counters=tuple(counters))


def _nvi_rules(plan: Plan, way: str) -> Iterator[str]:
    for nvi in plan.nvis:
        which = f"ct label {nvi_label(plan.number(nvi))} " if len(plan.nvis) > 1 else ""
        yield f'{which}counter name "{nvi_counter(plan.number(nvi), way)}"'


def _label_rules(plan: Plan, label_bits: dict[str, int]) -> Iterator[str]:
    for nvi in plan.nvis:
        entries: tuple[Dnat | Snat, ...] = (*nvi.dnats, *nvi.snats)
        for entry in entries:
            if entry.key_path in label_bits:
                bit = label_bits[entry.key_path]
                yield f'ct label {bit} counter name "{counter_name(nvi, entry)}"'


def _mapping_rules(plan: Plan, label_bits: dict[str, int]) -> Iterator[str]:
    """Endpoint-independent mappings are refreshed where their packets are counted."""
    for nvi in plan.nvis:
        for snat in nvi.snats:
            if snat.is_independent and snat.key_path in label_bits:
                for family in FAMILIES:
                    if applies_to(snat, family):
                        yield from refreshes(nvi, snat, family, label_bits[snat.key_path])


@dataclass(frozen=True, slots=True, order=True)
class _Shape:
    """Of which NVI (two may translate one destination, each in its own way), which side of the
    flow a map looks at ("original": what it was sent to; "reply": what its replies are sent to),
    how closely, and whether it holds intervals."""

    number: int
    side: str
    looks_at: int
    family: int
    interval: bool

    @property
    def name(self) -> str:
        words = [
            "count",
            str(self.number),
            self.side,
            ("address", "protocol", "port")[self.looks_at - 1],
        ]
        return "_".join([*words, f"ip{self.family}", *(["range"] if self.interval else [])])

    @property
    def key_type(self) -> str:
        words = (ADDRESS[self.family], "inet_proto", "inet_service")
        return " . ".join(words[: self.looks_at])

    def rules(self, which: str) -> Iterator[str]:
        """nft knows the type of proto-dst only behind a match of one protocol."""
        status = {"original": "dnat", "reply": "snat"}[self.side]
        fields = (
            f"ct {self.side} {IP[self.family]} daddr",
            "meta l4proto",
            f"ct {self.side} proto-dst",
        )
        match = f"meta nfproto {NFPROTO[self.family]} {which}ct status {status}"
        key = " . ".join(fields[: self.looks_at])
        protocols = (6, 17, 132) if self.looks_at == 3 else (None,)
        for number in protocols:
            one = "" if number is None else f"meta l4proto {number} "
            yield f"{one}{match} counter name {key} map @{self.name}"


def _maps(plan: Plan, label_bits: dict[str, int]) -> dict[_Shape, Map]:
    found: dict[_Shape, dict[str, str]] = {}
    sharing = {snat.key_path for _, snat in _sharing(plan.nvis, plan.uplinks)}
    for nvi in plan.nvis:
        number = plan.number(nvi)
        for side, selector, counter in _counted(plan, nvi, label_bits):
            shape = _Shape(number, side, selector.looks_at, selector.family, selector.is_interval)
            for key in selector.element_keys():
                found.setdefault(shape, {}).setdefault(key, counter)
        for part, counter in _pools(nvi, sharing):
            shape = _Shape(number, "reply", 1, part.version, part.count > 1)
            found.setdefault(shape, {}).setdefault(str(part), counter)
    return {
        shape: Map(shape.name, shape.key_type, "counter", elements, interval=shape.interval)
        for shape, elements in sorted(found.items())
    }


def _counted(
    plan: Plan, nvi: Nvi, label_bits: dict[str, int]
) -> Iterator[tuple[str, Selector, str]]:
    for static in nvi.statics:
        for side in ("original", "reply"):
            yield side, static_selector(static), counter_name(nvi, static)
    for dnat in nvi.dnats:
        if dnat.key_path not in label_bits:
            for selector in selectors(plan, dnat):
                yield "original", selector, counter_name(nvi, dnat)


def _pools(nvi: Nvi, sharing: set[str]) -> Iterator[tuple[AddressRange, str]]:
    for snat in nvi.snats:
        # One that shares its addresses, and for which no bit was left, is not counted by itself.
        if snat.key_path not in sharing and isinstance(snat.to, Pools):
            for part in merged_ranges(snat.to.ranges):
                yield part, counter_name(nvi, snat)
