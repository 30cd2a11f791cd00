"""Every name, number and bit pattern that nvid owns in the kernel, in one place.

What can be configured (fwmark mask, rule priorities, tables, protocol) comes from the
configuration; here stand the parts that are fixed, and the offsets inside configured windows.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Final

TABLE: Final = "nvid"
"""The one nftables table, of family inet."""

HOOKS_TABLE: Final = "nvid-hooks"
"""A second table of family inet, with an owner: it keeps the NAT hooks while the daemon lives."""

OWNER_CHAIN: Final = "owned_by_nvid"
"""An empty chain that tells nvid's table from somebody else's of the same name: table comments
are lost in the JSON of nft 1.0.6."""

ALIAS: Final = "nvid"
"""First word of the alias (IFLA_IFALIAS) of every link that nvid made: ``nvid main nvi0``."""

MAIN_GROUP: Final = 0x6E764D00
PEER_GROUP: Final = 0x6E765000
"""Interface groups (IFLA_GROUP) of the two ends of every pair ("nvM", "nvP"). nftables matches
them by one integer comparison, however many pairs there are, and they outlive re-creation."""
PAIR_GROUPS: Final = 0x6E764000
PAIR_GROUP_MASK: Final = 0xFFFFE000
"""What both groups have in common, and nothing else on a machine."""

PAIR_MTU: Final = 65535
"""Largest MTU of a veth: packets are fragmented, or refused, at the real interface only."""

LOOPBACK: Final = "lo"
"""What the NVIs of ``backend = "loopback"`` cross, all of them; its index is 1 in every network
namespace (include/net/flow.h, LOOPBACK_IFINDEX)."""

LOOPBACK_NEXTHOP: Final = 0x6E764C36
"""Number of the one nexthop object ("nvL6") that IPv6 routes over lo go through. A route that names
lo itself would be turned into an unreachable one (net/ipv6/route.c, fib6_is_reject)."""

FILTER_PREFERENCE: Final = 7700
FILTER_HANDLE: Final = 0x6E76
FILTER_COOKIE: Final = b"nvid"
"""nvid's one filter of traffic control, on what leaves by lo. The cookie (TCA_ACT_COOKIE) says
whose it is; others' filters stay before and behind it."""

MAIN_ROUTING_TABLE: Final = 254
"""RT_TABLE_MAIN of rtnetlink.h."""

UPLINK_LANES: Final = 15
"""Lanes 1 to 15 are uplinks; lane 0 is the main table; tenants follow."""

TABLE_LANES: Final = 16
"""How many routing tables of others route entries can name; main is not one of them."""

ENTRY_LABELS: Final = 96
"""Bits of a flow's conntrack label that tell entries apart; the other 32 tell NVIs apart."""

SPECIAL_LANES: Final = 5
"""The uppermost lanes: nobody, refused, and one for each action of a route entry."""
FIRST_TENANT_LANE: Final = UPLINK_LANES + 1
"""A tenant's lane is also the number of its conntrack zone."""


