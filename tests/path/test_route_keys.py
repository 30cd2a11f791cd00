"""The second lookup by every key of a route entry, to uplinks, tables and actions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import Unanswered
from tests.path.site import SNAT_TO_UPLINK, TCP, UDP, Family, Site
from tests.translations.actors import explain, written

TABLE = 4242
"""A routing table of the administrator's; its default route leads to isp2."""


@pytest.fixture
def backend() -> str:
    """It makes no difference here."""
    return "veth"


def route(*keys: str) -> str:
    return "\n".join(["[[nvi.nvi0.route]]", *keys, ""])


def entries(*keys: str) -> str:
    """What the LAN sends is translated to the uplink's address, which one entry picks."""
    return SNAT_TO_UPLINK + route(*keys)


@pytest.fixture
def table(site: Site) -> Iterator[int]:
    for version, gateway in (("-4", "192.0.2.254"), ("-6", "2001:db8:2::fe")):
        site.router.ip(
            version, "route", "add", "default", "via", gateway, "dev", "wan1", "table", str(TABLE)
        )
    yield TABLE
    for version in ("-4", "-6"):
        site.router.ip(version, "route", "flush", "table", str(TABLE))


class TestKeys:
    def test_by_protocol(self, site: Site, family: Family) -> None:
        site.use(entries('protocol = "tcp"', 'via = "isp2"'))
        assert site.client.ask_tcp(family.server, TCP).address == family.wan1
        assert site.client.ask_udp(family.server, UDP).address == family.wan0
        for protocol, uplink in (("tcp", "isp2"), ("udp", "isp1")):
            told = explain(site, "lan0", protocol, family.client, written(family.server, 80))
            assert told["uplink"] == uplink

    def test_by_port(self, site: Site, family: Family) -> None:
        site.use(entries(f'port = "{UDP}-{UDP + 9}"', 'via = "isp2"'))
        assert site.client.ask_udp(family.server, UDP).address == family.wan1
        assert site.client.ask_tcp(family.server, TCP).address == family.wan0
        assert site.client.ping(family.server)
        for port, uplink in ((UDP + 9, "isp2"), (UDP + 10, "isp1")):
            told = explain(site, "lan0", "udp", family.client, written(family.server, port))
            assert told["uplink"] == uplink

    def test_the_port_is_the_one_that_dnat_gives(self, site: Site, family: Family) -> None:
        site.use(f"""{entries(f"port = {TCP}", 'via = "isp2"')}
            [[nvi.nvi0.dnat]]
            destination = "{family.pool(40)}"
            port = 8080
            protocol = "tcp"
            to = "{written(family.server, TCP)}"
        """)
        assert site.client.ask_tcp(family.pool(40), 8080).address == family.wan1

    def test_by_the_original_interface(self, site: Site, family: Family) -> None:
        site.use(entries('ingress = "dmz*"', 'via = "isp2"'))
        assert site.host.ask_tcp(family.server, TCP).address == family.wan1
        assert site.client.ask_tcp(family.server, TCP).address == family.wan0
        for interface, uplink in (("dmz0", "isp2"), ("lan0", "isp1")):
            told = explain(site, interface, "tcp", family.client, written(family.server, 80))
            assert told["uplink"] == uplink

    def test_by_dscp(self, site: Site, family: Family) -> None:
        site.use(entries("dscp = 46", 'via = "isp2"'))
        ip = "ip" if family.version == 4 else "ip6"
        site.client.nft(
            "add table inet marking; "
            "add chain inet marking output { type filter hook output priority 0; }; "
            f"add rule inet marking output tcp dport {TCP} {ip} dscp set 46"
        )
        try:
            assert site.client.ask_tcp(family.server, TCP).address == family.wan1
        finally:
            site.client.nft("delete table inet marking")
        assert site.client.ask_tcp(family.server, TCP).address == family.wan0

    def test_all_keys_must_match(self, site: Site, family: Family) -> None:
        site.use(
            entries(
                f'destination = "{family.server}"',
                'ingress = "lan0"',
                'protocol = "tcp"',
                f"port = {TCP}",
                "dscp = 0",
                'via = "isp2"',
            )
        )
        assert site.client.ask_tcp(family.server, TCP).address == family.wan1
        assert site.client.ask_udp(family.server, UDP).address == family.wan0
        assert site.host.ask_tcp(family.server, TCP).address == family.wan0

    def test_a_pool_by_source_and_protocol(self, site: Site, family: Family) -> None:
        """The source is the translated one; another uplink would drop it."""
        site.use(f"""
            [[nvi.nvi0.snat]]
            protocol = "udp"
            source = ["10.0.0.0/8", "fd00::/16"]
            to = ["198.51.101.8", "2001:db8:101::8"]
            {SNAT_TO_UPLINK}
            {route(f'source = "{family.pool2(8)}"', 'protocol = "udp"', 'via = "isp2"')}
        """)
        assert site.client.ask_udp(family.server, UDP).address == family.pool2(8)
        assert site.client.ask_tcp(family.server, TCP).address == family.wan0


