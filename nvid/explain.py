"""What becomes of a packet: the entries that match, both lookups, the way that replies take.

The ruleset's decisions are followed on the configuration, in the order in which the ruleset makes
them; where a routing table decides, the kernel itself is asked. Nothing is sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv6Interface, ip_address

from nvid.configuration.blocks import block_of, holding
from nvid.configuration.translations import Dnat, Snat
from nvid.configuration.types import Configuration, Nvi
from nvid.configuration.values import (
    IPAddress,
    IPNetwork,
    NoTranslation,
    Pools,
    UplinkAddress,
)
from nvid.desired.pools import global_networks
from nvid.desired.ruleset.classify import has_presets
from nvid.desired.ruleset.destination import selectors, static_selector
from nvid.desired.ruleset.route import chosen, said_lane
from nvid.desired.ruleset.words import Plan
from nvid.desired.tenants import TenantState, owner
from nvid.desired.uplinks import UplinkState, able, best_there_is, picked, preferred
from nvid.explained import AskKernel, Explanation, Inside, Packet
from nvid.matching import route_takes, selected, snat_takes, within_limits


def explain(
    configuration: Configuration, plan: Plan, packet: Packet, ask: AskKernel
) -> Explanation:
    """Follow one packet. The kernel is asked at most five times."""
    told = Explanation()
    space = owner(plan.tenants, packet.interface)
    told.tenant = None if space is None else space.name
    nvi = next((each for each in configuration.nvis if _enabled(each, packet.interface)), None)
    if nvi is None:
        if space is not None:
            told.dropped = f"{packet.interface}, of tenant {space.name}, is not NAT-enabled"
            told.say(f"dropped: {told.dropped}, so nothing that it begins leaves it")
            return told
        told.say(f"{packet.interface} is not NAT-enabled: the packet is routed without nvid")
        _route(told, ask, packet.destination, packet.source, 0)
        return told
    told.nvi = nvi.name
    whose = "" if space is None else f", of tenant {space.name}"
    told.say(f"enters by {packet.interface}, NAT-enabled in {nvi.name}{whose}")
    destination, port = _translate_destination(told, plan, nvi, packet)
    told.translated_destination = _endpoint(destination, port)
    if destination in set(plan.machine.addresses()):
        told.say(f"{destination} is this machine: delivered here, not forwarded")
        told.interface = "lo"
        told.replies = _replies(plan, packet.interface)
        told.say(told.replies)
        return told
    target = _target_space(told, plan, space, packet, destination, ask)
    told.say(f"first lookup: into {nvi.name}")
    inside = Inside(packet, destination, port)
    preset = _preset(plan, nvi, inside, ask) if target is None else None
    lane = _translate_source(told, plan, nvi, inside, preset)
    if told.dropped is not None:
        return told
    source = told.translated_source or _endpoint(packet.source, packet.source_port)
    if _must_stay(told, space, target, packet):
        return told
    if target is not None:
        lane = target.lane
        told.target_tenant = target.name
        told.say(f"second lookup: the routes of tenant {target.name}")
    else:
        lane = _second_lookup(told, plan, nvi, inside, lane)
        if lane == plan.marks.refused:
            return told
    _route(told, ask, destination, packet.source, plan.marks.lane(lane))
    told.uplink = next(
        (up.name for up in plan.uplinks if up.lane == lane and up.interface == told.interface), None
    )
    told.replies = _replies(plan, packet.interface)
    told.say(f"leaves as {source} -> {told.translated_destination}")
    told.say(told.replies)
    return told


def _target_space(
    told: Explanation,
    plan: Plan,
    space: TenantState | None,
    packet: Packet,
    destination: IPAddress,
    ask: AskKernel,
) -> TenantState | None:
    """The tenant that the flow goes to: that of the entry which translated the destination, or
    the packet's own where its routes know the destination."""
    if told.dnat is not None:
        return None if told.target_tenant is None else plan.tenant(told.target_tenant)
    if space is None:
        return None
    known = ask(destination, packet.source, plan.marks.lane(space.lane)).interface
    return None if known is None else space


