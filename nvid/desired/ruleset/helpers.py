"""Application-level gateways: the kernel's conntrack helpers, for the ports that an NVI names.

A helper reads the control flow (FTP's, SIP's), rewrites the addresses in it and expects the flows
that follow. Those inherit their master's ct mark, whose directions may be the opposite of theirs,
so they are bound anew; the kernel translates them as their master (``nf_nat_follow_master``).
"""

from __future__ import annotations

from collections.abc import Iterator

from nvid.configuration.types import Nvi
from nvid.desired.ruleset.model import Chain, CtHelper, Ruleset
from nvid.desired.ruleset.tenants import expected_inside
from nvid.desired.ruleset.words import Plan, protocol, set_ct_mark

TRANSPORTS = {
    "ftp": ("tcp",),
    "tftp": ("udp",),
    "sip": ("udp", "tcp"),
    "irc": ("tcp",),
    "amanda": ("udp",),
    "pptp": ("tcp",),
}
"""What each helper listens to (net/netfilter/nf_conntrack_*.c). irc and pptp know IPv4 only."""

IPV4_ONLY = frozenset({"irc", "pptp"})

EXPECTED = "ct status & (expected | confirmed) == expected goto expected_flow"
"""The rule that catches the first packet of an expected flow, before it is taken for bound."""


def helper_rules(nvi: Nvi, number: int) -> Iterator[str]:
    """The rules that give new flows of an NVI their helper; the port is the server's own, as
    DNAT left it."""
    for helper in nvi.helpers:
        for transport in TRANSPORTS[helper.name]:
            family = "meta nfproto ipv4 " if helper.name in IPV4_ONLY else ""
            yield (
                f"{family}meta l4proto {protocol(transport)} th dport {helper.port} "
                f'ct helper set "{_name(number, helper.name, transport)}"'
            )


def helper_objects(plan: Plan) -> Ruleset:
    """The helper objects, and the chain for expected flows."""
    used = [
        CtHelper(_name(plan.number(nvi), helper.name, transport), helper.name, transport)
        for nvi in plan.nvis
        for helper in nvi.helpers
        for transport in TRANSPORTS[helper.name]
    ]
    if not used:
        return Ruleset()
    marks = plan.marks
    fresh = set_ct_mark(marks, marks.mask, 0)
    chains = [Chain("expected_flow", (*expected_inside(plan), fresh, "iifname vmap @offer"))]
    if plan.tenants:
        # The helper has translated the destination, and the tenant is that of the master.
        inside = set_ct_mark(marks, marks.state_mask | marks.return_mask, 0)
        chains.append(Chain("expected_inside", (inside, "iifname vmap @offer")))
    return Ruleset(tuple(chains), helpers=tuple(used))


def _name(number: int, helper: str, transport: str) -> str:
    return f"nvi_{number}_{helper}_{transport}"
