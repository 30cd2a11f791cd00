"""Whatever somebody does to nvid's objects is mended, counted and blamed on somebody; no flow
notices, nothing leaves untranslated, and the router stays reachable."""

from __future__ import annotations

from collections import Counter

import pytest

from reliability.accidents import ACCIDENTS, HEARD, UNHEARD, Accident
from reliability.bench import Bench


def test_names_are_unique() -> None:
    assert max(Counter(each.name for each in ACCIDENTS).values()) == 1


@pytest.mark.parametrize("accident", HEARD, ids=lambda each: each.name)
def test_what_the_kernel_tells_is_mended_at_once(bench: Bench, accident: Accident) -> None:
    """The daemon never looks without being told."""
    bench.ready("1h")
    outcome = bench.happen(accident)
    assert outcome.problems == ()


@pytest.mark.parametrize("accident", UNHEARD, ids=lambda each: each.name)
def test_what_it_does_not_tell_is_found_by_the_full_check(bench: Bench, accident: Accident) -> None:
    bench.ready("1s")
    outcome = bench.happen(accident)
    assert outcome.problems == ()


def test_no_flow_was_cut(bench: Bench) -> None:
    """Those of the tests before, and of this one alone."""
    bench.ready("1h")
    assert bench.stop_flows() == []
