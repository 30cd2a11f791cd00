"""A step that fails, or a machine that lacks something: nothing leaks, nothing is cut, and nvid
goes on where it was as soon as it can."""

from __future__ import annotations

import pytest

from reliability.bench import Bench
from reliability.faults import SHORTAGES, fail_step, shortage
from reliability.launcher import STEPS

FIRST, LAST = STEPS.index("rules.make"), STEPS.index("nft.run.after")
"""What makes something. Looks and removals are tried by scripts/reliability too."""


@pytest.mark.parametrize(
    ("step", "kind"),
    [(step, ("kernel", "system")[place % 2]) for place, step in enumerate(STEPS[FIRST : LAST + 1])],
)
def test_a_step_that_fails_is_tried_again(bench: Bench, step: str, kind: str) -> None:
    assert fail_step(bench, step, kind).problems == ()


@pytest.mark.parametrize("name", SHORTAGES)
def test_a_shortage_passes(bench: Bench, name: str) -> None:
    assert shortage(bench, name).problems == ()
