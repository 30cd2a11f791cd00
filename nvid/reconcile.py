"""One round: look, decide what is wanted, compare, apply. And what was learned from it.

``Reconciler`` keeps the little that must live from round to round. It is used by one thread at a
time: the daemon's worker, or a command such as ``nvid plan`` that works without the daemon.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace

import msgspec

from nvid import state
from nvid.configuration.types import Configuration, Daemon
from nvid.desired import Desired, desired_state, nothing
from nvid.desired.marks import Marks
from nvid.desired.numbers import Numbers, allocate
from nvid.desired.uplinks import followed_interfaces
from nvid.ending import Endings, opened
from nvid.errors import ForeignObject, NotPermitted, NvidError, in_words
from nvid.kernel import (
    announce,
    apply,
    conntrack,
    counters,
    facts,
    nexthops,
    redirects,
    routes,
    rules,
    ruleset,
    sysctls,
)
from nvid.kernel.netlink import session
from nvid.kernel.nft import Nft
from nvid.machine import Machine
from nvid.observed import Difference, Observed, differ
from nvid.repairs import repairs_in
from nvid.state import State
from nvid.statedir import StateNotKept
from nvid.transaction import ObservedTable, as_observed


@dataclass(frozen=True, slots=True)
class Round:
    """What one round found and did.

    ``changes`` are (kind, text); ``repairs`` those among them that mend what somebody else had
    changed, ``damage`` the same as values. ``error`` is what stopped the round, in words.
    ``foreign`` are objects of others where nvid would have its own.
    """

    desired: Desired
    machine: Machine
    changes: tuple[tuple[str, str], ...] = ()
    repairs: tuple[tuple[str, str], ...] = ()
    damage: frozenset[Hashable] = frozenset()
    ended_flows: int = 0
    foreign: tuple[str, ...] = ()
    error: str | None = None
    permitted: bool = True
    seconds: float = 0.0
    announce_error: str | None = None
    state_error: str | None = None


@dataclass(slots=True)
class Prepared:
    """A difference, and everything that was looked at to compute it."""

    desired: Desired
    machine: Machine
    observed: Observed
    difference: Difference
    numbers: Numbers
    foreign: tuple[str, ...]
    makes_qdisc: bool


class Reconciler:
    """Brings the kernel to what a configuration wants, round by round."""

    def __init__(self, state_dir: str, befores: Iterable[Configuration] = ()) -> None:
        """``befores`` are the configurations that the kernel was brought to before, as far as they
        are known: flows of translations that are gone since are ended."""
        self._state_dir = state_dir
        self._nft = Nft()
        self._holds_hooks = False
        kept = state.load(state_dir)
        self._state = kept if kept is not None else State()
        self._knows_numbers = kept is not None
        self._last: Desired | None = None
        self._unrepaired: tuple[tuple[str, Hashable], ...] = ()
        self._last_machine = Machine()
        self._state_error: str | None = None
        self._refused: dict[str, str] = {}
        self._last_inputs: tuple[Configuration, Machine, Numbers] | None = None
        self._last_desired: Desired | None = None
        self._counters: dict[str, tuple[int, int]] = {}
        self._table: ObservedTable | None = None
        self._knows_table = False
        self._failing: Mapping[tuple[str, int], str] = self._state.failing_by_family
        self._endings = Endings(self._state, befores)

    @property
    def failing(self) -> Mapping[tuple[str, int], str]:
        """What the checks say, as it was last used; at first, as it was kept."""
        return self._failing

    @property
    def numbers(self) -> Numbers:
        """The numbers in use."""
        return self._state.numbers

    def prepare(
        self, configuration: Configuration, *, down: bool = False, look_at_table: bool = True
    ) -> Prepared:
        """Look, and say what would change; nothing is changed.

        ``look_at_table`` is false when nobody has touched the table since the last round: listing
        a large one takes a second. What belongs to others is left out of the difference, and named
        in ``foreign``. Raises NotPermitted where the kernel shows nothing to this process, and
        WindowChanged.
        """
        daemon = configuration.daemon
        self.check_window(daemon)
        with session() as ipr:
            found = facts.look(ipr, self._state.sysctls, followed_interfaces(configuration))
            previous = self._state.numbers
            if not self._knows_numbers:
                previous = facts.numbers_in_kernel(ipr, configuration, found)
            previous = self._endings.recent(previous, configuration, self._state)
            numbers = allocate(configuration, previous)
            foreign_rules = rules.foreign(ipr, daemon.protocol, daemon.rule_priority)
            machine = replace(found.machine, failing=self._failing)
            desired = nothing() if down else self._desire(configuration, machine, numbers)
            foreign_nexthops = nexthops.foreign(found.interfaces, daemon.protocol, desired.nexthops)
            foreign_filters = redirects.foreign(found.indexes, desired.redirects)
            foreign_routes = routes.foreign(ipr, daemon.protocol, daemon.tables, desired.routes)
        foreign_table = self._look_at_table() if look_at_table or not self._knows_table else None
        observed = apply.observe(found, desired, daemon.protocol, self._table, self._state.sysctls)
        unwritable = sysctls.unwritable(desired.sysctls)
        absent = sysctls.absent(desired.sysctls, found.indexes)
        difference = differ(desired, observed, self._counters).without(
            routes=foreign_routes.keys(),
            nexthops=foreign_nexthops.keys(),
            redirects=foreign_filters.keys(),
            sysctls=self._refused.keys() | unwritable.keys() | absent,
            table=foreign_table is not None,
        )
        foreign = {
            *foreign_rules,
            *foreign_routes.values(),
            *foreign_nexthops.values(),
            *foreign_filters.values(),
            *unwritable.values(),
            *filter(None, (foreign_table,)),
        }
        return Prepared(
            desired,
            machine,
            observed,
            difference,
            numbers,
            tuple(sorted(foreign)),
            makes_qdisc=any(
                each.after is not None and not redirects.has_qdisc(found.indexes[each.after.device])
                for each in difference.redirects
            ),
        )

    def check_window(self, daemon: Daemon) -> None:
        """Raises WindowChanged when nvid's objects in the kernel were made with other numbers."""
        self._state.check_window(daemon)

    def _look_at_table(self) -> str | None:
        """Look at the table anew; the answer says what is wrong when it is not nvid's."""
        self._knows_table = False
        try:
            self._table = ruleset.observe(self._nft)
        except ForeignObject as error:
            self._table = None
            return str(error)
        self._knows_table = True
        if self._table is not None and not self._table.dormant:
            self._counters = dict(self._table.counters)
        return None

    def _desire(self, configuration: Configuration, machine: Machine, numbers: Numbers) -> Desired:
        """The desired state, computed anew only when something that it depends on has changed."""
        inputs = (configuration, machine, numbers)
        if self._last_inputs != inputs or self._last_desired is None:
            self._refused = {}
            self._last_desired = desired_state(*inputs)
            self._last_inputs = inputs
        return self._last_desired

    def converge(
        self,
        configuration: Configuration,
        *,
        look_at_table: bool = True,
        failing: Mapping[tuple[str, int], str] | None = None,
    ) -> Round:
        """One whole round. What the kernel refuses is in the answer, not raised. ``failing`` is
        what the checks of uplinks say now (see ``Machine``); None leaves it as it was."""
        started = time.monotonic()
        if failing is not None:
            self._failing = failing
        try:
            prepared = self.prepare(configuration, look_at_table=look_at_table)
        except (NvidError, OSError) as failure:
            return Round(
                desired=self._last or nothing(),
                machine=self._last_machine,
                error=in_words(failure),
                permitted=not isinstance(failure, NotPermitted),
                seconds=time.monotonic() - started,
            )
        self._last_machine = prepared.machine
        last = self._last
        tried = prepared.difference.trying(self._refused)
        damage = () if last is None else tuple(repairs_in(tried, prepared.desired, last))
        damage = tuple(dict.fromkeys((*self._unrepaired, *damage)))
        done = self._carry_out(prepared, configuration)
        # What a round that failed has mended is told when all of it is.
        self._unrepaired, repaired = (damage, ()) if done.error is not None else ((), damage)
        return replace(
            done,
            repairs=tuple((kind, str(what)) for kind, what in repaired),
            damage=frozenset(repaired),
            seconds=time.monotonic() - started,
        )

    def _carry_out(self, prepared: Prepared, configuration: Configuration) -> Round:
        """Make the changes, and end the flows that they concern."""
        daemon = configuration.daemon
        ended, announce_error = 0, None
        error: NvidError | OSError | None = None
        try:
            self._remember(prepared, configuration)
            self._endings.change_to(configuration)
            if prepared.difference:
                self._apply(prepared, daemon)
                announce_error = announce.announce_new(prepared.difference.neighbours)
            ended = self._end_flows(configuration, prepared)
            self._last = prepared.desired
        except (NvidError, OSError) as failure:
            error = failure
        return Round(
            desired=prepared.desired,
            machine=prepared.machine,
            changes=tuple(prepared.difference.lines()),
            ended_flows=ended,
            foreign=tuple(sorted({*prepared.foreign, *self._refused.values()})),
            error=None if error is None else in_words(error),
            permitted=not isinstance(error, NotPermitted),
            announce_error=announce_error,
            state_error=self._state_error,
        )

    def hold_hooks(self) -> None:
        """For a daemon: while it lives, a flushed ruleset takes no packet's translation away in
        the middle of its way. Raises KernelRefused, NotPermitted."""
        ruleset.hold_hooks(self._nft)
        self._holds_hooks = True

    def remove_everything(self, daemon: Daemon) -> tuple[tuple[str, str], ...]:
        """``nvid down``: delete what nvid owns, end the flows that it translated, write the
        sysctls of before. Raises NotPermitted, KernelRefused, ForeignObject."""
        prepared = self.prepare(Configuration(daemon=daemon), down=True)
        self._apply(prepared, daemon)
        if self._holds_hooks:
            ruleset.release_hooks(self._nft)
            self._holds_hooks = False
        marks = Marks(daemon.fwmark_mask)
        conntrack.end(conntrack.MarkFilter(marks.bound, marks.state_mask), lambda _: True)
        self._state = State()
        self._last = None
        with contextlib.suppress(StateNotKept):
            # What stays on a disk that cannot be written says what is so now: nothing to restore.
            state.forget(self._state_dir)
        return tuple(prepared.difference.lines())

    def read_counters(self) -> dict[str, tuple[int, int]]:
        """Packets and bytes of every named counter; they go on from here if the table is lost."""
        found = counters.read()
        if found:
            self._counters = found
        return found

    def _apply(self, prepared: Prepared, daemon: Daemon) -> None:
        self._knows_table = self._knows_table and not prepared.difference.table
        # What hangs on lo is tried again in each round: modules are loaded, qdiscs go.
        tried = {each.object.key for each in prepared.difference.redirects}
        self._refused = {key: why for key, why in self._refused.items() if key not in tried}
        self._refused |= apply.apply(
            prepared.difference,
            prepared.desired.pairs,
            daemon.protocol,
            self._nft,
            self._state.sysctls,
            own_qdisc=self._state.own_qdisc,
        )
        if prepared.difference.table and prepared.desired.ruleset is not None:
            self._table = as_observed(prepared.desired.ruleset)
            self._knows_table = True
        gone = {
            each.before.path
            for each in prepared.difference.sysctls
            if each.after is None and each.before is not None
        }
        if gone:
            kept = {path: v for path, v in self._state.sysctls.items() if path not in gone}
            self._keep(msgspec.structs.replace(self._state, sysctls=kept))

    def _remember(self, prepared: Prepared, configuration: Configuration) -> None:
        """Keep what a death in the middle of the change must not lose: numbers, the sysctls as
        they are, and that flows are to be ended."""
        ends = {end.name for pair in prepared.desired.pairs for end in pair.ends}
        others = [
            change
            for change in prepared.difference.sysctls
            if change.object.path not in self._state.sysctls
            and change.object.belongs_to not in ends
        ]
        found = sysctls.before(others)
        owed = self._endings.owe(
            self._state,
            prepared.numbers,
            prepared.observed,
            prepared.desired,
            opened(configuration, prepared.difference),
        )
        self._keep(
            msgspec.structs.replace(
                owed,
                uplinks=dict(prepared.numbers.uplinks),
                nvis=dict(prepared.numbers.nvis),
                tables=dict(prepared.numbers.tables),
                tenants=dict(prepared.numbers.tenants),
                sysctls={**self._state.sysctls, **found},
                window=state.window_of(configuration.daemon),
                own_qdisc=self._state.own_qdisc or prepared.makes_qdisc,
            )
        )

    def _keep(self, wanted: State) -> None:
        """Keep a state. Where that is impossible, nvid goes on with it in memory: traffic matters
        more than what ``nvid down`` can restore."""
        if wanted == self._state and self._knows_numbers and self._state_error is None:
            return
        self._state, self._knows_numbers, self._state_error = wanted, True, None
        try:
            state.save(self._state_dir, wanted)
        except StateNotKept as error:
            self._state_error = str(error)

    def _end_flows(self, configuration: Configuration, prepared: Prepared) -> int:
        """End the flows that the change concerns, and those that an earlier round owes: new ones
        go elsewhere by now. Keep what a restart must know of it."""
        ended, kept = self._endings.end(
            configuration, prepared.desired, prepared.machine, prepared.numbers, self._state
        )
        self._keep(msgspec.structs.replace(kept, failing=state.by_uplink(self._failing)))
        return ended