def _must_stay(
    told: Explanation, space: TenantState | None, inside: TenantState | None, packet: Packet
) -> bool:
    """Whether an untranslated source stops the packet."""
    if not _keeps_source(told, packet) or space is inside:
        return False
    if space is not None:
        told.dropped = f"nothing translates {packet.source}, and untranslated it stays inside"
    elif inside is not None and any(
        packet.source in network for network in inside.networks(packet.family)
    ):
        told.dropped = f"{packet.source} is an address of tenant {inside.name} as well"
    if told.dropped is not None:
        told.say(f"dropped: {told.dropped}")
    return told.dropped is not None


def _keeps_source(told: Explanation, packet: Packet) -> bool:
    return told.translated_source in (None, _endpoint(packet.source, packet.source_port))


def _enabled(nvi: Nvi, interface: str) -> bool:
    return any(pattern.matches(interface) for pattern in nvi.interfaces)


def _translate_destination(
    told: Explanation, plan: Plan, nvi: Nvi, packet: Packet
) -> tuple[IPAddress, int]:
    port = packet.destination_port
    asked = packet.asked(packet.destination, port)
    for static in nvi.statics:
        if selected(static_selector(static), asked):
            inside = _moved(packet.destination, static.global_, static.local)
            told.dnat = f"static {static.label}"
            told.target_tenant = static.tenant
            told.say(f"{static.key_path} ({static.label}): destination becomes {inside}")
            return inside, static.local_port or port
    for dnat in nvi.dnats:
        for selector in selectors(plan, dnat):
            if selected(selector, asked) and within_limits(dnat, asked):
                told.dnat = f"dnat {dnat.label}"
                told.target_tenant = dnat.tenant
                return _target(told, dnat, selector.network, packet)
    told.say("no static or dnat for the destination")
    if held := holding(nvi.snats, packet.destination, port):
        told.holder = str(held.inside)
        told.say(f"port {port} is in the block of {held.inside}: {held}")
    return packet.destination, port


def _target(
    told: Explanation, dnat: Dnat, network: IPNetwork, packet: Packet
) -> tuple[IPAddress, int]:
    target = dnat.targets[0]
    others = f", or one of {len(dnat.targets) - 1} others by weight" if dnat.targets[1:] else ""
    inside = _moved(packet.destination, network, target.network)
    port = packet.destination_port
    if target.ports is not None:
        shift = port - dnat.ports.first if dnat.ports and target.ports.count > 1 else 0
        port = target.ports.first + shift
    told.say(
        f"{dnat.key_path} ({dnat.label}): destination becomes {_endpoint(inside, port)}{others}"
    )
    return inside, port


def _moved(address: IPAddress, here: IPNetwork, there: IPNetwork) -> IPAddress:
    """The address at the same place of another prefix; a host is all of its prefix."""
    if there.num_addresses == 1:
        return there.network_address
    return ip_address(int(there.network_address) + int(address) - int(here.network_address))


def _translate_source(
    told: Explanation,
    plan: Plan,
    nvi: Nvi,
    inside: Inside,
    preset: int | None,
) -> int | None:
    """The lane, where the destination (``preset``) or the choice of the source decides it."""
    packet, destination = inside.packet, inside.destination
    for static in nvi.statics:
        ports_fit = static.protocol is None or (
            static.protocol == packet.protocol and static.local_port == packet.source_port
        )
        if packet.source in static.local and ports_fit and static.tenant == told.tenant:
            outside = _moved(packet.source, static.local, static.global_)
            told.snat = f"static {static.label}"
            told.translated_source = _endpoint(outside, static.global_port or packet.source_port)
            told.say(f"{static.key_path} ({static.label}): source becomes {outside}")
            return preset
    for snat in nvi.snats:
        if snat.tenant == told.tenant and snat_takes(snat, inside.asked):
            told.snat = f"snat {snat.label}"
            return _snat(told, plan, nvi, snat, inside, preset)
    if told.dnat is not None and told.target_tenant == told.tenant:
        for each in _subnets(plan, packet):
            if destination in each.network:
                told.translated_source = str(each.ip)
                told.say(f"hairpin: back to {packet.interface}, so the source becomes {each.ip}")
                return preset
    told.say("no snat for the source: it stays")
    told.translated_source = _endpoint(packet.source, packet.source_port)
    return preset


