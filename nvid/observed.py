"""The kernel state as it was found, and its difference from the desired one."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator
from dataclasses import dataclass, field, replace

from nvid.desired import Desired
from nvid.desired.objects import Address, Neighbour, Nexthop, Pair, Redirect, Route, Rule, Sysctl
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
    nexthops: tuple[Nexthop, ...] = ()
    redirects: tuple[Redirect, ...] = ()
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
    nexthops: tuple[Change[Nexthop], ...] = ()
    redirects: tuple[Change[Redirect], ...] = ()
    sysctls: tuple[Change[Sysctl], ...] = ()
    table: Transaction = field(default_factory=Transaction)

    def trying(self, refused: Collection[str]) -> Difference:
        """The same without what the kernel refused before, which is merely tried again."""
        fresh = tuple(each for each in self.redirects if each.object.key not in refused)
        return replace(self, redirects=fresh)

    def without(
        self,
        *,
        routes: Collection[Hashable],
        nexthops: Collection[int],
        redirects: Collection[str],
        sysctls: Collection[str],
        table: bool,
    ) -> Difference:
        """The same, leaving alone what nvid cannot have: new routes with these keys, nexthops,
        redirects and the table (where ``table`` says so), which are somebody else's, and what the
        kernel does not let it have."""
        kept = tuple(
            each for each in self.routes if each.before is not None or each.object.key not in routes
        )
        writable = tuple(each for each in self.sysctls if each.object.path not in sysctls)
        return replace(
            self,
            routes=kept,
            nexthops=tuple(each for each in self.nexthops if each.object.key not in nexthops),
            redirects=tuple(each for each in self.redirects if each.object.key not in redirects),
            sysctls=writable,
            table=Transaction() if table else self.table,
        )

    def lines(self) -> Iterator[tuple[str, str]]:
        """(kind, change) for every change, in the order in which they are made."""
        for kind, changes in (
            ("rule", self.rules),
            ("link", self.pairs),
            ("address", self.addresses),
            ("neighbour", self.neighbours),
            ("nexthop", self.nexthops),
            ("route", self.routes),
            ("filter", self.redirects),
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
        nexthops=difference(desired.nexthops, observed.nexthops),
        redirects=difference(desired.redirects, observed.redirects),
        sysctls=difference(desired.sysctls, observed.sysctls),
        table=transaction(desired.ruleset, observed.table, last_counters),
    )
