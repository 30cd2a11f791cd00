"""translations, statistics, clear and explain, against what the far ends saw."""

from __future__ import annotations

import json
import re
import socket
from typing import Any

import pytest

from tests.lab import wait_until
from tests.path.site import TCP, UDP, Family, Site
from tests.translations.actors import clear, explain, translations, written

ENTRIES = """
[[nvi.nvi0.dnat]]
name = "inwards"
destination = "198.51.100.30"
protocol = ["tcp", "udp"]
to = "10.1.0.2"

[[nvi.nvi0.dnat]]
name = "inwards6"
destination = "2001:db8:100::30"
protocol = ["tcp", "udp"]
to = "fd00:1::2"

[[nvi.nvi0.snat]]
name = "lan"
source = ["10.1.0.0/24", "fd00:1::/64"]
to = ["198.51.100.8", "2001:db8:100::8"]

[[nvi.nvi0.snat]]
name = "dmz"
source = ["10.2.0.0/24", "fd00:2::/64"]
to = "uplink:isp2"
"""


@pytest.fixture
def backend() -> str:
    """It makes no difference here."""
    return "veth"


@pytest.fixture
def path() -> str:
    """The rules of translations are the same for both paths."""
    return "first-packet"


@pytest.fixture
def flows(site: Site, family: Family) -> None:
    """From client by TCP and UDP, from the second LAN by UDP through isp2, and one that comes in.
    Other flows of the family are gone."""
    site.use(ENTRIES)
    site.nvid.command("clear", "--nvi", "nvi0")
    site.client.ask_tcp(family.server, TCP, source_port=8001)
    site.client.ask_udp(family.server, UDP, source_port=8002)
    site.host.ask_udp(family.server, UDP, source_port=8003)
    site.server.ask_udp(family.pool(30), UDP, source=family.server, source_port=8004)


def ports(found: list[Any]) -> set[int]:
    """The source ports by which this file knows its flows."""
    return {flow["original"]["source_port"] for flow in found}


@pytest.mark.usefixtures("flows")
class TestTranslations:
    def test_shows_both_sides(self, site: Site, family: Family) -> None:
        (flow,) = (each for each in translations(site) if each["original"]["source_port"] == 8001)
        age, octets = flow.pop("age"), flow.pop("bytes")
        assert 0 <= age < 60
        assert octets > 100
        assert flow == {
            "protocol": "tcp",
            "original": {
                "source": family.client,
                "source_port": 8001,
                "destination": family.server,
                "destination_port": TCP,
            },
            "translated": {
                "source": family.pool(8),
                "source_port": 8001,
                "destination": family.server,
                "destination_port": TCP,
            },
            "nvi": "nvi0",
            "uplink": "isp1",
            "tenant": None,
        }

    def test_filters(self, site: Site, family: Family) -> None:
        everything = {8001, 8002, 8003, 8004}
        for words, expected in (
            ((), everything),
            (("--nvi", "nvi0"), everything),
            (("--nvi", "other"), set()),
            (("--protocol", "tcp"), {8001}),
            (("--protocol", "17"), {8002, 8003, 8004}),
            (("--source", family.client), {8001, 8002}),
            (("--source", family.pool(8)), {8001, 8002}),
            (("--source", f"{family.host}/{24 if family.version == 4 else 64}"), {8003}),
            (("--destination", family.pool(30)), {8004}),
            (("--destination", family.client), {8004}),
            (("--uplink", "isp2"), {8003}),
            (("--uplink", "isp1"), {8001, 8002, 8004}),
            (("--tenant", "red"), set()),
            (("--source", family.client, "--protocol", "udp"), {8002}),
        ):
            assert ports(translations(site, *words)) == expected, words

    def test_in_words(self, site: Site, family: Family) -> None:
        lines = site.nvid.command("translations", "--source", family.host).stdout.splitlines()
        assert len(lines) == 1
        for word in (written(family.host, 8003), written(family.wan1, 8003), "isp2", "nvi0"):
            assert word in lines[0]

    def test_a_filter_that_is_none_is_an_error(self, site: Site) -> None:
        for words in (("--source", "somewhere"), ("--protocol", "carrier-pigeon")):
            done = site.nvid.command("translations", *words, check=False)
            assert done.returncode == 1
            assert words[1] in done.stderr


@pytest.mark.usefixtures("flows")
class TestClear:
    def test_ends_what_is_meant_and_says_how_many(self, site: Site, family: Family) -> None:
        done = clear(site, "--source", family.client)
        assert (done.returncode, done.stdout) == (0, "2 flows ended\n")
        assert ports(translations(site)) == {8003, 8004}
        done = clear(site, "--uplink", "isp2", "--json")
        assert (done.returncode, json.loads(done.stdout)) == (0, {"ended": 1})
        assert ports(translations(site)) == {8004}

    def test_the_flows_of_one_translation(self, site: Site) -> None:
        lan = {8001, 8002, 8003, 8004} - ports(translations(site, "--translation", "dmz"))
        assert lan
        assert ports(translations(site, "--translation", "lan")) <= lan
        done = clear(site, "--translation", "dmz")
        assert done.returncode == 0
        assert ports(translations(site)) == lan

    def test_a_translation_that_is_not_there(self, site: Site) -> None:
        done = clear(site, "--translation", "dmx")
        assert done.returncode == 1
        assert "there is no translation dmx" in done.stderr

    def test_nothing_to_end_is_no_error(self, site: Site) -> None:
        done = clear(site, "--source", "192.0.2.99")
        assert (done.returncode, done.stdout) == (0, "0 flows ended\n")

    def test_wants_a_filter(self, site: Site) -> None:
        done = clear(site)
        assert done.returncode == 1
        assert "--source" in done.stderr
        assert ports(translations(site)) == {8001, 8002, 8003, 8004}


