"""The tenants of tests/path/test_tenants.py, each in a VRF."""

from __future__ import annotations

from tests.lab import Namespace

TABLES = {"red": 1010, "blue": 1011}

BEFORE_VRFS = """
[daemon]
rule_priority = 800
"""
"""The kernel's own rule for VRFs has priority 1000. In all files: nvid does not move meanwhile."""

VRF_TENANTS = """
[tenant.red]
interfaces = ["ten0"]
vrf = "vrf-red"
[tenant.blue]
interfaces = ["ten1"]
vrf = "vrf-blue"
"""


def vrf(router: Namespace, tenant: str) -> str:
    """Make the VRF of a tenant, and return its name."""
    name = f"vrf-{tenant}"
    router.ip("link", "add", name, "type", "vrf", "table", str(TABLES[tenant]))
    router.ip("link", "set", name, "up")
    return name


def route_inside(router: Namespace) -> None:
    """The network behind the inner router of each tenant, in the table of its VRF."""
    for name in TABLES:
        for to, via in (("10.9.0.0/24", "10.1.0.254"), ("fd00:9::/64", "fd00:1::fe")):
            router.route(to, "via", via, "vrf", f"vrf-{name}")
