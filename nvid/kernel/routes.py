"""Routes with nvid's protocol number, in nvid's tables and in main."""

from __future__ import annotations

import socket
from collections.abc import Hashable, Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from nvid.configuration.values import IPAddress, IPNetwork, TableRange
from nvid.desired.objects import Route, RouteType
from nvid.difference import Change
from nvid.kernel.netlink import AF_FAMILY, dump, refusing

RTN: dict[RouteType, int] = {
    "unicast": 1,
    "blackhole": 6,
    "unreachable": 7,
    "prohibit": 8,
    "throw": 9,
}
_KIND = {number: kind for kind, number in RTN.items()}
RTNH_F_ONLINK = 4
OF_ADDRESS_MANAGERS = frozenset({3, 4, 9, 16})
"""Protocols (rtnetlink.h, and iproute2's rt_protos) of the routes that configure a machine: boot,
which DHCP clients and pppd write as well, static, router advertisements, DHCP."""
RT_SCOPE_NOWHERE = 255
_ANY = {socket.AF_INET: "0.0.0.0/0", socket.AF_INET6: "::/0"}


def observe(ipr: IPRoute, protocol: int, interfaces: Mapping[int, str]) -> tuple[Route, ...]:
    """Every route with nvid's protocol number. The kernel filters by it (Linux 4.20), so the
    cost does not grow with other routes."""
    return tuple(
        _route(message, interfaces)
        for family in (socket.AF_INET, socket.AF_INET6)
        for message in _dump_by(ipr, family, proto=protocol)
        if message["proto"] == protocol
    )


def foreign(
    ipr: IPRoute, protocol: int, tables: TableRange, wanted: Iterable[Route]
) -> dict[Hashable, str]:
    """Routes of others where nvid wants its own, in words by key: in its tables, or for the same
    destination and metric elsewhere."""
    wanted = tuple(wanted)
    keys = {route.key for route in wanted}
    found: dict[Hashable, str] = {}
    for family in (socket.AF_INET, socket.AF_INET6):
        for table in sorted({route.table for route in wanted}):
            for message in _dump_by(ipr, family, table=table):
                route = _route(message, {})
                if message["proto"] == protocol or route.table != table:
                    continue
                if route.key in keys or table in tables:
                    found[route.key] = (
                        f"{route} is somebody else's (routing protocol {message['proto']}), where "
                        f"nvid would have its own; remove it, or give nvid other numbers"
                    )
    return found


def is_default_of(message: Any, protocol: int) -> bool:
    """Whether a message is about a default route with this protocol number."""
    return (message["dst_len"], message["proto"]) == (0, protocol)


def _dump_by(ipr: IPRoute, family: int, **fields: int) -> list[Any]:
    return dump(ipr, "route", family=family, **fields)


def _route(message: Any, interfaces: Mapping[int, str]) -> Route:
    destination: IPNetwork = ip_network(_ANY[message["family"]])
    if message.get("dst") is not None:
        destination = ip_network(f"{message.get('dst')}/{message['dst_len']}")
    gateway, source, index = message.get("gateway"), message.get("prefsrc"), message.get("oif")
    return Route(
        table=message.get("table") or message["table"],
        destination=destination,
        kind=_KIND.get(message["type"], "throw"),
        # An IPv6 unreachable route is shown with the loopback interface.
        device=interfaces.get(index) if message["type"] == RTN["unicast"] else None,
        gateway=ip_address(gateway) if gateway else None,
        source=ip_address(source) if source else None,
        metric=message.get("priority") or 0,
        onlink=bool(message["flags"] & RTNH_F_ONLINK),
        nexthop=message.get("nh_id"),
    )


def look_up(
    ipr: IPRoute,
    destination: IPAddress,
    source: IPAddress,
    mark: int,
    interfaces: Mapping[int, str],
    input_interface: int | None,
) -> tuple[str | None, str | None]:
    """The kernel's own answer for a packet: interface and gateway, or (None, None) when there is
    no way. ``input_interface`` is the one that it comes in by, None for this machine's own."""
    fields: dict[str, Any] = {
        "family": AF_FAMILY[destination.version],
        "dst": str(destination),
        "mark": mark,
    }
    if input_interface is not None:
        fields |= {"src": str(source), "iif": input_interface}
    try:
        answer = ipr.route("get", **fields)
    except NetlinkError:
        return None, None
    route = _route(answer[0], interfaces)
    if route.device is None or route.kind != "unicast":
        return None, None
    return route.device, None if route.gateway is None else str(route.gateway)


def make(
    ipr: IPRoute, changes: Iterable[Change[Route]], indexes: Mapping[str, int], protocol: int
) -> None:
    """Add or replace routes, never one of somebody else's: a route is replaced only when the one
    that was there is nvid's."""
    for change in changes:
        if change.after is None:
            continue
        if change.before is not None and change.before.kind != change.after.kind:
            _send(ipr, "del", change.before, indexes, protocol)
        if change.before is not None and change.after.destination.version == 6:
            # IPv6 replaces the first route of a destination and metric, whoever's it is.
            _send(ipr, "del", change.before, indexes, protocol)
        command = "add" if change.before is None else "replace"
        _send(ipr, command, change.after, indexes, protocol)


def remove(
    ipr: IPRoute, changes: Iterable[Change[Route]], indexes: Mapping[str, int], protocol: int
) -> None:
    """Delete routes that are not wanted."""
    for change in changes:
        if change.after is None and change.before is not None:
            _send(ipr, "del", change.before, indexes, protocol)


def _send(
    ipr: IPRoute, command: str, route: Route, indexes: Mapping[str, int], protocol: int
) -> None:
    family = AF_FAMILY[route.destination.version]
    fields: dict[str, Any] = {
        "family": family,
        "dst": str(route.destination),
        "table": route.table,
        "proto": protocol,
        "type": route.kind,
    }
    if route.nexthop is not None:
        fields["nh_id"] = route.nexthop
    elif route.device is not None:
        index = indexes.get(route.device)
        if index is None:
            return
        fields["oif"] = index
    if route.gateway is not None:
        fields["gateway"] = str(route.gateway)
    if route.source is not None:
        fields["prefsrc"] = str(route.source)
    if route.metric:
        fields["priority"] = route.metric
    if route.onlink:
        fields["flags"] = RTNH_F_ONLINK
    if command == "del":
        # A route of another scope, which somebody made with nvid's protocol, is meant too.
        fields["scope"] = RT_SCOPE_NOWHERE
    with refusing(route, gone_is_fine=command == "del"):
        ipr.route(command, **fields)
