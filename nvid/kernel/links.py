"""Pairs: two veth ends that carry nvid's alias, looked at and made as one object.

The alias says whose an end is and of which NVI. Where somebody has taken the alias away, the
interface group still tells; an end without either is a foreign link.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pyroute2 import IPRoute

from nvid import names
from nvid.desired.objects import LinkEnd, Pair
from nvid.difference import Change
from nvid.kernel.netlink import dump, refusing

IFF_UP = 0x1


def observe(ipr: IPRoute) -> tuple[Pair, ...]:
    """Every pair of nvid's, whole or half."""
    ends: dict[str, dict[str, LinkEnd]] = {}
    for message in dump(ipr, "link"):
        owner = whose(message)
        if owner is not None:
            nvi, side = owner
            found = ends.setdefault(nvi, {})
            # Somebody may have given another link the same alias: the one with the name counts.
            if side not in found or message.get("ifname") in (nvi, f"{nvi}p"):
                found[side] = _end(message)
    return tuple(Pair(nvi, each.get("main"), each.get("peer")) for nvi, each in ends.items())


def whose(message: Any) -> tuple[str, str] | None:
    """The NVI and the side ("main" or "peer") of one of nvid's links; None for all others."""
    words = (message.get("ifalias") or "").split(" ")
    if len(words) == 3 and words[0] == names.ALIAS and words[1] in ("main", "peer"):
        return words[2], words[1]
    name, group = message.get("ifname"), message.get("group")
    if group == names.MAIN_GROUP:
        return name, "main"
    if group == names.PEER_GROUP:
        return name.removesuffix("p"), "peer"
    return None


def _end(message: Any) -> LinkEnd:
    return LinkEnd(
        name=message.get("ifname"),
        alias=message.get("ifalias") or "",
        address=message.get("address"),
        group=message.get("group") or 0,
        mtu=message.get("mtu"),
        up=bool(message["flags"] & IFF_UP),
        enslaved=bool(message.get("master")),
    )


def make(ipr: IPRoute, changes: Iterable[Change[Pair]]) -> None:
    """Create or mend pairs. New ends stay down: their sysctls come first (``raise_up``)."""
    for change in changes:
        if change.after is not None:
            with refusing(change.after):
                _make(ipr, change.before, change.after)


def _make(ipr: IPRoute, before: Pair | None, after: Pair) -> None:
    main, peer = after.main, after.peer
    assert main is not None
    assert peer is not None
    if before is not None and before.main is not None and before.peer is not None:
        _mend(ipr, before.main, main)
        _mend(ipr, before.peer, peer)
        return
    if before is not None:
        # Half a pair: its other end is in another namespace, or renamed beyond recognition.
        _delete(ipr, before)
    ipr.link(
        "add",
        ifname=main.name,
        kind="veth",
        address=main.address,
        mtu=main.mtu,
        group=main.group,
        peer={
            "ifname": peer.name,
            "address": peer.address,
            "mtu": peer.mtu,
            "group": peer.group,
        },
    )
    for end in (main, peer):
        ipr.link("set", index=_index(ipr, end.name), ifalias=end.alias)


def _mend(ipr: IPRoute, before: LinkEnd, after: LinkEnd) -> None:
    index = _index(ipr, before.name)
    if before.name != after.name:
        ipr.link("set", index=index, state="down")
        ipr.link("set", index=index, ifname=after.name)
    wanted = {
        name: getattr(after, name)
        for name in ("address", "mtu", "group")
        if getattr(before, name) != getattr(after, name)
    }
    if before.alias != after.alias:
        wanted["ifalias"] = after.alias
    if before.enslaved:
        wanted["master"] = 0
    if wanted:
        ipr.link("set", index=index, **wanted)


def raise_up(ipr: IPRoute, pairs: Iterable[Pair]) -> None:
    """Set both ends of each pair up; nothing happens to an end that is."""
    for pair in pairs:
        for end in (pair.main, pair.peer):
            assert end is not None
            with refusing(end):
                ipr.link("set", index=_index(ipr, end.name), state="up")


def remove(ipr: IPRoute, changes: Iterable[Change[Pair]]) -> None:
    """Delete pairs that are not wanted any more."""
    for change in changes:
        if change.after is None and change.before is not None:
            with refusing(change.before, gone_is_fine=True):
                _delete(ipr, change.before)


def _delete(ipr: IPRoute, pair: Pair) -> None:
    """Either end takes the other one along."""
    end = pair.main or pair.peer
    assert end is not None
    ipr.link("del", index=_index(ipr, end.name))


def _index(ipr: IPRoute, name: str) -> int:
    found = ipr.link("get", ifname=name)
    return int(found[0]["index"])
