"""Counters for every NVI and every translation, of both directions of a flow.

A packet finds its counters by what its flow was translated from and to (one lookup in each case),
not by going through the translations. Only snat entries that share an address, or translate
nothing, are told apart by a bit of the flow's conntrack label.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2s

from nvid.configuration.translations import Dnat, Snat
from nvid.configuration.values import AddressRange, Pools, UplinkAddress, network_text
from nvid.desired.ruleset.classify import FIRST_NVI_LABEL, nvi_label
from nvid.desired.ruleset.identity import counted, counter_name
from nvid.desired.ruleset.model import Map, Ruleset
from nvid.desired.ruleset.words import ADDRESS, NFPROTO, PORT_PROTOCOLS, Plan, protocol
from nvid.desired.uplinks import FAMILIES

LABEL_BITS = FIRST_NVI_LABEL
"""Conntrack labels have 128 bits (net/netfilter/nf_conntrack_labels.c); these are for entries."""

DIRECTIONS = ("original", "reply")


def labels(plan: Plan) -> dict[str, int]:
    """The label bit of each snat entry that its address does not identify, by key path.

    The bit follows from the entry's own label, so that it stays when others come and go.
    """
    ambiguous = [
        (snat, counter_name(nvi, snat))
        for nvi in plan.nvis
        for snat in nvi.snats
        if not isinstance(snat.to, Pools) or _shares(plan, snat)
    ]
    taken: dict[int, str] = {}
    for snat, name in ambiguous[:LABEL_BITS]:
        bit = int.from_bytes(blake2s(name.encode(), digest_size=4).digest()) % LABEL_BITS
        while bit in taken:
            bit = (bit + 1) % LABEL_BITS
        taken[bit] = snat.key_path
    return {key_path: bit for bit, key_path in taken.items()}


def _shares(plan: Plan, snat: Snat) -> bool:
    """Whether another entry, or a static, uses an address of this entry."""
    if not isinstance(snat.to, Pools):
        return True
    others: list[AddressRange] = []
    for nvi in plan.nvis:
        others += [AddressRange.of(static.global_) for static in nvi.statics]
        for other in nvi.snats:
            if isinstance(other.to, Pools) and other.key_path != snat.key_path:
                others += other.to.ranges
    # An uplink's address may be in a pool as well.
    own = [AddressRange(each, each) for up in plan.uplinks for each in up.own_addresses]
    return any(mine.overlaps(other) for mine in snat.to.ranges for other in (*others, *own))


def nvi_counter(number: int, direction: str) -> str:
    """The named counter of an NVI's packets in one direction of their flows."""
    return f"nvi_{number}_{direction}"


def accounting(plan: Plan, label_bits: dict[str, int]) -> tuple[tuple[str, ...], Ruleset]:
    """The rules that count a packet of a bound flow, and the maps and counters they need."""
    maps = tuple(_maps(plan, label_bits))
    counters = [nvi_counter(plan.number(nvi), way) for nvi in plan.nvis for way in DIRECTIONS]
    counters += [each.counter for each in counted(plan.nvis)]
    rules = [*_nvi_rules(plan), *_map_rules(maps), *_label_rules(plan, label_bits)]
    return tuple(rules), Ruleset(maps=maps, counters=tuple(counters))


def _nvi_rules(plan: Plan) -> Iterator[str]:
    for nvi in plan.nvis:
        which = f"ct label {nvi_label(plan.number(nvi))} " if len(plan.nvis) > 1 else ""
        for way in DIRECTIONS:
            counter = nvi_counter(plan.number(nvi), way)
            yield f'{which}ct direction {way} counter name "{counter}"'


def _label_rules(plan: Plan, label_bits: dict[str, int]) -> Iterator[str]:
    for nvi in plan.nvis:
        for snat in nvi.snats:
            if snat.key_path in label_bits:
                bit = label_bits[snat.key_path]
                yield f'ct label {bit} counter name "{counter_name(nvi, snat)}"'


def _maps(plan: Plan, label_bits: dict[str, int]) -> Iterator[Map]:
    found: dict[tuple[str, int, bool], dict[str, str]] = {}

    def add(name: str, family: int, key: str, *, is_interval: bool, counter: str) -> None:
        found.setdefault((name, family, is_interval), {}).setdefault(key, counter)

    for nvi in plan.nvis:
        for static in nvi.statics:
            for name in ("original", "reply"):
                wide = static.global_.num_addresses > 1
                key = network_text(static.global_)
                counter = counter_name(nvi, static)
                add(name, static.global_.version, key, is_interval=wide, counter=counter)
        for dnat in nvi.dnats:
            for name, family, key, is_interval in _dnat_keys(dnat):
                counter = counter_name(nvi, dnat)
                add(name, family, key, is_interval=is_interval, counter=counter)
        for snat in nvi.snats:
            if snat.key_path not in label_bits and isinstance(snat.to, Pools):
                for part in snat.to.ranges:
                    counter = counter_name(nvi, snat)
                    wide = part.count > 1
                    add("reply", part.version, str(part), is_interval=wide, counter=counter)
    for (name, family, is_interval), elements in sorted(found.items()):
        suffix = "_range" if is_interval else ""
        yield Map(
            f"count_{name}_ip{family}{suffix}",
            _KEYS[name].format(address=ADDRESS[family]),
            "counter",
            elements,
            interval=is_interval,
        )


_KEYS = {
    "original": "{address}",
    "original_protocol": "{address} . inet_proto",
    "original_port": "{address} . inet_proto . inet_service",
    "reply": "{address}",
}


def _dnat_keys(dnat: Dnat) -> Iterator[tuple[str, int, str, bool]]:
    destination = dnat.destination
    if isinstance(destination, UplinkAddress):
        return
    address = network_text(destination)
    wide = destination.num_addresses > 1
    ported = dnat.ports is not None or dnat.targets[0].ports is not None
    protocols = dnat.protocols or (PORT_PROTOCOLS if ported else ())
    if not protocols:
        yield "original", destination.version, address, wide
    for name in map(protocol, protocols):
        if dnat.ports is None:
            yield "original_protocol", destination.version, f"{address} . {name}", wide
        else:
            key = f"{address} . {name} . {dnat.ports}"
            is_interval = wide or dnat.ports.count > 1
            yield "original_port", destination.version, key, is_interval


def _map_rules(maps: tuple[Map, ...]) -> Iterator[str]:
    for family in FAMILIES:
        words = {4: "ip", 6: "ip6"}[family]
        for each in maps:
            if not each.name.startswith("count_") or f"_ip{family}" not in each.name:
                continue
            match = f"meta nfproto {NFPROTO[family]} "
            if each.name.startswith("count_reply"):
                yield f"{match}ct status snat counter name ct reply {words} daddr map @{each.name}"
                continue
            first = f"ct original {words} daddr"
            if "inet_service" in each.key:
                # nft knows the type of proto-dst only behind a match of one protocol.
                for one in map(protocol, (*PORT_PROTOCOLS, "sctp")):
                    yield (
                        f"{match}meta l4proto {one} ct status dnat counter name "
                        f"{first} . meta l4proto . ct original proto-dst map @{each.name}"
                    )
            elif "inet_proto" in each.key:
                yield (
                    f"{match}ct status dnat counter name {first} . meta l4proto map @{each.name}"
                )
            else:
                yield f"{match}ct status dnat counter name {first} map @{each.name}"
