"""What a route or an snat entry asks of a flow, as nft matches."""

from __future__ import annotations

from nvid.configuration.routes import Route
from nvid.configuration.translations import Snat
from nvid.configuration.values import AddressRange, IPNetwork, Pools
from nvid.desired.objects import Family
from nvid.desired.ruleset.words import (
    IP,
    NFPROTO,
    interfaces,
    networks,
    protocols_and_ports,
)


def applies_to(entry: Snat | Route, family: Family) -> bool:
    """Whether the entry is about flows of this family at all: its addresses decide."""
    asked: list[tuple[IPNetwork | AddressRange, ...]] = [entry.sources, entry.destinations]
    if isinstance(entry, Snat) and isinstance(entry.to, Pools):
        asked.append(entry.to.ranges)
    return all(not each or any(one.version == family for one in each) for each in asked)


def match(entry: Snat | Route, family: Family) -> str:
    """All of the entry's conditions, for one family that it applies to."""
    ip = IP[family]
    words = [f"meta nfproto {NFPROTO[family]}"]
    if entry.ingress:
        words.append(interfaces(entry.ingress))
    if entry.sources:
        words.append(f"{ip} saddr {networks(entry.sources, family)}")
    if entry.destinations:
        words.append(f"{ip} daddr {networks(entry.destinations, family)}")
    if isinstance(entry, Route):
        if entry.dscp is not None:
            words.append(f"{ip} dscp {entry.dscp}")
    elif excluded := networks(entry.excluded_destinations, family):
        words.append(f"{ip} daddr != {excluded}")
    words.append(protocols_and_ports(entry.protocols, entry.ports))
    return " ".join(word for word in words if word)
