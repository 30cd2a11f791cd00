"""Endpoint-independent mappings have a bounded place in memory; when it is full, flows go on."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from nvid.desired.ruleset.endpoint import MAPPINGS
from tests.lab import Unanswered
from tests.path.entries import INDEPENDENT
from tests.path.site import UDP, Family, Site
from tests.translations.actors import Mapped, endpoint

PLACES = ("out", "in", "taken", "pairs")
NOBODY = {4: ("10.99.0.1", "198.51.100.8"), 6: ("fd00:99::1", "2001:db8:100::8")}
"""An inside and an outside address of mappings that no packet of these tests has."""
PORTS = itertools.count(7000)


@pytest.fixture
def path() -> str:
    """The rules of translations are the same for both paths."""
    return "first-packet"


@pytest.fixture
def backend() -> str:
    """And for both backends."""
    return "veth"


@pytest.fixture
def port() -> int:
    """Mappings outlive flows, so each test has an inside port of its own."""
    return next(PORTS)


def places(site: Site, family: Family) -> dict[str, str]:
    """The maps and sets by what they are for: "map inet nvid NAME"."""
    listed = site.router.run("nft", "--stateless", "--terse", "list", "table", "inet", "nvid")
    found = re.findall(rf"(map|set) (\w+_ip{family.version}_(\w+)) \{{", listed.stdout)
    return {what: f"{kind} inet nvid {name}" for kind, name, what in found if what in PLACES}


def elements(site: Site, place: str) -> int:
    """How many elements a map or set holds."""
    listed = site.router.run("nft", "list", *place.split()).stdout
    return listed.count(" expires ")


def someone_elses(what: str, family: Family) -> Iterator[str]:
    """As many mappings as there is room for, in the words of one of the four objects."""
    inside, outside = NOBODY[family.version]
    for number in range(MAPPINGS):
        host = ip_address(inside) + (number >> 8)
        here, there = f"{host} . {number & 255}", f"{outside} . {number & 511}"
        many = f"{ip_address(outside) + (number >> 9) + 1} . {number & 511}"
        yield {
            "out": f"{here} : {there}",
            "in": f"{many} : {here}",
            "taken": many,
            "pairs": f"{there} . {here}",
        }[what]


@pytest.fixture(
    params=[PLACES, ("out",), ("pairs",)],
    ids=["all", "out", "pairs"],
)
def full(request: pytest.FixtureRequest, site: Site, family: Family) -> Iterator[tuple[str, ...]]:
    """Some or all of the objects are full; afterwards they are empty."""
    site.use(INDEPENDENT)
    names = places(site, family)
    assert sorted(names) == sorted(PLACES)
    file = site.lab.scratch("elements")
    filled: tuple[str, ...] = request.param
    with file.open("w") as stream:
        for what in filled:
            _, _, rest = names[what].partition(" ")
            some = ", ".join(someone_elses(what, family))
            stream.write(f"flush {names[what]}\nadd element {rest} {{ {some} }}\n")
    site.router.run("nft", "-f", str(file), timeout=60)
    yield tuple(names[what] for what in filled)
    empty(site, names)


def empty(site: Site, names: dict[str, str]) -> None:
    for place in names.values():
        site.router.run("nft", "flush", *place.split())


def dropped(site: Site) -> int:
    """Packets that were refused because another host holds their port."""
    text = site.router.run("nft", "list", "counter", "inet", "nvid", "dropped_mapping").stdout
    (packets,) = re.findall(r"packets (\d+)", text)
    return int(packets)


def test_a_flow_without_room_goes_on_and_is_not_remembered(
    site: Site, family: Family, port: int, full: tuple[str, ...]
) -> None:
    before = dropped(site)
    servers = [(family.server, UDP)] * 5
    with endpoint(site.client, port, *servers) as found:
        assert None not in found.seen
        assert {seen.address for seen in found.seen if seen} == {family.pool(8)}
        seen = found.seen[0]
        assert seen is not None
        assert dropped(site) == before
        if len(full) == len(PLACES):
            assert elements(site, full[0]) == MAPPINGS
            assert not stranger_reaches(site, family, found)
            empty(site, places(site, family))
            # With the next packet from inside there is room, and the mapping is there.
            with endpoint(site.client, port + 500, (family.server, UDP)) as another:
                assert stranger_reaches(site, family, another)


def stranger_reaches(site: Site, family: Family, found: Mapped) -> bool:
    seen = found.seen[0]
    assert seen is not None
    try:
        site.isp1.ask_udp(*seen, source=family.gateways[0], timeout=0.5)
    except Unanswered:
        return False
    return True


def test_each_has_a_size(site: Site, family: Family) -> None:
    site.use(INDEPENDENT)
    for place in places(site, family).values():
        shown = site.router.run("nft", "--terse", "list", *place.split()).stdout
        assert re.findall(r"size (\d+)", shown) == [str(MAPPINGS)]
