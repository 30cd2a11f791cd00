"""The facts about the machine that the desired state depends on, read from the kernel."""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from nvid import names
from nvid.configuration.types import Configuration, Tenant, Uplink
from nvid.desired.marks import Marks
from nvid.desired.numbers import Numbers, nvi_table
from nvid.desired.objects import Route
from nvid.desired.routing import uplink_table
from nvid.desired.sysctls import DECIDING
from nvid.kernel import links, routes, rules, sysctls
from nvid.kernel.netlink import AF_FAMILY, dump
from nvid.machine import DefaultRoute, Interface, InterfaceAddress, Machine
from nvid.names import MAIN_ROUTING_TABLE, TABLE_LANES

IFF_UP = 0x1
IFF_LOWER_UP = 0x10000
IFA_F_TEMPORARY = 0x01
IFA_F_DADFAILED = 0x08
IFA_F_DEPRECATED = 0x20
IFA_F_TENTATIVE = 0x40
IFA_F_OPTIMISTIC = 0x04
RTNH_F_DEAD = 0x01
RTN_UNICAST = 1
RTA_PREF = {1: 1, 3: -1}
"""Router preference in two bits (RFC 4191 section 2.1) as a number to compare by."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The machine, and its interface names by index (nvid's own pairs in ``own``)."""

    machine: Machine
    interfaces: Mapping[int, str]
    own: Mapping[int, str]

    @property
    def indexes(self) -> dict[str, int]:
        """Interface indexes by name."""
        return {name: index for index, name in self.interfaces.items()}


def look(
    ipr: IPRoute, sysctl_originals: Mapping[str, str], followed: Collection[str] = ()
) -> Facts:
    """Every interface with its addresses, and the sysctls that decide others; and the default
    routes that others put on the ``followed`` interfaces."""
    addresses: dict[int, list[InterfaceAddress]] = {}
    for message in dump(ipr, "addr"):
        addresses.setdefault(message["index"], []).append(_address(message))
    found = [
        _interface(message, tuple(addresses.get(message["index"], ())))
        for message in dump(ipr, "link")
    ]
    present = {path: value for path in DECIDING if (value := sysctls.read(path)) is not None}
    by_index = {each.index: each.name for each in found}
    followed_indexes = {index: name for index, name in by_index.items() if name in followed}
    return Facts(
        Machine(
            tuple(found),
            ipv6=Path("/proc/sys/net/ipv6").exists(),
            sysctls=present,
            sysctl_originals=dict(sysctl_originals),
            default_routes=tuple(sorted(_default_routes(ipr, followed_indexes), key=str)),
        ),
        by_index,
        {each.index: each.name for each in found if each.ours},
    )


def _interface(message: Any, addresses: tuple[InterfaceAddress, ...]) -> Interface:
    return Interface(
        name=message.get("ifname"),
        index=message["index"],
        up=bool(message["flags"] & IFF_UP),
        carrier=bool(message["flags"] & IFF_LOWER_UP),
        ours=links.whose(message) is not None,
        addresses=addresses,
        vrf_table=_vrf_table(message),
    )


def _vrf_table(message: Any) -> int | None:
    """IFLA_VRF_TABLE of a VRF device (if_link.h)."""
    info = message.get("linkinfo")
    if info is None or info.get("kind") != "vrf":
        return None
    table: int | None = info.get("data").get("vrf_table")
    return table


def _address(message: Any) -> InterfaceAddress:
    # Flags beyond eight bits are in an attribute (if_addr.h).
    flags = message.get("flags") if message.get("flags") is not None else message["flags"]
    # IFA_LOCAL is this end of a point-to-point link; IFA_ADDRESS is then the other end.
    text = message.get("local") or message.get("address")
    address = ip_interface(f"{text}/{message['prefixlen']}")
    ipv6 = message["family"] == socket.AF_INET6
    tentative = flags & IFA_F_TENTATIVE and not flags & IFA_F_OPTIMISTIC
    # In IPv4 the first flag says "secondary", which is nothing against an address.
    fading = flags & IFA_F_DEPRECATED or (ipv6 and flags & IFA_F_TEMPORARY)
    return InterfaceAddress(
        address,
        usable=not (tentative or flags & IFA_F_DADFAILED),
        lasting=not (fading or address.ip.is_link_local or address.ip.is_loopback),
    )


