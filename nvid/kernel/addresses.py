"""Addresses on nvid's own pairs; everything on a pair is nvid's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from pyroute2 import IPRoute

from nvid.desired.objects import Address
from nvid.difference import Change
from nvid.kernel.netlink import dump, refusing

SCOPE_LINK = 253


def observe(ipr: IPRoute, own: Mapping[int, str]) -> tuple[Address, ...]:
    """All addresses on nvid's pairs; ``own`` names them by interface index."""
    return tuple(
        Address(
            own[message["index"]],
            ip_address(message.get("local") or message.get("address")),
            message["prefixlen"],
        )
        for message in dump(ipr, "addr")
        if message["index"] in own
    )


def make(ipr: IPRoute, changes: Iterable[Change[Address]], indexes: Mapping[str, int]) -> None:
    """Add what is missing."""
    for change in changes:
        if change.after is not None:
            _send(ipr, "replace", change.after, indexes)


def remove(ipr: IPRoute, changes: Iterable[Change[Address]], indexes: Mapping[str, int]) -> None:
    """Delete what is not wanted."""
    for change in changes:
        if change.after is None and change.before is not None:
            _send(ipr, "del", change.before, indexes)


def _send(ipr: IPRoute, command: str, each: Address, indexes: Mapping[str, int]) -> None:
    index = indexes.get(each.interface)
    if index is None:
        return
    with refusing(each, gone_is_fine=command == "del"):
        ipr.addr(
            command,
            index=index,
            address=str(each.address),
            prefixlen=each.prefix_length,
            scope=SCOPE_LINK,
        )
