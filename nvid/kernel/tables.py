"""The nftables tables of family inet and their flags, read in raw netlink.

libnftables 1.0.6 frees the flag of a table that has exactly one before it prints it
(``table_flags_json`` in its json.c): the list ends there, or the process does. So nobody may have
it list a table with a flag.
"""

from __future__ import annotations

from nvid.kernel import nfnetlink, wire

DORMANT = 0x1
"""NFT_TABLE_F_DORMANT: none of the table's chains sees a packet (linux/netfilter/nf_tables.h)."""

_GET_TABLE, _GET_CHAIN = nfnetlink.of_nftables(1), nfnetlink.of_nftables(4)
_TABLE_NAME, _TABLE_FLAGS = 1, 2
_CHAIN_TABLE, _CHAIN_NAME = 1, 3


def flags() -> dict[str, int]:
    """The flags of each table by its name. Raises NotPermitted or KernelRefused."""
    with nfnetlink.refusing("nftables: tables"), nfnetlink.connected() as sock:
        found = nfnetlink.dump(sock, _GET_TABLE, nfnetlink.INET)
        return dict(_named(wire.attributes(attributes)) for _, attributes in found)


def chains(table: str) -> set[str]:
    """The names of a table's chains. Raises NotPermitted or KernelRefused."""
    with nfnetlink.refusing("nftables: chains"), nfnetlink.connected() as sock:
        found = [
            wire.attributes(attributes)
            for _, attributes in nfnetlink.dump(sock, _GET_CHAIN, nfnetlink.INET)
        ]
    return {_text(each[_CHAIN_NAME]) for each in found if _text(each[_CHAIN_TABLE]) == table}


def _named(found: dict[int, memoryview]) -> tuple[str, int]:
    return _text(found[_TABLE_NAME]), int.from_bytes(found[_TABLE_FLAGS])


def _text(value: memoryview) -> str:
    return bytes(value).rstrip(b"\0").decode()
