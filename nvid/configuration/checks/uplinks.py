"""Whether uplinks can be told apart, and checked."""

from __future__ import annotations

from collections.abc import Iterator

from nvid.configuration.findings import Finding
from nvid.configuration.types import Configuration, IPAddress, Uplink


def check(configuration: Configuration) -> Iterator[Finding]:
    """Everything about uplinks."""
    yield from _next_hops(configuration)
    for uplink in configuration.uplinks:
        yield from _targets(uplink)


def _targets(uplink: Uplink) -> Iterator[Finding]:
    """Targets that no gateway leads to."""
    if uplink.check is None or uplink.gateway_auto:
        return
    families = {gateway.version for gateway in uplink.gateways}
    for target in uplink.check.targets:
        if families and target.version not in families:
            yield Finding(
                f"{uplink.key_path}.check.targets",
                f"{target} cannot be asked: the uplink has no IPv{target.version} gateway",
                "write targets of the families that `gateway` has",
            )


def _next_hops(configuration: Configuration) -> Iterator[Finding]:
    """Uplinks with one interface and one gateway. An uplink without any is not read at all."""
    owners: dict[tuple[str, IPAddress | None], Uplink] = {}
    for uplink in configuration.uplinks:
        for gateway in uplink.gateways or (None,):
            owner = owners.setdefault((uplink.interface, gateway), uplink)
            if owner is not uplink:
                hop = "the default route" if gateway is None else f"{gateway}"
                yield Finding(
                    f"{uplink.key_path}.gateway",
                    f"{hop} on {uplink.interface} belongs to",
                    "give each uplink a next hop of its own, or remove one of the two",
                    also=owner.key_path,
                )
