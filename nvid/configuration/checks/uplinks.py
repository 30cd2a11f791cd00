"""Whether uplinks can be told apart."""

from __future__ import annotations

from collections.abc import Iterator

from nvid.configuration.findings import Finding
from nvid.configuration.types import Configuration, IPAddress, Uplink


def check(configuration: Configuration) -> Iterator[Finding]:
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
