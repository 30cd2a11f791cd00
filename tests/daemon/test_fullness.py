"""When the flow table counts as full, and when it does no longer."""

from __future__ import annotations

import pytest

from nvid.daemon.fullness import Fullness
from nvid.kernel.conntrack import FlowTable


def looks(*tables: FlowTable | None) -> tuple[Fullness, list[bool]]:
    fullness = Fullness()
    return fullness, [fullness.note(each) for each in tables]


@pytest.mark.parametrize(
    "table", [None, FlowTable(10, 1000), FlowTable(999, 1000), FlowTable(10, 0)]
)
def test_is_well(table: FlowTable | None) -> None:
    fullness, told = looks(table)
    assert (fullness.problem, told) == (None, [False])


def test_a_full_table_is_told_once_with_the_remedy() -> None:
    fullness, told = looks(FlowTable(1000, 1000), FlowTable(1000, 1000))
    assert told == [True, False]
    assert fullness.problem is not None
    assert "1000 of 1000" in fullness.problem
    assert "nf_conntrack_max" in fullness.problem


def test_refused_packets_near_the_limit_tell_it_too() -> None:
    fullness, told = looks(FlowTable(990, 1000, refused=1), FlowTable(990, 1000, refused=2))
    assert told == [False, True]
    assert fullness.problem is not None


def test_refused_packets_far_from_the_limit_do_not() -> None:
    fullness, _ = looks(FlowTable(10, 1000, refused=1), FlowTable(10, 1000, refused=2))
    assert fullness.problem is None


def test_it_is_over_when_there_is_room_again_and_not_at_once() -> None:
    _, told = looks(FlowTable(1000, 1000), FlowTable(999, 1000), FlowTable(900, 1000))
    assert told == [True, False, True]


def test_it_is_over_when_conntrack_is_gone() -> None:
    fullness, told = looks(FlowTable(1000, 1000), None)
    assert (fullness.problem, told) == (None, [True, True])
