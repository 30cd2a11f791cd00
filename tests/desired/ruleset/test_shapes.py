"""Each kind of translation as chains, maps and elements."""

from __future__ import annotations

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


def entry_chain(found: Ruleset) -> Chain:
    """The chain of the one snat entry."""
    (chain,) = (
        each for each in found.chains if each.name.startswith("snat_") and len(each.name) == 17
    )
    return chain


@pytest.mark.parametrize(
    ("local", "outside", "inward", "outward"),
    [
        ("10.1.0.2", "198.51.100.10", "dnat_1_ip4_address", "static_out_1_ip4_hosts"),
        ("fd00:1::2", "2001:db8:100::10", "dnat_1_ip6_address", "static_out_1_ip6_hosts"),
        ("10.2.0.0/28", "198.51.100.32/28", "static_in_1_ip4", "static_out_1_ip4"),
        ("fd00:2::/64", "2001:db8:100:2::/64", "static_in_1_ip6", "static_out_1_ip6"),
    ],
)
def test_a_static_is_one_element_each_way(
    local: str, outside: str, inward: str, outward: str
) -> None:
    found = maps(ruleset(static(local, outside)))
    assert found[inward].elements == {outside: local}
    assert found[outward].elements == {local: outside}
    assert found[inward].interval == ("/" in local)


@pytest.mark.parametrize(
    ("entry", "name", "elements"),
    [
        (
            dnat("198.51.100.1", "10.1.0.3"),
            "dnat_1_ip4_address",
            {"198.51.100.1": "10.1.0.3"},
        ),
        (
            dnat("2001:db8:100::1", "fd00:1::3"),
            "dnat_1_ip6_address",
            {"2001:db8:100::1": "fd00:1::3"},
        ),
        (
            dnat("198.51.100.0/28", "10.1.0.3"),
            "dnat_1_ip4_address_range",
            {"198.51.100.0/28": "10.1.0.3"},
        ),
        (
            dnat("198.51.100.1", "10.1.0.3", 'protocol = "gre"'),
            "dnat_1_ip4_protocol",
            {"198.51.100.1 . 47": "10.1.0.3"},
        ),
        (
            dnat("198.51.100.1", "10.1.0.3:8080", 'protocol = "tcp"\nport = 80'),
            "dnat_1_ip4_port_to_port",
            {"198.51.100.1 . 6 . 80": "10.1.0.3 . 8080"},
        ),
        (
            dnat("2001:db8:100::1", "[fd00:1::3]:8080", 'protocol = "tcp"\nport = 80'),
            "dnat_1_ip6_port_to_port",
            {"2001:db8:100::1 . 6 . 80": "fd00:1::3 . 8080"},
        ),
        (
            dnat("198.51.100.1", "10.1.0.3", "port = 80"),
            "dnat_1_ip4_port",
            {"198.51.100.1 . 6 . 80": "10.1.0.3", "198.51.100.1 . 17 . 80": "10.1.0.3"},
        ),
        (
            dnat("198.51.100.1", "10.1.0.3", 'protocol = "udp"\nport = "80-89"'),
            "dnat_1_ip4_port_range",
            {"198.51.100.1 . 17 . 80-89": "10.1.0.3"},
        ),
    ],
)
def test_a_dnat_is_an_element_of_the_map_of_its_shape(
    entry: str, name: str, elements: dict[str, str]
) -> None:
    assert maps(ruleset(entry))[name].elements == elements


def test_the_more_precise_dnat_is_looked_up_first() -> None:
    found = ruleset(
        dnat("198.51.100.0/28", "10.1.0.9", 'protocol = "udp"')
        + dnat("198.51.100.1", "10.1.0.3:8080", 'protocol = "tcp"\nport = 80')
        + dnat("198.51.100.1", "10.1.0.4", 'protocol = "tcp"\nport = "100-200"')
        + dnat("198.51.100.32", "10.1.0.5")
    )
    looked_up = [rule.rpartition("@")[2] for rule in chains(found)["dnat_1"].rules]
    assert looked_up == [
        *("dnat_1_ip4_port_to_port", "dnat_1_ip4_port_range"),
        *("dnat_1_ip4_protocol_range", "dnat_1_ip4_address"),
    ]


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
    ("on_failure", "last"), [("closed", 'counter name "dropped_no_uplink" drop'), ("open", "accept")]
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
    assert "goto source_2" in entry_chain(ruleset(snat('"uplink:isp2"'))).rules


def test_entries_by_source_alone_are_one_lookup() -> None:
    entries = "".join(
        snat(f'"198.51.100.{n}"', f'source = "10.1.{n}.0/24"') for n in range(1, 200)
    )
    found = ruleset(entries)
    assert list(chains(found)["snat_1"].rules) == ["ip saddr vmap @snat_1_ip4_0"]
    assert len(maps(found)["snat_1_ip4_0"].elements) == 199


def test_an_entry_that_asks_more_keeps_its_place_in_the_order() -> None:
    found = ruleset(
        snat('"198.51.100.1"', 'source = "10.1.1.0/24"')
        + snat('"198.51.100.2"', 'source = "10.1.0.0/16"\nprotocol = "udp"\nport = 53')
        + snat('"198.51.100.3"', 'source = "10.1.0.0/16"')
    )
    first, second, third = chains(found)["snat_1"].rules
    assert first == "ip saddr vmap @snat_1_ip4_0"
    assert "ip saddr 10.1.0.0/16 meta l4proto 17 th dport 53 goto snat_" in second
    assert third == "ip saddr vmap @snat_1_ip4_2"


def test_what_is_excluded_is_not_matched() -> None:
    found = ruleset(snat('"198.51.100.1"', 'destination = ["!10.0.0.0/8", "!192.168.0.0/16"]'))
    (rule,) = chains(found)["snat_1"].rules
    assert "ip daddr != { 10.0.0.0/8, 192.168.0.0/16 }" in rule


class TestSecondLookup:
    """The chain of routes, behind SNAT."""

    def rules(self, entries: str) -> list[str]:
        return list(chains(ruleset(snat('"198.51.100.8/29"') + entries))["route_1"].rules)

    def test_the_preferred_uplink_where_nothing_matches(self) -> None:
        assert self.rules("")[-1] == "meta nfproto ipv6 goto forward_1"

    def test_the_first_healthy_uplink_of_an_entry(self) -> None:
        entry = '[[nvi.nvi0.route]]\nsource = "198.51.100.8/29"\nvia = ["isp2", "isp1"]\n'
        assert self.rules(entry)[0] == (
            "meta nfproto ipv4 ip saddr 198.51.100.8/29 goto forward_2"
        )

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
    targets = {
        after for word, after in zip(words, words[1:], strict=False) if word in ("goto", "jump")
    }
    assert targets <= names
    assert {word[1:] for word in words if word.startswith("@")} <= {e.name for e in found.maps}


def test_the_cost_of_a_packet_does_not_grow_with_translations() -> None:
    """One more static adds elements, and not one rule."""

    def rules(statics: int) -> list[tuple[str, tuple[str, ...]]]:
        found = ruleset("".join(static(f"10.1.{n}.1", f"198.18.{n}.1") for n in range(statics)))
        return [(each.name, each.rules) for each in found.chains]

    assert rules(1) == rules(50)
