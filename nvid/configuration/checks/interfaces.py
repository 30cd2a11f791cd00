"""Whether every interface belongs to one NVI and one tenant at most, and no pair to itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nvid.configuration.findings import Finding
from nvid.configuration.types import Configuration, Dnat, InterfacePattern, Nvi, Route, Snat, Tenant

LOOPBACK = "lo"


def check(configuration: Configuration) -> Iterator[Finding]:
    """Interfaces claimed twice, pairs of one name, pairs used as interfaces, entries' ingress."""
    yield from _pair_names(configuration.nvis)
    yield from _local(configuration.nvis)
    yield from _shared(configuration.nvis, "nvi")
    yield from _shared(configuration.tenants, "tenant")
    yield from _pairs(configuration)
    for nvi in configuration.nvis:
        yield from _ingress(nvi)


def _pair_names(nvis: tuple[Nvi, ...]) -> Iterator[Finding]:
    by_name = {nvi.name: nvi for nvi in nvis}
    for nvi in nvis:
        if (other := by_name.get(nvi.peer)) is not None:
            yield Finding(
                other.key_path,
                f"the name {other.name} is that of the peer end of",
                "give one of the two NVIs another name",
                also=nvi.key_path,
            )


def _local(nvis: tuple[Nvi, ...]) -> Iterator[Finding]:
    offered = [nvi for nvi in nvis if nvi.local]
    for nvi in offered[1:]:
        yield Finding(
            f"{nvi.key_path}.local",
            "what this machine sends is offered already to",
            "keep local = true in one NVI only",
            also=offered[0].key_path,
        )


def _shared(owners: Iterable[Nvi | Tenant], kind: str) -> Iterator[Finding]:
    """Patterns of different owners that can mean one interface.

    Two patterns overlap if one is the beginning of the other and ends in `*`, or if both are the
    same; so looking up all beginnings of each is enough, whichever comes first.
    """
    whole: dict[str, tuple[str, str]] = {}
    globs: dict[str, tuple[str, str]] = {}
    patterns = [
        (pattern, owner.key_path, f"{owner.key_path}.interfaces[{index}]")
        for owner in owners
        for index, pattern in enumerate(owner.interfaces)
    ]
    # Short globs first, so that every longer pattern finds them.
    order = sorted(patterns, key=lambda one: (not one[0].is_glob, len(one[0].text)))
    for pattern, owner, key in order:
        text = pattern.prefix
        near = [globs.get(text[:length]) for length in range(len(text) + 1)]
        near.append(whole.get(pattern.text))
        clash = next((one for one in near if one is not None and one[0] != owner), None)
        if clash is not None:
            yield Finding(
                key,
                f"{pattern} means an interface that belongs to another {kind}:",
                f"an interface can be in one {kind} only: remove it from one, or narrow the glob",
                also=clash[1],
            )
        index = globs if pattern.is_glob else whole
        index.setdefault(text, (owner, key))


def _pairs(configuration: Configuration) -> Iterator[Finding]:
    ends = {end: nvi for nvi in configuration.nvis for end in (nvi.name, nvi.peer)}
    for nvi in configuration.nvis:
        for index, pattern in enumerate(nvi.interfaces):
            yield from _own(pattern, f"{nvi.key_path}.interfaces[{index}]", ends)
    for tenant in configuration.tenants:
        for index, pattern in enumerate(tenant.interfaces):
            yield from _own(pattern, f"{tenant.key_path}.interfaces[{index}]", ends)
    for uplink in configuration.uplinks:
        yield from _own(InterfacePattern(uplink.interface), f"{uplink.key_path}.interface", ends)


def _own(pattern: InterfacePattern, key: str, ends: dict[str, Nvi]) -> Iterator[Finding]:
    meant = [end for end in (*ends, LOOPBACK) if pattern.matches(end)]
    if not meant:
        return
    what = "the loopback interface" if meant[0] == LOOPBACK else f"an end of {ends[meant[0]].name}"
    remedy = "write the interface that the traffic comes in by"
    if pattern.is_glob:
        remedy = f"write a glob that {meant[0]} does not match"
    yield Finding(key, f"{pattern} matches {meant[0]}, {what} itself", remedy)


def _ingress(nvi: Nvi) -> Iterator[Finding]:
    if not nvi.interfaces:
        return  # they could not be read, which is reported
    entries: tuple[Dnat | Snat | Route, ...] = (*nvi.dnats, *nvi.snats, *nvi.routes)
    for entry in entries:
        for index, pattern in enumerate(entry.ingress):
            if not any(pattern.overlaps(enabled) for enabled in nvi.interfaces):
                enabled = ", ".join(map(str, nvi.interfaces))
                yield Finding(
                    f"{entry.key_path}.ingress[{index}]",
                    f"{pattern} is not NAT-enabled in {nvi.name}",
                    f"write one of {enabled}, or add {pattern} to {nvi.key_path}.interfaces",
                )
