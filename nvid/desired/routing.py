"""Routes and rules: the first lookup into the pair, the second lookup into a lane, the guards."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network

from nvid import names
from nvid.configuration.types import Daemon, Nvi
from nvid.configuration.values import IPAddress, IPNetwork
from nvid.desired.closed import closed_interfaces
from nvid.desired.marks import Marks
from nvid.desired.numbers import Numbers, nvi_table
from nvid.desired.objects import Family, Nexthop, Redirect, Route, Rule
from nvid.desired.pools import routed_networks, router_addresses
from nvid.desired.reverse import reverse_rules
from nvid.desired.tenants import (
    TenantState,
    apart_routes,
    apart_rules,
    tenant_routes,
    tenant_rules,
)
from nvid.desired.uplinks import FAMILIES, UplinkState, best_there_is
from nvid.machine import Machine
from nvid.names import RuleOffset, TableOffset

LAST_METRIC = 4278198272
"""Metric of the routes that end a table of nvid's: the largest one by iproute2's convention, so
that any other route in the table wins."""

_ALL: dict[Family, IPNetwork] = {4: IPv4Network("0.0.0.0/0"), 6: IPv6Network("::/0")}


def families(machine: Machine) -> tuple[Family, ...]:
    """The families that this kernel has."""
    return FAMILIES if machine.ipv6 else (4,)


def uplink_table(daemon: Daemon, lane: int) -> int:
    """The routing table of an uplink's lane."""
    return daemon.tables.first + TableOffset.UPLINKS + lane


def pools_table(daemon: Daemon) -> int:
    """The routing table of all pools."""
    return daemon.tables.first + TableOffset.POOLS


def rules(
    daemon: Daemon,
    nvis: Iterable[Nvi],
    uplinks: Iterable[UplinkState],
    tenants: tuple[TenantState, ...],
    numbers: Numbers,
    machine: Machine,
    owned: Collection[str],
) -> Iterator[Rule]:
    """All rules, in the order of their priorities; see ``names.RuleOffset`` for the story.
    ``owned`` names the NVIs that can be crossed."""
    nvis, uplinks = tuple(nvis), tuple(uplinks)
    for family in families(machine):
        yield from _route_entry_rules(daemon, nvis, numbers, family)
        yield from _lane_rules(daemon, uplinks, numbers, family)
        yield from _guard_rules(daemon, nvis, tenants, numbers, machine, family)
        yield from _own_source_rules(daemon, uplinks, family)
        yield from _last_resort(daemon, uplinks, family)
        apart = apart_routes(daemon, tenants, machine, family, _metric(family))
        yield from apart_rules(daemon, apart, family)
    yield from tenant_rules(daemon, tenants, families(machine))
    crossable = (nvi for nvi in nvis if nvi.name in owned)
    yield from reverse_rules(daemon, crossable, numbers, tenants=bool(tenants))


def _route_entry_rules(
    daemon: Daemon, nvis: Iterable[Nvi], numbers: Numbers, family: Family
) -> Iterator[Rule]:
    """Entries that name a table or an action decide even where main knows the destination
    precisely: their rules come before the one that looks there."""
    marks, base = Marks(daemon.fwmark_mask), daemon.rule_priority
    actions = {entry.action for nvi in nvis for entry in nvi.routes}
    for action in ("prohibit", "blackhole"):
        if action in actions:
            yield Rule(
                family,
                base + RuleOffset.LANE_ACTIONS,
                fwmark=marks.lane(marks.action(action)),
                fwmask=marks.mask,
                action=action,
            )
    for table, number in numbers.tables.items():
        yield Rule(
            family,
            base + RuleOffset.LANE_TABLES,
            fwmark=marks.lane(marks.table(number)),
            fwmask=marks.mask,
            table=table,
        )


def _lane_rules(
    daemon: Daemon, uplinks: tuple[UplinkState, ...], numbers: Numbers, family: Family
) -> Iterator[Rule]:
    marks, base = Marks(daemon.fwmark_mask), daemon.rule_priority
    yield Rule(
        family,
        base + RuleOffset.LANE_CANARY,
        fwmark=marks.lane(marks.canary),
        fwmask=marks.mask,
        action="unreachable",
    )
    yield Rule(
        family,
        base + RuleOffset.LANE_REFUSED,
        fwmark=marks.lane(marks.refused),
        fwmask=marks.mask,
        table=pools_table(daemon),
    )
    # Not in the lanes of tenants: main holds the connected networks of all of them.
    tables = ((marks.lane(marks.table(each)), marks.mask) for each in numbers.tables.values())
    for mark, mask in (*marks.outside_tenants, *tables):
        yield Rule(
            family,
            base + RuleOffset.LANE_CONNECTED,
            fwmark=mark,
            fwmask=mask,
            table=names.MAIN_ROUTING_TABLE,
            suppress_prefix_length=0,
        )
    yield Rule(
        family,
        base + RuleOffset.LANE_MAIN,
        fwmark=marks.lane(0),
        fwmask=marks.mask,
        table=names.MAIN_ROUTING_TABLE,
    )
    for uplink in uplinks:
        yield Rule(
            family,
            base + RuleOffset.LANES + uplink.lane,
            fwmark=marks.lane(uplink.lane),
            fwmask=marks.mask,
            table=uplink_table(daemon, uplink.lane),
        )
    yield Rule(
        family,
        base + RuleOffset.LANE_LOST,
        fwmark=marks.in_lane,
        fwmask=marks.state_mask,
        action="unreachable",
    )


