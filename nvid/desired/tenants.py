"""The tenants as they are at the moment, their routing tables, and the rules that lead there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

from nvid.configuration.types import Configuration, Daemon, InterfacePattern, Tenant, TenantRoute
from nvid.configuration.values import IPNetwork
from nvid.desired.marks import Marks
from nvid.desired.numbers import Numbers, apart_table, tenant_table
from nvid.desired.objects import Family, Route, Rule
from nvid.machine import Interface, Machine
from nvid.names import LANES_IN_GROUP, RuleOffset


@dataclass(frozen=True, slots=True)
class TenantState:
    """One tenant now. ``patterns`` are what the configuration says, ``interfaces`` those that
    exist, each with the VRF if there is one. ``lane`` is also the conntrack zone of the tenant's
    addresses.

    ``table`` is a routing table of nvid's own, or that of the tenant's VRF, which nvid only reads:
    None while there is no such VRF. ``reason`` says in words why the tenant is not up.
    """

    name: str
    lane: int
    patterns: tuple[InterfacePattern, ...]
    interfaces: tuple[Interface, ...]
    routes: tuple[TenantRoute, ...]
    table: int | None
    vrf: str | None = None
    reason: str = ""

    @property
    def up(self) -> bool:
        """Whether packets can reach the tenant."""
        return not self.reason

    @property
    def members(self) -> tuple[Interface, ...]:
        """The interfaces but the VRF itself."""
        return tuple(each for each in self.interfaces if each.name != self.vrf)

    def addresses(self, family: Family) -> Iterator[tuple[str, IPv4Interface | IPv6Interface]]:
        """The router's own addresses in the tenant, with the interface of each."""
        for interface in self.interfaces:
            for each in interface.addresses:
                if each.address.version == family and each.usable and each.lasting:
                    yield interface.name, each.interface

    def networks(self, family: Family) -> tuple[IPNetwork, ...]:
        """What is known to lie inside: the connected networks and the configured routes."""
        connected = (each.network for _, each in self.addresses(family))
        routed = (each.to for each in self.routes if each.to.version == family)
        return tuple(dict.fromkeys((*connected, *routed)))


def tenant_states(
    configuration: Configuration, machine: Machine, numbers: Numbers
) -> tuple[TenantState, ...]:
    """The state of every tenant, in file order."""
    return tuple(
        _state(configuration.daemon, tenant, machine, numbers.tenants[tenant.name])
        for tenant in configuration.tenants
    )


def _state(daemon: Daemon, tenant: Tenant, machine: Machine, lane: int) -> TenantState:
    # Behind the hook that sees the packet first, a VRF takes the place of its interfaces.
    devices = () if tenant.vrf is None else (InterfacePattern(tenant.vrf),)
    patterns = (*tenant.interfaces, *devices)
    interfaces = machine.enabled(patterns)
    table: int | None = tenant_table(daemon, lane)
    members_up = any(each.up for each in interfaces if each.name != tenant.vrf)
    reason = "" if members_up else "none of its interfaces is up"
    if tenant.vrf is not None:
        vrf = machine.interface(tenant.vrf)
        table = None if vrf is None else vrf.vrf_table
        if table is None:
            reason = f"there is no VRF {tenant.vrf}"
        elif vrf is not None and not vrf.up:
            reason = f"VRF {tenant.vrf} is down"
    return TenantState(
        tenant.name,
        lane,
        patterns,
        interfaces,
        tenant.routes,
        table,
        tenant.vrf,
        reason,
    )


