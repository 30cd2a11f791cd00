"""The daemon: rounds of reconciliation, driven by events, requests and time.

One asyncio loop decides; one worker thread does everything that may take long (libnftables,
netlink dumps, reading files), so that the control socket, the watchdog and the signals are always
answered. Rounds never overlap.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import structlog

from nvid import names
from nvid.daemon import notify, report
from nvid.daemon.checks import Checks
from nvid.daemon.control import ControlServer
from nvid.daemon.fullness import INTERVAL
from nvid.daemon.metrics import MetricsServer, Snapshot
from nvid.daemon.pace import Pace
from nvid.daemon.records import TranslationRecords
from nvid.daemon.reloads import Reloads
from nvid.daemon.statistics import Statistics, statistics
from nvid.daemon.status import Status, headline
from nvid.daemon.translations import Filter, Flows, Translation
from nvid.daemon.usage import UsageReader
from nvid.desired.ruleset.account import labels_of
from nvid.errors import NotPermitted, NvidError
from nvid.kernel import conntrack
from nvid.kernel.events import EVERYTHING, ROUTING, Event, Watch
from nvid.known import known_reconciler
from nvid.reconcile import Round
from nvid.trial import Start

_CULPRITS_AT_MOST = 20
_LOGGED_AT_MOST = 20

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger()


class Service(Reloads):
    """One running daemon. ``run`` returns its exit status."""

    def __init__(self, path: Path, start: Start) -> None:
        super().__init__(path, start)
        daemon = start.loaded.configuration.daemon
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="nvid-worker")
        self._checks = Checks(self._on_check, self._start)
        self._stop = asyncio.Event()
        self._dirty = asyncio.Event()
        self._kinds: frozenset[str] = frozenset()
        self._culprits: list[str] = []
        self._own_interfaces: frozenset[int] = frozenset()
        self._watch = Watch(
            names.TABLE,
            lambda: self._loaded.configuration.daemon.protocol,
            lambda: self._own_interfaces,
        )
        self._usage = UsageReader()
        self._records = TranslationRecords(log.info)
        self._control = ControlServer(daemon.socket, self)
        self._metrics = MetricsServer(self._scrape)
        self._last: Round | None = None
        self._pace = Pace()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> int:
        """Work until SIGTERM or ``nvid down``. Raises NvidError when it cannot even begin."""
        self._loop = loop = asyncio.get_running_loop()
        daemon = self._loaded.configuration.daemon
        self._control.open()
        # From now on: a signal while the first round runs must not end it in the middle.
        self._handle_signals(loop)
        try:
            if daemon.metrics is not None:
                self._open_metrics()
            loop.add_reader(self._watch.routing, self._on_events, self._watch.read_routing)
            loop.add_reader(self._watch.netfilter, self._on_events, self._watch.read_netfilter)
            self._reconciler = await self._work(known_reconciler, self._begin.directory)
            self._reconciler.check_window(daemon)
            await self._work(self._trial.coming, self._loaded)
            first = await self._round(EVERYTHING)
            if not first.permitted:
                raise NotPermitted(first.error)
            await self._hold_hooks()
            await self._began()
            notify.ready(headline(self._status()))
            log.info("running", config=str(self._path), status=headline(self._status()))
            self._start(self._keep())
            self._start(self._feed_watchdog())
            self._start(self._watch_flow_table())
            await self._stop.wait()
            return await self._end()
        finally:
            await self._close()

    async def _hold_hooks(self) -> None:
        assert self._reconciler is not None
        try:
            await self._work(self._reconciler.hold_hooks)
        except NvidError as error:
            log.warning("cannot keep the NAT hooks over a flushed ruleset", reason=str(error))

    def _open_metrics(self) -> None:
        listen = self._loaded.configuration.daemon.metrics
        assert listen is not None
        try:
            self._metrics.open(listen)
            if not ip_address(listen.host).is_loopback:
                log.warning("metrics can be read by everybody who reaches the address", on=listen)
        except NvidError as error:
            # NAT matters more than its metrics.
            self._history.metrics_problem = str(error)
            log.error(str(error))

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run beside everything else. Its failure ends the daemon, loudly: systemd starts it
        again, and what is in the kernel stays."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.critical("a part of the daemon has failed", exc_info=task.exception())
            self._stop.set()
            self._history.crashed = True

    def _handle_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._start(self._reload_on_signal()))

    async def _work(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run something in the worker thread."""
        assert self._loop is not None
        return await self._loop.run_in_executor(self._worker, lambda: function(*args, **kwargs))

    # Events and rounds

    def _on_events(self, read: Callable[[], Iterable[Event]]) -> None:
        for event in read():
            self._kinds |= event.kinds
            if event.overrun:
                self._history.overruns += 1
                log.warning("events were lost, looking at everything")
            if event.culprit is not None and event.culprit not in self._culprits:
                self._culprits = [*self._culprits, event.culprit][-_CULPRITS_AT_MOST:]
        if self._kinds:
            self._dirty.set()

    def _on_check(self) -> None:
        """A check has changed its mind about an uplink."""
        self._kinds |= {ROUTING}
        self._dirty.set()

    async def _keep(self) -> None:
        """Rounds for ever: after events, and now and then without."""
        while True:
            resync = self._loaded.configuration.daemon.resync
            try:
                await asyncio.wait_for(self._dirty.wait(), resync)
                await asyncio.sleep(self._pace.pause)
            except TimeoutError:
                self._kinds = EVERYTHING
            await self._round(self._kinds)

    async def _round(self, kinds: frozenset[str]) -> Round:
        """One round, and everything that follows from it: status, log, metrics."""
        async with self._lock:
            return await self._locked_round(kinds)

    async def _locked_round(self, kinds: frozenset[str]) -> Round:
        assert self._reconciler is not None
        self._dirty.clear()
        self._kinds = frozenset()
        known = len(self._culprits)
        configuration = self._loaded.configuration
        self._checks.configure(configuration, self._reconciler.failing)
        done = await self._work(
            self._reconciler.converge,
            configuration,
            look_at_table=kinds != {ROUTING},
            failing=self._checks.failing,
        )
        self._checks.follow(done.desired.uplinks)
        self._history.checks_problem = self._checks.problem
        self._own_interfaces = frozenset(
            interface.index for interface in done.machine.interfaces if interface.ours
        )
        # Events that came while the round looked may be about what it saw.
        self._on_events(self._watch.read_routing)
        self._on_events(self._watch.read_netfilter)
        culprits = tuple(self._culprits)
        if done.error is None or done.repairs:
            # A look that failed leaves the blame to the round that repairs.
            self._culprits = [] if done.repairs else self._culprits[known:]
        self._metrics.durations.observe(done.seconds)
        self._history.note(done, culprits)
        self._report(done, culprits)
        if self._last is None or self._last.desired is not done.desired:
            self._records.follow(
                configuration,
                labels_of(configuration.nvis, done.desired.uplinks),
                done.machine.addresses(),
                {tenant.name: tenant.lane for tenant in done.desired.tenants},
            )
        self._last = done
        self._pace.note(done)
        if done.error or done.repairs:
            # Look again: whether it worked, and whether somebody has undone it.
            self._kinds = EVERYTHING
            self._dirty.set()
        notify.status(headline(self._status()))
        return done

    def _report(self, done: Round, culprits: tuple[str, ...]) -> None:
        for line in report.lines(self._last, done, culprits)[:_LOGGED_AT_MOST]:
            log.log(line.level, line.text, **line.fields)
        if done.repairs and self._pace.is_fight:
            log.warning(
                "somebody keeps undoing repairs; the pauses between them grow",
                pause_seconds=round(self._pace.pause, 2),
                culprit=", ".join(culprits) or "unknown",
            )

    # What can be asked for (see control.Backend)

    async def status(self) -> Status:
        """The present status; flows are counted anew when that is quick."""
        await self._refresh_usage(patience=0.03)
        return self._status()

    def _status(self) -> Status:
        return report.status(self._loaded, self._last, self._history, self._usage.latest)

    async def translations(self, wanted: Filter) -> AsyncIterator[list[Translation]]:
        """The live flows, read in a thread as fast as they are taken."""
        assert self._loop is not None
        batches = self._flows().batches(wanted)
        while batch := await self._loop.run_in_executor(None, next, batches, None):
            yield batch

    async def clear(self, wanted: Filter) -> int:
        """End flows; their number."""
        assert self._loop is not None
        ended = await self._loop.run_in_executor(None, self._flows().end, wanted)
        log.info("ended flows on request", flows=ended)
        return ended

    def _flows(self) -> Flows:
        assert self._reconciler is not None
        configuration, numbers = self._loaded.configuration, self._reconciler.numbers
        if self._last is None:
            return Flows(configuration, numbers)
        uplinks, own = self._last.desired.uplinks, self._last.machine.addresses()
        return Flows(configuration, numbers, uplinks, own)

    async def statistics(self) -> Statistics:
        """All counters, read anew when that is quick."""
        await self._refresh_usage(patience=2)
        if self._usage.latest.problem is not None:
            raise NvidError(self._usage.latest.problem)
        return statistics(self._snapshot())

    async def down(self) -> list[str]:
        """Remove everything and end; what was removed, in words."""
        assert self._reconciler is not None
        async with self._lock:
            removed = await self._remove()
            assert self._loop is not None
            # The answer goes out first.
            self._loop.call_later(0.1, self._stop.set)
            for task in self._tasks:
                task.cancel()
            return [text for _, text in removed]

    # Metrics and watchdog

    async def _refresh_usage(self, patience: float) -> None:
        if self._reconciler is not None and not self._history.removed:
            await self._usage.refresh(
                self._loaded.configuration, self._reconciler, self._worker, patience
            )

    def _scrape(self) -> Snapshot | None:
        """Called in the thread of a scrape; waits a moment for fresh numbers, never long."""
        if self._loop is None or self._last is None or self._stop.is_set():
            return None
        waiting = asyncio.run_coroutine_threadsafe(self._refresh_usage(0.5), self._loop)
        try:
            waiting.result(timeout=1)
        except (TimeoutError, asyncio.CancelledError):
            waiting.cancel()
        return self._snapshot()

    def _snapshot(self) -> Snapshot:
        return report.snapshot(
            self._loaded.configuration, self._status(), self._history, self._usage.latest
        )

    async def _watch_flow_table(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                table = await loop.run_in_executor(None, conntrack.flow_table)
            except (NvidError, OSError) as error:
                # The numbers that are read when somebody asks tell it in the status.
                log.debug("no look at the flow table", reason=str(error))
            else:
                self._say_fullness(table)
            await asyncio.sleep(INTERVAL)

    def _say_fullness(self, table: conntrack.FlowTable | None) -> None:
        fullness = self._history.fullness
        if fullness.note(table) and table is not None:
            if fullness.problem is not None:
                log.warning(fullness.problem, refused_packets_total=table.refused)
            else:
                log.info("the flow table has room again", entries=table.entries)

    async def _feed_watchdog(self) -> None:
        interval = notify.watchdog_interval()
        while interval is not None:
            notify.alive()
            await asyncio.sleep(interval)

    # The end

    async def _end(self) -> int:
        notify.stopping()
        daemon = self._loaded.configuration.daemon
        if self._history.crashed:
            return 1
        if daemon.on_stop == "remove" and not self._history.removed:
            async with self._lock:
                await self._remove()
        log.info(
            "stopped",
            traffic="no longer translated" if self._history.removed else "goes on",
        )
        return 0

    async def _close(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        self._control.close()
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._watch.routing)
        loop.remove_reader(self._watch.netfilter)
        self._watch.close()
        await loop.run_in_executor(None, self._records.close)
        await loop.run_in_executor(None, self._metrics.close)
        self._worker.shutdown(wait=True)
