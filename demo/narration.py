"""What the demonstration says: headings, reasons, commands with their real output, verdicts."""

# ruff: noqa: T201 - printing is this module's work

from __future__ import annotations

import textwrap
from collections.abc import Iterable

WIDTH = 96


class Narrator:
    """Prints, and remembers what was not as expected."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self._steps = 0

    def say(self, text: str) -> None:
        """A paragraph."""
        _print(textwrap.fill(" ".join(text.split()), WIDTH))

    def gap(self) -> None:
        """An empty line."""
        _print("")

    def conclude(self, text: str) -> None:
        """The last word."""
        _print(f"\n{text}")

    def show(self, text: str) -> None:
        """Text as it is, indented."""
        _print(textwrap.indent(text.strip("\n"), "    "))

    def step(self, heading: str, reason: str) -> None:
        """A new step: what happens, and one sentence of why."""
        self._steps += 1
        _print(f"\n== {self._steps}. {heading}")
        self.say(reason)
        _print("")

    def command(self, where: str, argv: Iterable[str], output: str) -> None:
        """A command as it would be typed in a namespace, and what it printed."""
        self.show(f"{where}$ {' '.join(argv)}")
        if output.strip():
            self.show(output)

    def expect(self, what: str, seen: object, wanted: object) -> None:
        """One line that says whether something is as it should be."""
        self.judge(f"{what}: {seen}", seen == wanted, f"expected {wanted}")

    def judge(self, what: str, good: bool, otherwise: str = "") -> None:
        """The same for what is more than equality; ``otherwise`` is said when it is not good."""
        if good:
            _print(f"    [ok] {what}")
        else:
            self.failures.append(what)
            _print(f"    [NOT AS EXPECTED] {what} {otherwise}".rstrip())


def _print(text: str) -> None:
    print(text, flush=True)
