"""static: single ports, and prefixes of both families."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address, IPv6Network

import pytest

from tests.lab import Unanswered, exchange
from tests.path.site import IPV6, SNAT_TO_UPLINK, TCP, UDP, Family, Site
from tests.translations.actors import PROBES, explain, probing, written

PORTS = (
    "".join(
        f"""
[[nvi.nvi0.static]]
local = "{local}"
global = "{outside}"
protocol = "{protocol}"
local_port = {local_port}
global_port = {global_port}
"""
        for local, outside in (("10.1.0.2", "198.51.100.10"), ("fd00:1::2", "2001:db8:100::10"))
        for protocol, local_port, global_port in (
            ("tcp", 80, 8080),
            ("udp", 5300, 53),
            ("tcp", 4321, 4322),
            ("udp", 4321, 4322),
        )
    )
    + SNAT_TO_UPLINK
)
TWO_BEHIND_ONE = """
[[nvi.nvi0.static]]
local = "10.1.0.2"
global = "203.0.113.1"
protocol = "tcp"
local_port = 80
global_port = 8001

[[nvi.nvi0.static]]
local = "10.2.0.2"
global = "203.0.113.1"
protocol = "tcp"
local_port = 80
global_port = 8002

[[nvi.nvi0.static]]
local = "fd00:1::2"
global = "2001:db8:1::1"
protocol = "tcp"
local_port = 80
global_port = 8001

[[nvi.nvi0.static]]
local = "fd00:2::2"
global = "2001:db8:1::1"
protocol = "tcp"
local_port = 80
global_port = 8002
"""
PREFIXES = """
[[nvi.nvi0.static]]
local = "10.1.0.0/28"
global = "198.51.100.64/28"

[[nvi.nvi0.static]]
local = "fd00:1::/64"
global = "2001:db8:100:7::/64"
"""


@pytest.fixture
def path() -> str:
    """The rules of translations are the same for both paths."""
    return "first-packet"


class TestPorts:
    def test_come_in(self, site: Site, family: Family) -> None:
        site.use(PORTS)
        outside = family.pool(10)
        for protocol, port, inside in (("tcp", 8080, TCP), ("udp", 53, UDP)):
            found = exchange(site.server, protocol, outside, port, source=family.server)
            assert (found.seen.address, found.answered_by) == (
                family.server,
                (family.client, inside),
            )

    def test_go_out(self, site: Site, family: Family) -> None:
        """From the entry's own local port, and only from there, the global one is seen."""
        site.use(PORTS)
        for protocol, port in (("tcp", TCP), ("udp", UDP)):
            found = exchange(site.client, protocol, family.server, port, source_port=4321)
            assert found.seen == (family.pool(10), 4322)
            other = exchange(site.client, protocol, family.server, port, source_port=4711)
            assert other.seen.address == family.wan0

    def test_another_port_is_not_translated(self, site: Site, family: Family) -> None:
        site.use(PORTS)
        with pytest.raises(Unanswered, match="No route to host"):
            site.server.ask_tcp(family.pool(10), TCP, source=family.server, timeout=5)

    def test_another_protocol_is_not_translated(self, site: Site, family: Family) -> None:
        site.use(PORTS)
        with pytest.raises(Unanswered):
            site.server.ask_udp(family.pool(10), 8080, source=family.server, timeout=0.5)

    def test_two_hosts_behind_one_address(self, site: Site, family: Family) -> None:
        site.use(TWO_BEHIND_ONE)
        for port, inside in ((8001, family.client), (8002, family.host)):
            found = exchange(site.server, "tcp", family.wan0, port, source=family.server)
            assert found.answered_by == (inside, TCP)

    def test_are_explained(self, site: Site, family: Family) -> None:
        site.use(PORTS)
        told = explain(
            site, "wan0", "tcp", written(family.server, 4000), written(family.pool(10), 8080)
        )
        assert told["status"] == 0
        assert told["translated_destination"] == written(family.client, TCP)
        assert told["interface"] == "lan0"
        told = explain(
            site, "lan0", "udp", written(family.client, UDP), written(family.server, UDP)
        )
        assert told["translated_source"] == written(family.pool(10), 53)
        assert (told["interface"], told["uplink"]) == ("wan0", "isp1")


