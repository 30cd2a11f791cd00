"""Checks that entries of several kinds share: families, protocols and ports that go together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from nvid.configuration.addresses import families
from nvid.configuration.findings import Finding
from nvid.configuration.scalars import PORTED_PROTOCOLS
from nvid.configuration.types import IPNetwork, Pools, Snat

BOTH_FAMILIES = frozenset((4, 6))

_FAMILY_OF = {"icmp": 4, "icmpv6": 6}


def ports_have_protocols(key: str, protocols: Iterable[str]) -> Iterator[Finding]:
    """A port for a protocol that has none."""
    without = [protocol for protocol in protocols if protocol not in PORTED_PROTOCOLS]
    if without:
        yield Finding(
            key,
            f"{' and '.join(without)} has no ports",
            f"write protocols out of {', '.join(PORTED_PROTOCOLS)}, or remove the port",
        )


def families_meet(
    key: str,
    versions: frozenset[int],
    sources: Sequence[IPNetwork],
    destinations: Sequence[IPNetwork],
    protocols: Iterable[str],
) -> Iterator[Finding]:
    """Sources, destinations and protocols of which no flow of these families can have all."""
    meant = versions & families(sources) & families(destinations)
    if not meant:
        yield Finding(
            key,
            "its addresses are of different families, so no flow can match",
            "write source, destination and to in one family",
        )
        return
    for protocol in protocols:
        if _FAMILY_OF.get(protocol, 4) not in meant and protocol in _FAMILY_OF:
            other = "icmpv6" if protocol == "icmp" else "icmp"
            yield Finding(
                f"{key}.protocol",
                f"{protocol} is IPv{_FAMILY_OF[protocol]} only, and the addresses are not",
                f"write {other}",
            )


def versions_of(snat: Snat) -> frozenset[int]:
    """The families that the entry has addresses for."""
    if isinstance(snat.to, Pools):
        return frozenset(one.version for one in snat.to.ranges)
    return BOTH_FAMILIES
