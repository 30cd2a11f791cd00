"""A few of what scripts/reliability does by the thousand."""

from __future__ import annotations

import random

from reliability.bench import Bench
from reliability.endurance import deaths, flaps, reloads


def test_deaths_at_random_moments(bench: Bench) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    assert deaths(bench, 9, seed).problems == (), f"seed {seed}"


def test_reloads_leave_nothing_behind(bench: Bench) -> None:
    endured = reloads(bench, 40)
    assert endured.problems == ()
    assert endured.descriptors <= 0


def test_flaps_leave_nothing_behind(bench: Bench) -> None:
    assert flaps(bench, 50).problems == ()
