"""The layout of fwmark and ct mark: every field in its own bits, for every mask allowed."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvid.desired.marks import Marks
from nvid.names import UPLINK_LANES


@st.composite
def masks(draw: st.DrawFn) -> int:
    """Any run of 10 to 32 bits, which is what the configuration accepts."""
    width = draw(st.integers(10, 32))
    return ((1 << width) - 1) << draw(st.integers(0, 32 - width))


def largest_number(marks: Marks) -> int:
    return (1 << marks.mask.bit_count() - 2) - 1


@given(masks())
def test_the_fields_of_a_flow_do_not_overlap_and_fill_the_mask(mask: int) -> None:
    marks = Marks(mask)
    fields = (marks.state_mask, marks.forward_mask, marks.return_mask)
    assert all(not one & other for one, other in combinations(fields, 2))
    assert fields[0] | fields[1] | fields[2] == mask


@given(masks())
def test_what_belongs_to_others_is_everything_but_the_mask(mask: int) -> None:
    keep = Marks(mask).keep
    assert keep & mask == 0
    assert keep | mask == 0xFFFFFFFF


@given(masks(), st.data())
def test_a_packet_says_which_nvi_it_enters(mask: int, data: st.DataObject) -> None:
    marks = Marks(mask)
    number = data.draw(st.integers(0, largest_number(marks)))
    fwmark = marks.enter(number)
    assert fwmark & ~mask == 0
    assert fwmark & marks.state_mask == marks.entering
    assert (marks.nvi_of(fwmark), marks.lane_of(fwmark)) == (number, None)


@given(masks(), st.data())
def test_a_packet_says_which_lane_it_takes(mask: int, data: st.DataObject) -> None:
    marks = Marks(mask)
    number = data.draw(st.integers(0, largest_number(marks)))
    fwmark = marks.lane(number)
    assert fwmark & ~mask == 0
    assert fwmark & marks.state_mask == marks.in_lane
    assert (marks.lane_of(fwmark), marks.nvi_of(fwmark)) == (number, None)


@given(masks(), st.integers(0, 0xFFFFFFFF))
def test_the_bits_of_others_change_nothing(mask: int, others: int) -> None:
    marks = Marks(mask)
    fwmark = marks.lane(5) | (others & marks.keep)
    assert marks.lane_of(fwmark) == 5
    assert marks.nvi_of(fwmark) is None


@given(masks())
def test_the_states_of_packets_and_flows_are_told_apart(mask: int) -> None:
    marks = Marks(mask)
    states = {0, marks.passed, marks.entering, marks.in_lane}
    assert len(states) == 4
    assert all(state & ~marks.state_mask == 0 for state in states)
    assert marks.bound & marks.state_mask == marks.bound != 0


@given(masks(), st.integers(0, UPLINK_LANES), st.integers(0, UPLINK_LANES))
def test_a_flow_holds_both_lanes_of_any_two_uplinks(mask: int, there: int, back: int) -> None:
    marks = Marks(mask)
    ct_mark = marks.bound | marks.forward_lane(there) | marks.return_lane(back)
    assert ct_mark & ~mask == 0
    assert ct_mark & marks.forward_mask == marks.forward_lane(there)
    assert ct_mark & marks.return_mask == marks.return_lane(back)
    assert ct_mark & marks.state_mask == marks.bound


@given(masks())
def test_a_number_that_does_not_fit_is_an_error_and_no_other_number(mask: int) -> None:
    marks = Marks(mask)
    with pytest.raises(ValueError, match="does not fit"):
        marks.lane(largest_number(marks) + 1)


def test_the_default_mask_as_an_administrator_sees_it() -> None:
    marks = Marks(0x00FFFF00)
    assert marks.state_mask == 0x00C00000
    assert marks.enter(1) == 0x00800100
    assert marks.lane(2) == 0x00C00200
    assert marks.keep == 0xFF0000FF
