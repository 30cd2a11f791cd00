"""DNAT: which inside address, and port, a flow goes to instead.

An entry whose target follows from what the flow looks like is an element of a map: one for each
address, protocol and port. An entry that must look at more (source, ingress), or has a choice
(several targets, a prefix), has a chain of its own, found through a verdict map in the same way.
So a new flow costs the same whatever the number of entries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2s
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from nvid.configuration.translations import Dnat, Static
from nvid.configuration.types import Nvi
from nvid.configuration.values import (
    IPAddress,
    IPNetwork,
    PortRange,
    Target,
    UplinkAddress,
    network_text,
)
from nvid.desired.objects import Family
from nvid.desired.ruleset.endpoint import accept_from_outside
from nvid.desired.ruleset.identity import chain_name
from nvid.desired.ruleset.model import Chain, Map, Ruleset
from nvid.desired.ruleset.selection import applies_to
from nvid.desired.ruleset.tenants import presets
from nvid.desired.ruleset.words import (
    ADDRESS,
    IP,
    PORT_PROTOCOLS,
    WITH_PORTS,
    Plan,
    interfaces,
    networks,
    protocol,
)
from nvid.desired.uplinks import FAMILIES

MOST_EXPANDED = 1024
"""Ports of a range that become elements of their own; a longer range stays a range."""


@dataclass(frozen=True, slots=True)
class Selector:
    """What a flow is recognised by before any translation, in one family.

    ``protocols`` are numbers, empty for any; ``ports`` None for any. Ports want protocols.
    """

    network: IPNetwork
    protocols: tuple[int, ...] = ()
    ports: PortRange | None = None

    @property
    def family(self) -> Family:
        """4 or 6."""
        return 4 if self.network.version == 4 else 6

    @property
    def looks_at(self) -> int:
        """3 for address, protocol and port; 2 without the port; 1 for the address alone."""
        return 1 if not self.protocols else 2 if self.ports is None else 3

    @property
    def is_interval(self) -> bool:
        """Whether more than one address or port is meant."""
        return self.network.num_addresses > 1 or (self.ports is not None and self.ports.count > 1)

    def element_keys(self) -> Iterator[str]:
        """The keys of map elements: one for each protocol."""
        for number in self.protocols or (0,):
            words = (network_text(self.network), str(number), str(self.ports))
            yield " . ".join(words[: self.looks_at])

    def single_ports(self) -> Iterator[Selector]:
        """The same, one selector for each port, in ascending order."""
        assert self.ports is not None
        for port in range(self.ports.first, self.ports.last + 1):
            yield Selector(self.network, self.protocols, PortRange(port, port))


def selectors(plan: Plan, dnat: Dnat) -> tuple[Selector, ...]:
    """What an entry applies to now: one selector, or one for each address that its uplink has in
    the family of the targets."""
    target = dnat.targets[0]
    numbers = protocols_of(dnat)
    destination = dnat.destination
    if not isinstance(destination, UplinkAddress):
        return (Selector(destination, numbers, dnat.ports),)
    assert destination.name is not None
    address = plan.uplink(destination.name).addresses.get(target.network.version)
    return () if address is None else (Selector(host_network(address), numbers, dnat.ports),)


def protocols_of(dnat: Dnat) -> tuple[int, ...]:
    """The numbers of the protocols that an entry is for; none: any protocol."""
    has_ports = dnat.ports is not None or dnat.targets[0].ports is not None
    return tuple(map(protocol, dnat.protocols or (PORT_PROTOCOLS if has_ports else ())))


def static_selector(static: Static) -> Selector:
    """What a static entry applies to from outside."""
    if static.protocol is None or static.global_port is None:
        return Selector(static.global_)
    port = PortRange(static.global_port, static.global_port)
    return Selector(static.global_, (protocol(static.protocol),), port)


def host_network(address: IPAddress) -> IPNetwork:
    """The /32 or /128 of one address."""
    return IPv4Network(address) if isinstance(address, IPv4Address) else IPv6Network(address)


@dataclass(frozen=True, slots=True, order=True)
class Shape:
    """The shape of a map: more precise shapes are looked at first, and single keys before
    intervals. ``value`` is "address", "port" (address and port) or "verdict"."""

    looks_at: int
    interval: bool
    value: str
    family: Family

    @property
    def rank(self) -> tuple[int, bool, str, int]:
        """The order of lookups."""
        return (-self.looks_at, self.interval, self.value, self.family)

    @property
    def key_type(self) -> str:
        """nft's type of the key."""
        return " . ".join((ADDRESS[self.family], "inet_proto", "inet_service")[: self.looks_at])

    @property
    def value_type(self) -> str:
        """nft's type of the value."""
        address = ADDRESS[self.family]
        return {"address": address, "port": f"{address} . inet_service"}.get(self.value, "verdict")

    def name(self, number: int) -> str:
        """The map's name in NVI ``number``."""
        words = ["dnat", str(number), f"ip{self.family}"]
        words.append(("address", "protocol", "port")[self.looks_at - 1])
        if self.interval:
            words.append("range")
        words.append(f"to_{self.value}")
        return "_".join(words)

    @property
    def key(self) -> str:
        """What of the packet is looked up."""
        fields = (f"{IP[self.family]} daddr", "meta l4proto", "th dport")
        return " . ".join(fields[: self.looks_at])

    def rule(self, number: int) -> str:
        """The statement that looks the packet up."""
        ip, key, name = IP[self.family], self.key, self.name(number)
        if self.value == "verdict":
            return f"{key} vmap @{name}"
        # nft 1.0.6 wants a protocol match beside a map that gives ports.
        match = f"{WITH_PORTS} " if self.value == "port" else ""
        return f"{match}dnat {ip} to {key} map @{name}"


