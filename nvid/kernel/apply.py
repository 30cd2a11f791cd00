"""Observe everything, and apply a difference in the order that opens no gap.

Creating goes: guards (rules), pair, its sysctls, its addresses and neighbours, routes, what is
redirected on lo, then the table in one transaction, and only then forwarding. Whatever is missing
in between, the guards or the table stop what is not translated yet. Deleting goes the other way
round, guards last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nvid.desired import Desired
from nvid.desired.objects import Pair, Sysctl
from nvid.difference import Change
from nvid.errors import KernelRefused
from nvid.kernel import (
    addresses,
    facts,
    links,
    neighbours,
    nexthops,
    redirects,
    routes,
    rules,
    ruleset,
    sysctls,
)
from nvid.kernel.netlink import session
from nvid.kernel.nft import Nft
from nvid.observed import Difference, Observed
from nvid.transaction import ObservedTable


def observe(
    found: facts.Facts,
    desired: Desired,
    protocol: int,
    table: ObservedTable | None,
    originals: dict[str, str],
) -> Observed:
    """nvid's objects of every kind; the table has been looked at already."""
    with session() as ipr:
        return Observed(
            pairs=links.observe(ipr),
            addresses=addresses.observe(ipr, found.own),
            neighbours=neighbours.observe(
                ipr, found.own, found.interfaces, protocol, desired.neighbours
            ),
            routes=routes.observe(ipr, protocol, found.interfaces),
            rules=rules.observe(ipr, protocol),
            nexthops=nexthops.observe(found.interfaces, protocol),
            redirects=redirects.observe(found.indexes),
            sysctls=sysctls.observe(desired.sysctls, originals),
            table=table,
        )


def apply(
    difference: Difference,
    wanted: Iterable[Pair],
    protocol: int,
    nft: Nft,
    originals: dict[str, str],
    *,
    own_qdisc: bool,
) -> dict[str, str]:
    """Make the changes; the answer says which of those that nothing else depends on the kernel
    refused: optional sysctls by path, redirects by device. ``own_qdisc``: nvid made what they
    hang on.

    Raises KernelRefused or NotPermitted at the first one that fails: what came before it stays,
    and stays closed.
    """
    with session() as ipr:
        rules.make(ipr, difference.rules, protocol)
        links.make(ipr, difference.pairs)
        pair_sysctls, other_sysctls = _divide(difference.sysctls, wanted)
        sysctls.write(pair_sysctls)
        indexes = facts.look(ipr, {}).indexes
        addresses.make(ipr, difference.addresses, indexes)
        links.raise_up(ipr, (each.after for each in difference.pairs if each.after is not None))
        neighbours.make(ipr, difference.neighbours, indexes, protocol)
        nexthops.make(difference.nexthops, indexes, protocol)
        routes.make(ipr, difference.routes, indexes, protocol)
        refused = _redirect(difference, indexes)
        ruleset.apply(nft, difference.table)
        refused |= sysctls.write(other_sysctls)
        sysctls.restore(difference.sysctls, originals)
        neighbours.remove(ipr, difference.neighbours, indexes, protocol)
        redirects.remove(difference.redirects, indexes, own_qdisc=own_qdisc)
        routes.remove(ipr, difference.routes, indexes, protocol)
        nexthops.remove(difference.nexthops)
        addresses.remove(ipr, difference.addresses, indexes)
        links.remove(ipr, difference.pairs)
        rules.remove(ipr, difference.rules, protocol)
    return refused


def _redirect(difference: Difference, indexes: Mapping[str, int]) -> dict[str, str]:
    """Redirects, or why there are none: their NVIs stay closed, and others do not suffer."""
    try:
        redirects.make(difference.redirects, indexes)
    except KernelRefused as error:
        return {each.object.device: str(error) for each in difference.redirects}
    return {}


def _divide(
    changes: tuple[Change[Sysctl], ...], wanted: Iterable[Pair]
) -> tuple[list[Change[Sysctl]], list[Change[Sysctl]]]:
    """The sysctls of pairs, which must be right before the pair is up, and all others."""
    ends = {end.name for pair in wanted for end in pair.ends}
    first = [change for change in changes if change.object.belongs_to in ends]
    return first, [change for change in changes if change not in first]
