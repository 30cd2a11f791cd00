"""Programs in network namespaces: run, started, ended."""

# ruff: noqa: S603, TID251 - running programs is what a demonstration does; the daemon runs none

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

PATIENCE = 20.0
"""Seconds that a program may take. Everything here takes less than five."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a program said, both streams together, and its exit status."""

    output: str
    status: int


class ProgramFailed(Exception):
    """A program that has to work did not; the text holds its own words."""


def run(*argv: str, input_text: str | None = None) -> Done:
    """Run a program to its end, whatever it answers."""
    try:
        done = subprocess.run(
            argv,
            input=input_text,
            stdin=None if input_text is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
            # Ctrl-C is for the demonstration alone: it ends its programs in order.
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as late:
        raise ProgramFailed(f"{' '.join(argv)}: no end after {PATIENCE:.0f} s") from late
    return Done(done.stdout, done.returncode)


def must_run(*argv: str, input_text: str | None = None) -> str:
    """Run a program that has to work; its output. Raises ProgramFailed."""
    done = run(*argv, input_text=input_text)
    if done.status != 0:
        raise ProgramFailed(f"{' '.join(argv)}: exit status {done.status}\n{done.output}")
    return done.output


class Started:
    """A program that goes on by itself; its output is in ``log``."""

    def __init__(self, argv: Sequence[str], log: Path, environment: dict[str, str]) -> None:
        self.log = log
        with log.open("wb") as stream:
            output: IO[bytes] = stream
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def wait(self) -> Done:
        """Wait for its end. Raises ProgramFailed when that does not come."""
        try:
            status = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired as late:
            raise ProgramFailed(f"{self._process.args!r} does not end") from late
        return Done(self.log.read_text(), status)

    def end(self) -> None:
        """End it: politely, then not. Nothing happens when it has ended."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
            return
        self._process.kill()
        self._process.wait()
