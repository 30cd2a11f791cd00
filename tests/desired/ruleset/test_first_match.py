"""Overlapping entries as one lookup: the answer is the one of the naive first match."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvid.configuration.values import AddressRange, IPAddress, IPNetwork
from nvid.desired.ruleset.first_match import disjoint

Entries = list[tuple[list[IPNetwork], str]]

BITS = 6
"""The networks lie in the last bits of a family, so that every address can be tried."""


def network(version: int, number: int, wider: int) -> IPNetwork:
    number &= ~((1 << wider) - 1)
    if version == 4:
        return IPv4Network((0xC0000200 + number, 32 - wider))
    return IPv6Network((0x20010DB8 << 96 | number, 128 - wider))


@st.composite
def entries(draw: st.DrawFn, version: int) -> Entries:
    networks = st.builds(
        network, st.just(version), st.integers(0, (1 << BITS) - 1), st.integers(0, BITS)
    )
    return draw(
        st.lists(
            st.tuples(st.lists(networks, max_size=3), st.sampled_from(["a", "b", "c"])), max_size=8
        )
    )


def addresses(version: int) -> list[IPAddress]:
    """Every address that an entry can hold, and one more at each side."""
    first = int(network(version, 0, 0).network_address)
    kind = IPv4Address if version == 4 else IPv6Address
    return [kind(first + offset) for offset in range(-1, (1 << BITS) + 1)]


def naive(wanted: Entries, address: IPAddress) -> str | None:
    return next(
        (text for networks, text in wanted if any(address in each for each in networks)), None
    )


def found_in(cut: dict[AddressRange, str], address: IPAddress) -> list[str]:
    return [text for part, text in cut.items() if part.contains(address)]


@pytest.mark.parametrize("version", [4, 6])
@given(data=st.data())
def test_every_address_gets_its_first_match(version: int, data: st.DataObject) -> None:
    wanted = data.draw(entries(version))
    cut = disjoint(wanted)
    for address in addresses(version):
        first = naive(wanted, address)
        assert found_in(cut, address) == ([] if first is None else [first])


@pytest.mark.parametrize("version", [4, 6])
@given(data=st.data())
def test_ranges_ascend_and_neighbours_differ(version: int, data: st.DataObject) -> None:
    cut = list(disjoint(data.draw(entries(version))).items())
    for (one, text), (other, next_text) in pairwise(cut):
        assert int(one.last) < int(other.first)
        assert text != next_text or int(one.last) + 1 < int(other.first)


@pytest.mark.parametrize("version", [4, 6])
def test_the_whole_address_space_has_no_next_address(version: int) -> None:
    everything: IPNetwork = IPv4Network("0.0.0.0/0") if version == 4 else IPv6Network("::/0")
    assert disjoint([([everything], "a")]) == {AddressRange.of(everything): "a"}


def test_a_hole_in_a_wider_entry() -> None:
    cut = disjoint(
        [
            ([IPv4Network("10.1.0.64/26")], "none"),
            ([IPv4Network("10.1.0.0/24")], "pool"),
        ]
    )
    assert {str(part): text for part, text in cut.items()} == {
        "10.1.0.0/26": "pool",
        "10.1.0.64/26": "none",
        "10.1.0.128/25": "pool",
    }


def test_an_entry_that_is_covered_disappears() -> None:
    wide, narrow = IPv4Network("10.0.0.0/8"), IPv4Network("10.1.0.0/16")
    assert set(disjoint([([wide], "wide"), ([narrow], "narrow")]).values()) == {"wide"}


def test_many_entries_cost_no_square() -> None:
    """Ten thousand, each inside the one after it or beside it: a second is a hundred times
    what it takes, and a tenth of what comparing all pairs would."""
    many = [([IPv4Network((0x0A000000 + 2 * n, 32))], str(n)) for n in range(10_000)]
    many += [([IPv4Network("10.0.0.0/8")], "rest")]
    assert len(disjoint(many)) == 20_000