class TestPrefix:
    def outside(self, family: Family, number: int) -> str:
        return {4: f"198.51.100.{64 + number}", 6: f"2001:db8:100:7::{number}"}[family.version]

    def test_goes_out(self, site: Site, family: Family) -> None:
        site.use(PREFIXES)
        for namespace, number in ((site.client, 2), (site.second, 3)):
            outside = self.outside(family, number)
            assert namespace.ask_tcp(family.server, TCP).address == outside
            assert namespace.ask_udp(family.server, UDP).address == outside
            assert namespace.ping(family.server)

    def test_comes_in(self, site: Site, family: Family) -> None:
        site.use(PREFIXES)
        for number, inside in ((2, family.client), (3, family.second)):
            outside = self.outside(family, number)
            for protocol, port in (("tcp", TCP), ("udp", UDP)):
                found = exchange(site.server, protocol, outside, port, source=family.server)
                assert (found.seen.address, found.answered_by) == (family.server, (inside, port))
            assert site.server.ping(outside, source=family.server)

    def test_is_not_that_of_rfc_6296(self, site: Site) -> None:
        """The host part is copied and checksums are corrected, where the kernel knows them; RFC
        6296 changes the host part, so that every checksum stays right by itself."""
        site.use(PREFIXES)
        family = IPV6
        outside = self.outside(family, 2)
        neutral = rfc_6296(IPv6Address(family.client), IPv6Network("2001:db8:100:7::/64"))
        assert str(neutral) != outside
        with probing(site.server, "receive", "253") as probe:
            probe.wait_for("ready")
            site.client.run(*PROBES, "crafted", "unknown", family.server, family.client)
            _, source, payload = probe.wait_for("packet")
        assert source == outside
        right = {
            each: is_right(bytes.fromhex(payload), IPv6Address(each), IPv6Address(family.server))
            for each in (family.client, outside, str(neutral))
        }
        assert right == {family.client: True, outside: False, str(neutral): True}
        # Of a transport that the kernel knows, the checksum is right: or nobody would answer.
        assert site.client.ask_udp(family.server, UDP).address == outside

    def test_is_explained(self, site: Site, family: Family) -> None:
        site.use(PREFIXES)
        told = explain(
            site, "lan0", "tcp", written(family.second, 4000), written(family.server, TCP)
        )
        assert told["translated_source"] == written(self.outside(family, 3), 4000)


def words(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"!{len(data) // 2}H", data)


def ones_complement_sum(data: bytes) -> int:
    """The sum of RFC 1071, of an even number of octets; 0 and 0xffff are the same number."""
    return sum(words(data)) % 0xFFFF


def rfc_6296(inside: IPv6Address, prefix: IPv6Network) -> IPv6Address:
    """Section 3.5, for prefixes of 49 to 64 bits: the first 16 bits of the host part take up the
    difference of the prefixes."""
    difference = ones_complement_sum(inside.packed[:8]) - ones_complement_sum(
        prefix.network_address.packed[:8]
    )
    adjusted = (words(inside.packed)[4] + difference) % 0xFFFF
    return IPv6Address(
        prefix.network_address.packed[:8] + struct.pack("!H", adjusted) + inside.packed[10:]
    )


def is_right(payload: bytes, source: IPv6Address, destination: IPv6Address) -> bool:
    """Whether the checksum that begins the payload covers these addresses (RFC 8200, 8.1)."""
    pseudo = source.packed + destination.packed + struct.pack("!IHH", len(payload), 0, 253)
    return ones_complement_sum(pseudo + payload) == 0
