"""The small values: what they print, and how they overlap."""

import itertools
from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from nvid.configuration.readers import ports, snat_to, targets
from nvid.configuration.types import (
    AddressRange,
    InterfacePattern,
    Listen,
    Pools,
    PortRange,
    TableRange,
    Target,
    Timeout,
)
from nvid.configuration.values import merged_ranges

port_numbers = st.integers(1, 65535)
port_ranges = st.builds(
    lambda one, other: PortRange(min(one, other), max(one, other)), port_numbers, port_numbers
)
# Unicast addresses that may be translated to, of both families.
pool_addresses = st.one_of(
    st.integers(int(ip_address("1.0.0.0")), int(ip_address("126.255.0.0"))).map(ip_address),
    st.integers(int(ip_address("2001::")), int(ip_address("3fff::"))).map(ip_address),
)


@st.composite
def address_ranges(draw: st.DrawFn) -> AddressRange:
    """A range of up to 300 addresses in one family."""
    first = draw(pool_addresses)
    return AddressRange(first, first + draw(st.integers(0, 300)))


name_texts = st.text("abl.0-", max_size=5)
patterns = st.one_of(
    name_texts.filter(bool).map(InterfacePattern),
    name_texts.map(lambda text: InterfacePattern(text + "*")),
)


@given(port_ranges)
def test_ports_read_what_they_print(one: PortRange) -> None:
    assert ports(str(one)) == one


@given(st.lists(address_ranges(), min_size=1, max_size=4, unique=True))
def test_pools_read_what_they_print(ranges: list[AddressRange]) -> None:
    spelled = [str(one) for one in ranges]
    assert snat_to(spelled) == Pools(tuple(ranges))
    assert snat_to(spelled[0]) == Pools((ranges[0],))


@given(pool_addresses, st.none() | port_ranges)
def test_targets_read_what_they_print(address: object, ports: PortRange | None) -> None:
    target = Target(ip_network(str(address)), ports)
    assert targets(str(target)) == (target,)


@given(address_ranges())
def test_networks_of_a_range_cover_exactly_it(one: AddressRange) -> None:
    assert sum(network.num_addresses for network in one.networks) == one.count
    assert one.networks[0].network_address == one.first
    assert one.networks[-1].broadcast_address == one.last


@given(address_ranges(), address_ranges())
def test_overlapping_ranges_share_an_end(one: AddressRange, other: AddressRange) -> None:
    shared = one.contains(other.first) or other.contains(one.first)
    assert one.overlaps(other) == other.overlaps(one) == shared


@given(patterns, patterns, name_texts)
def test_patterns_overlap_where_they_match_one_name(
    one: InterfacePattern, other: InterfacePattern, tail: str
) -> None:
    witnesses = [pattern.prefix + end for pattern in (one, other) for end in ("", tail)]
    matched = any(one.matches(name) and other.matches(name) for name in witnesses)
    assert one.overlaps(other) == other.overlaps(one) == matched


def test_only_a_final_star_is_a_glob() -> None:
    assert InterfacePattern("vlan*").is_glob
    assert InterfacePattern("vlan*").prefix == "vlan"
    assert InterfacePattern("vlan*").matches("vlan10")
    assert not InterfacePattern("vlan*").matches("lan0")
    assert not InterfacePattern("vlan1").matches("vlan10")
    assert InterfacePattern("vlan1").matches("vlan1")


def test_port_ranges_know_their_size() -> None:
    assert PortRange(80, 80).count == 1
    assert PortRange(8000, 8099).count == 100
    assert PortRange(1, 100).covers(PortRange(1, 100))
    assert not PortRange(1, 100).covers(PortRange(100, 101))
    assert PortRange(1, 100).overlaps(PortRange(100, 101))
    assert not PortRange(1, 100).overlaps(PortRange(101, 101))


def test_tables_include_both_ends() -> None:
    tables = TableRange(7700, 7899)
    assert (7699 in tables, 7700 in tables, 7899 in tables, 7900 in tables) == (
        False,
        True,
        True,
        False,
    )
    assert tables.count == 200
    assert str(tables) == "7700-7899"


def test_ranges_never_cross_families() -> None:
    small = AddressRange(ip_address("0.0.0.1"), ip_address("0.0.0.9"))
    assert not small.contains(ip_address("::5"))
    assert not small.overlaps(AddressRange(ip_address("::1"), ip_address("::9")))


def test_what_values_print() -> None:
    assert str(Listen("::1", 9477)) == "[::1]:9477"
    assert str(Listen("127.0.0.1", 9477)) == "127.0.0.1:9477"
    assert str(AddressRange.of(ip_network("198.51.100.8/29"))) == "198.51.100.8/29"
    assert str(AddressRange.of(ip_network("198.51.100.8"))) == "198.51.100.8"
    assert str(Target(ip_network("fd00::1"), PortRange(80, 80))) == "[fd00::1]:80"
    assert str(Target(ip_network("10.2.0.0/24"))) == "10.2.0.0/24"


def test_timeouts_name_their_sysctl() -> None:
    assert Timeout("tcp_time_wait", 1).sysctl == "nf_conntrack_tcp_timeout_time_wait"
    assert Timeout("udp", 1).sysctl == "nf_conntrack_udp_timeout"
    assert Timeout("udp_stream", 1).sysctl == "nf_conntrack_udp_timeout_stream"


@given(st.lists(address_ranges(), max_size=8))
def test_merged_ranges_are_the_same_addresses_once(parts: list[AddressRange]) -> None:
    merged = merged_ranges(parts)
    assert {each for part in parts for each in _members(part)} == {
        each for part in merged for each in _members(part)
    }
    assert sum(part.count for part in merged) == len({e for p in merged for e in _members(p)})
    for before, after in itertools.pairwise(merged):
        assert (before.version, int(before.last) + 1) < (after.version, int(after.first))


def _members(part: AddressRange) -> range:
    return range(int(part.first), int(part.last) + 1)
