"""What was tried and seen, as text, and as docs/reliability.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from reliability.bench import Outcome
from reliability.endurance import Endured

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
BEGIN = "<!-- Written by scripts/reliability --write. -->\n"
END = "<!-- End of what scripts/reliability writes. -->\n"


@dataclass(slots=True)
class Findings:
    """All that one run of the command has seen."""

    date: str
    accidents: list[Outcome] = field(default_factory=list)
    faults: list[Outcome] = field(default_factory=list)
    endured: list[Endured] = field(default_factory=list)
    longest_silence: float = 0.0

    @property
    def problems(self) -> list[str]:
        """Everything that was not as it must be."""
        outcomes: Iterable[Outcome | Endured] = (*self.accidents, *self.faults, *self.endured)
        return [f"{_name(each)}: {text}" for each in outcomes for text in each.problems]


def _name(each: Outcome | Endured) -> str:
    return each.what if isinstance(each, Endured) else each.name


def figures(found: Findings) -> str:
    """The figures, as Markdown that reads as text too."""
    return "\n".join(_lines(found)) + "\n"


def _lines(found: Findings) -> Iterator[str]:
    yield f"Seen on {found.date}, on {machine()}:"
    yield ""
    yield "| figure | value |"
    yield "|---|---|"
    good = [each for each in found.accidents if not each.problems]
    yield f"| accidents tried | {len(found.accidents)} |"
    yield f"| of them mended, with nothing foreign and no flow cut | {len(good)} |"
    times = sorted(each.seconds for each in found.accidents)
    if times:
        worst = max(found.accidents, key=lambda each: each.seconds)
        yield f"| time to repair, median | {_ms(times[len(times) // 2])} |"
        yield f"| time to repair, worst | {_ms(worst.seconds)} ({worst.name}) |"
        yield f"| longest silence of a flow meanwhile | {_ms(found.longest_silence)} |"
    yield f"| faults injected | {len(found.faults)} |"
    yield f"| of them survived | {sum(not each.problems for each in found.faults)} |"
    for each in found.endured:
        growth = ""
        if each.growth is not None:
            growth = f", memory {each.growth / 1024:+.0f} KiB, descriptors {each.descriptors:+d}"
        well = "all well" if not each.problems else "NOT all well"
        yield f"| {each.what} | {each.rounds} in {each.seconds:.0f} s, {well}{growth} |"
    if found.accidents:
        yield ""
        yield "| accident | times | worst time to repair |"
        yield "|---|---|---|"
        by_name: dict[str, list[float]] = {}
        for outcome in found.accidents:
            by_name.setdefault(outcome.name, []).append(outcome.seconds)
        for name, seconds in by_name.items():
            yield f"| {name} | {len(seconds)} | {_ms(max(seconds))} |"
    if found.faults:
        yield ""
        yield "| fault | time until all was well |"
        yield "|---|---|"
        for outcome in found.faults:
            yield f"| {outcome.name} | {_ms(outcome.seconds)} |"
    if found.problems:
        yield ""
        yield "Not as it must be:"
        yield ""
        yield from (f"- {each}" for each in found.problems)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def machine() -> str:
    """The machine in a few words."""
    return f"Linux {platform.release()} ({platform.machine()}), {os.cpu_count()} processors"


def write(found: Findings) -> None:
    """Replace the figures in docs/reliability.md."""
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{figures(found)}\n{END}{after}")
