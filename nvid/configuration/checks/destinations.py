"""Whether dnat entries can do what they say, and no flow has two of them."""

from __future__ import annotations

from collections.abc import Iterator

from nvid.configuration.checks.claims import Claim, clashes
from nvid.configuration.checks.selection import families_meet, ports_have_protocols
from nvid.configuration.checks.statics import global_claim
from nvid.configuration.findings import Finding
from nvid.configuration.types import Configuration, Dnat, Nvi, Static, UplinkAddress
from nvid.configuration.values import network_text


def check(configuration: Configuration) -> Iterator[Finding]:
    """Families and ports that cannot meet, overlaps with other dnat and with static entries."""
    for nvi in configuration.nvis:
        for dnat in nvi.dnats:
            yield from _families(dnat)
            yield from _ports(dnat)
        yield from _overlaps(nvi)


def _families(dnat: Dnat) -> Iterator[Finding]:
    if isinstance(dnat.destination, UplinkAddress):
        versions = frozenset(target.network.version for target in dnat.targets)
    else:
        versions = frozenset((dnat.destination.version,))
        for target in dnat.targets:
            if target.network.version not in versions:
                yield Finding(
                    f"{dnat.key_path}.to",
                    f"{target} is IPv{target.network.version}, but the destination is "
                    f"IPv{dnat.destination.version}",
                    "write both in one family; NAT does not change the family of a flow",
                )
    yield from families_meet(dnat.key_path, versions, dnat.sources, (), dnat.protocols)


def _ports(dnat: Dnat) -> Iterator[Finding]:
    if dnat.ports is not None:
        yield from ports_have_protocols(f"{dnat.key_path}.port", dnat.protocols)
    elif any(target.ports is not None for target in dnat.targets):
        yield from ports_have_protocols(f"{dnat.key_path}.to", dnat.protocols)
    for target in dnat.targets:
        if target.ports is None or target.ports.count == 1:
            continue
        if dnat.ports is None or dnat.ports.count != target.ports.count:
            has = "no ports" if dnat.ports is None else f"{dnat.ports.count} ports"
            yield Finding(
                f"{dnat.key_path}.to",
                f"the target has {target.ports.count} ports, and the entry {has} to map to them",
                "write ranges of one size in port and to, or a single port in to",
            )


def _overlaps(nvi: Nvi) -> Iterator[Finding]:
    claims = [global_claim(static, nvi.key_path) for static in nvi.statics]
    claims += [
        Claim(dnat, nvi.key_path, dnat.destination, dnat.protocols, dnat.ports)
        for dnat in nvi.dnats
        if not isinstance(dnat.destination, UplinkAddress)
    ]
    for later, earlier in clashes(claims, _apart):
        if isinstance(earlier.entry, Dnat):
            message = f"{_what(later)} belongs already to"
            remedy = "make one of the two narrower, or remove it"
        else:
            message = f"{_what(later)} lies in the global side of"
            remedy = "an address is in a static translation or in dnat entries: remove one of both"
        yield Finding(
            f"{later.entry.key_path}.destination", message, remedy, also=earlier.entry.key_path
        )


def _what(claim: Claim) -> str:
    protocols = ", ".join(claim.protocols)
    ports = "" if claim.ports is None else f" port {claim.ports}"
    return " ".join(filter(None, (network_text(claim.network), protocols))) + ports


def _apart(one: Claim, other: Claim) -> bool:
    """Whether two claims are kept apart by something else than network, protocol and port."""
    first, second = one.entry, other.entry
    if isinstance(first, Static) and isinstance(second, Static):
        return True  # the check of static translations reports these
    if isinstance(first, Static) or isinstance(second, Static):
        return False
    sources = first.sources and second.sources
    if sources and not any(a.overlaps(b) for a in first.sources for b in second.sources):
        return True
    ingress = first.ingress and second.ingress
    return bool(ingress) and not any(a.overlaps(b) for a in first.ingress for b in second.ingress)
