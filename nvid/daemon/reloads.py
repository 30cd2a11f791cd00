"""The part of the service that changes its configuration: reloads, trials, and their end."""

from __future__ import annotations

import abc
import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import structlog

from nvid.configuration import ConfigurationError, Loaded, load
from nvid.daemon import notify, report
from nvid.daemon.confirmation import Confirmation
from nvid.daemon.control import BadConfiguration, Reloaded, bad_configuration
from nvid.daemon.log import set_level
from nvid.daemon.status import Status, headline
from nvid.errors import NvidError
from nvid.kernel.events import EVERYTHING
from nvid.reconcile import Reconciler, Round
from nvid.trial import Start

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger()


class Reloads(abc.ABC):
    """Which configuration is in force. What does the rounds is the service itself."""

    _dirty: asyncio.Event

    def __init__(self, path: Path, start: Start) -> None:
        self._path = path
        self._begin = start
        self._loaded = start.loaded
        self._trial = Confirmation(path, start)
        self._watches_trial = False
        self._history = report.History(str(path))
        self._reconciler: Reconciler | None = None
        self._lock = asyncio.Lock()

    @abc.abstractmethod
    async def _work(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run something in the worker thread."""

    @abc.abstractmethod
    async def _locked_round(self, kinds: frozenset[str]) -> Round:
        """One round; the caller has the lock."""

    @abc.abstractmethod
    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run beside everything else."""

    @abc.abstractmethod
    def _status(self) -> Status:
        """The present status."""

    async def reload(self, confirm: float | None = None) -> Reloaded:
        """Read the files again and bring the kernel to them; what that did. With ``confirm``, the
        previous ones come back after so many seconds."""
        async with self._reloading():
            return await self._locked_reload(confirm)

    @contextlib.asynccontextmanager
    async def _reloading(self) -> AsyncIterator[None]:
        async with self._lock:
            if self._history.removed:
                raise NvidError("nvid is ending: everything was removed; start it again")
            notify.reloading()
            try:
                yield
            finally:
                notify.ready(headline(self._status()))

    async def _locked_reload(self, confirm: float | None) -> Reloaded:
        before = self._loaded
        try:
            loaded = await self._acceptable(confirm)
            await self._work(self._trial.begin, loaded, before, confirm)
        except (NvidError, BadConfiguration):
            self._history.reload_successful = False
            raise
        self._loaded = loaded
        done = await self._locked_round(EVERYTHING)
        if done.error is not None:
            self._loaded = before
            self._history.reload_successful = False
            await self._work(self._trial.abandon)
            back = await self._locked_round(EVERYTHING)
            if back.error is None:
                await self._work(self._trial.settled)
            raise NvidError(f"{done.error}; the previous configuration is in force again")
        if loaded.configuration.daemon.resync != before.configuration.daemon.resync:
            # The loop still waits for as long as the old one says.
            self._dirty.set()
        self._history.loaded()
        set_level(loaded.configuration.daemon.log_level)
        await self._work(self._trial.in_force, loaded)
        self._watch_trial()
        restart = report.restart_keys(
            self._begin.loaded.configuration.daemon, loaded.configuration.daemon
        )
        if restart:
            log.warning("these keys of [daemon] want a restart of nvid", keys=", ".join(restart))
        log.info("reloaded", changes=len(done.changes), generation=self._history.generation)
        return {
            "changes": len(done.changes),
            "confirm_deadline": self._history.confirm_deadline,
            "restart": restart,
        }

    async def _acceptable(self, confirm: float | None) -> Loaded:
        """The files, if they can be put in force. Raises BadConfiguration or NvidError."""
        try:
            loaded = await self._work(load, self._path)
        except ConfigurationError as error:
            for problem in error.problems:
                log.error(str(problem))
            raise bad_configuration(error) from error
        assert self._reconciler is not None
        self._reconciler.check_window(loaded.configuration.daemon)
        self._trial.check(loaded, self._loaded, confirm)
        return loaded

    # A configuration on trial

    async def _began(self) -> None:
        """The first round is done. What a dead daemon had on trial goes on, or is over."""
        for words in report.beginning(self._begin):
            log.warning(words)
        if self._begin.late is not None:
            self._history.reload_successful = False
        try:
            await self._work(self._trial.began, self._loaded)
        except NvidError as error:
            log.warning(str(error))
        self._watch_trial()

    def _watch_trial(self) -> None:
        """Show the trial in the status, and go the way back at its end."""
        pending, refused = self._trial.pending, self._trial.refused
        self._history.confirm_deadline = None if pending is None else pending.deadline
        self._history.refused_at = None if refused is None else refused.at
        if pending is not None and not self._watches_trial:
            self._watches_trial = True
            self._start(self._end_trial())

    async def _end_trial(self) -> None:
        await self._trial.ends()
        async with self._reloading():
            self._watches_trial = False
            left = self._trial.left()
            if left is not None and left <= 0:
                await self._take_back("nobody confirmed it in time")
            self._watch_trial()

    async def confirm(self) -> None:
        """Keep what is on trial. Raises NothingPending."""
        async with self._lock:
            await self._work(self._trial.confirm, self._loaded)
            self._watch_trial()
            notify.status(headline(self._status()))
            log.info("confirmed", generation=self._history.generation)

    async def rollback(self) -> int:
        """Take back what is on trial; the number of changes. Raises NothingPending."""
        async with self._reloading():
            return await self._take_back("somebody asked for it")

    async def _take_back(self, why: str) -> int:
        try:
            self._loaded = await self._work(self._trial.refuse, self._loaded)
        except ConfigurationError as error:
            raise NvidError(f"there is no way back: {error}") from error
        done = await self._locked_round(EVERYTHING)
        await self._work(self._trial.finish)
        self._history.loaded(successful=False)
        set_level(self._loaded.configuration.daemon.log_level)
        self._watch_trial()
        log.warning("the previous configuration is in force again", why=why, error=done.error)
        return len(done.changes)

    async def _reload_on_signal(self) -> None:
        try:
            await self.reload()
        except BadConfiguration:
            pass  # Every problem is in the log.
        except NvidError as error:
            log.error(str(error))

    async def _remove(self) -> tuple[tuple[str, str], ...]:
        """Remove everything. A trial ends with that, and nothing is put back."""
        assert self._reconciler is not None
        if self._trial.pending is not None:
            await self._work(self._trial.give_up, self._loaded)
        removed = await self._work(
            self._reconciler.remove_everything, self._loaded.configuration.daemon
        )
        self._history.removed = True
        return removed
