"""The daemon's side of ``nvid reload --confirm``: what is on trial, until when, and the way back.

What has to be remembered is in nvid/trial.py, and on the disk; nothing here touches the kernel.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

import structlog

from nvid import trial
from nvid.configuration import Loaded, load
from nvid.errors import NvidError
from nvid.statedir import StateNotKept
from nvid.trial import NothingPending, Pending, Refused, Start

_LONGEST_SLEEP = 1.0
"""Seconds. The loop's clock stands still while the machine sleeps; the deadline does not."""

log = structlog.get_logger()


class Confirmation:
    """One daemon's trial, if there is one. Its methods write files: call them in the worker."""

    def __init__(self, path: Path, start: Start) -> None:
        self._path = path
        self._directory = start.directory
        self.pending: Pending | None = start.pending
        self.refused: Refused | None = start.refused if start.is_way_back else None
        self._start = start
        self._before: Pending | None = None
        self._is_kept = start.is_way_back
        self._is_refusal_kept = True
        self._previous: Loaded | None = None
        self._guardian: int | None = None
        """A descriptor of the guardian's process (pidfd_open(2)): a process id may be reused."""

    def began(self, loaded: Loaded) -> None:
        """The first round is done: keep what is in force, finish what a dead daemon began."""
        if self._start.late is not None:
            if self._start.is_way_back:
                self._refuse(self._start.late.digest)
            self.finish()
        if self.pending is not None:
            # The files in place may have been changed since: they are on trial from now on.
            self._write(Pending(self.pending.began, self.pending.seconds, loaded.digest))
            self._watch_over()
        if self._start.is_way_back:
            self.settled()
        else:
            self.in_force(loaded)

    # A reload: check, begin, then in_force or abandon

    def check(self, loaded: Loaded, running: Loaded, seconds: float | None) -> None:
        """Raises NvidError for what cannot be tried."""
        if seconds is not None and not 0 < seconds <= trial.LONGEST:
            raise NvidError(f"--confirm takes 1 to {trial.LONGEST} seconds")
        if seconds is None and self.pending is None:
            return
        if loaded.configuration.daemon.state_dir != running.configuration.daemon.state_dir:
            raise NvidError(
                "[daemon] state_dir cannot change on trial: the way back would be looked for in "
                "the other place; leave it, or restart nvid with the new one"
            )
        if self.pending is None and not self._is_kept:
            raise NvidError(
                f"the running configuration could not be kept in {self._directory}, so there is "
                f"nothing to go back to; see the log, then reload without --confirm"
            )

    def begin(self, loaded: Loaded, running: Loaded, seconds: float | None) -> None:
        """A trial of ``seconds`` begins, or goes on with other files (None). Nothing of the new
        configuration may be in force before this returns. Raises StateNotKept."""
        self._before = self.pending
        if self.pending is None:
            self._previous = running
        self.coming(loaded)
        if seconds is not None:
            try:
                self.pending = trial.begin(self._directory, seconds, loaded.digest)
                self._watch_over()
            except NvidError:
                self.abandon()
                raise
        elif self.pending is not None:
            self._write(Pending(self.pending.began, self.pending.seconds, loaded.digest))

    def abandon(self) -> None:
        """The kernel refused the new configuration: what was pending before is so again."""
        if self._before is not None:
            self._write(self._before)
        elif self.pending is not None:
            self.pending = None
            trial.finish(self._directory)

    def in_force(self, loaded: Loaded) -> None:
        """The files in place are in force: for good, or for the trial."""
        self.refused = None
        try:
            trial.forget_refused(self._directory)
            if self.pending is not None:
                trial.keep_on_trial(self._directory, self._path, loaded)
            else:
                self._is_kept = False
                trial.keep_last_good(self._directory, self._path, loaded)
                self._is_kept = True
        except StateNotKept as error:
            log.warning(str(error))
            trial.forget_on_trial(self._directory)
        self.settled()

    def coming(self, loaded: Loaded) -> None:
        """These files are about to be put in force. Where that cannot be written down, in_force
        says so: its copy lies in the same place."""
        with contextlib.suppress(StateNotKept):
            trial.keep_coming(self._directory, self._path, loaded)

    def settled(self) -> None:
        """What is in force is so for all flows."""
        trial.forget_coming(self._directory)

    # The end of a trial

    def confirm(self, running: Loaded) -> None:
        """Keep what is on trial. Raises NothingPending, StateNotKept."""
        if self.pending is None:
            raise NothingPending
        self._is_kept = trial.confirm(self._directory)
        self.pending = self._previous = None
        if not self._is_kept:
            self.in_force(running)

    def refuse(self, running: Loaded) -> Loaded:
        """What to go back to; a start begins with it from now on. Raises NothingPending,
        ConfigurationError."""
        if self.pending is None:
            raise NothingPending
        previous = self._previous or load(trial.last_good(self._directory))
        self._refuse(running.digest)
        return previous

    def give_up(self, running: Loaded) -> None:
        """Everything is being removed: what is on trial counts as refused, and nothing follows."""
        self._refuse(running.digest)
        self.finish()

    def _refuse(self, digest: str) -> None:
        """A full disk must not be in the way: the trial that is written down stays then, and a
        start goes the same way back."""
        self.refused = Refused(digest, time.time())
        try:
            trial.write_refused(self._directory, self.refused)
            self._is_refusal_kept = True
        except StateNotKept as error:
            self._is_refusal_kept = False
            log.error(str(error))

    def finish(self) -> None:
        """The previous configuration is in force, or nothing is at all."""
        self.pending = self._previous = None
        self._is_kept = self._start.problem is None
        if self._is_refusal_kept:
            try:
                trial.finish(self._directory)
            except StateNotKept as error:
                log.error(str(error))

    def left(self) -> float | None:
        """Seconds until the deadline; None without a trial."""
        return None if self.pending is None else self.pending.left(trial.now())

    async def ends(self) -> None:
        """Return when there is no trial, or none any more that has time left."""
        while True:
            left = self.left()
            if not left:
                return
            await asyncio.sleep(min(left, _LONGEST_SLEEP))

    def _write(self, pending: Pending) -> None:
        self.pending = pending
        trial.write_pending(self._directory, pending)

    def _watch_over(self) -> None:
        """Start the guardian that outlives this process, in place of the one before. Raises
        NvidError."""
        # The package that runs now, wherever it lies; not what is in the working directory (-P).
        package = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
        argv = [sys.executable, "-P", "-m", "nvid", "rollback", "--at-deadline"]
        try:
            guardian = os.posix_spawn(
                sys.executable,
                [*argv, "--state-dir", self._directory],
                {**_without_systemd(), "PYTHONPATH": path},
                file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
                setsid=True,
            )
            threading.Thread(target=os.waitpid, args=(guardian, 0), daemon=True).start()
            before, self._guardian = self._guardian, os.pidfd_open(guardian)
        except OSError as error:
            raise NvidError(f"no guardian for the trial: {error.strerror}") from error
        if before is not None:
            # It waits, or has ended: while this process lives, the trial's end is not its work.
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(before, signal.SIGTERM)
            os.close(before)


def _without_systemd() -> dict[str, str]:
    """Without what systemd meant for this process alone."""
    meant = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
    return {name: value for name, value in os.environ.items() if name not in meant}
