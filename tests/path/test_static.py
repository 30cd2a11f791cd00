"""static: one to one, in both directions."""

from __future__ import annotations

from tests.lab import wait_until
from tests.path.entries import STATIC_PREFIX
from tests.path.site import SNAT_TO_UPLINK, TCP, UDP, Family, Site

ADDRESSES = """
[[nvi.nvi0.static]]
local = "10.1.0.2"
global = "198.51.100.10"

[[nvi.nvi0.static]]
local = "fd00:1::2"
global = "2001:db8:100::10"

[[nvi.nvi0.static]]
local = "10.2.0.2"
global = "198.51.100.20"

[[nvi.nvi0.static]]
local = "fd00:2::2"
global = "2001:db8:100::20"
"""
BESIDE_SNAT = ADDRESSES + SNAT_TO_UPLINK

CLIENT, HOST = 10, 20
"""Numbers of their global addresses in the pool."""


def in_prefix(family: Family, number: int) -> str:
    return {4: f"198.51.100.{number}", 6: f"2001:db8:100:1::{number}"}[family.version]


class TestAddress:
    def test_goes_out_by_tcp_udp_and_icmp(self, site: Site, family: Family) -> None:
        site.use(ADDRESSES)
        assert site.client.ask_tcp(family.server, TCP).address == family.pool(CLIENT)
        assert site.client.ask_udp(family.server, UDP).address == family.pool(CLIENT)
        assert site.client.ping(family.server)

    def test_comes_in_by_tcp_udp_and_icmp(self, site: Site, family: Family) -> None:
        site.use(ADDRESSES)
        inside = family.pool(CLIENT)
        assert site.server.ask_tcp(inside, TCP, source=family.server).address == family.server
        assert site.server.ask_udp(inside, UDP, source=family.server).address == family.server
        assert site.server.ping(inside, source=family.server)

    def test_keeps_the_port(self, site: Site, family: Family) -> None:
        site.use(ADDRESSES)
        assert site.client.ask_udp(family.server, UDP, source_port=4321).port == 4321

    def test_carries_any_protocol(self, site: Site, family: Family) -> None:
        """Protocol 253 is for experiments (RFC 3692); it has no ports."""
        site.use(ADDRESSES)
        with site.capture(site.client, "eth0", f"host {family.server} and proto 253") as seen:
            site.probe(site.server, "raw", 253, family.pool(CLIENT), "--source", family.server)
            wait_until(seen, message="the packet at the client")
        with site.capture(site.server, "isp1", f"host {family.pool(CLIENT)}") as seen:
            site.probe(site.client, "raw", 253, family.server)
            wait_until(seen, message="the packet at the server")

    def test_comes_before_snat(self, site: Site, family: Family) -> None:
        site.use(BESIDE_SNAT)
        assert site.client.ask_tcp(family.server, TCP).address == family.pool(CLIENT)
        assert site.second.ask_tcp(family.server, TCP).address == family.wan0


class TestPrefix:
    def test_goes_out_and_keeps_the_host_part(self, site: Site, family: Family) -> None:
        site.use(STATIC_PREFIX)
        assert site.client.ask_tcp(family.server, TCP).address == in_prefix(family, 2)
        assert site.second.ask_udp(family.server, UDP).address == in_prefix(family, 3)
        assert site.client.ping(family.server)

    def test_comes_in_and_keeps_the_host_part(self, site: Site, family: Family) -> None:
        site.use(STATIC_PREFIX)
        first, second = in_prefix(family, 2), in_prefix(family, 3)
        assert site.server.ask_tcp(first, TCP, source=family.server).address == family.server
        assert site.server.ask_udp(second, UDP, source=family.server).address == family.server
        assert site.server.ping(first, source=family.server)


class TestHairpin:
    """A host inside reaches a global address like anybody else."""

    def test_from_another_interface(self, site: Site, family: Family) -> None:
        site.use(ADDRESSES)
        # The second client has no translation of its own.
        assert site.second.ask_tcp(family.pool(HOST), TCP).address == family.second
        assert site.second.ask_udp(family.pool(HOST), UDP).address == family.second
        assert site.second.ping(family.pool(HOST))

    def test_the_client_is_seen_from_its_own_global_address(
        self, site: Site, family: Family
    ) -> None:
        site.use(ADDRESSES)
        assert site.client.ask_tcp(family.pool(HOST), TCP).address == family.pool(CLIENT)
        assert site.host.ask_udp(family.pool(CLIENT), UDP).address == family.pool(HOST)
        assert site.client.ping(family.pool(HOST))

    def test_the_client_is_translated_by_snat(self, site: Site, family: Family) -> None:
        site.use(f"""{ADDRESSES}
            [[nvi.nvi0.snat]]
            source = ["10.1.0.0/24", "fd00:1::/64"]
            to = ["198.51.100.8", "2001:db8:100::8"]
        """)
        assert site.second.ask_tcp(family.pool(HOST), TCP).address == family.pool(8)

    def test_the_host_is_seen_under_its_own_address_without_detour(
        self, site: Site, family: Family
    ) -> None:
        site.use(ADDRESSES)
        assert site.second.ask_tcp(family.host, TCP).address == family.second
