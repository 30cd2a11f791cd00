"""SNAT: which outside address, and port, a flow is seen from.

Statics are map elements. Of the snat entries the first match wins: consecutive entries that look
at the source alone are one lookup, cut into disjoint ranges beforehand (``first_match``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from nvid import names
from nvid.configuration.blocks import DEFAULT_PORTS, blocks
from nvid.configuration.translations import Snat, Static
from nvid.configuration.types import Nvi
from nvid.configuration.values import (
    AddressRange,
    NoTranslation,
    Pools,
    PortRange,
    UplinkAddress,
    network_text,
)
from nvid.desired.objects import Family
from nvid.desired.ruleset.destination import prefix_maps
from nvid.desired.ruleset.drops import drop
from nvid.desired.ruleset.endpoint import UDP, mapping_objects, reuse
from nvid.desired.ruleset.first_match import disjoint
from nvid.desired.ruleset.hairpin import hairpins
from nvid.desired.ruleset.identity import chain_name
from nvid.desired.ruleset.model import Chain, Dynamic, Map, Ruleset, join
from nvid.desired.ruleset.route import shared, translated_match
from nvid.desired.ruleset.selection import applies_to, match
from nvid.desired.ruleset.words import (
    ADDRESS,
    IP,
    NFPROTO,
    WITH_PORTS,
    Plan,
    interface_map,
    protocol,
    set_ct_mark,
)
from nvid.desired.tenants import TenantState
from nvid.desired.uplinks import FAMILIES, UplinkState, able, best_there_is, picked

POOL_SEED = 0x6E766964
"""Seed of the hash that shares inside addresses among pools: fixed, or a rewritten chain would
give every host another outside address (RFC 4787 REQ-2)."""


def sources(plan: Plan, nvi: Nvi, labels: dict[str, int]) -> Ruleset:
    """The chain ``snat_<number>`` of an NVI, and ``snat_<number>_<lane>`` for each tenant, with
    their maps and the chains of entries. Entries without a tenant are for flows of no tenant."""
    number = plan.number(nvi)
    parts = [_space(plan, nvi, tenant) for tenant in (None, *plan.tenants)]
    chains: list[Chain] = []
    maps: list[Map] = []
    if plan.tenants:
        maps.append(
            interface_map(
                f"snat_of_tenant_{number}",
                ((each.patterns, f"goto {_chain_of(plan, nvi, each)}") for each in plan.tenants),
            )
        )
    for snat in nvi.snats:
        chains += _entry(plan, nvi, snat, labels.get(snat.key_path))
        maps += _block_maps(nvi, snat)
    return join([*parts, Ruleset(tuple(chains), tuple(maps)), _limit_objects(nvi), *_mappings(nvi)])


def _chain_of(plan: Plan, nvi: Nvi, tenant: TenantState | None) -> str:
    """The chain of the entries of one address space."""
    number = plan.number(nvi)
    return f"snat_{number}" if tenant is None else f"snat_{number}_{tenant.lane}"


def _space(plan: Plan, nvi: Nvi, tenant: TenantState | None) -> Ruleset:
    """What applies to the flows of one tenant, or of none."""
    name = None if tenant is None else tenant.name
    chain = _chain_of(plan, nvi, tenant)
    space = chain.removeprefix("snat_")
    rules: list[str] = []
    maps: list[Map] = []
    if tenant is None and plan.tenants:
        rules.append(f"iifname vmap @snat_of_tenant_{space}")
    statics = [each for each in nvi.statics if each.tenant == name]
    snats = [each for each in nvi.snats if each.tenant == name]
    for rule, each in _statics(statics, space):
        rules.append(rule)
        maps.append(each)
    for family in FAMILIES:
        for place, run in enumerate(_runs(snats, family)):
            if all(_by_source_alone(snat) for snat in run):
                dispatch = _dispatch(nvi, f"snat_{space}_ip{family}_{place}", run, family)
                maps.append(dispatch)
                rules.append(f"{IP[family]} saddr vmap @{dispatch.name}")
            else:
                rules += [f"{match(snat, family)} goto {chain_name(nvi, snat)}" for snat in run]
    for rule, each in hairpins(plan, nvi, tenant, space):
        rules.append(rule)
        maps.append(each)
    return Ruleset((Chain(chain, tuple(rules)),), tuple(maps))


def _mappings(nvi: Nvi) -> Iterator[Ruleset]:
    for snat in nvi.snats:
        for family in FAMILIES:
            if snat.is_independent and applies_to(snat, family):
                yield mapping_objects(nvi, snat, family)


def _statics(statics: Collection[Static], space: str) -> Iterator[tuple[str, Map]]:
    """Ports first, then hosts, then prefixes: the most precise one decides."""
    for family in FAMILIES:
        ip, address = IP[family], ADDRESS[family]
        of_family = [static for static in statics if static.local.version == family]
        ports = dict(_static_port(static) for static in of_family if static.protocol is not None)
        if ports:
            name = f"static_out_{space}_ip{family}_ports"
            key, value = f"{address} . inet_proto . inet_service", f"{address} . inet_service"
            fields = f"{ip} saddr . meta l4proto . th sport"
            yield f"{WITH_PORTS} snat {ip} to {fields} map @{name}", Map(name, key, value, ports)
        hosts = {
            network_text(static.local): network_text(static.global_)
            for static in of_family
            if static.protocol is None and static.local.num_addresses == 1
        }
        if hosts:
            name = f"static_out_{space}_ip{family}_hosts"
            yield f"snat {ip} to {ip} saddr map @{name}", Map(name, address, address, hosts)
    for prefixes in prefix_maps(statics, f"static_out_{space}", inward=False):
        ip = IP[4] if prefixes.key == ADDRESS[4] else IP[6]
        yield f"snat {ip} prefix to {ip} saddr map @{prefixes.name}", prefixes


def _static_port(static: Static) -> tuple[str, str]:
    assert static.protocol is not None
    local = f"{network_text(static.local)} . {protocol(static.protocol)} . {static.local_port}"
    return local, f"{network_text(static.global_)} . {static.global_port}"


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


def _entry(plan: Plan, nvi: Nvi, snat: Snat, label: int | None) -> Iterator[Chain]:
    """The chain of one entry: a flow that reaches it is translated, dropped, or left alone."""
    name = chain_name(nvi, snat)
    rules = [] if label is None else [f"ct label set {label}"]
    rules += _limits(nvi, snat)
    to = snat.to
    if isinstance(to, NoTranslation):
        yield Chain(name, (*rules, "accept"))
    elif isinstance(to, UplinkAddress):
        last = drop("no_uplink") if nvi.on_failure == "closed" else "accept"
        picks = _named_uplink(plan, to.name) if to.name else list(_picked_uplink(plan, nvi))
        yield Chain(name, (*rules, *picks, last))
    elif snat.port_block is not None:
        yield Chain(name, (*rules, *_block_rules(nvi, snat)))
        if applies_to(snat, 6):
            yield _ipv6_block_chain(nvi, snat)
    else:
        for family in FAMILIES:
            rules += _endpoint_rules(nvi, snat, to, family)
            yield from _pool_parts(name, to, snat.source_ports, family)
            rules += _pool_rules(name, to, snat.source_ports, family)
        yield Chain(name, tuple(rules))


def _endpoint_rules(nvi: Nvi, snat: Snat, pools: Pools, family: Family) -> Iterator[str]:
    """UDP with endpoint-independent mapping: the mapping there is, else a port by chance, so that
    two hosts with one source port hardly ever meet."""
    if not snat.is_independent or not applies_to(snat, family):
        return
    yield reuse(nvi, snat, family)
    parts = [part for part in pools.ranges if part.version == family]
    if len(parts) == 1:
        ports = snat.source_ports or DEFAULT_PORTS
        span = _bracketed(parts[0], family)
        yield f"{UDP} snat {IP[family]} to {span}:{ports} fully-random,persistent"


def _block_name(nvi: Nvi, snat: Snat, version: int, what: str) -> str:
    return f"{chain_name(nvi, snat)}_ip{version}_{what}"


def _block_maps(nvi: Nvi, snat: Snat) -> Iterator[Map]:
    """Two elements for each inside address: its ports, and its address for protocols without."""
    if snat.port_block is None:
        return
    for family in FAMILIES:
        if not applies_to(snat, family):
            continue
        address = ADDRESS[family]
        held = {each.inside: each for each in blocks(snat, family)}
        ports = {str(inside): f"{each.outside} . {each.ports}" for inside, each in held.items()}
        outside = {str(inside): str(each.outside) for inside, each in held.items()}
        name = _block_name(nvi, snat, family, "block")
        yield Map(name, address, f"interval {address} . inet_service", ports)
        yield Map(_block_name(nvi, snat, family, "address"), address, address, outside)


def _block_rules(nvi: Nvi, snat: Snat) -> Iterator[str]:
    for family in FAMILIES:
        if applies_to(snat, family):
            ip = IP[family]
            block = _block_name(nvi, snat, family, "block")
            if family == 6:
                with_ports = f"meta nfproto {NFPROTO[family]} {WITH_PORTS}"
                yield f"{with_ports} jump {block}"
                # In between the two steps in which such a chain is made.
                yield f"{with_ports} {drop('changing')}"
            else:
                yield f"{WITH_PORTS} snat {ip} to {ip} saddr map @{block}"
            address = _block_name(nvi, snat, family, "address")
            yield f"snat {ip} to {ip} saddr map @{address}"


def _ipv6_block_chain(nvi: Nvi, snat: Snat) -> Chain:
    """The rules that have to be encoded have a chain of their own: they come last in it."""
    block = _block_name(nvi, snat, 6, "block")
    protocols = (protocol(each) for each in ("tcp", "udp", "sctp"))
    rules = (
        f"meta l4proto {each} snat ip6 interval to ip6 saddr map @{block}" for each in protocols
    )
    return Chain(block, tuple(rules))


def limit_set(nvi: Nvi, snat: Snat, family: Family) -> Dynamic:
    """The set that holds the connections of each source address (nft's ``ct count``)."""
    return Dynamic(f"{chain_name(nvi, snat)}_limit_ip{family}", ADDRESS[family])


def limit_counter(nvi: Nvi, snat: Snat) -> str:
    """The named counter of what the limit of an entry refused."""
    return f"limited_{chain_name(nvi, snat)}"


def _limits(nvi: Nvi, snat: Snat) -> Iterator[str]:
    """Count a new connection, or refuse it. The count follows conntrack: what ends, is free."""
    if snat.limit is None:
        return
    for family in FAMILIES:
        if applies_to(snat, family):
            held = limit_set(nvi, snat, family).name
            yield (
                f"add @{held} {{ {IP[family]} saddr ct count over {snat.limit} }} "
                f'counter name "{limit_counter(nvi, snat)}" drop'
            )


def _limit_objects(nvi: Nvi) -> Ruleset:
    limited = [snat for snat in nvi.snats if snat.limit is not None]
    return Ruleset(
        counters=tuple(limit_counter(nvi, snat) for snat in limited),
        dynamics=tuple(
            limit_set(nvi, snat, family)
            for snat in limited
            for family in FAMILIES
            if applies_to(snat, family)
        ),
    )


def _named_uplink(plan: Plan, name: str) -> list[str]:
    """Of a family that the uplink has no address of, the entry's own last word decides."""
    uplink = plan.uplink(name)
    return [
        f"meta nfproto {NFPROTO[family]} goto source_{uplink.lane}"
        for family in FAMILIES
        if family in uplink.addresses
    ]


def _picked_uplink(plan: Plan, nvi: Nvi) -> Iterator[str]:
    """The route entries that name no source, then the preferred uplinks, or the best there are:
    only those that have an address of the family to be translated to."""
    marks = plan.marks
    if plan.uplinks:
        yield f"ct mark & {marks.forward_mask:#010x} vmap @preset_sources"
    best = {
        family: shared(uplinks, "source")
        for family in FAMILIES
        if (uplinks := best_there_is(able(plan.uplinks, family), family))
    }
    for entry in nvi.routes:
        if entry.sources:
            continue
        for family, asked in translated_match(entry):
            if entry.via:
                yield f"{asked} goto source_{picked(plan.uplinks, entry.via, family).lane}"
            elif family in best:
                # No uplink is picked here: one of a table has been found before, see presets.
                yield f"{asked} {best[family]}"
    for family, verdict in best.items():
        yield f"meta nfproto {NFPROTO[family]} {verdict}"


def uplink_sources(plan: Plan) -> Iterator[Chain]:
    """For each uplink: note its lane in the flow, and translate to its address. A flow to a tenant
    keeps that lane: the address is only what it is seen from there."""
    marks = plan.marks
    tenants = marks.forward_mask & ~marks.forward_lane(names.UPLINK_LANES)
    undecided = f"ct mark & {tenants:#010x} == 0 " if plan.tenants else ""
    for uplink in plan.uplinks:
        lane = set_ct_mark(marks, marks.forward_mask, marks.forward_lane(uplink.lane))
        rules = (undecided + lane, *_own_address(uplink), drop("no_uplink"))
        yield Chain(f"source_{uplink.lane}", rules)


def preset_sources(plan: Plan) -> Iterator[Map]:
    """Where main knows the destination precisely, its uplink is decided already."""
    if plan.uplinks:
        elements = {
            str(plan.marks.forward_lane(uplink.lane)): f"goto source_{uplink.lane}"
            for uplink in plan.uplinks
        }
        yield Map("preset_sources", "mark", "verdict", elements)


def _own_address(uplink: UplinkState) -> Iterator[str]:
    for family in FAMILIES:
        if family in uplink.addresses:
            yield f"snat {IP[family]} to {uplink.addresses[family]}"


def _pool_rules(name: str, pools: Pools, ports: PortRange | None, family: Family) -> Iterator[str]:
    parts = [part for part in pools.ranges if part.version == family]
    if len(parts) == 1:
        yield from _snat(parts[0], ports, family)
    elif parts:
        verdicts, start = [], 0
        for place, part in enumerate(parts):
            # The share of a part is its size, cut to what a 32-bit modulus can hold.
            last = start + min(part.count, 1 << 16) - 1
            span = str(start) if last == start else f"{start}-{last}"
            verdicts.append(f"{span} : goto {name}_ip{family}_{place}")
            start = last + 1
        where = f"jhash {IP[family]} saddr mod {start} seed {POOL_SEED:#010x}"
        yield f"meta nfproto {NFPROTO[family]} {where} vmap {{ {', '.join(verdicts)} }}"


def _pool_parts(
    name: str, pools: Pools, ports: PortRange | None, family: Family
) -> Iterator[Chain]:
    parts = [part for part in pools.ranges if part.version == family]
    if len(parts) > 1:
        for place, part in enumerate(parts):
            yield Chain(f"{name}_ip{family}_{place}", tuple(_snat(part, ports, family)))


def _snat(part: AddressRange, ports: PortRange | None, family: Family) -> Iterator[str]:
    """One inside address keeps one outside address: ``persistent`` leaves the destination out of
    the kernel's hash (RFC 4787 REQ-2). Ports are for the protocols that have them."""
    ip = IP[family]
    keeping = "" if part.count == 1 else " persistent"
    if ports is not None:
        yield f"{WITH_PORTS} snat {ip} to {_bracketed(part, family)}:{ports}{keeping}"
    span = str(part.first) if part.count == 1 else f"{part.first}-{part.last}"
    yield f"snat {ip} to {span}{keeping}"


def _bracketed(part: AddressRange, family: Family) -> str:
    """A range in front of ports."""
    ends = [str(part.first)] if part.count == 1 else [str(part.first), str(part.last)]
    return "-".join(f"[{end}]" if family == 6 else end for end in ends)