Elements = dict[Shape, dict[str, str]]


def destinations(plan: Plan, nvi: Nvi, labels: dict[str, int]) -> Ruleset:
    """The chain ``dnat_<number>`` of an NVI, with its maps and the chains of entries."""
    number = plan.number(nvi)
    found: Elements = {}
    lanes_of: Elements = {}
    for static in nvi.statics:
        if static.global_.num_addresses == 1:
            selector, target = static_selector(static), Target(static.local, _port(static))
            _add(found, selector, target)
            _add_lane(lanes_of, plan, static.tenant, selector, target)
    grouped: dict[tuple[Shape, str], list[str]] = {}
    linear: list[str] = []
    chains: list[Chain] = []
    for dnat in nvi.dnats:
        applied = selectors(plan, dnat)
        if _is_simple(dnat):
            for selector in applied:
                for single, target in _singles(selector, dnat.targets[0]):
                    _add(found, single, target)
                    _add_lane(lanes_of, plan, dnat.tenant, single, target)
            continue
        name = chain_name(nvi, dnat)
        chains += _entry(plan, name, dnat, applied, labels.get(dnat.key_path))
        for selector in applied:
            linear += _dispatch(grouped, selector, name)
    chains += _groups(found, grouped)
    maps: list[Map] = []
    rules: list[str] = []
    for shape in sorted(found, key=lambda shape: shape.rank):
        if shape in lanes_of:
            name = f"{shape.name(number)}_tenants"
            maps.append(Map(name, shape.key_type, "verdict", lanes_of[shape], shape.interval))
            rules.append(f"{shape.key} vmap @{name}")
        maps.append(
            Map(shape.name(number), shape.key_type, shape.value_type, found[shape], shape.interval)
        )
        rules.append(shape.rule(number))
    for prefixes in prefix_maps(nvi.statics, f"static_in_{number}", inward=True):
        ip = IP[4] if prefixes.key == ADDRESS[4] else IP[6]
        lanes = {
            str(static.global_): f"jump preset_{plan.tenant(static.tenant).lane}"
            for static in nvi.statics
            if static.tenant is not None and str(static.global_) in prefixes.elements
        }
        if lanes:
            name = f"{prefixes.name}_tenants"
            maps.append(Map(name, prefixes.key, "verdict", lanes, interval=True))
            rules.append(f"{ip} daddr vmap @{name}")
        maps.append(prefixes)
        rules.append(f"dnat {ip} prefix to {ip} daddr map @{prefixes.name}")
    held = _mappings(plan, nvi, labels)
    main = Chain(f"dnat_{number}", (*rules, *linear, *held))
    return Ruleset((main, *chains), tuple(maps))


