"""One round: look, decide what is wanted, compare, apply. And what was learned from it.

``Reconciler`` keeps the little that must live from round to round. It is used by one thread at a
time: the daemon's worker, or a command such as ``nvid plan`` that works without the daemon.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from nvid import state
from nvid.configuration.types import Configuration, Daemon
from nvid.desired import Desired, desired_state, nothing
from nvid.desired.marks import Marks
from nvid.desired.numbers import Numbers, allocate
from nvid.desired.objects import Neighbour
from nvid.errors import NvidError
from nvid.kernel import announce, apply, conntrack, facts, routes, rules, ruleset, sysctls
from nvid.kernel.netlink import session
from nvid.kernel.nft import Nft
from nvid.machine import Machine
from nvid.observed import Difference, Observed, differ
from nvid.state import State
from nvid.transaction import ObservedTable, as_observed


@dataclass(frozen=True, slots=True)
class Round:
    """What one round found and did.

    ``changes`` are (kind, text); ``repairs`` those among them that mend what somebody else had
    changed. ``error`` is what stopped the round, in words. ``foreign`` are objects of others where
    nvid would have its own.
    """

    desired: Desired
    machine: Machine
    changes: tuple[tuple[str, str], ...] = ()
    repairs: tuple[tuple[str, str], ...] = ()
    ended_flows: int = 0
    foreign: tuple[str, ...] = ()
    error: str | None = None
    seconds: float = 0.0
    announce_error: str | None = None


@dataclass(slots=True)
class Prepared:
    """A difference, and everything that was looked at to compute it."""

    desired: Desired
    machine: Machine
    observed: Observed
    difference: Difference
    numbers: Numbers
    foreign: tuple[str, ...] = field(default=())


class Reconciler:
    """Brings the kernel to what a configuration wants, round by round."""

    def __init__(self, state_dir: str) -> None:
        self._state_dir = state_dir
        self._nft = Nft()
        kept = state.load(state_dir)
        self._state = kept if kept is not None else State()
        self._knows_numbers = kept is not None
        self._last: Desired | None = None
        self._last_inputs: tuple[Configuration, Machine, Numbers] | None = None
        self._last_desired: Desired | None = None
        self._counters: dict[str, tuple[int, int]] = {}
        self._table: ObservedTable | None = None
        self._knows_table = False

    @property
    def numbers(self) -> Numbers:
        """The numbers in use."""
        return self._state.numbers

    def prepare(
        self, configuration: Configuration, *, down: bool = False, look_at_table: bool = True
    ) -> Prepared:
        """Look, and say what would change; nothing is changed.

        ``look_at_table`` is false when nobody has touched the table since the last round: listing
        a large one takes a second. Raises NotPermitted where the kernel shows nothing to this
        process, ForeignObject for a table that is not nvid's, NvidError when the numbers of the
        configuration's [daemon] are not those of what is in the kernel.
        """
        daemon = configuration.daemon
        self._state.check_window(daemon)
        with session() as ipr:
            found = facts.look(ipr, self._state.sysctls)
            previous = self._state.numbers
            if not self._knows_numbers:
                previous = facts.numbers_in_kernel(ipr, configuration, found)
            numbers = allocate(configuration, previous)
        desired = nothing() if down else self._desire(configuration, found.machine, numbers)
        if look_at_table or not self._knows_table:
            self._table = ruleset.observe(self._nft)
            self._knows_table = True
            if self._table is not None:
                self._counters = dict(self._table.counters)
        observed = apply.observe(
            found, desired, daemon.protocol, self._table, self._state.sysctls
        )
        difference = differ(desired, observed, self._counters)
        return Prepared(desired, found.machine, observed, difference, numbers)

    def foreign(self, configuration: Configuration, desired: Desired) -> tuple[str, ...]:
        """Routes and rules of others where nvid would have its own, in words."""
        daemon = configuration.daemon
        with session() as ipr:
            found = rules.foreign(ipr, daemon.protocol, daemon.rule_priority)
            found |= routes.foreign(ipr, daemon.protocol, daemon.tables, desired.routes)
        return tuple(sorted(found))

    def _desire(
        self, configuration: Configuration, machine: Machine, numbers: Numbers
    ) -> Desired:
        """The desired state, computed anew only when something that it depends on has changed."""
        inputs = (configuration, machine, numbers)
        if self._last_inputs != inputs or self._last_desired is None:
            self._last_desired = desired_state(*inputs)
            self._last_inputs = inputs
        return self._last_desired

    def converge(self, configuration: Configuration, *, look_at_table: bool = True) -> Round:
        """One whole round. What the kernel refuses is in the answer, not raised."""
        started = time.monotonic()
        prepared = self.prepare(configuration, look_at_table=look_at_table)
        changes = tuple(prepared.difference.lines())
        repairs = tuple(self._repairs(prepared))
        ended, error, announcing = 0, None, None
        try:
            if prepared.difference:
                self._remember(prepared, configuration.daemon)
                self._apply(prepared, configuration.daemon)
                ended = self._end_flows(configuration, prepared)
                announcing = _announce(prepared.difference)
            self._last = prepared.desired
        except NvidError as failure:
            error = str(failure)
        return Round(
            desired=prepared.desired,
            machine=prepared.machine,
            changes=changes,
            repairs=repairs,
            ended_flows=ended,
            foreign=self.foreign(configuration, prepared.desired),
            error=error,
            seconds=time.monotonic() - started,
            announce_error=announcing,
        )

    def remove_everything(self, daemon: Daemon) -> tuple[tuple[str, str], ...]:
        """``nvid down``: delete what nvid owns, end the flows that it translated, write the
        sysctls of before. Raises NotPermitted, KernelRefused, ForeignObject."""
        prepared = self.prepare(Configuration(daemon=daemon), down=True)
        self._apply(prepared, daemon)
        marks = Marks(daemon.fwmark_mask)
        conntrack.end(conntrack.MarkFilter(marks.bound, marks.state_mask), lambda _: True)
        self._state = State()
        self._last = None
        state.forget(self._state_dir)
        return tuple(prepared.difference.lines())

    def read_counters(self) -> dict[str, tuple[int, int]]:
        """Packets and bytes of every named counter; they go on from here if the table is lost."""
        found = ruleset.counters(self._nft)
        if found:
            self._counters = found
        return found

    def _apply(self, prepared: Prepared, daemon: Daemon) -> None:
        self._knows_table = self._knows_table and not prepared.difference.table
        apply.apply(
            prepared.difference,
            prepared.desired.pairs,
            daemon.protocol,
            self._nft,
            self._state.sysctls,
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
            self._save(prepared.numbers, kept, daemon)

    def _remember(self, prepared: Prepared, daemon: Daemon) -> None:
        """Keep numbers, and the sysctls as they are, before anything is written: a death in the
        middle must not lose them."""
        ends = {
            end.name
            for pair in prepared.desired.pairs
            for end in (pair.main, pair.peer)
            if end is not None
        }
        found = {
            path: value
            for path, value in sysctls.before(prepared.difference.sysctls).items()
            if path not in self._state.sysctls and path.split("/")[-2] not in ends
        }
        self._save(prepared.numbers, {**self._state.sysctls, **found}, daemon)

    def _save(
        self, numbers: Numbers, sysctl_originals: dict[str, str], daemon: Daemon
    ) -> None:
        wanted = state.of(daemon, numbers, sysctl_originals)
        if wanted != self._state or not self._knows_numbers:
            state.save(self._state_dir, wanted)
            self._state = wanted
            self._knows_numbers = True

    def _repairs(self, prepared: Prepared) -> list[tuple[str, str]]:
        """The changes to objects that were as wanted after the last round, and were wanted the
        same then: somebody else has touched them."""
        last = self._last
        if last is None:
            return []
        difference, desired = prepared.difference, prepared.desired
        found: list[tuple[str, str]] = []
        for kind, changes, wanted_then in (
            ("link", difference.pairs, last.pairs),
            ("address", difference.addresses, last.addresses),
            ("neighbour", difference.neighbours, last.neighbours),
            ("route", difference.routes, last.routes),
            ("rule", difference.rules, last.rules),
            ("sysctl", difference.sysctls, last.sysctls),
        ):
            then = set(wanted_then)
            found += [
                (kind, str(change))
                for change in changes
                if (change.after in then if change.after is not None else change.before not in then)
            ]
        if last.ruleset == desired.ruleset:
            found += [("ruleset", words) for words in difference.table.changes]
        return found

    def _end_flows(self, configuration: Configuration, prepared: Prepared) -> int:
        """End flows that the change concerns: those that began untranslated where the table is
        new or covers other interfaces, and those whose lane is gone."""
        marks = Marks(configuration.daemon.fwmark_mask)
        ended = 0
        if _offers(prepared.observed) != _wanted_offers(prepared.desired):
            unbound = conntrack.MarkFilter(0, marks.state_mask)
            ended += conntrack.end_untranslated(unbound, prepared.machine.addresses())
        lanes_before = _lanes_in_table(prepared.observed, marks)
        for lane in lanes_before - {uplink.lane for uplink in prepared.desired.uplinks} - {0}:
            for value, mask in (
                (marks.forward_lane(lane), marks.forward_mask),
                (marks.return_lane(lane), marks.return_mask),
            ):
                bound = conntrack.MarkFilter(marks.bound | value, marks.state_mask | mask)
                ended += conntrack.end(bound, lambda _: True)
        return ended


def _offers(observed: Observed) -> frozenset[str]:
    if observed.table is None or "offer" not in observed.table.maps:
        return frozenset()
    return frozenset(observed.table.maps["offer"].elements)


def _wanted_offers(desired: Desired) -> frozenset[str]:
    if desired.ruleset is None:
        return frozenset()
    offers = [each for each in desired.ruleset.maps if each.name == "offer"]
    return frozenset(key for each in offers for key in each.elements)


def _lanes_in_table(observed: Observed, marks: Marks) -> set[int]:
    """The lanes that flows may still carry, as the table shows them."""
    if observed.table is None or "return_lanes" not in observed.table.maps:
        return set()
    step = marks.return_lane(1)
    return {int(key) // step for key in observed.table.maps["return_lanes"].elements}


def _announce(difference: Difference) -> str | None:
    """Tell neighbours about addresses that appeared; the answer says what went wrong."""
    fresh: dict[str, list[Neighbour]] = {}
    for change in difference.neighbours:
        if change.before is None and change.after is not None and change.after.mac is None:
            fresh.setdefault(change.after.interface, []).append(change.after)
    for interface, entries in fresh.items():
        try:
            announce.announce(interface, (each.address for each in entries))
        except OSError as error:
            return f"cannot announce addresses on {interface}: {error.strerror}"
    return None
