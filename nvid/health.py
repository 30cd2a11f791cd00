"""From rounds with and without an answer to a verdict about an uplink. Pure.

A verdict changes only after as many rounds in a row as the configuration says speak against it, so
an uplink that answers now and then stays what it is. In the beginning it is up: a start disturbs
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nvid.configuration.lanes import UplinkCheck


@dataclass(frozen=True, slots=True)
class Verdict:
    """Up or down; ``against`` is the number of rounds in a row that said the opposite."""

    up: bool = True
    against: int = 0

    def after(self, answered: bool, check: UplinkCheck) -> Verdict:
        """The verdict after one more round."""
        if answered == self.up:
            return Verdict(self.up)
        against = self.against + 1
        if against >= (check.down_after if self.up else check.up_after):
            return Verdict(not self.up)
        return Verdict(self.up, against)


def families_of(check: UplinkCheck) -> tuple[int, ...]:
    """The families that have targets, each with a verdict of its own."""
    return tuple(sorted({target.version for target in check.targets}))


def failing(check: UplinkCheck, verdicts: Mapping[int, Verdict]) -> dict[int, str]:
    """Why a family does not work, in words by family. A family without targets shares the verdict
    of the other one."""
    found = {}
    for family in (4, 6):
        judge = family if family in verdicts else next(iter(verdicts))
        if not verdicts[judge].up:
            found[family] = _silence(check, judge)
    return found


def _silence(check: UplinkCheck, family: int) -> str:
    targets = ", ".join(str(each) for each in check.targets if each.version == family)
    rounds = "1 round" if check.down_after == 1 else f"{check.down_after} rounds"
    return f"no answer from {targets} for {rounds}"
