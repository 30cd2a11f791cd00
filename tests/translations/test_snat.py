"""snat: ports, a limit of connections for each source, and deterministic blocks of ports."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from nvid.configuration import load
from nvid.configuration.blocks import block_of
from tests.lab import Unanswered, wait_until
from tests.path.site import TCP, UDP, Family, Site
from tests.translations.actors import explain, holding, written

PORTS = """
[[nvi.nvi0.snat]]
source = ["10.0.0.0/8", "fd00::/16"]
to = ["198.51.100.8", "2001:db8:100::8"]
ports = "20000-20009"
"""
LIMIT = """
[[nvi.nvi0.snat]]
name = "few"
source = ["10.1.0.0/24", "fd00:1::/64"]
to = ["198.51.100.8", "2001:db8:100::8"]
limit = 5
"""
BLOCKS = """
[[nvi.nvi0.snat]]
source = ["10.1.0.0/29", "10.2.0.2", "fd00:1::/125", "fd00:2::2"]
to = ["198.51.100.8/31", "2001:db8:100::8/127"]
ports = "40000-42047"
port_block = 256
"""


@pytest.fixture
def path() -> str:
    """The rules of translations are the same for both paths."""
    return "first-packet"


class TestPorts:
    @pytest.mark.parametrize("protocol", ["tcp", "udp"])
    def test_are_kept_to(self, site: Site, family: Family, protocol: str) -> None:
        site.use(PORTS)
        ask, port = {
            "tcp": (site.client.ask_tcp, TCP),
            "udp": (site.client.ask_udp, UDP),
        }[protocol]
        for source_port in (5001, 20005):
            seen = ask(family.server, port, source_port=source_port)
            assert seen.address == family.pool(8)
            assert 20000 <= seen.port <= 20009

    def test_do_not_concern_protocols_without(self, site: Site, family: Family) -> None:
        site.use(PORTS)
        with site.capture(site.server, "isp1", f"host {family.pool(8)}") as seen:
            assert site.client.ping(family.server)
            wait_until(seen, message="the echo request from the pool")


class TestLimit:
    @pytest.mark.parametrize("protocol", ["tcp", "udp"])
    def test_refuses_one_more(self, site: Site, family: Family, protocol: str) -> None:
        """Each source has a count of its own; what ends is free again."""
        site.use(LIMIT)
        port = {"tcp": TCP, "udp": UDP}[protocol]
        site.nvid.command("clear", "--nvi", "nvi0")
        with holding(site.client, protocol, 7, family.server, port) as held:
            assert held == 5
            with holding(site.second, protocol, 2, family.server, port) as of_another:
                assert of_another == 2
            with pytest.raises(Unanswered):
                site.client.ask_tcp(family.server, TCP, timeout=0.5)
        site.nvid.command("clear", "--source", family.client)
        with holding(site.client, protocol, 5, family.server, port) as held:
            assert held == 5

    def test_a_closed_connection_is_free_at_once(self, site: Site, family: Family) -> None:
        site.use(LIMIT)
        site.nvid.command("clear", "--nvi", "nvi0")
        for _ in range(2):
            with holding(site.client, "tcp", 5, family.server, TCP) as held:
                assert held == 5

    def test_what_was_refused_is_counted(self, site: Site, family: Family) -> None:
        site.use(LIMIT)
        site.nvid.command("clear", "--nvi", "nvi0")

        def refused() -> int:
            lines = site.nvid.metrics().splitlines()
            wanted = [line for line in lines if "limit" in line and 'translation="few"' in line]
            return int(float(wanted[0].split()[-1]))

        before = refused()
        with holding(site.client, "udp", 7, family.server, UDP) as held:
            assert held == 5
        wait_until(lambda: refused() == before + 2, message="two more packets refused")


class TestPortBlock:
    @pytest.mark.parametrize("protocol", ["tcp", "udp"])
    def test_is_the_computed_one(self, site: Site, family: Family, protocol: str) -> None:
        """What `block_of` computes, `nvid explain` says and the server sees are one."""
        site.use(BLOCKS)
        (entry,) = load(site.nvid.configuration_path).configuration.nvis[0].snats
        blocks = set()
        for namespace, interface, inside in (
            (site.client, "lan0", family.client),
            (site.second, "lan0", family.second),
            (site.host, "dmz0", family.host),
        ):
            block = block_of(entry, ip_address(inside))
            assert block is not None
            blocks.add((block.outside, block.ports))
            for source_port in (0, 4000, 40001):
                ask = namespace.ask_tcp if protocol == "tcp" else namespace.ask_udp
                port = TCP if protocol == "tcp" else UDP
                seen = ask(family.server, port, source_port=source_port)
                assert seen.address == str(block.outside)
                assert block.ports.first <= seen.port <= block.ports.last
            told = explain(
                site, interface, protocol, written(inside, 4000), written(family.server, port)
            )
            wanted = f"[{block.outside}]" if family.version == 6 else str(block.outside)
            assert told["translated_source"] == f"{wanted}:{block.ports}"
        assert len(blocks) == 3

    def test_keeps_ping_working(self, site: Site, family: Family) -> None:
        site.use(BLOCKS)
        assert site.client.ping(family.server)
        assert site.host.ping(family.server)