def _subnets(plan: Plan, packet: Packet) -> Iterator[IPv4Interface | IPv6Interface]:
    interface = plan.machine.interface(packet.interface)
    for each in interface.addresses if interface is not None else ():
        if each.address.version == packet.family and each.usable and each.lasting:
            yield each.interface


def _snat(
    told: Explanation,
    plan: Plan,
    nvi: Nvi,
    snat: Snat,
    inside: Inside,
    preset: int | None,
) -> int | None:
    packet, lead = inside.packet, f"{snat.key_path} ({snat.label})"
    if isinstance(snat.to, NoTranslation):
        told.translated_source = _endpoint(packet.source, packet.source_port)
        told.say(f"{lead}: the source stays")
        return preset
    if isinstance(snat.to, Pools):
        _from_pool(told, snat, snat.to, packet, lead)
        return preset
    uplink = _uplink_for(plan, nvi, snat.to, inside, preset)
    if uplink is None or packet.family not in uplink.addresses:
        told.dropped = f"no uplink has an IPv{packet.family} address to be translated to"
    elif not uplink.leads_out(packet.family):
        told.dropped = f"uplink {uplink.name} is down: {uplink.reason}"
    if uplink is None or told.dropped is not None:
        told.say(f"{lead}: dropped: {told.dropped}")
        return preset
    told.translated_source = str(uplink.addresses[packet.family])
    told.say(f"{lead}: source becomes {told.translated_source}, of uplink {uplink.name}")
    return uplink.lane


def _from_pool(told: Explanation, snat: Snat, pools: Pools, packet: Packet, lead: str) -> None:
    if snat.port_block is not None:
        block = block_of(snat, packet.source)
        assert block is not None
        told.translated_source = str(block)
        told.say(f"{lead}: source becomes {block.outside}, ports {block.ports}")
        return
    parts = [part for part in pools.ranges if part.version == packet.family]
    told.translated_source = ",".join(str(part) for part in parts)
    several = len(parts) > 1 or parts[0].count > 1
    told.say(
        f"{lead}: source becomes "
        + ("one address, always the same for this host, of " if several else "")
        + told.translated_source
    )


def _uplink_for(
    plan: Plan, nvi: Nvi, to: UplinkAddress, inside: Inside, preset: int | None
) -> UplinkState | None:
    if to.name is not None:
        return plan.uplink(to.name)
    if preset is not None:
        return next(up for up in plan.uplinks if up.lane == preset)
    family = inside.packet.family
    for entry in nvi.routes:
        if not entry.sources and route_takes(entry, inside.asked, None):
            if not entry.via:
                break
            return picked(plan.uplinks, entry.via, family)
    return next(iter(best_there_is(able(plan.uplinks, family), family)), None)


def _preset(plan: Plan, nvi: Nvi, inside: Inside, ask: AskKernel) -> int | None:
    """The lane of the uplink that main, or the table of a route entry, has for the destination;
    None when they know nothing better than a default route, or lead elsewhere."""
    marks = plan.marks
    # In the order of the ruleset, where the later one has the last word.
    for entry in nvi.routes if has_presets(plan, nvi) else ():
        if not entry.sources and route_takes(entry, inside.asked, None):
            if entry.table is None:
                break
            return _uplink_behind(plan, inside, said_lane(plan, entry) or 0, ask)
    if not plan.uplinks or ask(*inside.question, marks.lane(marks.canary)).interface is not None:
        return None
    return _uplink_behind(plan, inside, marks.nobody, ask)


