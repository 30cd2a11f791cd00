"""Programs: run to their end, or ended by their process ids."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterable
from typing import IO

from tests.lab.waiting import PATIENCE

# A program that has not ended this many seconds after TERM gets KILL.
_GRACE = 3.0 * PATIENCE


class CommandFailed(subprocess.CalledProcessError):
    """A program ended with a status other than 0; the message shows what it printed."""

    def __str__(self) -> str:
        return f"{super().__str__()}\nstdout: {self.stdout}\nstderr: {self.stderr}"


def run_here(
    *argv: str, check: bool = True, input: str | None = None, timeout: float = 20
) -> subprocess.CompletedProcess[str]:
    """Run a program in the namespace of the tests themselves; text in, text out.

    `timeout` is in seconds, times PATIENCE.
    """
    patience = timeout * PATIENCE
    done = subprocess.run(
        argv, check=False, input=input, timeout=patience, capture_output=True, text=True
    )
    if check and done.returncode != 0:
        raise CommandFailed(done.returncode, done.args, done.stdout, done.stderr)
    return done


def end_processes(processes: Iterable[subprocess.Popen[str]]) -> None:
    """TERM to each, KILL to those that stay, and wait for all of them."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.terminate()
        # A stopped process acts on TERM only when it goes on.
        process.send_signal(signal.SIGCONT)
    deadline = time.monotonic() + _GRACE
    for process in running:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for process in processes:
        for stream in (process.stdin, process.stdout, process.stderr):
            _close(stream)


def _close(stream: IO[str] | None) -> None:
    if stream is not None:
        with contextlib.suppress(BrokenPipeError):
            stream.close()
