"""The kernel state that a configuration asks for, on this machine, at this moment.

``desired_state`` is a pure function: no root, no netlink, the same answer for the same question.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from nvid import names
from nvid.configuration.types import Configuration, Nvi
from nvid.configuration.values import IPNetwork
from nvid.desired import links, routing
from nvid.desired.numbers import Numbers
from nvid.desired.objects import Address, Neighbour, Nexthop, Pair, Redirect, Route, Rule, Sysctl
from nvid.desired.pools import Proxied, proxied_addresses
from nvid.desired.ruleset import Plan, Ruleset, ruleset
from nvid.desired.sysctls import sysctls
from nvid.desired.tenants import TenantState, tenant_states
from nvid.desired.uplinks import UplinkState, uplink_states
from nvid.machine import Machine

__all__ = ["Desired", "desired_state", "nothing"]


@dataclass(frozen=True, slots=True)
class Desired:
    """The wanted objects of every kind, and what could not be wanted, in words.

    ``ruleset`` is None when there is to be no table at all. ``problems`` are by NVI name;
    ``crossable`` are the NVIs whose pair, or lo, nvid can have.
    """

    pairs: tuple[Pair, ...] = ()
    addresses: tuple[Address, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()
    nexthops: tuple[Nexthop, ...] = ()
    redirects: tuple[Redirect, ...] = ()
    sysctls: tuple[Sysctl, ...] = ()
    ruleset: Ruleset | None = None
    uplinks: tuple[UplinkState, ...] = ()
    tenants: tuple[TenantState, ...] = ()
    problems: dict[str, tuple[str, ...]] = field(default_factory=dict)
    crossable: frozenset[str] = frozenset()


def nothing() -> Desired:
    """What ``nvid down`` wants: no object of any kind."""
    return Desired()


def desired_state(configuration: Configuration, machine: Machine, numbers: Numbers) -> Desired:
    """Everything that nvid wants to be in the kernel.

    An NVI that cannot be crossed (a foreign link has its pair's name; lo is down) keeps its chains
    and guards, so that its traffic fails closed, but no object that would touch that link.
    """
    daemon = configuration.daemon
    uplinks = uplink_states(configuration, machine, numbers)
    tenants = tenant_states(configuration, machine, numbers)
    owned = tuple(nvi for nvi in configuration.nvis if not obstacles(nvi, machine))
    with_pair = tuple(nvi for nvi in owned if not nvi.is_loopback)
    gateways = [
        gateway for uplink in uplinks for gateway in uplink.gateways.values() if gateway is not None
    ]
    proxied = {
        nvi.name: tuple(proxied_addresses(nvi, machine, gateways)) if "arp" in nvi.reach else ()
        for nvi in owned
    }
    all_proxied = [each for group in proxied.values() for each in group]
    return Desired(
        pairs=tuple(links.pairs(with_pair, numbers)),
        addresses=tuple(links.pair_addresses(with_pair, numbers)),
        neighbours=(
            *links.pair_neighbours(with_pair, numbers, machine),
            *dict.fromkeys(links.proxy_neighbours(all_proxied, machine)),
        ),
        routes=tuple(
            dict.fromkeys(routing.routes(daemon, owned, uplinks, tenants, numbers, machine))
        ),
        rules=tuple(
            routing.rules(
                daemon,
                configuration.nvis,
                uplinks,
                tenants,
                numbers,
                machine,
                [nvi.name for nvi in owned],
            )
        ),
        nexthops=tuple(routing.nexthops(owned, machine)),
        redirects=tuple(routing.redirects(daemon, owned)),
        sysctls=_once(sysctls(configuration, owned, uplinks, tenants, all_proxied, machine)),
        ruleset=ruleset(Plan(daemon, configuration.nvis, uplinks, numbers, machine, tenants)),
        uplinks=uplinks,
        tenants=tenants,
        problems={
            nvi.name: (*obstacles(nvi, machine), *_too_large(proxied.get(nvi.name, ())))
            for nvi in configuration.nvis
        },
        crossable=frozenset(nvi.name for nvi in owned),
    )


def obstacles(nvi: Nvi, machine: Machine) -> tuple[str, ...]:
    """What keeps an NVI from being crossed, in words: links that have the name of one of its ends
    and are not nvid's, or a loopback interface that is down."""
    if nvi.is_loopback:
        loopback = machine.interface(names.LOOPBACK)
        if loopback is None or loopback.up:
            return ()
        return (f"{loopback.name} is down: bring it up with 'ip link set {loopback.name} up'",)
    return tuple(
        f"a link {name} exists that is not nvid's: rename or remove it, or rename the NVI"
        for name in (nvi.name, nvi.peer)
        if (link := machine.interface(name)) is not None and not link.ours
    )


def _too_large(proxied: Iterable[Proxied]) -> tuple[str, ...]:
    return tuple(_too_large_text(each.interface, net) for each in proxied for net in each.too_large)


def _too_large_text(interface: str, network: IPNetwork) -> str:
    return (
        f"{network} on {interface} is too large to answer ARP for each address: route it to this "
        f'router and set reach = ["route"]'
    )


def _once(wanted: Iterable[Sysctl]) -> tuple[Sysctl, ...]:
    """One entry for each key; the first one counts."""
    found: dict[str, Sysctl] = {}
    for each in wanted:
        found.setdefault(each.path, each)
    return tuple(found.values())