def _guard_rules(
    daemon: Daemon,
    nvis: tuple[Nvi, ...],
    tenants: tuple[TenantState, ...],
    numbers: Numbers,
    machine: Machine,
    family: Family,
) -> Iterator[Rule]:
    marks, base = Marks(daemon.fwmark_mask), daemon.rule_priority
    for nvi in nvis:
        number = numbers.nvis[nvi.name]
        yield Rule(
            family,
            base + RuleOffset.ENTER,
            fwmark=marks.enter(number),
            fwmask=marks.mask,
            table=nvi_table(daemon, number),
        )
    yield Rule(
        family,
        base + RuleOffset.PASS,
        fwmark=marks.passed,
        fwmask=marks.state_mask,
        table=names.MAIN_ROUTING_TABLE,
    )
    for nvi in nvis:
        # What comes out of lo without a mark is the machine's own.
        if not nvi.is_loopback:
            yield _blackhole(daemon, family, RuleOffset.PEER_UNMARKED, nvi.peer)
    yield Rule(family, base + RuleOffset.POOLS, table=pools_table(daemon))
    for name in closed_interfaces(nvis, tenants, machine):
        yield _blackhole(daemon, family, RuleOffset.GUARD, name)


def _last_resort(
    daemon: Daemon, uplinks: tuple[UplinkState, ...], family: Family
) -> Iterator[Rule]:
    """What the machine itself sends, and no table has a route for: the preferred uplink, or the
    best there is: loose rp_filter lets answers to checks in only where there is a route."""
    for uplink in best_there_is(uplinks, family)[:1]:
        for offset, table in (
            (RuleOffset.LAST_MAIN, names.MAIN_ROUTING_TABLE),
            (RuleOffset.LAST_RESORT, uplink_table(daemon, uplink.lane)),
        ):
            yield Rule(family, daemon.rule_priority + offset, input_interface="lo", table=table)


def _own_source_rules(
    daemon: Daemon, uplinks: tuple[UplinkState, ...], family: Family
) -> Iterator[Rule]:
    """What the machine itself sends from an uplink's own address leaves by that uplink: another
    provider would drop it. Needs no mark, so it holds while the table is gone."""
    base, seen = daemon.rule_priority, set()
    for uplink in uplinks:
        for address in uplink.own_addresses:
            if family not in uplink.gateways or address.version != family or address in seen:
                continue
            if address.is_link_local:
                continue
            seen.add(address)
            yield Rule(
                family,
                base + RuleOffset.OWN_CONNECTED,
                input_interface="lo",
                source=address,
                table=names.MAIN_ROUTING_TABLE,
                suppress_prefix_length=0,
            )
            yield Rule(
                family,
                base + RuleOffset.OWN_SOURCE,
                input_interface="lo",
                source=address,
                table=uplink_table(daemon, uplink.lane),
            )
            yield Rule(
                family,
                base + RuleOffset.OWN_LOST,
                input_interface="lo",
                source=address,
                action="unreachable",
            )


def _blackhole(daemon: Daemon, family: Family, offset: int, interface: str) -> Rule:
    """What the table has not seen must not be routed: fail closed when the table is gone."""
    return Rule(
        family,
        daemon.rule_priority + offset,
        fwmark=0,
        fwmask=Marks(daemon.fwmark_mask).state_mask,
        input_interface=interface,
        action="blackhole",
    )


def routes(
    daemon: Daemon,
    nvis: Iterable[Nvi],
    uplinks: Iterable[UplinkState],
    tenants: tuple[TenantState, ...],
    numbers: Numbers,
    machine: Machine,
) -> Iterator[Route]:
    """All routes. ``nvis`` are those whose pair is nvid's: nothing points to a foreign link."""
    inside = {interface.name for tenant in tenants for interface in tenant.interfaces}
    for family in families(machine):
        for uplink in uplinks:
            yield from _uplink_routes(daemon, uplink, family, machine, inside)
        for tenant in tenants:
            if tenant.table is not None:
                # Over IPv4 the rules behind the table have the last word, see reverse_rules.
                last = _last_route(tenant.table, family) if family == 6 else None
                yield from tenant_routes(tenant, family, last, _metric(family))
        yield from apart_routes(daemon, tenants, machine, family, _metric(family))
        for nvi in nvis:
            yield from _nvi_routes(daemon, nvi, numbers.nvis[nvi.name], family)
    for nvi in nvis:
        yield from _pool_routes(daemon, nvi, uplinks, machine)


