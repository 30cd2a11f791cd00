"""What an snat entry asks of a flow, as nft matches."""

from __future__ import annotations

from nvid.configuration.translations import Snat
from nvid.configuration.values import Pools
from nvid.desired.objects import Family
from nvid.desired.ruleset.words import (
    IP,
    NFPROTO,
    interfaces,
    networks,
    protocols_and_ports,
)


def applies_to(snat: Snat, family: Family) -> bool:
    """Whether the entry can translate flows of this family: its addresses decide."""
    if isinstance(snat.to, Pools) and not any(part.version == family for part in snat.to.ranges):
        return False
    for wanted in (snat.sources, snat.destinations):
        if wanted and not any(network.version == family for network in wanted):
            return False
    return True


def match(snat: Snat, family: Family) -> str:
    """All of the entry's conditions, for one family that it applies to."""
    ip = IP[family]
    words = [f"meta nfproto {NFPROTO[family]}"]
    if snat.ingress:
        words.append(interfaces(snat.ingress))
    if snat.sources:
        words.append(f"{ip} saddr {networks(snat.sources, family)}")
    if snat.destinations:
        words.append(f"{ip} daddr {networks(snat.destinations, family)}")
    excluded = networks(snat.excluded_destinations, family)
    if excluded:
        words.append(f"{ip} daddr != {excluded}")
    words.append(protocols_and_ports(snat.protocols, snat.ports))
    return " ".join(word for word in words if word)
