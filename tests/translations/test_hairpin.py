"""Hairpin: client and target behind the same interface, and behind two, for every kind of entry.

Both hosts of the first LAN share a segment, so that replies would bypass the router if the
client's own address were seen.
"""

from __future__ import annotations

import pytest

from tests.lab import exchange
from tests.path.entries import SNAT_TO_POOL, STATIC
from tests.path.site import SNAT_TO_UPLINK, TCP, UDP, Family, Site
from tests.translations.actors import explain, written

DNAT = """
[[nvi.nvi0.dnat]]
destination = "198.51.100.10"
to = "10.1.0.2"

[[nvi.nvi0.dnat]]
destination = "2001:db8:100::10"
to = "fd00:1::2"
"""
SHARED = """
[[nvi.nvi0.dnat]]
destination = "198.51.100.10"
to = [{ address = "10.1.0.2" }, { address = "10.1.0.2", weight = 2 }]

[[nvi.nvi0.dnat]]
destination = "2001:db8:100::10"
to = [{ address = "fd00:1::2" }, { address = "fd00:1::2", weight = 2 }]
"""


@pytest.mark.parametrize(
    ("entries", "snat"),
    [(STATIC, ""), (STATIC, SNAT_TO_POOL), (DNAT, ""), (DNAT, SNAT_TO_UPLINK), (SHARED, "")],
    ids=["static", "static and pool", "dnat", "dnat and uplink", "shared dnat"],
)
def test_behind_the_same_interface(site: Site, family: Family, entries: str, snat: str) -> None:
    """The client is seen from the pool or the uplink where snat says so, else from the router."""
    site.use(entries + snat)
    outside = family.pool(10)
    source = {"": family.router[0], SNAT_TO_POOL: family.pool(8), SNAT_TO_UPLINK: family.wan0}[snat]
    for protocol, port in (("tcp", TCP), ("udp", UDP)):
        found = exchange(site.second, protocol, outside, port)
        assert (found.seen.address, found.answered_by) == (source, (family.client, port))
    assert site.second.ping(outside)
    told = explain(site, "lan0", "tcp", written(family.second, 4000), written(outside, TCP))
    assert told["translated_source"].strip("[]").startswith(source)
    assert told["translated_destination"] == written(family.client, TCP)
    assert told["interface"] == "lan0"


@pytest.mark.parametrize("entries", [STATIC, DNAT], ids=["static", "dnat"])
def test_behind_another_interface(site: Site, family: Family, entries: str) -> None:
    """Replies pass the router anyway: the client is seen as it is."""
    site.use(entries)
    for protocol, port in (("tcp", TCP), ("udp", UDP)):
        found = exchange(site.host, protocol, family.pool(10), port)
        assert (found.seen.address, found.answered_by) == (family.host, (family.client, port))
    assert site.host.ping(family.pool(10))


@pytest.mark.parametrize("entries", [STATIC, DNAT], ids=["static", "dnat"])
def test_with_itself(site: Site, family: Family, entries: str) -> None:
    """A host reaches its own global address."""
    site.use(entries)
    source = family.pool(10) if entries == STATIC else family.router[0]
    assert site.client.ask_tcp(family.pool(10), TCP).address == source


def test_without_a_translated_destination_the_source_stays(site: Site, family: Family) -> None:
    """The router's address is for hairpins only."""
    site.use(DNAT)
    assert site.second.ask_tcp(family.host, TCP).address == family.second
