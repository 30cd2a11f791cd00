"""Whether snat entries can match at all, and reach addresses of the right family."""

from __future__ import annotations

from collections.abc import Iterator

from nvid.configuration.checks.precedence import shadowed
from nvid.configuration.checks.selection import families_meet, ports_have_protocols, versions_of
from nvid.configuration.findings import Finding
from nvid.configuration.types import Configuration, Snat
from nvid.configuration.values import network_text
from nvid.names import ENTRY_LABELS


def check(configuration: Configuration) -> Iterator[Finding]:
    """Families, protocols and ports that cannot meet; entries behind one that takes all."""
    for nvi in configuration.nvis:
        for snat in nvi.snats:
            yield from _families(snat)
            yield from _ports(snat)
        yield from shadowed(nvi)
    yield from _labels(configuration)


def _labels(configuration: Configuration) -> Iterator[Finding]:
    followed = [snat for nvi in configuration.nvis for snat in nvi.snats if snat.is_followed]
    for snat in followed[ENTRY_LABELS:][:1]:
        yield Finding(
            snat.key_path,
            f"this is one of {len(followed)} entries with endpoint-independent mapping or log: "
            f"conntrack labels have {ENTRY_LABELS} bits for them",
            f"keep {ENTRY_LABELS} such entries; one entry can have many sources",
        )


def _families(snat: Snat) -> Iterator[Finding]:
    versions = versions_of(snat)
    lost = [one for one in snat.sources if one.version not in versions]
    for network in lost:
        yield Finding(
            f"{snat.key_path}.to",
            f"there is no IPv{network.version} address for the source {network_text(network)}",
            f"add an IPv{network.version} pool, or remove that source",
        )
    if not lost:
        yield from families_meet(
            snat.key_path, versions, snat.sources, snat.destinations, snat.protocols
        )


def _ports(snat: Snat) -> Iterator[Finding]:
    if snat.ports is not None:
        yield from ports_have_protocols(f"{snat.key_path}.port", snat.protocols)
    if snat.source_ports is not None:
        yield from ports_have_protocols(f"{snat.key_path}.ports", snat.protocols)