class TestTables:
    def test_a_table_of_the_administrator(self, site: Site, family: Family, table: int) -> None:
        """The address is that of the uplink that the table leads to."""
        site.use(entries('protocol = "tcp"', f"table = {table}"))
        assert site.client.ask_tcp(family.server, TCP).address == family.wan1
        assert site.client.ask_udp(family.server, UDP).address == family.wan0
        for protocol, address in (("tcp", family.wan1), ("udp", family.wan0)):
            told = explain(site, "lan0", protocol, family.client, written(family.server, 80))
            assert told["translated_source"] == address

    def test_what_changes_in_it_counts_at_once(
        self, site: Site, family: Family, table: int
    ) -> None:
        site.use(entries(f"table = {table}"))
        assert site.client.ask_tcp(family.server, TCP).address == family.wan1
        version, gateway = f"-{family.version}", family.gateways[0]
        site.router.ip(
            version, "route", "replace", "default", "via", gateway, "dev", "wan0",
            "table", str(table),
        )  # fmt: skip
        assert site.client.ask_tcp(family.server, TCP).address == family.wan0

    def test_without_a_route_nothing_leaves(self, site: Site, family: Family) -> None:
        site.use(entries('protocol = "tcp"', f"table = {TABLE}"))
        with pytest.raises(Unanswered):
            site.client.ask_tcp(family.server, TCP, timeout=1)
        assert site.client.ask_udp(family.server, UDP).address == family.wan0

    def test_main_is_a_table_too(self, site: Site, family: Family) -> None:
        """It knows the second LAN, and has no default route here."""
        site.use(entries("table = 254"))
        assert site.client.ask_tcp(family.host, TCP).address == family.wan0
        with pytest.raises(Unanswered):
            site.client.ask_tcp(family.server, TCP, timeout=1)

    def test_a_table_decides_about_connected_networks(self, site: Site, family: Family) -> None:
        """Where an uplink would leave it to main: the host of the second LAN is behind isp2 here,
        and nobody answers there."""
        version, gateway = f"-{family.version}", family.gateways[1]
        site.router.ip(
            version, "route", "add", family.host, "via", gateway, "dev", "wan1",
            "table", str(TABLE),
        )  # fmt: skip
        try:
            site.use(entries('protocol = "tcp"', f"table = {TABLE}"))
            with pytest.raises(Unanswered):
                site.client.ask_tcp(family.host, TCP, timeout=1)
            assert site.client.ask_udp(family.host, UDP)
        finally:
            site.router.ip(version, "route", "flush", "table", str(TABLE))

    def test_its_lane_is_found_in_the_kernel(self, site: Site, family: Family, table: int) -> None:
        """Other tables around it come and go, the state is lost: flows go on."""
        tables = (entries('protocol = "tcp"', "table = 4243"), entries(f"table = {table}"))
        site.use(tables[0] + route('protocol = "udp"', f"table = {table}"))
        flow = site.client.long_flow(family.server, UDP, "udp")
        site.nvid.kill()
        (site.nvid.state_directory / "state.json").unlink()
        site.nvid.start()
        site.use(tables[1])
        flow.wait_for_answers()
        assert {each.address for each in flow.stop().sources} == {family.wan1}


class TestActions:
    @pytest.mark.parametrize(
        ("action", "words"),
        [
            ("unreachable", r"No route to host|unreachable"),
            ("prohibit", r"Permission denied|No route to host"),
            ("blackhole", r"timed out"),
        ],
    )
    def test_what_it_says_is_what_the_client_gets(
        self, site: Site, family: Family, action: str, words: str
    ) -> None:
        site.use(entries('protocol = "tcp"', f'action = "{action}"'))
        with pytest.raises(Unanswered, match=words):
            site.client.ask_tcp(family.server, TCP, timeout=2)
        assert site.client.ask_udp(family.server, UDP).address == family.wan0
        told = explain(site, "lan0", "tcp", family.client, written(family.server, TCP))
        assert (told["interface"], told["route"]) == (None, "nvi.nvi0.route[0]")

    def test_an_entry_before_it_comes_first(self, site: Site, family: Family) -> None:
        site.use(
            SNAT_TO_UPLINK
            + route(f'destination = "{family.server}"', 'via = "isp2"')
            + route('action = "unreachable"')
        )
        assert site.client.ask_tcp(family.server, TCP).address == family.wan1
        with pytest.raises(Unanswered):
            site.client.ask_tcp(family.host, TCP, timeout=1)

    def test_flows_go_on_when_the_entry_is_gone(self, site: Site, family: Family) -> None:
        """A flow that was refused is bound to its refusal; it ends with the entry."""
        port = {"first-packet": 41000, "every-packet": 41001}[site.path]
        site.use(entries('protocol = "udp"', 'action = "blackhole"'))
        with pytest.raises(Unanswered):
            site.client.ask_udp(family.server, UDP, source_port=port, timeout=1)
        site.use(SNAT_TO_UPLINK)
        assert site.client.ask_udp(family.server, UDP, source_port=port).address == family.wan0
