"""Port blocks (RFC 7422): both ways round, nobody shares a port, and the blocks go round."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvid.configuration import Problem
from nvid.configuration.blocks import block_of, blocks, capacity, holder_of
from nvid.configuration.translations import Snat
from nvid.configuration.values import PortRange
from tests import samples
from tests.effort import examples


def entry(source: str, to: str, size: int, ports: str = "1024-65535") -> Snat:
    text = (
        '[nvi.nvi0]\ninterfaces = ["lan0"]\n[[nvi.nvi0.snat]]\n'
        f'source = {source}\nto = {to}\nport_block = {size}\nports = "{ports}"\n'
    )
    return samples.configuration(text).nvis[0].snats[0]


SHARED = entry(
    '["10.1.0.0/29", "10.1.4.4/30"]',
    '["198.51.100.1", "198.51.100.8-198.51.100.10"]',
    100,
    "2000-2499",
)
"""12 hosts in IPv4, 4 in IPv6; 5 blocks an address."""


@st.composite
def entries(draw: st.DrawFn) -> Snat:
    """Blocks of any size, in any number of pools and sources that are enough."""
    inside, length, outside = draw(
        st.sampled_from((("10.1.{}.0", 32, "198.51.{}.{}"), ("fd00:{}::", 128, "2001:db8:{}::{}")))
    )
    bits = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    sources = [f'"{inside.format(place)}/{length - each}"' for place, each in enumerate(bits)]
    hosts = sum(1 << each for each in bits)
    size = draw(st.integers(1, 700))
    first = draw(st.integers(1, 60000))
    per_address = draw(st.integers(1, 6))
    spare = draw(st.integers(0, size - 1))
    last = min(first + size * per_address + spare, 65536) - 1
    # What does not fit below port 65536 is not there.
    size = min(size, last - first + 1)
    per_address = (last - first + 1) // size
    addresses = -(-hosts // per_address)
    pools: list[str] = []
    start = 0
    while start < addresses:
        count = draw(st.integers(1, addresses - start))
        number = 100 + len(pools)
        last_host = count if length == 32 else f"{count:x}"
        pools.append(f'"{outside.format(number, 1)}-{outside.format(number, last_host)}"')
        start += count
    ports = f"{first}-{last}" if last > first else str(first)
    return entry(f"[{', '.join(sources)}]", f"[{', '.join(pools)}]", size, ports)


class TestBothWays:
    @given(entries(), st.data())
    @settings(max_examples=examples(60), deadline=None)
    def test_the_holder_of_a_port_is_who_has_the_block(
        self, snat: Snat, data: st.DataObject
    ) -> None:
        for block in blocks(snat, version(snat)):
            assert block_of(snat, block.inside) == block
            port = data.draw(st.integers(block.ports.first, block.ports.last))
            assert holder_of(snat, block.outside, port) == block

    @given(entries())
    @settings(max_examples=examples(60), deadline=None)
    def test_no_two_hosts_share_a_port(self, snat: Snat) -> None:
        taken = [
            (each.outside, port)
            for each in blocks(snat, version(snat))
            for port in span(each.ports)
        ]
        assert len(taken) == len(set(taken))

    @given(entries())
    @settings(max_examples=examples(60), deadline=None)
    def test_every_host_has_a_whole_block_in_the_pool_and_its_ports(self, snat: Snat) -> None:
        held = list(blocks(snat, version(snat)))
        assert len(held) == capacity(snat, version(snat)).hosts
        assert {each.ports.count for each in held} == {snat.port_block}
        assert snat.source_ports is not None
        assert min(each.ports.first for each in held) >= snat.source_ports.first
        assert max(each.ports.last for each in held) <= snat.source_ports.last


def version(snat: Snat) -> int:
    return snat.sources[0].version


def span(ports: PortRange) -> range:
    return range(ports.first, ports.last + 1)


@pytest.mark.parametrize(
    ("inside", "outside", "ports"),
    [
        ("10.1.0.0", "198.51.100.1", "2000-2099"),
        ("10.1.0.4", "198.51.100.1", "2400-2499"),
        ("10.1.0.5", "198.51.100.8", "2000-2099"),
        ("10.1.4.4", "198.51.100.8", "2300-2399"),
        ("10.1.4.7", "198.51.100.9", "2100-2199"),
    ],
)
def test_blocks_are_given_in_the_order_of_the_sources(
    inside: str, outside: str, ports: str
) -> None:
    """Numbers that anybody can work out from the entry alone: that is the point of them."""
    found = block_of(SHARED, ip_address(inside))
    assert found is not None
    assert (str(found.outside), str(found.ports)) == (outside, ports)


@pytest.mark.parametrize("inside", ["10.1.0.8", "10.1.4.3", "198.51.100.1"])
def test_who_is_not_a_source_has_none(inside: str) -> None:
    assert block_of(SHARED, ip_address(inside)) is None


@pytest.mark.parametrize(
    ("outside", "port"),
    [
        ("198.51.100.1", 1999),
        ("198.51.100.1", 2500),
        ("198.51.100.2", 2000),
        ("198.51.100.9", 2200),
        ("198.51.100.10", 2000),
    ],
)
def test_what_is_nobodys_has_no_holder(outside: str, port: int) -> None:
    """Before and behind the ports, outside the pool, and blocks that no host needs."""
    assert holder_of(SHARED, ip_address(outside), port) is None


Problems = Callable[..., tuple[Problem, ...]]


def refused(problems: Problems, entry: str) -> Problem:
    text = f'[nvi.nvi0]\ninterfaces = ["lan0"]\n[[nvi.nvi0.snat]]\n{entry}\n'
    (problem,) = problems(text)
    return problem


def test_blocks_that_do_not_go_round_are_refused_with_the_arithmetic(problems: Problems) -> None:
    problem = refused(problems, 'source = "10.1.0.0/24"\nto = "198.51.100.8/31"\nport_block = 512')
    assert problem.key == "nvi.nvi0.snat[0].port_block"
    assert problem.message == (
        "256 source addresses need 256 blocks, and there are 252: 2 addresses with 64512 ports "
        "each make 126 blocks of 512 ports per address"
    )
    assert problem.remedy == "write a smaller block, more addresses, or fewer sources"


def test_ipv6_blocks_that_do_not_go_round_are_refused_alike(problems: Problems) -> None:
    problem = refused(problems, 'source = "fd00::/120"\nto = "2001:db8::8/127"\nport_block = 512')
    assert problem.message.startswith("256 source addresses need 256 blocks, and there are 252: ")


def test_too_many_sources_are_told_what_would_do(problems: Problems) -> None:
    problem = refused(problems, 'source = "fd00::/64"\nto = "2001:db8::/64"\nport_block = 512')
    assert problem.remedy == "write prefixes of at most 65536 addresses together, such as one /112"


def test_blocks_that_just_go_round_are_taken() -> None:
    room = capacity(entry('["10.1.0.0/25"]', '"198.51.100.8"', 504), 4)
    assert (room.hosts, room.blocks, room.is_enough) == (128, 128, True)


@pytest.mark.parametrize(
    ("entry", "key", "words"),
    [
        ('to = "198.51.100.8"\nport_block = 512', "port_block", "without `source`"),
        ('source = "10.1.0.1"\nto = "none"\nport_block = 512', "port_block", "need a pool"),
        (
            'source = ["10.1.0.0/28", "10.1.0.8/29"]\nto = "198.51.100.8"\nport_block = 512',
            "source",
            "10.1.0.0/28 and 10.1.0.8/29 overlap",
        ),
        (
            'source = "10.1.0.1"\nto = "198.51.100.8"\nport_block = 512\n'
            'mapping = "endpoint-independent"',
            "port_block",
            "exclude each other",
        ),
        (
            'source = "10.0.0.0/8"\nto = "198.51.100.8"\nport_block = 512',
            "port_block",
            "too many",
        ),
        (
            # As many as an ordinary IPv6 network has; only counted, never listed.
            'source = ["fd00:1::/64", "fd00::/16"]\nto = "2001:db8::/32"\nport_block = 512',
            "source",
            "overlap",
        ),
        (
            'source = ["fd00:1::/64", "fd01::/16"]\nto = "2001:db8::/32"\nport_block = 512',
            "port_block",
            f"{2**64 + 2**112} IPv6 source addresses are too many",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(
    problems: Problems, entry: str, key: str, words: str
) -> None:
    problem = refused(problems, entry)
    assert problem.key == f"nvi.nvi0.snat[0].{key}"
    assert words in problem.message
