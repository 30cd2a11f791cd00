"""Checks of uplinks: when to ask, and what the answers come to."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

import structlog

from nvid import health
from nvid.configuration.lanes import UplinkCheck
from nvid.configuration.types import Configuration
from nvid.configuration.values import IPAddress
from nvid.desired.marks import Marks
from nvid.desired.uplinks import UplinkState
from nvid.health import Verdict
from nvid.kernel.echo import EchoSocket

log = structlog.get_logger()

Start = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class Checks:
    """The checks of all uplinks. ``changed`` is called when a verdict has changed; ``start`` runs
    something beside everything else."""

    def __init__(self, changed: Callable[[], None], start: Start) -> None:
        self._changed = changed
        self._start = start
        self._watched: dict[str, _Watched] = {}

    def configure(self, configuration: Configuration, known: Mapping[tuple[str, int], str]) -> None:
        """Check the uplinks of this configuration, and no others. A verdict outlives a reload;
        ``known`` are those of before (see ``Machine``)."""
        wanted = {each.name: each.check for each in configuration.uplinks if each.check is not None}
        marks = Marks(configuration.daemon.fwmark_mask)
        for name in self._watched.keys() - wanted.keys():
            self._watched.pop(name).stop()
        for name, check in wanted.items():
            found = self._watched.get(name)
            if found is None:
                down = {family for uplink, family in known if uplink == name}
                self._watched[name] = _Watched(check, marks, down, self._changed)
            else:
                found.change(check)

    def follow(self, uplinks: Iterable[UplinkState]) -> None:
        """Where the uplinks are now. Those that are new begin to be checked."""
        for uplink in uplinks:
            if uplink.name in self._watched:
                watched = self._watched[uplink.name]
                watched.uplink = uplink
                if watched.task is None:
                    watched.task = self._start(watched.run())

    @property
    def failing(self) -> dict[tuple[str, int], str]:
        """Why uplinks do not work, in words by name and family."""
        return {
            (name, family): text
            for name, watched in self._watched.items()
            for family, text in watched.failing.items()
        }

    @property
    def problem(self) -> str | None:
        """Why checks cannot be made at all, if so."""
        return next((each.problem for each in self._watched.values() if each.problem), None)


class _Watched:
    """One uplink, asked round after round for as long as it is configured, up or down."""

    def __init__(
        self, check: UplinkCheck, marks: Marks, down: Iterable[int], changed: Callable[[], None]
    ) -> None:
        self._check = check
        self._marks = marks
        self._changed = changed
        self._down_before = frozenset(down)
        self._verdicts = {family: self._first(family) for family in health.families_of(check)}
        self._sockets: dict[int, tuple[object, EchoSocket]] = {}
        self._sequence = 0
        self.uplink: UplinkState | None = None
        self.task: asyncio.Task[None] | None = None
        self.problem: str | None = None

    def _first(self, family: int) -> Verdict:
        return Verdict(up=family not in self._down_before)

    def change(self, check: UplinkCheck) -> None:
        """Go on by another configuration."""
        self._check = check
        self._verdicts = {
            family: self._verdicts.get(family, Verdict()) for family in health.families_of(check)
        }

    @property
    def failing(self) -> dict[int, str]:
        """In words by family."""
        return health.failing(self._check, self._verdicts)

    def stop(self) -> None:
        """Ask no more."""
        if self.task is not None:
            self.task.cancel()

    async def run(self) -> None:
        """Ask and judge, for ever."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        try:
            while True:
                self._ask()
                # After a standstill of the machine: go on, do not catch up.
                due = max(due + self._check.interval, loop.time())
                await asyncio.sleep(due - loop.time())
                self._judge()
        finally:
            for _, socket in self._sockets.values():
                socket.close()

    def _ask(self) -> None:
        self._sequence += 1
        for target in self._check.targets:
            socket = self._socket(target.version)
            if socket is not None:
                try:
                    socket.ask(target, self._sequence)
                except OSError:
                    # No way out at the moment: a round without an answer.
                    continue

    def _socket(self, family: int) -> EchoSocket | None:
        """The socket of a family; a new one when the interface or the address has changed. None
        where none can be had at the moment."""
        uplink = self.uplink
        assert uplink is not None
        source = uplink.addresses.get(family)
        key = (uplink.interface, uplink.index, uplink.lane, source)
        if family in self._sockets:
            if self._sockets[family][0] == key:
                return self._sockets[family][1]
            self._sockets.pop(family)[1].close()
        mark = self._marks.lane(uplink.lane)
        try:
            made = EchoSocket(uplink.interface, family, mark, source)
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EACCES):
                self._cannot(f"uplink {uplink.name} cannot be checked: {error.strerror}")
            return None
        self.problem = None
        self._sockets[family] = (key, made)
        return made

    def _cannot(self, words: str) -> None:
        if self.problem is None:
            self.problem = f"{words}; run nvid as root or with CAP_NET_RAW"
            log.error(self.problem)
            self._changed()

    def _judge(self) -> None:
        if self.problem is not None:
            return  # Nothing was asked, so nothing is known.
        before = self.failing
        for family, verdict in self._verdicts.items():
            self._verdicts[family] = verdict.after(self._answered(family), self._check)
        if self.failing != before:
            self._changed()

    def _answered(self, family: int) -> bool:
        if family not in self._sockets:
            return False
        answers: set[IPAddress] = set(self._sockets[family][1].answers())
        return not answers.isdisjoint(self._check.targets)
