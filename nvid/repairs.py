"""Which changes mend what somebody else has done."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from nvid.desired import Desired
from nvid.observed import Difference


def repairs_in(
    difference: Difference, desired: Desired, last: Desired
) -> Iterator[tuple[str, Hashable]]:
    """The changes to objects that were as wanted after the ``last`` round, and were wanted the
    same then, as (kind, change): somebody else has touched them."""
    for kind, changes, wanted_then in (
        ("link", difference.pairs, last.pairs),
        ("address", difference.addresses, last.addresses),
        ("neighbour", difference.neighbours, last.neighbours),
        ("route", difference.routes, last.routes),
        ("rule", difference.rules, last.rules),
        ("nexthop", difference.nexthops, last.nexthops),
        ("filter", difference.redirects, last.redirects),
        ("sysctl", difference.sysctls, last.sysctls),
    ):
        then = set(wanted_then)
        for change in changes:
            if change.after in then if change.after is not None else change.before not in then:
                yield kind, change
    if last.ruleset == desired.ruleset:
        for words in difference.table.changes:
            yield "ruleset", words
