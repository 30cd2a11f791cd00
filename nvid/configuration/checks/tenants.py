"""Whether the routes inside tenants lead somewhere."""

from __future__ import annotations

from collections.abc import Iterator

from nvid.configuration.findings import Finding
from nvid.configuration.types import Configuration


def check(configuration: Configuration) -> Iterator[Finding]:
    """Routes without a next hop and an interface, and next hops of the other family."""
    for tenant in configuration.tenants:
        for index, route in enumerate(tenant.routes):
            key = f"{tenant.key_path}.routes[{index}]"
            if route.via is None and route.dev is None:
                yield Finding(key, "the route does not say where it leads", "add via, dev or both")
            if route.via is not None and route.via.version != route.to.version:
                yield Finding(
                    f"{key}.via",
                    f"{route.via} is IPv{route.via.version}, but the route is "
                    f"IPv{route.to.version}",
                    "write both in one family",
                )