def tenant_rules(
    daemon: Daemon, tenants: tuple[TenantState, ...], families: Iterable[Family]
) -> Iterator[Rule]:
    """From a lane to its table, by a tree of two levels: which group of lanes, which lane.

    All of it but the way there lies behind the rules that other packets meet. A lane without a
    table is unreachable: it never falls through to another way out.
    """
    if not tenants:
        return
    marks, base = Marks(daemon.fwmark_mask), daemon.rule_priority
    group_mask = marks.mask & ~(marks.lane(LANES_IN_GROUP - 1) & ~marks.state_mask)
    groups = sorted({each.lane // LANES_IN_GROUP for each in tenants})
    for family in families:
        yield Rule(
            family,
            base + RuleOffset.TENANTS,
            fwmark=marks.in_lane,
            fwmask=marks.state_mask,
            action="goto",
            target=base + RuleOffset.TENANT_GROUPS,
        )
        for group in groups:
            yield Rule(
                family,
                base + RuleOffset.TENANT_GROUPS,
                fwmark=marks.lane(group * LANES_IN_GROUP),
                fwmask=group_mask,
                action="goto",
                target=base + RuleOffset.TENANT_LANES + group,
            )
        for tenant in tenants:
            if tenant.table is not None:
                yield Rule(
                    family,
                    base + RuleOffset.TENANT_LANES + tenant.lane // LANES_IN_GROUP,
                    fwmark=marks.lane(tenant.lane),
                    fwmask=marks.mask,
                    table=tenant.table,
                )
        yield Rule(
            family,
            base + RuleOffset.TENANT_LOST,
            fwmark=marks.in_lane,
            fwmask=marks.state_mask,
            action="unreachable",
        )


def apart_rules(daemon: Daemon, routes: Iterable[Route], family: Family) -> Iterator[Rule]:
    """The way to main's own networks that ``apart_routes`` holds: for all but tenants' lanes."""
    table = apart_table(daemon)
    if not any(each.destination.version == family for each in routes):
        return
    marks, base = Marks(daemon.fwmark_mask), daemon.rule_priority
    for offset, mark, mask in (
        *((RuleOffset.LANE_APART, mark, mask) for mark, mask in marks.outside_tenants),
        (RuleOffset.PASS_APART, marks.passed, marks.state_mask),
    ):
        yield Rule(family, base + offset, fwmark=mark, fwmask=mask, table=table)
    yield Rule(family, base + RuleOffset.OTHERS_APART, table=table)


def apart_routes(
    daemon: Daemon, tenants: Iterable[TenantState], machine: Machine, family: Family, metric: int
) -> Iterator[Route]:
    """Connected networks of interfaces of no tenant that overlap a tenant's. Main holds both, and
    which of two it takes is chance (IPv6 even changes its mind)."""
    tenants = tuple(tenants)
    inside = {each.name for tenant in tenants for each in tenant.interfaces}
    theirs = {each.network for tenant in tenants for _, each in tenant.addresses(family)}
    for interface in machine.interfaces:
        if interface.ours or interface.name in inside or not interface.up:
            continue
        for each in interface.addresses:
            network = each.interface.network
            if (
                each.address.version == family
                and each.usable
                and network.num_addresses > 1
                and any(network.overlaps(one) for one in theirs)
            ):
                yield Route(
                    apart_table(daemon),
                    network,
                    device=interface.name,
                    source=each.address,
                    metric=metric,
                )


def tenant_routes(
    tenant: TenantState, family: Family, last: Route | None, metric: int
) -> Iterator[Route]:
    """The table of a tenant: its connected networks, then the configured routes, whose next hops
    lie in those, then ``last`` if there is one. A VRF's table is not nvid's to fill."""
    table = tenant.table
    if table is None or tenant.vrf is not None:
        return
    for name, each in tenant.addresses(family):
        if each.network.num_addresses > 1 and _is_up(tenant, name):
            yield Route(table, each.network, device=name, source=each.ip, metric=metric)
    for route in tenant.routes:
        if route.to.version == family:
            yield from _configured(tenant, table, route, family, metric)
    if last is not None:
        yield last


def _is_up(tenant: TenantState, name: str) -> bool:
    return any(each.name == name and each.up for each in tenant.interfaces)


def _configured(
    tenant: TenantState, table: int, route: TenantRoute, family: Family, metric: int
) -> Iterator[Route]:
    """A configured route, while its interface is there and up."""
    near = next(
        (
            name
            for name, each in tenant.addresses(family)
            if route.via is not None and route.via in each.network
        ),
        None,
    )
    device = route.dev or near
    if device is not None and _is_up(tenant, device):
        # IPv4 looks for a next hop in main, unless it is "onlink"; IPv6 looks in this table, but
        # in main when it is: where another tenant may have it.
        onlink = route.via is not None and (family == 4 or device != near)
        yield Route(table, route.to, device=device, gateway=route.via, metric=metric, onlink=onlink)


def owner(tenants: Iterable[TenantState], interface: str) -> TenantState | None:
    """The tenant that an interface belongs to; its name may be one that does not exist."""
    return next(
        (each for each in tenants if any(one.matches(interface) for one in each.patterns)), None
    )


def tenant_patterns(tenants: Iterable[TenantState]) -> tuple[InterfacePattern, ...]:
    """What the configuration says of the interfaces of all tenants."""
    return tuple(pattern for tenant in tenants for pattern in tenant.patterns)
