"""DNAT as a flow enters, SNAT as it leaves by the pair.

Translations are elements of maps, one for each address, port or prefix, so that a new flow costs
the same whatever their number, and a change of one translation changes one element. Which map an
element belongs to follows from its shape: what it looks at, what it gives, exact or interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nvid.configuration.translations import Dnat, Snat, Static
from nvid.configuration.types import Nvi
from nvid.configuration.values import (
    AddressRange,
    IPNetwork,
    NoTranslation,
    Pools,
    PortRange,
    UplinkAddress,
    network_text,
)
from nvid.desired.objects import Family
from nvid.desired.ruleset.bind import shared, translated_match
from nvid.desired.ruleset.classify import drop, interface_map
from nvid.desired.ruleset.first_match import disjoint
from nvid.desired.ruleset.identity import chain_name
from nvid.desired.ruleset.model import Chain, Hook, Map, Ruleset, join
from nvid.desired.ruleset.words import (
    ADDRESS,
    IP,
    NFPROTO,
    PORT_PROTOCOLS,
    TO_MAIN,
    Plan,
    interfaces,
    networks,
    protocol,
    protocols_and_ports,
    set_ct_mark,
)
from nvid.desired.uplinks import FAMILIES, UplinkState, preferred

DSTNAT = -100
SRCNAT = 100

POOL_SEED = 0x6E766964
"""Seed of the hash that shares inside addresses among pools: fixed, or a rewritten chain would
give every host another outside address (RFC 4787 REQ-2)."""


def translation(plan: Plan, labels: dict[str, int]) -> Ruleset:
    """The NAT chains and maps of all NVIs. ``labels`` gives the conntrack label bit of the snat
    entries that accounting cannot tell by their address, by key path."""
    rules = ["iifname vmap @dnat_of"]
    hooks = [Chain("translate_destination", tuple(rules), Hook("nat", "prerouting", DSTNAT))]
    local = [nvi for nvi in plan.nvis if nvi.local]
    if local:
        rules = [f"jump dnat_{plan.number(nvi)}" for nvi in local]
        hooks.append(
            Chain("translate_own_destination", tuple(rules), Hook("nat", "output", DSTNAT))
        )
    hooks.append(
        Chain(
            "translate_source",
            (f"{TO_MAIN} oifname vmap @snat_of",),
            Hook("nat", "postrouting", SRCNAT),
        )
    )
    maps = (
        interface_map("dnat_of", {nvi: f"goto dnat_{plan.number(nvi)}" for nvi in plan.nvis}),
        Map(
            "snat_of",
            "ifname",
            "verdict",
            {nvi.name: f"goto snat_{plan.number(nvi)}" for nvi in plan.nvis},
        ),
    )
    return join(
        [
            Ruleset(tuple(hooks), maps),
            *(_destination(plan, nvi) for nvi in plan.nvis),
            *(_source(plan, nvi, labels) for nvi in plan.nvis),
            Ruleset(tuple(_uplink_sources(plan))),
        ]
    )


@dataclass(frozen=True, slots=True, order=True)
class Shape:
    """The shape of a map of destinations.

    ``looks_at`` is 3 for address, protocol and port; 2 without the port; 1 for the address alone.
    More precise shapes come first. ``to_port`` says whether the value holds a port.
    """

    looks_at: int
    interval: bool
    to_port: bool
    family: Family

    @property
    def key(self) -> str:
        """nft's type of the key."""
        return " . ".join((ADDRESS[self.family], "inet_proto", "inet_service")[: self.looks_at])

    @property
    def value(self) -> str:
        """nft's type of the value."""
        return ADDRESS[self.family] + (" . inet_service" if self.to_port else "")

    def name(self, number: int) -> str:
        """The map's name in NVI ``number``."""
        words = ["dnat", str(number), f"ip{self.family}"]
        words.append(("address", "protocol", "port")[self.looks_at - 1])
        if self.interval:
            words.append("range")
        if self.to_port:
            words.append("to_port")
        return "_".join(words)

    def rule(self, number: int) -> str:
        """The statement that looks the packet up."""
        ip = IP[self.family]
        fields = (f"{ip} daddr", "meta l4proto", "th dport")[: self.looks_at]
        # nft 1.0.6 wants a protocol match beside a map that gives ports.
        ports = "meta l4proto { 6, 17, 132 } " if self.to_port else ""
        return f"{ports}dnat {ip} to {' . '.join(fields)} map @{self.name(number)}"