def _mappings(plan: Plan, nvi: Nvi, labels: dict[str, int]) -> Iterator[str]:
    """Last: flows from outside to endpoints that hosts hold (endpoint-independent filtering)."""
    for snat in nvi.snats:
        for family in FAMILIES:
            if snat.is_independent and applies_to(snat, family):
                yield accept_from_outside(
                    nvi, snat, family, labels.get(snat.key_path), presets(plan, snat.tenant)
                )


def _port(static: Static) -> PortRange | None:
    return None if static.local_port is None else PortRange(static.local_port, static.local_port)


def _is_simple(dnat: Dnat) -> bool:
    """Whether the target follows from destination, protocol and port alone."""
    target = dnat.targets[0]
    chooses = len(dnat.targets) > 1 or target.network.num_addresses > 1
    return not (dnat.sources or dnat.ingress or chooses)


def _shape(selector: Selector, target: Target) -> Shape:
    kind = "address" if target.ports is None else "port"
    return Shape(selector.looks_at, selector.is_interval, kind, selector.family)


def _add(found: Elements, selector: Selector, target: Target) -> None:
    shape = _shape(selector, target)
    value = network_text(target.network)
    if target.ports is not None:
        value += f" . {target.ports}"
    for key in selector.element_keys():
        found.setdefault(shape, {})[key] = value


def _add_lane(
    lanes_of: Elements, plan: Plan, tenant: str | None, selector: Selector, target: Target
) -> None:
    """Beside the element that translates, one that notes the tenant of the target."""
    if tenant is None:
        return
    verdict = f"jump preset_{plan.tenant(tenant).lane}"
    for key in selector.element_keys():
        lanes_of.setdefault(_shape(selector, target), {})[key] = verdict


def _singles(selector: Selector, target: Target) -> Iterator[tuple[Selector, Target]]:
    """Range onto range is an element for each port: nftables cannot shift ports."""
    if target.ports is None or target.ports.count == 1:
        yield selector, target
        return
    for offset, single in enumerate(selector.single_ports()):
        port = target.ports.first + offset
        yield single, Target(target.network, PortRange(port, port))


def _dispatch(
    grouped: dict[tuple[Shape, str], list[str]], selector: Selector, chain: str
) -> Iterator[str]:
    """Lead flows to an entry's chain: by map where the keys are single, by a rule of its own for
    a prefix or a long range of ports."""
    ports = selector.ports
    if selector.network.num_addresses > 1 or (ports is not None and ports.count > MOST_EXPANDED):
        words = [f"{IP[selector.family]} daddr {selector.network}"]
        if selector.protocols:
            words.append("meta l4proto { " + ", ".join(map(str, selector.protocols)) + " }")
        if ports is not None:
            words.append(f"th dport {ports}")
        yield f"{' '.join(words)} jump {chain}"
        return
    singles = selector.single_ports() if ports is not None else (selector,)
    for single in singles:
        shape = Shape(single.looks_at, False, "verdict", single.family)
        for key in single.element_keys():
            grouped.setdefault((shape, key), []).append(chain)