class RuleOffset:
    """Offsets from ``rule_priority``: the story of a packet through nvid's window of ip rules.

    Gaps are left for the administrator. Rules of one priority are tried one after the other: there
    is one for each lane, NVI or NAT-enabled interface, and none for a translation.
    """

    LANE_CANARY: Final = 0  # always unreachable: tells the table that the rules are there
    LANE_ACTIONS: Final = 0  # a route entry says prohibit or blackhole
    LANE_TABLES: Final = 0  # a route entry names a table of others
    LANE_REFUSED: Final = 0  # to a pool address that nothing translates: back, to be refused
    LANE_APART: Final = 0  # main's own networks, where a tenant's interfaces have the same ones
    LANE_CONNECTED: Final = 1  # lane chosen: what main knows better than by a default route
    LANE_MAIN: Final = 2  # lane 0: the main table, whatever it says
    LANES: Final = 10  # + lane number: the uplink's own table
    # rp_filter asks about replies: "where would their source be sent?", and loose mode wants any
    # answer. Where there is no way out, it is the pair, which refuses what really comes.
    LANE_NO_WAY: Final = 28  # from the machine itself or out of a peer: unreachable
    LANE_REVERSE: Final = 29  # IPv4 only, as IPv6 has no rp_filter
    TENANTS: Final = 30  # any other lane: on to the tenants' rules, far behind
    LANE_LOST: Final = 40  # a lane without a table: unreachable, never another way out
    ENTER_REVERSE: Final = 49  # the same question about what enters a pair: main
    ENTER: Final = 50  # + 0: marked for an NVI: into its pair (first lookup)
    PASS_APART: Final = 59  # what LANE_APART is, for packets that are let go,
    PASS: Final = 60  # seen and let go: main
    PEER_UNMARKED: Final = 70  # came out of a pair with no lane: the table is gone; stop it
    OTHERS_APART: Final = 79  # and for all others
    POOLS: Final = 80  # routes of the pools, for errors and for answering ARP
    OWN_CONNECTED: Final = 84  # from an uplink's own address: what main knows precisely,
    OWN_SOURCE: Final = 85  # else by that uplink, with or without the table,
    OWN_LOST: Final = 86  # and by no other
    GUARD: Final = 90  # from a NAT-enabled interface, unseen by the table: stop it
    LAST: Final = 99

    # Behind main (32766) and default (32767), so that it decides nothing that anybody else decides:
    # without a default route in main, the machine itself would have no way out, its errors neither,
    # and loose rp_filter would drop what comes in by an uplink.
    LAST_MAIN: Final = 32768  # main once more: its own rule may have been flushed
    LAST_RESORT: Final = 32769

    # Behind everything, so that only the tenants' own packets meet them: a tree of two levels.
    TENANT_GROUPS: Final = 33000  # which group of lanes? on to its rules
    TENANT_LANES: Final = 33001  # + number of the group: the tenants' own tables
    TENANT_NO_WAY: Final = 34997  # what LANE_NO_WAY is,
    TENANT_REVERSE: Final = 34998  # and what LANE_REVERSE is
    TENANT_LOST: Final = 34999  # a lane without a table: unreachable


LANES_IN_GROUP: Final = 32
"""A packet to one of n tenants meets at most n/32 rules of groups, and 32 rules in its group."""


class TableOffset:
    """Offsets from the first number of ``tables``."""

    POOLS: Final = 0
    UPLINKS: Final = 0  # + lane number, 1 to 15
    NVIS: Final = 15  # + NVI number, from 1
    # Tenants have tables from the last one downwards: the last holds main's own networks apart,
    # the one before it is that of the first tenant's lane.


def main_mac(number: int) -> str:
    """MAC address of the main end of NVI ``number`` (locally administered, IEEE 802 bit 1)."""
    return _mac(number, 0)


def peer_mac(number: int) -> str:
    """MAC address of the peer end of NVI ``number``; the pair's only neighbour entries hold it."""
    return _mac(number, 1)


def _mac(number: int, end: int) -> str:
    return f"02:6e:76:{number >> 8:02x}:{number & 0xFF:02x}:{end:02x}"


_PAIR_BASE_IPV4: Final = int(IPv4Address("169.254.128.0"))
PAIR_NUMBERS: Final = 16000
"""NVI numbers run from 1 to this: two link-local IPv4 addresses (RFC 3927) for each."""


def peer_address(number: int) -> IPv4Address:
    """The peer's own IPv4 address. Without one, loose rp_filter drops every packet there
    (net/ipv4/fib_frontend.c, __fib_validate_source: ``no_addr``)."""
    return IPv4Address(_PAIR_BASE_IPV4 + 2 * number)


def pair_gateway_ipv4(number: int) -> IPv4Address:
    """Next hop of routes into the pair. Nobody owns it: a permanent neighbour entry answers."""
    return IPv4Address(_PAIR_BASE_IPV4 + 2 * number + 1)


PAIR_GATEWAY_IPV6: Final = IPv6Address("fe80::1")
"""Next hop of IPv6 routes into a pair; per link, so one address serves all."""
