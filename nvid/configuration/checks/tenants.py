"""Whether tenants are apart from uplinks, and the routes inside them lead somewhere."""

from __future__ import annotations

from collections.abc import Iterator

from nvid.configuration.findings import Finding
from nvid.configuration.types import Configuration, Tenant

VRF_RULE = 1000
"""The priority of the kernel's rule for all VRFs (net/core/fib_rules.c, l3mdev)."""
RULES = 100
"""How many priorities nvid's own window has."""


def check(configuration: Configuration) -> Iterator[Finding]:
    """Uplinks inside tenants, VRFs, and the routes of tenants."""
    for tenant in configuration.tenants:
        yield from _uplinks(tenant, configuration)
        yield from _vrf(tenant, configuration)
    yield from _routes(configuration)


def _uplinks(tenant: Tenant, configuration: Configuration) -> Iterator[Finding]:
    for index, pattern in enumerate(tenant.interfaces):
        for uplink in configuration.uplinks:
            if pattern.matches(uplink.interface):
                yield Finding(
                    f"{tenant.key_path}.interfaces[{index}]",
                    f"{pattern} means {uplink.interface}, the interface of",
                    "an uplink is outside of every tenant: remove it here, or narrow the glob",
                    also=uplink.key_path,
                )


def _vrf(tenant: Tenant, configuration: Configuration) -> Iterator[Finding]:
    if tenant.vrf is None:
        return
    if tenant.routes:
        yield Finding(
            f"{tenant.key_path}.routes",
            f"the routes of the tenant are those in the table of {tenant.vrf}",
            "add them there, and remove them here",
        )
    if configuration.daemon.rule_priority + RULES > VRF_RULE:
        yield Finding(
            f"{tenant.key_path}.vrf",
            f"the kernel's rule for VRFs has the priority {VRF_RULE}, before nvid's own, and would "
            "route the tenant's packets untranslated",
            f"write [daemon] rule_priority = {VRF_RULE - 2 * RULES}, say",
        )


def _routes(configuration: Configuration) -> Iterator[Finding]:
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
