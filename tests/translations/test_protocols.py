"""Protocols without ports, or with ports that NAT leaves alone, pass by address alone."""

from __future__ import annotations

import pytest

from tests.lab import wait_until
from tests.path.site import Family, Site
from tests.translations.actors import PROBES

STATIC = """
[[nvi.nvi0.static]]
local = "10.1.0.2"
global = "198.51.100.10"

[[nvi.nvi0.static]]
local = "fd00:1::2"
global = "2001:db8:100::10"
"""
DNAT_AND_SNAT = """
[[nvi.nvi0.dnat]]
destination = "198.51.100.10"
to = "10.1.0.2"

[[nvi.nvi0.dnat]]
destination = "2001:db8:100::10"
to = "fd00:1::2"

[[nvi.nvi0.snat]]
source = ["10.0.0.0/8", "fd00::/16"]
to = ["198.51.100.10", "2001:db8:100::10"]
"""


@pytest.fixture
def path() -> str:
    """The rules of translations are the same for both paths."""
    return "first-packet"


@pytest.mark.parametrize("protocol", ["gre", "esp", "sctp"])
@pytest.mark.parametrize("entries", [STATIC, DNAT_AND_SNAT], ids=["static", "dnat and snat"])
def test_passes_both_ways(site: Site, family: Family, entries: str, protocol: str) -> None:
    site.use(entries)
    outside = family.pool(10)
    number = {"gre": 47, "esp": 50, "sctp": 132}[protocol]
    ip = {4: "ip", 6: "ip6"}[family.version]
    wanted = f"{ip} proto {number} and src host {{}} and dst host {{}}"
    site.nvid.command("clear", "--nvi", "nvi0")
    with site.capture(site.client, "eth0", wanted.format(family.server, family.client)) as seen:
        site.server.run(*PROBES, "crafted", protocol, outside, family.server)
        wait_until(seen, message=f"{protocol} at the client")
    # The reply of that flow would pass in any case; this one is new.
    site.nvid.command("clear", "--nvi", "nvi0")
    with site.capture(site.server, "isp1", wanted.format(outside, family.server)) as seen:
        site.client.run(*PROBES, "crafted", protocol, family.server, family.client)
        wait_until(seen, message=f"{protocol} at the server")
