"""Rules that answer what rp_filter asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nvid import names
from nvid.configuration.types import Daemon, Nvi
from nvid.desired.marks import Marks
from nvid.desired.numbers import Numbers, nvi_table
from nvid.desired.objects import Rule
from nvid.names import RuleOffset


def reverse_rules(
    daemon: Daemon, nvis: Iterable[Nvi], numbers: Numbers, *, tenants: bool
) -> Iterator[Rule]:
    """``nvis`` are those that can be crossed.

    For rp_filter, which IPv6 has not: it looks up the source of a forwarded packet as if that came
    in by the interface where the packet leaves (net/ipv4/fib_frontend.c,
    __fib_validate_source), with the packet's mark where src_valid_mark says so. Without the mark
    the guards would answer. Any answer will do for loose mode; for strict mode it is main's.

    The answer is the way into a pair, where the table refuses what really comes. Packets in a lane
    that crossed one, and all questions of the table's own (they are asked as if by the machine
    itself), have found nothing then."""
    marks, nvis = Marks(daemon.fwmark_mask), tuple(nvis)
    every_lane = ((marks.in_lane, marks.state_mask),)
    asked = [
        (RuleOffset.LANE_NO_WAY, RuleOffset.LANE_REVERSE, mark, mask)
        for mark, mask in (marks.outside_tenants if tenants else every_lane)
    ]
    if tenants:
        # Lanes of tenants, and of tables that route entries name, get there.
        offsets = RuleOffset.TENANT_NO_WAY, RuleOffset.TENANT_REVERSE
        asked += [(*offsets, mark, mask) for mark, mask in every_lane]
    peers = [nvi.peer for nvi in nvis if not nvi.is_loopback]
    for no_way, reverse, mark, mask in asked if nvis else ():
        for name in (names.LOOPBACK, *peers):
            yield Rule(
                4,
                daemon.rule_priority + no_way,
                fwmark=mark,
                fwmask=mask,
                input_interface=name,
                action="unreachable",
            )
        yield Rule(
            4,
            daemon.rule_priority + reverse,
            fwmark=mark,
            fwmask=mask,
            table=nvi_table(daemon, numbers.nvis[nvis[0].name]),
        )
    for nvi in nvis:
        # Nothing comes in by a main end, so nothing else asks this. What the machine itself sends
        # looks like a question about lo: there such an NVI makes its interfaces loose.
        if nvi.is_loopback and nvi.local:
            continue
        enter = marks.enter(numbers.nvis[nvi.name])
        yield Rule(
            4,
            daemon.rule_priority + RuleOffset.ENTER_REVERSE,
            fwmark=enter if nvi.is_loopback else None,
            fwmask=marks.mask if nvi.is_loopback else 0,
            input_interface=names.LOOPBACK if nvi.is_loopback else nvi.name,
            table=names.MAIN_ROUTING_TABLE,
        )