def _default_routes(ipr: IPRoute, interfaces: Mapping[int, str]) -> Iterator[DefaultRoute]:
    """The default routes on these interfaces, by the protocols of those who configure machines:
    a table of a million BGP routes costs nothing."""
    if not interfaces:
        return
    for family, number in AF_FAMILY.items():
        for protocol in sorted(routes.OF_ADDRESS_MANAGERS):
            for message in dump(ipr, "route", family=number, proto=protocol):
                if routes.is_default_of(message, protocol):
                    yield from _hops(message, family, interfaces)


def _hops(message: Any, family: int, interfaces: Mapping[int, str]) -> Iterator[DefaultRoute]:
    """One for each next hop of a route. IPv6 shows equal routes one by one or as hops."""
    expires = message.get("cacheinfo") or {}
    if message["type"] != RTN_UNICAST or expires.get("rta_expires", 0) < 0:
        return
    source = message.get("prefsrc")
    for hop in message.get("multipath") or (message,):
        index = hop.get("oif") if hop is message else hop["oif"]
        if index not in interfaces or hop["flags"] & RTNH_F_DEAD or hop.get("via") is not None:
            continue
        gateway = hop.get("gateway")
        yield DefaultRoute(
            interfaces[index],
            family,
            gateway=ip_address(gateway) if gateway else None,
            source=ip_address(source) if source else None,
            in_main=(message.get("table") or message["table"]) == MAIN_ROUTING_TABLE,
            metric=message.get("priority") or 0,
            preference=RTA_PREF.get(message.get("pref") or 0, 0),
        )


def numbers_in_kernel(ipr: IPRoute, configuration: Configuration, facts: Facts) -> Numbers:
    """Lane and NVI numbers as nvid's own rules and routes still show them: what is left when the
    state file is lost. An uplink is known by its interface and gateway, one that follows default
    routes by its interface, a tenant by the interface of one of its routes, or by its VRF."""
    daemon = configuration.daemon
    marks = Marks(daemon.fwmark_mask)
    tables: dict[int, list[Route]] = {}
    for route in routes.observe(ipr, daemon.protocol, facts.interfaces):
        tables.setdefault(route.table, []).append(route)
    devices_of = {
        table: {each.device for each in found if each.device is not None}
        for table, found in tables.items()
    }
    uplinks: dict[str, int] = {}
    nvis: dict[str, int] = {}
    named: dict[int, int] = {}
    lanes = {marks.table(number): number for number in range(1, TABLE_LANES + 1)}
    tenants: dict[str, int] = {}
    for rule in rules.observe(ipr, daemon.protocol):
        if rule.fwmark is None or rule.table is None:
            continue
        lane, number = marks.lane_of(rule.fwmark), marks.nvi_of(rule.fwmark)
        tenant = next(
            (
                each.name
                for each in configuration.tenants
                if lane is not None
                and lane >= names.FIRST_TENANT_LANE
                and _is_table_of(each, rule.table, devices_of.get(rule.table, set()), facts.machine)
            ),
            None,
        )
        if tenant is not None and lane is not None:
            tenants[tenant] = lane
        elif lane in lanes and rule.table not in daemon.tables:
            named[rule.table] = lanes[lane]
        for route in tables.get(rule.table, ()):
            if lane and rule.table == uplink_table(daemon, lane):
                for uplink in configuration.uplinks:
                    if uplink.interface != route.device:
                        continue
                    if route.gateway in uplink.gateways or (
                        uplink.gateway_auto and not _is_of_another(uplink, route, configuration)
                    ):
                        uplinks[uplink.name] = lane
            elif number and rule.table == nvi_table(daemon, number) and route.device:
                nvis[route.device] = number
    # Over lo they all look alike; one alone is known.
    alike = [nvi.name for nvi in configuration.nvis if nvi.is_loopback]
    if (number := nvis.pop(names.LOOPBACK, None)) and len(alike) == 1:
        nvis[alike[0]] = number
    return Numbers(uplinks, nvis, named, tenants)


def _is_table_of(tenant: Tenant, table: int, devices: set[str], machine: Machine) -> bool:
    if tenant.vrf is not None:
        vrf = machine.interface(tenant.vrf)
        return vrf is not None and vrf.vrf_table == table
    return any(each.matches(name) for each in tenant.interfaces for name in devices)


def _is_of_another(uplink: Uplink, route: Route, configuration: Configuration) -> bool:
    """Whether another uplink on the same interface has this gateway by name."""
    return any(
        each.interface == uplink.interface and route.gateway in each.gateways
        for each in configuration.uplinks
    )
