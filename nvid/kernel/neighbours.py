"""Permanent neighbours on the pairs, proxy neighbours on NAT-enabled interfaces.

A permanent entry on a pair is nvid's. A proxy entry carries nvid's protocol number (NDA_PROTOCOL,
kernels from 5.2); somebody else's entry of the same address serves as well and is left alone.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any

from pyroute2 import IPRoute

from nvid.desired.objects import Neighbour
from nvid.difference import Change
from nvid.kernel.netlink import dump, refusing

NUD_PERMANENT = 0x80
NTF_PROXY = 0x08


def observe(
    ipr: IPRoute,
    own: Mapping[int, str],
    interfaces: Mapping[int, str],
    protocol: int,
    desired: Iterable[Neighbour],
) -> tuple[Neighbour, ...]:
    """nvid's entries: permanent ones on its pairs, proxies with its protocol number. A proxy of
    somebody else counts as there when it is desired, so that it is neither made nor deleted."""
    wanted = frozenset(desired)
    found = []
    for family in (socket.AF_INET, socket.AF_INET6):
        for message in dump(ipr, "neigh", family=family):
            if message["ifindex"] in own and message["state"] & NUD_PERMANENT:
                mac, address = message.get("lladdr"), ip_address(message.get("dst"))
                if mac is not None and not address.is_multicast:
                    found.append(Neighbour(own[message["ifindex"]], address, mac))
        for message in dump(ipr, "neigh", family=family, flags=NTF_PROXY):
            name = interfaces.get(message["ifindex"])
            if name is not None:
                entry = Neighbour(name, ip_address(message.get("dst")), None)
                if message.get("protocol") == protocol or entry in wanted:
                    found.append(entry)
    return tuple(found)


def make(
    ipr: IPRoute, changes: Iterable[Change[Neighbour]], indexes: Mapping[str, int], protocol: int
) -> None:
    """Add or correct entries."""
    for change in changes:
        if change.after is not None:
            _send(ipr, "replace", change.after, indexes, protocol)


def remove(
    ipr: IPRoute, changes: Iterable[Change[Neighbour]], indexes: Mapping[str, int], protocol: int
) -> None:
    """Delete entries that are not wanted."""
    for change in changes:
        if change.after is None and change.before is not None:
            _send(ipr, "del", change.before, indexes, protocol)


def _send(
    ipr: IPRoute, command: str, each: Neighbour, indexes: Mapping[str, int], protocol: int
) -> None:
    index = indexes.get(each.interface)
    if index is None:
        return
    fields: dict[str, Any] = {"dst": str(each.address), "ifindex": index}
    if each.mac is None:
        fields |= {"flags": NTF_PROXY, "protocol": protocol}
    else:
        fields |= {"lladdr": each.mac, "state": NUD_PERMANENT}
    with refusing(each, gone_is_fine=command == "del"):
        ipr.neigh(command, **fields)
