"""``python -m reliability``: exit status 0 only when everything was as it must be."""

from __future__ import annotations

import argparse
import datetime
import os
import random
import secrets
import sys
from collections.abc import Callable
from typing import TypeVar

from reliability import endurance, faults, inputs, page
from reliability.accidents import HEARD, UNHEARD
from reliability.bench import Bench, Outcome
from reliability.launcher import STEPS
from tests.lab import Lab

T = TypeVar("T")
PARTS = ("deaths", "reloads", "flaps", "inputs", "accidents", "faults")


def main() -> int:
    """Do all of it, print the figures, and write them down when asked to."""
    options = _options()
    if os.geteuid() != 0:
        sys.stderr.write(
            "this needs root, for its network namespaces: sudo ./scripts/reliability\n"
        )
        return 4
    print(f"seed {options.seed}", flush=True)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    found = page.Findings(today)
    for what, work in (
        ("deaths", lambda bench: endurance.deaths(bench, options.deaths, options.seed)),
        ("reloads", lambda bench: endurance.reloads(bench, options.reloads)),
        ("flaps", lambda bench: endurance.flaps(bench, options.flaps)),
    ):
        if what in options.only:
            _endured(found, _with_bench(work))
    if "inputs" in options.only:
        for target in inputs.TARGETS:
            _endured(found, inputs.fuzz(target, options.fuzz))
    if "accidents" in options.only:
        _accidents(options, found)
    if "faults" in options.only:
        _faults(found)
    print(f"\n{page.figures(found)}")
    if options.write:
        page.write(found)
    return 1 if found.problems else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/reliability", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of each, few of the rest")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART")
    parser.add_argument("--rounds", type=int, help="of all accidents, alternating path (5)")
    parser.add_argument("--deaths", type=int, help="kills at random moments (300)")
    parser.add_argument("--reloads", type=int, help="rounds of reloading (10000)")
    parser.add_argument("--flaps", type=int, help="flaps of a provider's interface (1000)")
    parser.add_argument("--fuzz", type=int, metavar="SECONDS", help="of each kind of input (120)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32))
    parser.add_argument("--write", action="store_true", help="write docs/reliability.md")
    options = parser.parse_args()
    for name, whole, quick in (
        ("rounds", 5, 1),
        ("deaths", 300, 12),
        ("reloads", 10_000, 100),
        ("flaps", 1000, 50),
        ("fuzz", 120, 10),
    ):
        if getattr(options, name) is None:
            setattr(options, name, quick if options.quick else whole)
    return options


def _endured(found: page.Findings, done: endurance.Endured) -> None:
    found.endured.append(done)
    print(done, flush=True)


def _with_bench(work: Callable[[Bench], T]) -> T:
    with Lab() as lab:
        return work(Bench(lab, "first-packet"))


def _accidents(options: argparse.Namespace, found: page.Findings) -> None:
    chance = random.Random(options.seed)  # noqa: S311 - the same order again, by the number
    for number in range(options.rounds):
        with Lab() as lab:
            bench = Bench(lab, ("first-packet", "every-packet")[number % 2])
            for accidents, resync in ((HEARD, "1h"), (UNHEARD, "1s")):
                for accident in chance.sample(accidents, len(accidents)):
                    bench.ready(resync)
                    found.accidents.append(bench.happen(accident))
                    _say(found.accidents[-1])
            for problem in bench.stop_flows():
                print(f"  {problem}", flush=True)
            found.longest_silence = max(found.longest_silence, bench.longest_silence)


def _faults(found: page.Findings) -> None:
    with Lab() as lab:
        bench = Bench(lab, "first-packet")
        for step in STEPS:
            for kind in ("kernel", "system"):
                found.faults.append(faults.fail_step(bench, step, kind))
                _say(found.faults[-1])
        for name in faults.SHORTAGES:
            found.faults.append(faults.shortage(bench, name))
            _say(found.faults[-1])


def _say(outcome: Outcome) -> None:
    print(f"{outcome.seconds * 1000:7.0f} ms  {outcome.name}", flush=True)
    for problem in outcome.problems:
        print(f"            {problem}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
