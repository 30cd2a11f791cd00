"""Endpoint-independent mapping and filtering for UDP (RFC 4787, "full cone"), on a stock kernel.

A host that sends from one address and port is seen from one outside address and port, whoever it
talks to, and is reached through it by anybody. Four objects for each entry and family remember
this while packets pass; their size bounds the memory, their timeout is REQ-5's.

- ``out``: inside endpoint to outside endpoint, asked before a new flow gets a port;
- ``in``: outside endpoint to inside endpoint, asked for flows from outside;
- ``taken`` and ``pairs``: which outside endpoints belong to somebody, and to whom, so that a host
  that is given a port by chance which another one holds is refused instead of stealing it. (A map
  cannot be asked whether it has a key, and a rule cannot compare two looked-up values.)

Where ``pairs`` is full, nothing is taken: a flow goes on without a mapping, and is never refused
for want of room.

Mappings are written for flows that began inside and were translated by this entry, and refreshed
by every packet from inside (REQ-6), never by one from outside.
"""

from __future__ import annotations

from collections.abc import Iterator

from nvid.configuration.translations import Snat
from nvid.configuration.types import Nvi
from nvid.desired.objects import Family
from nvid.desired.ruleset.identity import chain_name
from nvid.desired.ruleset.model import Chain, Dynamic, Ruleset
from nvid.desired.ruleset.words import ADDRESS, IP

MAPPINGS = 65536
"""The most mappings of one entry and family; beyond that new ones are not remembered."""
TIMEOUT = 300
"""Seconds that a mapping lives without a packet from inside (REQ-5: 2 minutes at the least, 5
recommended)."""
UDP = "meta l4proto 17"


def _name(nvi: Nvi, snat: Snat, family: Family, what: str) -> str:
    return f"{chain_name(nvi, snat)}_ip{family}_{what}"


def refresh_chain(nvi: Nvi, snat: Snat, family: Family) -> str:
    """The chain that writes and refreshes the mapping of a flow."""
    return _name(nvi, snat, family, "mapping")


def mapping_objects(nvi: Nvi, snat: Snat, family: Family) -> Ruleset:
    """What remembers the mappings of one entry in one family, and the chain that writes them."""
    endpoint = f"{ADDRESS[family]} . inet_service"
    ip = IP[family]
    inside = f"ct original {ip} saddr . ct original proto-src"
    outside = f"ct reply {ip} daddr . ct reply proto-dst"

    def name(what: str) -> str:
        return _name(nvi, snat, family, what)

    def dynamic(what: str, key: str, value: str = "", timeout: int = TIMEOUT) -> Dynamic:
        return Dynamic(name(what), key, value, MAPPINGS, timeout)

    return Ruleset(
        chains=(
            Chain(
                refresh_chain(nvi, snat, family),
                (
                    f"{UDP} {outside} @{name('taken')} {outside} . {inside} != @{name('pairs')} "
                    'counter name "dropped_mapping" drop',
                    f"{UDP} update @{name('pairs')} {{ {outside} . {inside} }}",
                    f"{UDP} {outside} . {inside} @{name('pairs')} "
                    f"update @{name('taken')} {{ {outside} }}",
                    f"{UDP} update @{name('in')} {{ {outside} : {inside} }}",
                    f"{UDP} update @{name('out')} {{ {inside} : {outside} }}",
                ),
            ),
        ),
        dynamics=(
            dynamic("out", endpoint, endpoint),
            dynamic("in", endpoint, endpoint),
            dynamic("taken", endpoint),
            # A second more, for what is taken without being a pair is refused.
            dynamic("pairs", f"{endpoint} . {endpoint}", timeout=TIMEOUT + 1),
        ),
    )


def reuse(nvi: Nvi, snat: Snat, family: Family) -> str:
    """The rule that gives a new flow the mapping of its inside endpoint, where there is one."""
    ip = IP[family]
    return f"{UDP} snat {ip} to {ip} saddr . udp sport map @{_name(nvi, snat, family, 'out')}"


def accept_from_outside(
    nvi: Nvi, snat: Snat, family: Family, label: int | None, preset: str
) -> str:
    """The rule that leads a flow from outside to the host that holds the mapping; ``preset`` is a
    statement that notes the host's tenant, empty for none."""
    ip = IP[family]
    note = "" if label is None else f"ct label set {label} "
    note += f"{preset} " if preset else ""
    return (
        f"{UDP} {ip} daddr . udp dport @{_name(nvi, snat, family, 'taken')} {note}"
        f"dnat {ip} to {ip} daddr . udp dport map @{_name(nvi, snat, family, 'in')}"
    )


def refreshes(nvi: Nvi, snat: Snat, family: Family, label: int) -> Iterator[str]:
    """The rule that sends packets from inside, of this entry's flows, to the refresh chain."""
    protocol = {4: "ipv4", 6: "ipv6"}[family]
    yield (
        f"meta nfproto {protocol} {UDP} ct direction original ct status snat ct label {label} "
        f"jump {refresh_chain(nvi, snat, family)}"
    )