def _groups(found: Elements, grouped: dict[tuple[Shape, str], list[str]]) -> Iterator[Chain]:
    """The elements of verdict maps; entries that share a key (and differ by source or ingress)
    share a chain that tries them in order."""
    made: set[str] = set()
    for (shape, key), chains in grouped.items():
        goal = chains[0]
        if len(chains) > 1:
            names = "\0".join(chains)
            goal = f"dnat_any_{blake2s(names.encode(), digest_size=6).hexdigest()}"
            if goal not in made:
                made.add(goal)
                yield Chain(goal, tuple(f"jump {chain}" for chain in chains))
        found.setdefault(shape, {})[key] = f"jump {goal}"


def _entry(
    plan: Plan, name: str, dnat: Dnat, applied: tuple[Selector, ...], label: int | None
) -> Iterator[Chain]:
    """The chain of one entry: its limits, then its target, or a choice by weight."""
    family = applied[0].family if applied else 4
    limits = []
    if dnat.ingress:
        limits.append(interfaces(dnat.ingress))
    if dnat.sources:
        limits.append(f"{IP[family]} saddr {networks(dnat.sources, family)}")
    inner = f"{name}_to"
    yield Chain(name, (" ".join([*limits, f"goto {inner}"]),))
    note = [] if label is None else [f"ct label set {label}"]
    if dnat.tenant is not None:
        note.append(presets(plan, dnat.tenant))
    network = applied[0].network if applied else None
    if len(dnat.targets) == 1 or network is None:
        yield Chain(inner, (*note, *_target(dnat, dnat.targets[0], network)))
        return
    parts, start = [], 0
    for place, target in enumerate(dnat.targets):
        last = start + target.weight - 1
        span = str(start) if last == start else f"{start}-{last}"
        parts.append(f"{span} : goto {inner}_{place}")
        start = last + 1
        yield Chain(f"{inner}_{place}", tuple(_target(dnat, target, network)))
    yield Chain(inner, (*note, f"numgen random mod {start} vmap {{ {', '.join(parts)} }}"))


def _target(dnat: Dnat, target: Target, destination: IPNetwork | None) -> Iterator[str]:
    ip = IP[4 if target.network.version == 4 else 6]
    if target.network.num_addresses > 1:
        yield f"dnat {ip} prefix to {ip} daddr map {{ {destination} : {target.network} }}"
        return
    address = network_text(target.network)
    ports = target.ports
    if ports is None:
        yield f"dnat {ip} to {address}"
    elif ports.count == 1:
        yield f"{WITH_PORTS} dnat {ip} to {_with_port(address, str(ports))}"
    else:
        assert dnat.ports is not None
        shift = ports.first - dnat.ports.first
        pairs = (
            f"{port} : {address} . {port + shift}"
            for port in range(dnat.ports.first, dnat.ports.last + 1)
        )
        yield f"{WITH_PORTS} dnat {ip} to th dport map {{ {', '.join(pairs)} }}"


def _with_port(address: str, port: str) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def prefix_maps(statics: Iterable[Static], name: str, *, inward: bool) -> Iterator[Map]:
    """Static prefix to prefix, one map for each family (netmap: the host bits stay)."""
    statics = tuple(statics)
    for family in FAMILIES:
        elements = {
            str(_outer(static, inward)): str(_outer(static, not inward))
            for static in statics
            if static.global_.version == family and static.global_.num_addresses > 1
        }
        if elements:
            value = f"interval {ADDRESS[family]}"
            yield Map(f"{name}_ip{family}", ADDRESS[family], value, elements, interval=True)


def _outer(static: Static, inward: bool) -> IPNetwork:
    return static.global_ if inward else static.local


def needs_label(nvis: Iterable[Nvi]) -> Iterator[tuple[Nvi, Dnat]]:
    """Entries that share a destination with others, so that only a label tells them apart."""
    for nvi in nvis:
        for dnat in nvi.dnats:
            if dnat.sources or dnat.ingress:
                yield nvi, dnat
