"""The end of a trial without a daemon (docs/decisions/0009): kept, taken back, or waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from nvid import trial
from nvid.configuration import daemon_table, load
from nvid.errors import NotPermitted, NvidError
from nvid.statedir import StateInUse, StateNotKept, take
from nvid.trial import NothingPending, Pending, Refused

_PATIENCE = 15.0
_STEP = 1.0
_ATTEMPTS = 30


def directory_of(path: Path, state_dir: str | None) -> str:
    """The state directory that is meant: the one that was named, or as the file says."""
    return state_dir or daemon_table(path).state_dir


def confirm(directory: str) -> None:
    """Keep what is on trial. Raises NothingPending, StateInUse, NotPermitted."""
    with take(directory, _PATIENCE):
        if trial.pending(directory) is None:
            raise NothingPending
        trial.confirm(directory)


def rollback(directory: str) -> int:
    """Take back what is on trial; the number of changes. Raises NothingPending, StateInUse, or
    another NvidError."""
    with take(directory, _PATIENCE):
        waiting = trial.pending(directory)
        if waiting is None:
            raise NothingPending
        return _take_back(directory, waiting)


def abandon(directory: str) -> None:
    """Everything is removed from the kernel: what was on trial counts as refused."""
    waiting = trial.pending(directory)
    if waiting is not None:
        trial.write_refused(directory, Refused(waiting.digest, time.time()))
        trial.finish(directory)


def at_deadline(directory: str, say: Callable[[str], None]) -> None:
    """Wait for the end of a trial, and take it back if nobody confirmed it and no daemon lives to
    do so. Returns when there is no trial any more. ``say`` takes words for the operator. Raises
    NvidError when it cannot be done."""
    failures = 0
    while (waiting := trial.pending(directory)) is not None:
        left = waiting.left(trial.now())
        if left > 0:
            time.sleep(min(left, _STEP))
            continue
        try:
            _take_back_if_late(directory, say)
        except NotPermitted:
            raise
        except NvidError as error:
            failures += 1
            if failures >= _ATTEMPTS:
                raise
            say(str(error))
            time.sleep(_STEP)


def _take_back_if_late(directory: str, say: Callable[[str], None]) -> None:
    try:
        with take(directory, _STEP):
            waiting = trial.pending(directory)
            if waiting is None or waiting.left(trial.now()) > 0:
                return
            changes = _take_back(directory, waiting)
    except StateInUse:
        return  # A daemon lives, or was just started: this is its work.
    words = "nobody confirmed it in time; the previous configuration is in force again"
    say(f"{words}: {changes} changes")


def _take_back(directory: str, waiting: Pending) -> int:
    """As a daemon would; the caller has the lock.

    The way back comes first: where the refusal cannot be written down, the trial stays written
    down, and StateNotKept is raised at the end."""
    # Only now: until the deadline this process only waits, and is small.
    from nvid.known import known_reconciler  # noqa: PLC0415

    previous = load(trial.last_good(directory)).configuration
    problem = None
    try:
        trial.write_refused(directory, Refused(waiting.digest, time.time()))
    except StateNotKept as error:
        problem = error
    done = known_reconciler(directory).converge(previous)
    if not done.permitted:
        raise NotPermitted(done.error)
    if done.error is not None:
        raise NvidError(done.error)
    if problem is not None:
        raise problem
    trial.finish(directory)
    trial.forget_coming(directory)
    return len(done.changes)
