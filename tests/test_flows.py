"""Which flows end when translations change: those that an entry made, and no others."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from nvid.configuration.types import Configuration
from nvid.configuration.values import IPAddress
from nvid.desired.ruleset.account import labels_of
from nvid.desired.ruleset.words import PROTOCOL_NUMBERS
from nvid.flows import Flow, concerned, maker_of
from tests import samples

HEAD = f'{samples.UPLINKS}\n[nvi.nvi0]\ninterfaces = ["lan0", "wan0", "wan1"]\n'
OWN = tuple(samples.MACHINE.addresses())


def static(local: str, outside: str, more: str = "") -> str:
    return f'[[nvi.nvi0.static]]\nlocal = "{local}"\nglobal = "{outside}"\n{more}\n'


def dnat(destination: str, to: str, more: str = "") -> str:
    return f'[[nvi.nvi0.dnat]]\ndestination = "{destination}"\nto = "{to}"\n{more}\n'


def snat(source: str, to: str, more: str = "") -> str:
    return f'[[nvi.nvi0.snat]]\nsource = "{source}"\nto = "{to}"\n{more}\n'


def configuration(*entries: str) -> Configuration:
    return samples.configuration(HEAD + "".join(entries))


def _endpoint(text: str) -> tuple[IPAddress, int]:
    """``10.1.0.2/80``: the slash keeps IPv6 readable."""
    address, _, port = text.partition("/")
    return ip_address(address), int(port or 0)


def flow(ends: str, *, source: str = "", destination: str = "", protocol: str = "tcp") -> Flow:
    """``FROM > TO``, and what its source and destination became."""
    came_from, _, went_to = ends.partition(" > ")
    inside, outside = _endpoint(came_from), _endpoint(went_to)
    seen, target = _endpoint(source or came_from), _endpoint(destination or went_to)
    return Flow(
        key=(0, b"", b""),
        protocol=PROTOCOL_NUMBERS[protocol],
        source=inside[0],
        source_port=inside[1],
        destination=outside[0],
        destination_port=outside[1],
        reply_source=target[0],
        reply_source_port=target[1],
        reply_destination=seen[0],
        reply_destination_port=seen[1],
        snat=bool(source),
        dnat=bool(destination),
    )


# One entry of each kind, and a flow that it made.
MADE = {
    "static, inward": (
        static("10.1.0.2", "198.51.100.10"),
        flow("198.18.0.10/4000 > 198.51.100.10/80", destination="10.1.0.2/80"),
    ),
    "static, outward": (
        static("10.1.0.2", "198.51.100.10"),
        flow("10.1.0.2/4000 > 198.18.0.10/80", source="198.51.100.10/4000"),
    ),
    "static prefix, IPv6": (
        static("fd00:2::/64", "2001:db8:100:2::/64"),
        flow("2001:db8:f::10/4000 > 2001:db8:100:2::7/80", destination="fd00:2::7/80"),
    ),
    "static port": (
        static(
            "10.1.0.3",
            "198.51.100.11",
            'protocol = "tcp"\nlocal_port = 8080\nglobal_port = 80',
        ),
        flow("198.18.0.10/4000 > 198.51.100.11/80", destination="10.1.0.3/8080"),
    ),
    "dnat": (
        dnat("198.51.100.1", "10.1.0.3:8080", 'protocol = "tcp"\nport = 80'),
        flow("198.18.0.10/4000 > 198.51.100.1/80", destination="10.1.0.3/8080"),
    ),
    "dnat of an uplink's address": (
        dnat("uplink:isp1", "10.1.0.3:22", 'protocol = "tcp"\nport = 2222'),
        flow("198.18.0.10/4000 > 203.0.113.1/2222", destination="10.1.0.3/22"),
    ),
    "snat": (
        snat("10.1.0.0/24", "198.51.100.8/29"),
        flow("10.1.0.9/4000 > 198.18.0.10/80", source="198.51.100.12/4000"),
    ),
    "snat, IPv6": (
        snat("fd00:1::/64", "2001:db8:100::/120"),
        flow("fd00:1::9/4000 > 2001:db8:f::10/80", source="2001:db8:100::12/4000"),
    ),
    "snat to the uplink": (
        snat("10.7.0.0/24", "uplink"),
        flow("10.7.0.9/4000 > 198.18.0.10/80", source="203.0.113.1/4000"),
    ),
}
ALL = tuple(dict.fromkeys(entry for entry, _ in MADE.values()))
UNTRANSLATED = flow("10.1.0.9/4000 > 10.2.0.9/80")


def ended(before: Configuration, after: Configuration) -> set[str]:
    question = concerned(before, after, OWN)
    if question is None:
        return set()
    assert not question(UNTRANSLATED)
    return {name for name, (_, made) in MADE.items() if question(made)}


def made_by(entry: str) -> set[str]:
    return {name for name, (each, _) in MADE.items() if each == entry}


@pytest.mark.parametrize("entry", ALL)
def test_an_entry_that_goes_ends_its_flows_and_no_others(entry: str) -> None:
    others = configuration(*(each for each in ALL if each != entry))
    assert ended(configuration(*ALL), others) == made_by(entry)


@pytest.mark.parametrize("entry", ALL)
def test_so_does_one_that_leads_elsewhere(entry: str) -> None:
    moved = (
        entry.replace('local = "10.1.0.', 'local = "10.1.9.')
        .replace('local = "fd00:2:', 'local = "fd00:9:')
        .replace('to = "10.1.0.', 'to = "10.1.9.')
        .replace('to = "198.51.100.', 'to = "198.51.101.')
        .replace('to = "2001:db8:100:', 'to = "2001:db8:101:')
        .replace('to = "uplink"', 'to = "uplink:isp2"')
    )
    assert moved != entry
    after = configuration(*(moved if each == entry else each for each in ALL))
    assert ended(configuration(*ALL), after) == made_by(entry)


def test_what_stays_the_same_ends_nothing() -> None:
    """Neither its place in the file nor its name make an entry another one."""
    before = configuration(*ALL)
    statics = [each for each in ALL if ".static]]" in each]
    others = [each for each in ALL if ".static]]" not in each]
    assert concerned(before, before, OWN) is None
    assert concerned(before, configuration(*others, *reversed(statics)), OWN) is None
    named = configuration(f'{ALL[0].rstrip()}\nname = "web"\n', *ALL[1:])
    assert concerned(before, named, OWN) is None
    assert concerned(before, configuration(*ALL, snat("10.8.0.0/24", "198.51.100.40")), OWN) is None


@pytest.mark.parametrize(
    ("added", "covered", "beside"),
    [
        (
            dnat("198.51.100.50", "10.1.0.5", 'protocol = "udp"\nport = 53'),
            flow("198.18.0.10/4000 > 198.51.100.50/53", protocol="udp"),
            [
                flow("198.18.0.10/4000 > 198.51.100.50/54", protocol="udp"),
                flow("198.18.0.10/4000 > 198.51.100.50/53"),
                flow("198.18.0.10/4000 > 198.51.100.51/53", protocol="udp"),
            ],
        ),
        (
            dnat("2001:db8:100::/112", "fd00:1::5"),
            flow("2001:db8:f::10 > 2001:db8:100::77", protocol="icmpv6"),
            [flow("2001:db8:f::10 > 2001:db8:100::1:77", protocol="icmpv6")],
        ),
        (
            static("10.1.0.5", "198.51.100.50"),
            flow("198.18.0.10 > 198.51.100.50", protocol="gre"),
            [flow("198.18.0.10 > 198.51.100.51", protocol="gre")],
        ),
    ],
)
def test_a_new_entry_ends_flows_that_went_by_untranslated(
    added: str, covered: Flow, beside: list[Flow]
) -> None:
    """A UDP flow that never pauses would stay untranslated for ever."""
    question = concerned(configuration(*ALL), configuration(*ALL, added), OWN)
    assert question is not None
    assert question(covered)
    assert not any(question(each) for each in beside)
    assert not any(question(made) for _, made in MADE.values())


def test_flows_of_an_snat_beside_a_static_port_go_on() -> None:
    """One outside address for a service and for everything else of its host."""
    port = static(
        "10.1.0.2", "198.51.100.10", 'protocol = "tcp"\nlocal_port = 8080\nglobal_port = 80'
    )
    pool = snat("10.1.0.0/24", "198.51.100.10")
    question = concerned(configuration(port, pool), configuration(pool), OWN)
    assert question is not None
    assert question(flow("10.1.0.2/8080 > 198.18.0.10/99", source="198.51.100.10/80"))
    assert not question(flow("10.1.0.2/4000 > 198.18.0.10/80", source="198.51.100.10/4000"))


class TestMaker:
    """Of snat entries the first that could have made a flow."""

    ENTRIES = (
        configuration(
            snat("10.1.0.0/24", "198.51.100.1", 'destination = "!198.18.0.0/16"'),
            snat("10.1.0.0/24", "198.51.100.1", 'protocol = "udp"\nport = "50-59"'),
            snat("10.1.0.0/24", "198.51.100.1", "port = 443"),
            snat("10.1.0.0/16", "198.51.100.1"),
            snat("10.2.0.0/16", "uplink"),
            snat("10.3.0.0/16", "none"),
        )
        .nvis[0]
        .snats
    )

    @pytest.mark.parametrize(
        ("seen", "place"),
        [
            (flow("10.1.0.9/4000 > 192.0.2.9/80", source="198.51.100.1/4000"), 0),
            (
                flow("10.1.0.9/4000 > 198.18.0.9/53", source="198.51.100.1/1", protocol="udp"),
                1,
            ),
            (flow("10.1.0.9/4000 > 198.18.0.9/443", source="198.51.100.1/4000"), 2),
            (
                flow("10.1.0.9/4 > 198.18.0.9/443", source="198.51.100.1/4", protocol="sctp"),
                3,
            ),
            (flow("10.1.0.9/4000 > 198.18.0.9/80", source="198.51.100.1/4000"), 3),
            (flow("10.1.7.9/4000 > 192.0.2.9/80", source="198.51.100.1/4000"), 3),
            (flow("10.2.0.9/4000 > 198.18.0.9/80", source="192.0.2.1/4000"), 4),
            (flow("10.3.0.9/4000 > 198.18.0.9/80"), 5),
            (flow("10.2.0.9/4000 > 198.18.0.9/80", source="192.0.2.99/4000"), None),
            (flow("10.1.0.9/4000 > 198.18.0.9/80", source="198.51.100.2/4000"), None),
            (flow("10.9.0.9/4000 > 198.18.0.9/80", source="198.51.100.1/4000"), None),
        ],
    )
    def test_it_is_found_by_what_the_flow_shows(self, seen: Flow, place: int | None) -> None:
        found = maker_of(seen, self.ENTRIES, OWN)
        assert found == (None if place is None else self.ENTRIES[place])

    def test_the_destination_that_counts_is_the_translated_one(self) -> None:
        seen = flow(
            "10.1.0.9/4000 > 192.0.2.9/443",
            source="198.51.100.1/4000",
            destination="198.18.0.9/8443",
        )
        assert maker_of(seen, self.ENTRIES, OWN) == self.ENTRIES[3]


class TestEntriesThatDifferByIngress:
    """Conntrack does not show where a flow came in; its label has the bit of its entry."""

    SNATS = tuple(
        snat("10.0.0.0/8", "198.51.100.1", f'ingress = "{name}"') for name in ("lan0", "wan0")
    )
    DNATS = tuple(
        dnat("198.51.100.1", "10.1.0.3", f'ingress = "{name}"') for name in ("wan0", "wan1")
    )
    OUTWARD = flow("10.1.0.9/4000 > 198.18.0.10/80", source="198.51.100.1/4000")
    INWARD = flow("198.18.0.10/4000 > 198.51.100.1/80", destination="10.1.0.3/80")

    @pytest.mark.parametrize(("entries", "made"), [(SNATS, OUTWARD), (DNATS, INWARD)])
    @pytest.mark.parametrize("place", [0, 1])
    def test_only_its_own_flows_end(self, entries: tuple[str, ...], made: Flow, place: int) -> None:
        before = configuration(*entries)
        bits = labels_of(before.nvis, ())
        question = concerned(before, configuration(entries[1 - place]), OWN, bits)
        assert question is not None
        of_each = [replace(made, label=1 << bit) for bit in bits.values()]
        assert [question(each) for each in of_each] == [place == 0, place == 1]

    def test_flows_from_before_they_differed_belong_to_the_first(self) -> None:
        before = configuration(*self.SNATS)
        bits = labels_of(before.nvis, ())
        question = concerned(before, configuration(self.SNATS[1]), OWN, bits)
        assert question is not None
        assert question(self.OUTWARD)
