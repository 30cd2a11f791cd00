"""snat with log = true: one record for each translation made and ended."""

from __future__ import annotations

import re

import pytest

from tests.lab import wait_until
from tests.path.site import TCP, UDP, Family, Site

LOGGED = """
[[nvi.nvi0.snat]]
name = "logged"
source = ["10.1.0.0/24", "fd00:1::/64"]
to = ["198.51.100.8", "2001:db8:100::8"]
log = true

[[nvi.nvi0.snat]]
name = "quiet"
source = ["10.2.0.0/24", "fd00:2::/64"]
to = ["198.51.100.9", "2001:db8:100::9"]
"""


@pytest.fixture
def backend() -> str:
    """It makes no difference here."""
    return "veth"


@pytest.fixture
def path() -> str:
    """The rules of translations are the same for both paths."""
    return "first-packet"


def records(site: Site, what: str, inside: str, port: int) -> list[dict[str, str]]:
    """The fields of the records about flows from this address and port."""
    lines = [line for line in site.nvid.log().splitlines() if f"translation {what}" in line]
    found = [dict(re.findall(r"(\w+)=(\S+)", line)) for line in lines]
    return [each for each in found if (each["source"], each["source_port"]) == (inside, str(port))]


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_made_and_ended(site: Site, family: Family, protocol: str) -> None:
    site.use(LOGGED)
    source_port = 7100
    site.nvid.command("clear", "--nvi", "nvi0")
    before = len(records(site, "ended", family.client, source_port))
    ask = site.client.ask_tcp if protocol == "tcp" else site.client.ask_udp
    port = TCP if protocol == "tcp" else UDP
    seen = ask(family.server, port, source_port=source_port)

    def last(what: str) -> dict[str, str]:
        found = records(site, what, family.client, source_port)
        assert found
        return found[-1]

    def is_about_this(record: dict[str, str]) -> bool:
        return record["protocol"] in {protocol, {"tcp": "6", "udp": "17"}[protocol]}

    wait_until(lambda: is_about_this(last("made")), message="the record of the beginning")
    made = last("made")
    expected = {
        "nvi": "nvi0",
        "translation": "logged",
        "source": family.client,
        "source_port": str(source_port),
        "destination": family.server,
        "destination_port": str(port),
        "translated_source": seen.address,
        "translated_source_port": str(seen.port),
    }
    assert {key: made[key] for key in expected} == expected
    site.nvid.command("clear", "--source", family.client)
    wait_until(
        lambda: len(records(site, "ended", family.client, source_port)) == before + 1,
        message="the record of the end",
    )
    ended = last("ended")
    assert {key: ended[key] for key in expected} == expected
    assert int(ended["bytes"]) > 0


def test_only_where_it_is_asked_for(site: Site, family: Family) -> None:
    site.use(LOGGED)
    site.host.ask_udp(family.server, UDP, source_port=7200)
    site.client.ask_udp(family.server, UDP, source_port=7201)
    wait_until(lambda: records(site, "made", family.client, 7201), message="the other record")
    assert not records(site, "made", family.host, 7200)


def test_goes_on_after_a_reload(site: Site, family: Family) -> None:
    site.use(LOGGED)
    site.use(LOGGED.replace("log = true", ""))
    site.client.ask_udp(family.server, UDP, source_port=7300)
    site.use(LOGGED)
    site.client.ask_udp(family.server, UDP, source_port=7301)
    wait_until(lambda: records(site, "made", family.client, 7301), message="the record")
    assert not records(site, "made", family.client, 7300)
