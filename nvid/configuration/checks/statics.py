"""Whether static translations are one to one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from nvid.configuration.checks.claims import Claim, clashes
from nvid.configuration.findings import Finding
from nvid.configuration.types import Configuration, IPNetwork, Nvi, PortRange, Static
from nvid.configuration.values import network_text


def check(configuration: Configuration) -> Iterator[Finding]:
    """Sides that do not fit each other, and addresses that two static translations use."""
    for nvi in configuration.nvis:
        for static in nvi.statics:
            yield from _sides(static)
            yield from _ports(static)
        yield from _locals(nvi)
    yield from _globals(configuration.nvis)


def global_claim(static: Static, owner: str) -> Claim:
    """What a static translation takes for itself among the flows from outside."""
    return _claim(static, owner, static.global_, static.global_port)


def _sides(static: Static) -> Iterator[Finding]:
    local, outside = static.local, static.global_
    key = f"{static.key_path}.global"
    if local.version != outside.version:
        message = f"{outside} is IPv{outside.version}, but local is IPv{local.version}"
        yield Finding(key, message, "write both sides in one family")
    elif local.prefixlen != outside.prefixlen:
        message = f"{outside} and {local} have different lengths"
        yield Finding(key, message, f"write a global prefix of length {local.prefixlen} too")
    elif local == outside:
        message = f"{network_text(local)} would be translated to itself"
        yield Finding(key, message, "write another address, or remove the entry")


def _ports(static: Static) -> Iterator[Finding]:
    said = {
        "protocol": static.protocol,
        "local_port": static.local_port,
        "global_port": static.global_port,
    }
    missing = [key for key, value in said.items() if value is None]
    if 0 < len(missing) < len(said):
        yield Finding(
            static.key_path,
            "a static port translation needs protocol, local_port and global_port, and "
            f"{' and '.join(missing)} is missing",
            f"add {' and '.join(missing)}, or remove the rest",
        )
    if static.local_port is not None and static.local.prefixlen != static.local.max_prefixlen:
        yield Finding(
            f"{static.key_path}.local_port",
            f"a port needs one address, and {static.local} is a prefix",
            "write one entry for each address, or remove the ports",
        )


def _claim(static: Static, owner: str, side: IPNetwork, port: int | None) -> Claim:
    if static.protocol is None or port is None:
        return Claim(static, owner, side)
    return Claim(static, owner, side, (static.protocol,), PortRange(port, port))


def _never(_one: Claim, _other: Claim) -> bool:
    return False


def _locals(nvi: Nvi) -> Iterator[Finding]:
    spaces: defaultdict[str | None, list[Claim]] = defaultdict(list)
    for static in nvi.statics:
        spaces[static.tenant].append(_claim(static, nvi.key_path, static.local, static.local_port))
    for claims in spaces.values():
        for later, earlier in clashes(claims, _never):
            yield Finding(
                f"{later.entry.key_path}.local",
                f"{network_text(later.network)} overlaps the local side of",
                "write each local address in one static translation only",
                also=earlier.entry.key_path,
            )


def _globals(nvis: tuple[Nvi, ...]) -> Iterator[Finding]:
    claims = [global_claim(static, nvi.key_path) for nvi in nvis for static in nvi.statics]
    for later, earlier in clashes(claims, _never):
        yield Finding(
            f"{later.entry.key_path}.global",
            f"{network_text(later.network)} overlaps the global side of",
            "write each global address in one static translation only",
            also=earlier.entry.key_path,
        )
