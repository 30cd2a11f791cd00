"""Each kind of translation as chains, maps and elements."""

from __future__ import annotations

import itertools

import pytest

from nvid.desired.ruleset.model import Chain, Map, Ruleset
from tests import samples


def ruleset(entries: str, nvi: str = "") -> Ruleset:
    text = f'{samples.UPLINKS}\n[nvi.nvi0]\ninterfaces = ["lan0", "wan0"]\n{nvi}\n{entries}'
    found = samples.desired(text).ruleset
    assert found is not None
    return found


def static(local: str, outside: str) -> str:
    return f'[[nvi.nvi0.static]]\nlocal = "{local}"\nglobal = "{outside}"\n'


def snat(to: str, more: str = "") -> str:
    return f"[[nvi.nvi0.snat]]\nto = {to}\n{more}\n"


def dnat(destination: str, to: str, more: str = "") -> str:
    return f'[[nvi.nvi0.dnat]]\ndestination = "{destination}"\nto = "{to}"\n{more}\n'


def maps(found: Ruleset) -> dict[str, Map]:
    return {each.name: each for each in found.maps}


def chains(found: Ruleset) -> dict[str, Chain]:
    return {each.name: each for each in found.chains}


def entries_of(found: Ruleset) -> list[str]:
    """The rules that pick an snat entry; what follows is about hairpins."""
    return [rule for rule in chains(found)["snat_1"].rules if "hairpin" not in rule]


def entry_chain(found: Ruleset) -> Chain:
    """The chain of the one snat entry."""
    (chain,) = (
        each for each in found.chains if each.name.startswith("snat_") and len(each.name) == 17
    )
    return chain


def holding(found: Ruleset, key: str, value: str) -> list[Map]:
    """The maps of the NAT hooks that translate ``key`` to ``value``."""
    return [each for each in found.maps if each.elements.get(key) == value]


@pytest.mark.parametrize(
    ("local", "outside"),
    [
        ("10.1.0.2", "198.51.100.10"),
        ("fd00:1::2", "2001:db8:100::10"),
        ("10.2.0.0/28", "198.51.100.32/28"),
        ("fd00:2::/64", "2001:db8:100:2::/64"),
    ],
)
def test_a_static_is_one_element_each_way(local: str, outside: str) -> None:
    found = ruleset(static(local, outside))
    (inward,), (outward,) = holding(found, outside, local), holding(found, local, outside)
    # Host entries belong into maps without intervals: those are hashes.
    assert inward.interval == outward.interval == ("/" in local)
    rules = [rule for chain in found.chains for rule in chain.rules]
    assert any("dnat ip" in rule and f"@{inward.name}" in rule for rule in rules)
    assert any("snat ip" in rule and f"@{outward.name}" in rule for rule in rules)


@pytest.mark.parametrize(
    ("entry", "elements"),
    [
        (
            dnat("198.51.100.1", "10.1.0.3"),
            {"198.51.100.1": "10.1.0.3"},
        ),
        (
            dnat("2001:db8:100::1", "fd00:1::3"),
            {"2001:db8:100::1": "fd00:1::3"},
        ),
        (
            dnat("198.51.100.0/28", "10.1.0.3"),
            {"198.51.100.0/28": "10.1.0.3"},
        ),
        (
            dnat("198.51.100.1", "10.1.0.3", 'protocol = "gre"'),
            {"198.51.100.1 . 47": "10.1.0.3"},
        ),
        (
            dnat("198.51.100.1", "10.1.0.3:8080", 'protocol = "tcp"\nport = 80'),
            {"198.51.100.1 . 6 . 80": "10.1.0.3 . 8080"},
        ),
        (
            dnat("2001:db8:100::1", "[fd00:1::3]:8080", 'protocol = "tcp"\nport = 80'),
            {"2001:db8:100::1 . 6 . 80": "fd00:1::3 . 8080"},
        ),
        (
            dnat("198.51.100.1", "10.1.0.3", "port = 80"),
            {"198.51.100.1 . 6 . 80": "10.1.0.3", "198.51.100.1 . 17 . 80": "10.1.0.3"},
        ),
        (
            dnat("198.51.100.1", "10.1.0.3", 'protocol = "udp"\nport = "80-89"'),
            {"198.51.100.1 . 17 . 80-89": "10.1.0.3"},
        ),
    ],
)
def test_a_dnat_is_an_element_for_each_protocol(entry: str, elements: dict[str, str]) -> None:
    found = ruleset(entry)
    places = [holding(found, key, value) for key, value in elements.items()]
    assert [len(place) for place in places] == [1] * len(elements)
    assert len({place[0].name for place in places}) == 1
    is_interval = any("-" in key or "/" in key for key in elements)
    assert places[0][0].interval == is_interval