def _uplink_behind(plan: Plan, inside: Inside, lane: int, ask: AskKernel) -> int | None:
    interface = ask(*inside.question, plan.marks.lane(lane)).interface
    return next((up.lane for up in plan.uplinks if up.interface == interface), None)


def _second_lookup(
    told: Explanation, plan: Plan, nvi: Nvi, inside: Inside, preset: int | None
) -> int:
    """The lane for the translated packet: entries, the owner of the source, preference, main."""
    source = _one_address(told.translated_source)
    destination, family = inside.destination, inside.packet.family
    if any(destination in network for network in global_networks(nvi)):
        told.dropped = f"nothing translates {destination}, a global address of {nvi.name}"
        told.say(f"second lookup: refused: {told.dropped}")
        return plan.marks.refused
    entry = next((each for each in nvi.routes if route_takes(each, inside.asked, source)), None)
    said = None if entry is None else said_lane(plan, entry)
    if entry is not None and said is not None:
        told.route = entry.key_path
        what = entry.action or f"table {entry.table}"
        told.say(f"second lookup: {entry.key_path} says {what}")
        return said
    if preset is not None:
        name = next(up.name for up in plan.uplinks if up.lane == preset)
        told.say(f"second lookup: uplink {name}, decided already")
        return preset
    if entry is not None:
        lane = chosen(plan, entry, family)
        told.route = entry.key_path
        name = next(up.name for up in plan.uplinks if up.lane == lane)
        told.say(f"second lookup: {entry.key_path} says uplink {name}")
        return lane
    for up in plan.uplinks:
        if source in up.own_addresses and family in up.gateways:
            told.say(f"second lookup: the source is an address of uplink {up.name}")
            return up.lane
    came_by = next((up.name for up in plan.uplinks if up.interface == inside.packet.interface), "")
    if came_by and _keeps_source(told, inside.packet):
        told.say(
            f"second lookup: it came by uplink {came_by} and is not translated, so no uplink has "
            f"it, only what the main table knows better than by a default route"
        )
        return plan.marks.nobody
    best = preferred(plan.uplinks, family)
    if not best:
        told.say("second lookup: no healthy uplink, so the main table")
        return 0
    shared = f", shared with {len(best) - 1} others by weight" if best[1:] else ""
    told.say(f"second lookup: preferred uplink {best[0].name}{shared}")
    return best[0].lane


def _one_address(text: str | None) -> IPAddress | None:
    """The first address of what the source becomes."""
    if text is None:
        return None
    first = text.split(",")[0]
    if first.startswith("["):
        first = first[1:].split("]")[0]
    elif first.count(":") == 1:
        first = first.split(":")[0]
    return ip_address(first.split("/")[0].split("-")[0])


def _route(
    told: Explanation, ask: AskKernel, destination: IPAddress, source: IPAddress, mark: int
) -> None:
    answer = ask(destination, source, mark)
    told.interface, told.gateway = answer.interface, answer.gateway
    if answer.interface is None:
        told.dropped = f"{destination} is unreachable"
        told.say(f"the routing table says: {told.dropped}")
    else:
        via = f" via {answer.gateway}" if answer.gateway else ""
        told.say(f"the routing table says: out by {answer.interface}{via}")


def _replies(plan: Plan, interface: str) -> str:
    space = owner(plan.tenants, interface)
    if space is not None:
        return f"replies: translated back, to tenant {space.name} by its own routes"
    up = next((each for each in plan.uplinks if each.interface == interface), None)
    if up is None:
        return f"replies: translated back, by the main table to {interface}"
    return f"replies: translated back, by uplink {up.name}, where the flow came in"


def _endpoint(address: IPAddress, port: int) -> str:
    if not port:
        return str(address)
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
