"""Rules that answer what rp_filter asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nvid import names
from nvid.configuration.types import Daemon, Nvi
from nvid.desired.marks import Marks
from nvid.desired.numbers import Numbers
from nvid.desired.objects import Rule
from nvid.names import RuleOffset, TableOffset


def reverse_rules(daemon: Daemon, nvis: Iterable[Nvi], numbers: Numbers) -> Iterator[Rule]:
    """For rp_filter, which IPv6 has not: it looks up the source of a forwarded packet as if that
    came in by the interface where the packet leaves (net/ipv4/fib_frontend.c,
    __fib_validate_source), with the packet's mark where src_valid_mark says so. Without the mark
    the guards would answer. Any answer will do for loose mode; for strict mode it is main's."""
    marks, base = Marks(daemon.fwmark_mask), daemon.rule_priority
    nvis = tuple(nvi for nvi in nvis if not nvi.is_loopback)
    for mark, mask in marks.outside_tenants:
        for name in ("lo", *(nvi.peer for nvi in nvis)):
            yield Rule(
                4,
                base + RuleOffset.LANE_NO_WAY,
                fwmark=mark,
                fwmask=mask,
                input_interface=name,
                action="unreachable",
            )
        for nvi in nvis[:1]:
            yield Rule(
                4,
                base + RuleOffset.LANE_REVERSE,
                fwmark=mark,
                fwmask=mask,
                table=daemon.tables.first + TableOffset.NVIS + numbers.nvis[nvi.name],
            )
    for nvi in nvis:
        # Nothing comes in by a main end, so nothing else asks this.
        yield Rule(
            4,
            base + RuleOffset.ENTER_REVERSE,
            input_interface=nvi.name,
            table=names.MAIN_ROUTING_TABLE,
        )