def test_statistics_count_packets_and_pool_use(site: Site, family: Family) -> None:
    site.use(ENTRIES)
    site.nvid.command("clear", "--nvi", "nvi0")

    def statistics() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(site.nvid.command("statistics", "--json").stdout)
        return found

    def packets(found: dict[str, Any]) -> dict[str, int]:
        return {each["translation"]: each["packets"] for each in found["translations"]}

    before = packets(statistics())
    for _ in range(3):
        site.client.ask_udp(family.server, UDP)
    inwards = "inwards" if family.version == 4 else "inwards6"
    site.server.ask_udp(family.pool(30), UDP, source=family.server)

    def counted() -> bool:
        found = statistics()
        after = packets(found)
        grown = {name: after[name] - before[name] for name in after}
        (pool,) = (each for each in found["pools"] if "198.51.100.8" in each["pool"])
        assert grown == {"inwards": 0, "inwards6": 0, "lan": 6, "dmz": 0} | {inwards: 2}
        assert pool["flows"] == 3
        assert pool["addresses"] == 2
        return True

    wait_until(counted, message="three exchanges out and one in")
    assert re.search(r"snat lan .*packets", site.nvid.command("statistics").stdout)


class TestExplain:
    def test_agrees_with_the_server(self, site: Site, family: Family) -> None:
        site.use(ENTRIES)
        for namespace, interface, inside, uplink, out in (
            (site.client, "lan0", family.client, "isp1", "wan0"),
            (site.host, "dmz0", family.host, "isp2", "wan1"),
        ):
            seen = namespace.ask_tcp(family.server, TCP)
            told = explain(
                site, interface, "tcp", written(inside, 4000), written(family.server, TCP)
            )
            assert told["status"] == 0
            assert told["translated_source"].startswith(seen.address)
            assert (told["uplink"], told["interface"]) == (uplink, out)
            assert told["dropped"] is None

    def test_agrees_with_the_target(self, site: Site, family: Family) -> None:
        site.use(ENTRIES)
        told = explain(
            *(site, "wan0", "udp"),
            *(written(family.server, 4000), written(family.pool(30), UDP)),
        )
        assert told["translated_destination"] == written(family.client, UDP)
        assert told["translated_source"] == written(family.server, 4000)
        assert told["interface"] == "lan0"
        assert "isp1" in told["replies"]

    def test_says_when_a_packet_gets_nowhere(self, site: Site, family: Family) -> None:
        """The uplink that the entry names is down, and another one would be a leak."""
        site.use(ENTRIES)
        with site.without_carrier(site.isp2):
            source, destination = written(family.host, 4000), written(family.server, TCP)
            told = explain(site, "dmz0", "tcp", source, destination)
            assert told["status"] == 1
            assert told["dropped"]


@pytest.mark.usefixtures("flows")
def test_a_stream_whose_reader_has_gone(site: Site) -> None:
    """It ends there, and nothing is thrown for it."""
    asked = {"method": "org.nvid.Control.Translations", "more": True, "parameters": {"wanted": {}}}
    for _ in range(50):
        with socket.socket(socket.AF_UNIX) as reader:
            reader.connect(str(site.nvid.socket_path))
            reader.sendall((json.dumps(asked).encode() + b"\0") * 5)
    assert site.nvid.status()["state"] == "healthy"
    assert "GeneratorExit" not in site.nvid.log()
    # A reading of the figures that had to wait for all that is followed by a long rest:
    # other tests want fresh figures.
    site.nvid.terminate()
    site.nvid.start()


def test_a_flow_uses_each_pool_that_has_its_address(site: Site, family: Family) -> None:
    """Two hosts, and pools of which one is a part of the other."""
    site.use(
        f"""
[[nvi.nvi0.snat]]
name = "narrow"
source = "{family.client}"
to = "{family.pool(8)}"

[[nvi.nvi0.snat]]
name = "wide"
source = "{family.second}"
to = "{family.pool(8)}-{family.pool(9)}"
"""
    )
    site.nvid.command("clear", "--nvi", "nvi0")
    for host in (site.client, site.second):
        host.ask_udp(family.server, UDP)

    def used() -> dict[str, int]:
        found = json.loads(site.nvid.command("statistics", "--json").stdout)
        return {each["pool"]: each["flows"] for each in found["pools"]}

    def as_it_is() -> bool:
        narrow, wide = used().values()
        return narrow >= 1 and wide == 2

    wait_until(as_it_is, message="both pools in use")