def test_the_more_precise_dnat_is_looked_up_first() -> None:
    found = ruleset(
        dnat("198.51.100.0/28", "10.1.0.9", 'protocol = "udp"')
        + dnat("198.51.100.1", "10.1.0.3:8080", 'protocol = "tcp"\nport = 80')
        + dnat("198.51.100.1", "10.1.0.4", 'protocol = "tcp"\nport = "100-200"')
        + dnat("198.51.100.32", "10.1.0.5")
    )
    order = [
        *holding(found, "198.51.100.1 . 6 . 80", "10.1.0.3 . 8080"),
        *holding(found, "198.51.100.1 . 6 . 100-200", "10.1.0.4"),
        *holding(found, "198.51.100.0/28 . 17", "10.1.0.9"),
        *holding(found, "198.51.100.32", "10.1.0.5"),
    ]
    looked_up = [rule.rpartition("@")[2] for rule in chains(found)["dnat_1"].rules]
    assert looked_up == [each.name for each in order]


@pytest.mark.parametrize(
    ("to", "rules"),
    [
        ('"198.51.100.9"', ["snat ip to 198.51.100.9"]),
        ('"198.51.100.8/29"', ["snat ip to 198.51.100.8-198.51.100.15 persistent"]),
        (
            '["198.51.100.8-198.51.100.9", "2001:db8::8"]',
            ["snat ip to 198.51.100.8-198.51.100.9 persistent", "snat ip6 to 2001:db8::8"],
        ),
    ],
)
def test_a_pool_of_one_range_a_family(to: str, rules: list[str]) -> None:
    assert list(entry_chain(ruleset(snat(to))).rules) == rules


def test_a_pool_of_several_ranges_is_shared_by_the_inside_address() -> None:
    found = ruleset(snat('["198.51.100.0/30", "198.51.100.9"]'))
    (rule,) = entry_chain(found).rules
    assert "jhash ip saddr mod 5 seed" in rule
    assert "0-3 : goto" in rule
    assert "4 : goto" in rule


def test_none_leaves_the_source() -> None:
    assert entry_chain(ruleset(snat('"none"'))).rules[-1] == "accept"


@pytest.mark.parametrize(
    ("on_failure", "last"),
    [("closed", 'counter name "dropped_no_uplink" drop'), ("open", "accept")],
)
def test_an_uplink_is_picked_before_its_address_is_used(on_failure: str, last: str) -> None:
    found = ruleset(snat('"uplink"'), f'on_failure = "{on_failure}"')
    rules = entry_chain(found).rules
    assert "meta nfproto ipv4 goto source_1" in rules
    assert "meta nfproto ipv6 goto source_1" in rules
    assert rules[-1] == last
    source = chains(found)["source_1"].rules
    assert "snat ip to 203.0.113.1" in source
    assert "snat ip6 to 2001:db8:1::1" in source
    assert source[-1] == 'counter name "dropped_no_uplink" drop'


def test_a_named_uplink_is_the_one() -> None:
    found = entry_chain(ruleset(snat('"uplink:isp2"'))).rules
    assert "meta nfproto ipv4 goto source_2" in found
    assert "meta nfproto ipv6 goto source_2" in found


def test_entries_by_source_alone_are_one_lookup() -> None:
    entries = "".join(snat(f'"198.51.100.{n}"', f'source = "10.1.{n}.0/24"') for n in range(1, 200))
    found = ruleset(entries)
    assert entries_of(found) == ["ip saddr vmap @snat_1_ip4_0"]
    assert len(maps(found)["snat_1_ip4_0"].elements) == 199


def test_an_entry_that_asks_more_keeps_its_place_in_the_order() -> None:
    found = ruleset(
        snat('"198.51.100.1"', 'source = "10.1.1.0/24"')
        + snat('"198.51.100.2"', 'source = "10.1.0.0/16"\nprotocol = "udp"\nport = 53')
        + snat('"198.51.100.3"', 'source = "10.1.0.0/16"')
    )
    first, second, third = entries_of(found)
    assert first == "ip saddr vmap @snat_1_ip4_0"
    assert "ip saddr 10.1.0.0/16 meta l4proto 17 th dport 53 goto snat_" in second
    assert third == "ip saddr vmap @snat_1_ip4_2"


