"""Pauses between rounds: short for accidents, long for fights and for what the kernel refuses."""

from __future__ import annotations

from collections.abc import Hashable

from nvid.daemon.pace import COALESCE, FAIR, RETRY, SLOWEST, WINDOW, Pace
from nvid.desired import nothing
from nvid.machine import Machine
from nvid.reconcile import Round


def round_with(damage: frozenset[Hashable], error: str | None = None) -> Round:
    return Round(nothing(), Machine(), damage=damage, error=error)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_accidents_one_after_another_are_mended_at_once() -> None:
    pace = Pace(Clock())
    for number in range(100):
        pace.note(round_with(frozenset({("link", number)})))
        assert pace.pause == COALESCE
    assert not pace.is_fight


def test_the_same_damage_again_and_again_is_a_fight() -> None:
    pace = Pace(Clock())
    seen = []
    for number in range(20):
        pace.note(round_with(frozenset({("link", "mtu"), ("rule", number)})))
        seen.append(pace.pause)
    assert seen[:FAIR] == [COALESCE] * FAIR
    assert seen == sorted(seen)
    assert seen[-1] == SLOWEST
    assert pace.is_fight


def test_a_fight_is_forgotten() -> None:
    clock = Clock()
    pace = Pace(clock)
    for _ in range(20):
        pace.note(round_with(frozenset({"link"})))
    clock.now = WINDOW + 1
    assert pace.pause == COALESCE
    assert not pace.is_fight


def test_refusals_are_tried_again_soon_and_then_less_often() -> None:
    pace = Pace(Clock())
    seen = []
    for _ in range(2000):
        pace.note(round_with(frozenset(), error="refused"))
        seen.append(pace.pause)
    assert seen[:3] == [RETRY, 2 * RETRY, 4 * RETRY]
    assert seen[-1] == SLOWEST
    pace.note(round_with(frozenset()))
    assert pace.pause == COALESCE
