"""The kernel state as it was found, and its difference from the desired one."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator
from dataclasses import dataclass, field, replace

from nvid.desired import Desired
from nvid.desired.objects import Address, Neighbour, Pair, Route, Rule, Sysctl
from nvid.difference import Change, difference
from nvid.transaction import ObservedTable, Transaction, transaction


@dataclass(frozen=True, slots=True)
class Observed:
    """The objects of every kind that carry nvid's mark; ``table`` is None where there is none."""

    pairs: tuple[Pair, ...] = ()
    addresses: tuple[Address, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()
    sysctls: tuple[Sysctl, ...] = ()
    table: ObservedTable | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """All changes, by kind. Prints itself line by line; an empty one is false."""

    pairs: tuple[Change[Pair], ...] = ()
    addresses: tuple[Change[Address], ...] = ()
    neighbours: tuple[Change[Neighbour], ...] = ()
    routes: tuple[Change[Route], ...] = ()
    rules: tuple[Change[Rule], ...] = ()
    sysctls: tuple[Change[Sysctl], ...] = ()
    table: Transaction = field(default_factory=Transaction)

    def without(
        self, *, routes: Collection[Hashable], sysctls: Collection[str], table: bool
    ) -> Difference:
        """The same, leaving alone what nvid cannot have: new routes with these keys and the table
        (where ``table`` says so), which are somebody else's, and sysctls that it cannot write."""
        kept = tuple(
            each for each in self.routes if each.before is not None or each.object.key not in routes
        )
        writable = tuple(each for each in self.sysctls if each.object.path not in sysctls)
        return replace(
            self, routes=kept, sysctls=writable, table=Transaction() if table else self.table
        )

    def lines(self) -> Iterator[tuple[str, str]]:
        """(kind, change) for every change, in the order in which they are made."""
        for kind, changes in (
            ("rule", self.rules),
            ("link", self.pairs),
            ("address", self.addresses),
            ("neighbour", self.neighbours),
            ("route", self.routes),
            ("sysctl", self.sysctls),
        ):
            for change in changes:
                yield kind, str(change)
        for words in self.table.changes:
            yield "ruleset", words

    def __bool__(self) -> bool:
        return any(True for _ in self.lines())


def differ(
    desired: Desired, observed: Observed, last_counters: dict[str, tuple[int, int]]
) -> Difference:
    """What turns the observed state into the desired one."""
    return Difference(
        pairs=difference(desired.pairs, observed.pairs),
        addresses=difference(desired.addresses, observed.addresses),
        neighbours=difference(desired.neighbours, observed.neighbours),
        routes=difference(desired.routes, observed.routes),
        rules=difference(desired.rules, observed.rules),
        sysctls=difference(desired.sysctls, observed.sysctls),
        table=transaction(desired.ruleset, observed.table, last_counters),
    )
