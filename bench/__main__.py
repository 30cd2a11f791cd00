"""Measure every variant in turn, several rounds, and print a table; see scripts/bench."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bench.network import Bench, build
from bench.variants import REFERENCE, variants
from tests.lab import Lab

DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- scripts/bench --write: from here -->", "<!-- to here -->"


@dataclass(slots=True)
class Result:
    """Nanoseconds for each packet, one value for each round."""

    established: list[float] = field(default_factory=list)
    new: list[float] = field(default_factory=list)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=25, help="of all variants (25)")
    parser.add_argument("--packets", type=int, default=20_000, help="in each round (20000)")
    parser.add_argument("--translations", type=int, default=10_000, help="of the last one (10000)")
    parser.add_argument("--only", default="", help="variants whose name has this in it")
    parser.add_argument("--write", action="store_true", help=f"put the table into {DOCUMENT.name}")
    options = parser.parse_args()
    table = run(options.rounds, options.packets, options.translations, options.only)
    sys.stdout.write(table)
    if options.write:
        before, _, rest = DOCUMENT.read_text().partition(BEGIN)
        DOCUMENT.write_text(f"{before}{BEGIN}\n\n{table}\n{END}{rest.partition(END)[2]}")
    return 0


def run(rounds: int, packets: int, translations: int, only: str = "") -> str:
    """The table, in Markdown. Rounds are interleaved: whatever else the machine does meanwhile, it
    does to all variants alike. Raises Lost."""
    with Lab() as lab:
        chosen = [
            each for each in variants(translations) if only in each.name or each.name == REFERENCE
        ]
        benches = [build(lab, variant) for variant in chosen]
        results = {bench.variant.name: Result() for bench in benches}
        for _ in range(rounds):
            one_round(benches, results, packets)
    return table_of(results, rounds, packets)


def one_round(benches: Iterable[Bench], results: dict[str, Result], packets: int) -> None:
    """Every variant once, each kind of flow."""
    for bench in benches:
        found = results[bench.variant.name]
        found.established.append(bench.measure(packets, new=False))
    for bench in benches:
        found = results[bench.variant.name]
        found.new.append(bench.measure(packets, new=True))


def table_of(results: dict[str, Result], rounds: int, packets: int) -> str:
    """Medians, the middle half of the rounds around them, and ratios of medians."""
    reference = results[REFERENCE]
    lines = [
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {_machine()}: {rounds} rounds of "
        f"{packets:,} packets.",
        "",
        "| variant | established, ns | ratio | new flow, ns | ratio |",
        "|---|---|---|---|---|",
    ]
    for name, found in results.items():
        cells = [
            cell
            for mine, theirs in (
                (found.established, reference.established),
                (found.new, reference.new),
            )
            for cell in (_spread(mine), f"{_ratio(mine, theirs):.2f}")
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _spread(values: list[float]) -> str:
    middle = statistics.median(values)
    if len(values) < 4:
        return f"{middle:.0f}"
    first, _, third = statistics.quantiles(values, n=4)
    return f"{middle:.0f} ({first:.0f} to {third:.0f})"


def _ratio(mine: list[float], theirs: list[float]) -> float:
    """Of medians: each round's disturbance is in both."""
    return statistics.median(mine) / statistics.median(theirs)


def _machine() -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return f"Linux {platform.release()}, {os.cpu_count()} x {model}"


if __name__ == "__main__":
    raise SystemExit(main())
