"""Whether every uplink and tenant that is named exists."""

from __future__ import annotations

from collections.abc import Iterator

from nvid.configuration.convert import Declared
from nvid.configuration.findings import Finding
from nvid.configuration.reading import nearest
from nvid.configuration.types import Configuration, Dnat, Nvi, Snat, Static, UplinkAddress


def check(configuration: Configuration, declared: Declared) -> Iterator[Finding]:
    """Names of uplinks and tenants that are not declared."""
    for nvi in configuration.nvis:
        for key, uplink in _uplinks(nvi):
            if uplink not in declared.uplinks:
                yield _unknown(key, "uplink", uplink, declared.uplinks)
        entries: tuple[Static | Dnat | Snat, ...] = (*nvi.statics, *nvi.dnats, *nvi.snats)
        for entry in entries:
            if entry.tenant is not None and entry.tenant not in declared.tenants:
                key = f"{entry.key_path}.tenant"
                yield _unknown(key, "tenant", entry.tenant, declared.tenants)
        if not declared.uplinks:
            yield from _no_uplink(nvi)


def _uplinks(nvi: Nvi) -> Iterator[tuple[str, str]]:
    """Every uplink that is named, with the key path of the place."""
    for dnat in nvi.dnats:
        if isinstance(dnat.destination, UplinkAddress) and dnat.destination.name is not None:
            yield f"{dnat.key_path}.destination", dnat.destination.name
    for snat in nvi.snats:
        if isinstance(snat.to, UplinkAddress) and snat.to.name is not None:
            yield f"{snat.key_path}.to", snat.to.name
    for route in nvi.routes:
        for index, uplink in enumerate(route.via):
            yield f"{route.key_path}.via[{index}]", uplink


def _no_uplink(nvi: Nvi) -> Iterator[Finding]:
    for snat in nvi.snats:
        if snat.to == UplinkAddress():
            yield Finding(
                f"{snat.key_path}.to",
                '"uplink" is the address of an uplink, and there is none',
                "add an [uplink.NAME] with its interface and gateway, or write addresses",
            )


def _unknown(key: str, kind: str, name: str, known: frozenset[str]) -> Finding:
    like = nearest(name, sorted(known))
    remedy = f'did you mean "{like}"? Otherwise add' if like else "add"
    return Finding(key, f'there is no {kind} "{name}"', f"{remedy} [{kind}.{name}]")
