"""Nexthop objects with nvid's protocol number (linux/nexthop.h, Linux 5.3)."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping

from pyroute2.netlink.exceptions import NetlinkError

from nvid.desired.objects import Nexthop
from nvid.difference import Change
from nvid.kernel import rtnetlink, wire
from nvid.kernel.netlink import refusing

_RTM_NEWNEXTHOP, _RTM_DELNEXTHOP, _RTM_GETNEXTHOP = 104, 105, 106
_HEADER = struct.Struct("=BBBxI")
"""struct nhmsg: family, scope, protocol, flags."""
_NHA_ID, _NHA_OIF = 1, 5


def observe(interfaces: Mapping[int, str], protocol: int) -> tuple[Nexthop, ...]:
    """nvid's nexthop objects."""
    return tuple(each for owner, each in _all(interfaces) if owner == protocol)


def foreign(
    interfaces: Mapping[int, str], protocol: int, wanted: Iterable[Nexthop]
) -> dict[int, str]:
    """Objects of others that have the numbers of nvid's, in words by number."""
    numbers = {each.number for each in wanted}
    return {
        each.number: f"{each} is somebody else's (protocol {owner}), where nvid would have its "
        "own; remove it"
        for owner, each in _all(interfaces)
        if owner != protocol and each.number in numbers
    }


def _all(interfaces: Mapping[int, str]) -> Iterator[tuple[int, Nexthop]]:
    """The protocol number of each object, and the object."""
    request = _HEADER.pack(socket.AF_UNSPEC, 0, 0, 0)
    try:
        for body in rtnetlink.dump(_RTM_GETNEXTHOP, request):
            _, _, protocol, _ = _HEADER.unpack_from(body)
            found = wire.attributes(body[_HEADER.size :])
            index = int.from_bytes(found.get(_NHA_OIF, b""), "little")
            number = struct.unpack("=I", found[_NHA_ID])[0]
            yield protocol, Nexthop(number, interfaces.get(index, "?"))
    except NetlinkError as error:
        if error.code != errno.EOPNOTSUPP:
            raise


def make(changes: Iterable[Change[Nexthop]], indexes: Mapping[str, int], protocol: int) -> None:
    """Add what is missing; one that leads elsewhere is made anew, and takes its routes along."""
    for change in changes:
        if change.before is not None and change.after is not None:
            _delete(change.before)
        if change.after is not None:
            with refusing(change.after):
                body = _HEADER.pack(socket.AF_INET6, 0, protocol, 0)
                body += wire.attribute(_NHA_ID, struct.pack("=I", change.after.number))
                index = indexes[change.after.device]
                body += wire.attribute(_NHA_OIF, struct.pack("=I", index))
                rtnetlink.change(_RTM_NEWNEXTHOP, body, rtnetlink.CREATE | rtnetlink.EXCLUSIVE)


def remove(changes: Iterable[Change[Nexthop]]) -> None:
    """Delete what is not wanted."""
    for change in changes:
        if change.after is None and change.before is not None:
            _delete(change.before)


def _delete(each: Nexthop) -> None:
    with refusing(each, gone_is_fine=True):
        body = _HEADER.pack(socket.AF_UNSPEC, 0, 0, 0)
        body += wire.attribute(_NHA_ID, struct.pack("=I", each.number))
        rtnetlink.change(_RTM_DELNEXTHOP, body)
