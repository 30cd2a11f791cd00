"""The named counters of nvid's table, read in raw netlink (linux/netfilter/nf_tables.h).

libnftables reads all elements of all sets before it lists a counter; endpoints that hosts hold are
such elements, and whoever scrapes the metrics must not pay for them.
"""

from __future__ import annotations

import struct

from nvid import names
from nvid.kernel import nfnetlink, wire

_GET_OBJECT = nfnetlink.of_nftables(19)
_OBJECT_TABLE, _OBJECT_NAME, _OBJECT_TYPE, _OBJECT_DATA = 1, 2, 3, 4
_TYPE_COUNTER = 1
_COUNTER_BYTES, _COUNTER_PACKETS = 1, 2


def read() -> dict[str, tuple[int, int]]:
    """Packets and bytes of every named counter; none where there is no table.

    Raises NotPermitted or KernelRefused.
    """
    wanted = wire.attribute(_OBJECT_TABLE, names.TABLE.encode() + b"\0")
    wanted += wire.attribute(_OBJECT_TYPE, struct.pack(">I", _TYPE_COUNTER))
    with nfnetlink.refusing("nftables: counters"), nfnetlink.connected() as sock:
        found = nfnetlink.dump(sock, _GET_OBJECT, nfnetlink.INET, wanted)
        return dict(_counter(attributes) for _, attributes in found)


def _counter(message: memoryview) -> tuple[str, tuple[int, int]]:
    found = wire.attributes(message)
    data = wire.attributes(found[_OBJECT_DATA])
    numbers = (data[_COUNTER_PACKETS], data[_COUNTER_BYTES])
    packets, octets = (int.from_bytes(each) for each in numbers)
    return bytes(found[_OBJECT_NAME]).rstrip(b"\0").decode(), (packets, octets)