def _last_route(table: int, family: Family) -> Route:
    return Route(table, _ALL[family], kind="unreachable", metric=LAST_METRIC)


def _uplink_routes(
    daemon: Daemon,
    uplink: UplinkState,
    family: Family,
    machine: Machine,
    inside: Collection[str],
) -> Iterator[Route]:
    table = uplink_table(daemon, uplink.lane)
    # Without a carrier the kernel would keep the route, and packets would vanish in silence. With
    # a failing check it stays: for the checks themselves, and for flows that have no other way.
    if uplink.leads_out(family):
        yield _default(table, family, uplink.interface, uplink.gateways[family])
    # The rules before find these in main. Without those rules, they are not behind the uplink.
    for network in connected_networks(machine, family, inside):
        yield Route(table, network, kind="unreachable", metric=_metric(family))
    yield _last_route(table, family)


def connected_networks(
    machine: Machine, family: Family, inside: Collection[str]
) -> tuple[IPNetwork, ...]:
    """The subnets of the machine's interfaces, without link-local ones, nvid's pairs, and those
    ``inside`` tenants, which are nobody else's business."""
    return tuple(
        dict.fromkeys(
            each.interface.network
            for interface in machine.interfaces
            if not interface.ours and interface.name != "lo" and interface.name not in inside
            for each in interface.addresses
            if each.address.version == family
            and not each.address.is_link_local
            and each.interface.network.num_addresses > 1
        )
    )


def _nvi_routes(daemon: Daemon, nvi: Nvi, number: int, family: Family) -> Iterator[Route]:
    table = nvi_table(daemon, number)
    if nvi.is_loopback:
        yield replace(_over_loopback(family), table=table, destination=_ALL[family])
    else:
        gateway: IPAddress = (
            names.pair_gateway_ipv4(number) if family == 4 else names.PAIR_GATEWAY_IPV6
        )
        yield _default(table, family, nvi.name, gateway)
    if nvi.on_failure == "closed":
        yield _last_route(table, family)


def _over_loopback(family: Family) -> Route:
    """A route into lo, where there is nobody to be a gateway."""
    return Route(
        names.MAIN_ROUTING_TABLE,
        _ALL[family],
        device=names.LOOPBACK,
        metric=_metric(family),
        nexthop=None if family == 4 else names.LOOPBACK_NEXTHOP,
    )


def nexthops(nvis: Iterable[Nvi], machine: Machine) -> Iterator[Nexthop]:
    """The object that IPv6 routes over lo go through, where there are such routes."""
    if machine.ipv6 and any(nvi.is_loopback for nvi in nvis):
        yield Nexthop(names.LOOPBACK_NEXTHOP, names.LOOPBACK)


def redirects(daemon: Daemon, nvis: Iterable[Nvi]) -> Iterator[Redirect]:
    """What makes a crossing of lo: packets whose lane is chosen lose their route there."""
    marks = Marks(daemon.fwmark_mask)
    if any(nvi.is_loopback for nvi in nvis):
        yield Redirect(names.LOOPBACK, marks.in_lane, marks.state_mask)


def _default(table: int, family: Family, device: str, gateway: IPAddress | None) -> Route:
    # IPv6 has no metric 0: the kernel writes 1024 in its place (net/ipv6/route.c).
    return Route(
        table,
        _ALL[family],
        device=device,
        gateway=gateway,
        metric=_metric(family),
        # The kernel refuses it where there is no gateway (net/ipv4/fib_semantics.c).
        onlink=gateway is not None,
    )


def _metric(family: int) -> int:
    return 0 if family == 4 else 1024


def _pool_routes(
    daemon: Daemon, nvi: Nvi, uplinks: Iterable[UplinkState], machine: Machine
) -> Iterator[Route]:
    sources = router_addresses(nvi, [each.interface for each in uplinks], machine)
    for network in routed_networks(nvi, machine):
        if network.version == 6 and not machine.ipv6:
            continue
        family: Family = 4 if network.version == 4 else 6
        into_nvi = (
            _over_loopback(family)
            if nvi.is_loopback
            else Route(names.MAIN_ROUTING_TABLE, network, device=nvi.name, metric=_metric(family))
        )
        into_nvi = replace(into_nvi, destination=network, source=sources.get(family))
        yield replace(into_nvi, table=pools_table(daemon))
        if "route" in nvi.reach:
            yield into_nvi