def _destination(plan: Plan, nvi: Nvi) -> Ruleset:
    number = plan.number(nvi)
    found: dict[Shape, dict[str, str]] = {}
    for static in nvi.statics:
        if static.global_.prefixlen == static.global_.max_prefixlen:
            shape = Shape(1, False, False, _family(static.global_))
            found.setdefault(shape, {})[network_text(static.global_)] = network_text(static.local)
    for dnat in nvi.dnats:
        for shape, key, value in _elements(dnat):
            found.setdefault(shape, {})[key] = value
    shapes = sorted(found, key=lambda shape: (-shape.looks_at, shape.interval, shape))
    maps = [
        Map(shape.name(number), shape.key, shape.value, found[shape], interval=shape.interval)
        for shape in shapes
    ]
    rules = [shape.rule(number) for shape in shapes]
    for prefixes in _prefix_maps(nvi, f"static_in_{number}", inward=True):
        maps.append(prefixes)
        family: Family = 4 if prefixes.key == ADDRESS[4] else 6
        rules.append(f"dnat {IP[family]} prefix to {IP[family]} daddr map @{prefixes.name}")
    return Ruleset((Chain(f"dnat_{number}", tuple(rules)),), tuple(maps))


def _elements(dnat: Dnat) -> Iterator[tuple[Shape, str, str]]:
    """The map elements of one entry: one for each protocol that it names."""
    destination, target = dnat.destination, dnat.targets[0]
    if isinstance(destination, UplinkAddress):
        return
    family = _family(destination)
    to_port = target.ports is not None
    protocols = dnat.protocols
    if not protocols and (dnat.ports or to_port):
        protocols = PORT_PROTOCOLS
    value = network_text(target.network) + (f" . {target.ports}" if to_port else "")
    ports: PortRange | None = dnat.ports
    is_interval = destination.num_addresses > 1 or (ports is not None and ports.count > 1)
    looks_at = 1 if not protocols else 2 if ports is None else 3
    shape = Shape(looks_at, is_interval, to_port, family)
    for number in map(protocol, protocols) if protocols else (0,):
        words = (network_text(destination), str(number), str(ports))
        yield shape, " . ".join(words[:looks_at]), value


def _prefix_maps(nvi: Nvi, name: str, *, inward: bool) -> Iterator[Map]:
    """Prefix to prefix, one map for each family (netmap: the host bits stay)."""
    for family in FAMILIES:
        elements = {
            str(_outer(static, inward)): str(_outer(static, not inward))
            for static in nvi.statics
            if static.global_.version == family
            and static.global_.prefixlen < static.global_.max_prefixlen
        }
        if elements:
            value = f"interval {ADDRESS[family]}"
            yield Map(f"{name}_ip{family}", ADDRESS[family], value, elements, interval=True)


def _outer(static: Static, inward: bool) -> IPNetwork:
    return static.global_ if inward else static.local


def _source(plan: Plan, nvi: Nvi, labels: dict[str, int]) -> Ruleset:
    number = plan.number(nvi)
    rules: list[str] = []
    maps: list[Map] = []
    for family in FAMILIES:
        hosts = {
            network_text(static.local): network_text(static.global_)
            for static in nvi.statics
            if static.local.version == family
            and static.local.prefixlen == static.local.max_prefixlen
        }
        if hosts:
            name = f"static_out_{number}_ip{family}_hosts"
            maps.append(Map(name, ADDRESS[family], ADDRESS[family], hosts))
            rules.append(f"snat {IP[family]} to {IP[family]} saddr map @{name}")
    for prefixes in _prefix_maps(nvi, f"static_out_{number}", inward=False):
        maps.append(prefixes)
        ip = "ip" if prefixes.key == ADDRESS[4] else "ip6"
        rules.append(f"snat {ip} prefix to {ip} saddr map @{prefixes.name}")
    for family in FAMILIES:
        for place, run in enumerate(_runs(nvi.snats, family)):
            if all(_by_source_alone(snat) for snat in run):
                name = f"snat_{number}_ip{family}_{place}"
                maps.append(_dispatch(nvi, name, run, family))
                rules.append(f"{IP[family]} saddr vmap @{name}")
            else:
                rules += [f"{_match(snat, family)} goto {chain_name(nvi, snat)}" for snat in run]
    chains = [Chain(f"snat_{number}", tuple(rules))]
    for snat in nvi.snats:
        chains += _entry(plan, nvi, snat, labels.get(snat.key_path))
    return Ruleset(tuple(chains), tuple(maps))


def applies_to(snat: Snat, family: Family) -> bool:
    """Whether the entry can translate flows of this family: its addresses decide."""
    if isinstance(snat.to, Pools) and not any(part.version == family for part in snat.to.ranges):
        return False
    for wanted in (snat.sources, snat.destinations):
        if wanted and not any(network.version == family for network in wanted):
            return False
    return True


def _by_source_alone(snat: Snat) -> bool:
    others = (snat.destinations, snat.excluded_destinations, snat.protocols, snat.ingress)
    return bool(snat.sources) and not any(others) and snat.ports is None


def _runs(snats: Iterable[Snat], family: Family) -> Iterator[list[Snat]]:
    """Consecutive entries that one map can hold together; every other entry by itself."""
    run: list[Snat] = []
    for snat in snats:
        if not applies_to(snat, family):
            continue
        if run and not (_by_source_alone(run[-1]) and _by_source_alone(snat)):
            yield run
            run = []
        run.append(snat)
    if run:
        yield run


