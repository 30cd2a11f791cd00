"""scripts/bench, one tiny round: every variant does its job, and the table is whole."""

from __future__ import annotations

import pytest

from bench.__main__ import run
from bench.network import Lost, build
from bench.variants import REFERENCE, variants
from tests.documents import rows
from tests.lab import Lab


def test_a_tiny_round_of_everything() -> None:
    """Had a packet got lost, or had one arrived untranslated, there would be no table."""
    found = rows(run(rounds=1, packets=200, translations=20))
    names = [row[0] for row in found]
    assert names == [variant.name for variant in variants(20)]
    for row in found:
        established, new = float(row[1]), float(row[3])
        assert 100 < established < 1_000_000
        assert 100 < new < 1_000_000
    ratios = {row[0]: (float(row[2]), float(row[4])) for row in found}
    assert ratios[REFERENCE] == (1.0, 1.0)


def test_what_does_not_do_the_job_is_not_measured() -> None:
    with Lab() as lab:
        bench = build(lab, variants(10)[1])
        assert bench.measure(10, new=True) > 0
        bench.tracking[0].run("nft", "flush", "ruleset")
        with pytest.raises(Lost, match="0 of 10"):
            bench.measure(10, new=True)