def test_what_is_excluded_is_not_matched() -> None:
    found = ruleset(snat('"198.51.100.1"', 'destination = ["!10.0.0.0/8", "!192.168.0.0/16"]'))
    (rule,) = entries_of(found)
    assert "ip daddr != { 10.0.0.0/8, 192.168.0.0/16 }" in rule


class TestSecondLookup:
    """The chain of routes, behind SNAT."""

    def rules(self, entries: str) -> list[str]:
        return list(chains(ruleset(snat('"198.51.100.8/29"') + entries))["route_1"].rules)

    def test_the_preferred_uplink_where_nothing_matches(self) -> None:
        assert self.rules("")[-1] == "meta nfproto ipv6 goto forward_1"

    def test_the_first_healthy_uplink_of_an_entry(self) -> None:
        entry = '[[nvi.nvi0.route]]\nsource = "198.51.100.8/29"\nvia = ["isp2", "isp1"]\n'
        assert self.rules(entry)[0] == "ip saddr vmap @route_1_ip4_0"
        found = maps(ruleset(snat('"198.51.100.8/29"') + entry))["route_1_ip4_0"]
        assert found.elements == {"198.51.100.8/29": "goto forward_2"}

    def test_entries_by_source_or_destination_alone_are_one_lookup_each(self) -> None:
        by_source = "".join(
            f'[[nvi.nvi0.route]]\nsource = "198.51.{n}.0/24"\nvia = "isp2"\n' for n in range(100)
        )
        by_destination = by_source.replace("source", "destination")
        with_port = '[[nvi.nvi0.route]]\nport = 443\nvia = "isp2"\n'
        rules = self.rules(by_source + by_destination + with_port)
        assert rules[:2] == ["ip saddr vmap @route_1_ip4_0", "ip daddr vmap @route_1_ip4_1"]
        assert rules[2] == "meta nfproto ipv4 meta l4proto { 6, 17 } th dport 443 goto forward_2"

    def test_an_address_of_an_uplink_leaves_by_that_uplink(self) -> None:
        text = "\n".join(self.rules(""))
        assert "203.0.113.1 : goto forward_1" in text
        assert "2001:db8:2::1 : goto forward_2" in text

    def test_equal_uplinks_share_by_weight(self) -> None:
        found = samples.desired(samples.SAMPLES["equal uplinks by weight"]).ruleset
        assert found is not None
        assert chains(found)["route_1"].rules[-1] == (
            "meta nfproto ipv6 numgen random mod 4 vmap "
            "{ 0 : goto forward_1, 1-3 : goto forward_2 }"
        )


@pytest.mark.parametrize("name", samples.SAMPLES)
def test_names_are_unique(name: str) -> None:
    found = samples.desired(samples.SAMPLES[name]).ruleset
    assert found is not None
    for kind in (found.chains, found.maps):
        names = [each.name for each in kind]
        assert len(set(names)) == len(names)
    assert len(set(found.counters)) == len(found.counters)


@pytest.mark.parametrize("name", samples.SAMPLES)
def test_every_jump_has_its_chain_and_every_map_exists(name: str) -> None:
    found = samples.desired(samples.SAMPLES[name]).ruleset
    assert found is not None
    names = {each.name for each in found.chains}
    verdicts = [value for each in found.maps for value in each.elements.values()]
    rules = [rule for chain in found.chains for rule in chain.rules]
    words = " ".join([*rules, *verdicts]).replace(",", " ").split()
    targets = {after for word, after in itertools.pairwise(words) if word in ("goto", "jump")}
    assert targets <= names
    known = {each.name for each in found.maps} | {each.name for each in found.dynamics}
    assert {word[1:] for word in words if word.startswith("@")} <= known


def test_the_cost_of_a_packet_does_not_grow_with_translations() -> None:
    """One more static adds elements, and not one rule."""

    def rules(statics: int) -> list[tuple[str, tuple[str, ...]]]:
        found = ruleset("".join(static(f"10.1.{n}.1", f"198.18.{n}.1") for n in range(statics)))
        return [(each.name, each.rules) for each in found.chains]

    assert rules(1) == rules(50)