def _dispatch(nvi: Nvi, name: str, run: list[Snat], family: Family) -> Map:
    entries = [
        ([each for each in snat.sources if each.version == family], f"goto {chain_name(nvi, snat)}")
        for snat in run
    ]
    elements = {str(addresses): verdict for addresses, verdict in disjoint(entries).items()}
    return Map(name, ADDRESS[family], "verdict", elements, interval=True)


def _match(snat: Snat, family: Family) -> str:
    ip = IP[family]
    words = [f"meta nfproto {NFPROTO[family]}"]
    if snat.ingress:
        words.append(interfaces(snat.ingress))
    if snat.sources:
        words.append(f"{ip} saddr {networks(snat.sources, family)}")
    if snat.destinations:
        words.append(f"{ip} daddr {networks(snat.destinations, family)}")
    excluded = networks(snat.excluded_destinations, family)
    if excluded:
        words.append(f"{ip} daddr != {excluded}")
    words.append(protocols_and_ports(snat.protocols, snat.ports))
    return " ".join(word for word in words if word)


def _entry(plan: Plan, nvi: Nvi, snat: Snat, label: int | None) -> Iterator[Chain]:
    """The chain of one entry: a flow that reaches it is translated, dropped, or left alone."""
    name = chain_name(nvi, snat)
    rules = [] if label is None else [f"ct label set {label}"]
    to = snat.to
    if isinstance(to, NoTranslation):
        yield Chain(name, (*rules, "accept"))
    elif isinstance(to, UplinkAddress):
        last = drop("no_uplink") if nvi.on_failure == "closed" else "accept"
        picks = _named_uplink(plan, to.name) if to.name else list(_picked_uplink(plan, nvi))
        yield Chain(name, (*rules, *picks, last))
    else:
        for family in FAMILIES:
            yield from _pool_parts(name, to, family)
            rules += _pool_rule(name, to, family)
        yield Chain(name, tuple(rules))


def _named_uplink(plan: Plan, name: str) -> list[str]:
    return [f"goto source_{plan.uplink(name).lane}"]


def _picked_uplink(plan: Plan, nvi: Nvi) -> Iterator[str]:
    """The route entries that name no source, then the preferred uplinks: only those that have an
    address of the family to be translated to."""
    for family in FAMILIES:
        able = tuple(
            each for each in plan.uplinks if each.carries(family) and family in each.addresses
        )
        for entry in nvi.routes:
            match = translated_match(entry, family)
            if entry.sources or match is None:
                continue
            named = [each for name in entry.via for each in able if each.name == name]
            lane = named[0].lane if named else plan.uplink(entry.via[0]).lane
            yield f"meta nfproto {NFPROTO[family]}{match} goto source_{lane}"
        best = preferred(able, family)
        if best:
            yield f"meta nfproto {NFPROTO[family]} {shared(best, 'source')}"


def _uplink_sources(plan: Plan) -> Iterator[Chain]:
    """For each uplink: note its lane in the flow, and translate to its address."""
    marks = plan.marks
    for uplink in plan.uplinks:
        lane = set_ct_mark(marks, marks.forward_mask, marks.forward_lane(uplink.lane))
        yield Chain(f"source_{uplink.lane}", (lane, *_own_address(uplink), drop("no_uplink")))


def _own_address(uplink: UplinkState) -> Iterator[str]:
    for family in FAMILIES:
        if family in uplink.addresses:
            yield f"snat {IP[family]} to {uplink.addresses[family]}"


def _pool_rule(name: str, pools: Pools, family: Family) -> Iterator[str]:
    parts = [part for part in pools.ranges if part.version == family]
    ip = IP[family]
    if len(parts) == 1:
        yield f"snat {ip} to {_nat_range(parts[0])}"
    elif parts:
        verdicts, start = [], 0
        for place, part in enumerate(parts):
            # The share of a part is its size, cut to what a 32-bit modulus can hold.
            last = start + min(part.count, 1 << 16) - 1
            span = str(start) if last == start else f"{start}-{last}"
            verdicts.append(f"{span} : goto {name}_ip{family}_{place}")
            start = last + 1
        where = f"jhash {ip} saddr mod {start} seed {POOL_SEED:#010x}"
        yield f"meta nfproto {NFPROTO[family]} {where} vmap {{ {', '.join(verdicts)} }}"


def _pool_parts(name: str, pools: Pools, family: Family) -> Iterator[Chain]:
    parts = [part for part in pools.ranges if part.version == family]
    if len(parts) > 1:
        for place, part in enumerate(parts):
            rule = f"snat {IP[family]} to {_nat_range(part)}"
            yield Chain(f"{name}_ip{family}_{place}", (rule,))


def _nat_range(part: AddressRange) -> str:
    """One inside address keeps one outside address: ``persistent`` leaves the destination out of
    the kernel's hash (RFC 4787 REQ-2)."""
    if part.count == 1:
        return str(part.first)
    return f"{part.first}-{part.last} persistent"


def _family(network: IPNetwork) -> Family:
    return 4 if network.version == 4 else 6
