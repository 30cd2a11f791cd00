"""From rounds of a check to a verdict."""

from __future__ import annotations

from ipaddress import ip_address
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as some

from nvid.configuration.lanes import UplinkCheck
from nvid.health import Verdict, failing, families_of

TARGETS = (ip_address("192.0.2.53"), ip_address("2001:db8::53"))
CHECKS = some.builds(
    UplinkCheck,
    targets=some.just(TARGETS),
    down_after=some.integers(1, 6),
    up_after=some.integers(1, 6),
)
ROUNDS = some.lists(some.booleans(), max_size=60)


def verdicts(check: UplinkCheck, rounds: list[bool], first: bool = True) -> list[bool]:
    """The verdict before the first round and after each."""
    verdict = Verdict(up=first)
    found = [verdict.up]
    for answered in rounds:
        verdict = verdict.after(answered, check)
        found.append(verdict.up)
    return found


@given(CHECKS, ROUNDS, some.booleans())
def test_a_change_needs_as_many_rounds_in_a_row_as_are_asked_for(
    check: UplinkCheck, rounds: list[bool], first: bool
) -> None:
    found = verdicts(check, rounds, first)
    for place in range(1, len(found)):
        if found[place] != found[place - 1]:
            needed = check.up_after if found[place] else check.down_after
            assert rounds[place - needed : place] == [found[place]] * needed


@given(CHECKS, ROUNDS, some.booleans())
def test_as_many_rounds_in_a_row_are_enough(
    check: UplinkCheck, rounds: list[bool], first: bool
) -> None:
    found, place = verdicts(check, rounds, first), 0
    for answered, run in groupby(rounds):
        length = len(list(run))
        place += length
        if length >= (check.up_after if answered else check.down_after):
            assert found[place] == answered


@given(CHECKS.filter(lambda each: min(each.down_after, each.up_after) > 1), some.booleans())
def test_answers_now_and_then_change_nothing(check: UplinkCheck, first: bool) -> None:
    assert set(verdicts(check, [True, False] * 30, first)) == {first}


class TestWords:
    CHECK = UplinkCheck(targets=(*TARGETS, ip_address("192.0.2.54")))

    def test_each_family_has_its_own(self) -> None:
        found = failing(self.CHECK, {4: Verdict(up=False), 6: Verdict()})
        assert found == {4: "no answer from 192.0.2.53, 192.0.2.54 for 3 rounds"}

    @pytest.mark.parametrize("target", TARGETS)
    def test_a_family_without_targets_shares_the_lot_of_the_other(self, target: object) -> None:
        check = UplinkCheck(targets=(target,), down_after=1)  # type: ignore[arg-type]
        (family,) = families_of(check)
        text = f"no answer from {target} for 1 round"
        assert failing(check, {family: Verdict(up=False)}) == {4: text, 6: text}
        assert failing(check, {family: Verdict()}) == {}
