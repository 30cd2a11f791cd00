"""SNAT entries: what they ask, their limits, blocks, mappings and helpers."""

from __future__ import annotations

import pytest

from nvid.configuration.translations import Snat
from nvid.desired.objects import Family
from nvid.desired.ruleset.helpers import TRANSPORTS
from nvid.desired.ruleset.model import Chain, Ruleset
from nvid.desired.ruleset.selection import applies_to, match
from tests import samples

NVI = f'{samples.UPLINKS}\n[nvi.nvi0]\ninterfaces = ["lan0", "vlan*", "wan0"]\n'


def text(to: str, more: str = "") -> str:
    return f"{NVI}[[nvi.nvi0.snat]]\nto = {to}\n{more}\n"


def entry(to: str, more: str = "") -> Snat:
    return samples.configuration(text(to, more)).nvis[0].snats[0]


def ruleset(to: str, more: str = "") -> Ruleset:
    found = samples.desired(text(to, more)).ruleset
    assert found is not None
    return found


def chain(found: Ruleset, name: str) -> Chain:
    return next(each for each in found.chains if each.name == name)


class TestSelection:
    @pytest.mark.parametrize(
        ("to", "more", "families"),
        [
            ('"198.51.100.8"', "", [4]),
            ('["198.51.100.8", "2001:db8:100::8"]', "", [4, 6]),
            ('"uplink"', "", [4, 6]),
            ('"uplink"', 'source = "fd00:1::/64"', [6]),
            ('"none"', 'source = ["10.0.0.0/8", "fd00::/8"]\ndestination = "10.0.0.0/8"', [4]),
        ],
    )
    def test_the_addresses_of_an_entry_decide_its_families(
        self, to: str, more: str, families: list[Family]
    ) -> None:
        both: tuple[Family, Family] = (4, 6)
        assert [each for each in both if applies_to(entry(to, more), each)] == families

    def test_all_conditions_are_asked(self) -> None:
        more = (
            'source = ["10.1.0.0/16", "fd00:1::/64"]\n'
            'destination = ["198.18.0.0/16", "2001:db8:f::/64", "!198.18.1.0/24"]\n'
            'ingress = ["lan0", "vlan*"]\nprotocol = "udp"\nport = "50-59"'
        )
        assert match(entry('"uplink"', more), 4) == (
            'meta nfproto ipv4 iifname { "lan0", "vlan*" } ip saddr 10.1.0.0/16 '
            "ip daddr 198.18.0.0/16 ip daddr != 198.18.1.0/24 meta l4proto 17 th dport 50-59"
        )
        assert match(entry('"uplink"', more), 6) == (
            'meta nfproto ipv6 iifname { "lan0", "vlan*" } ip6 saddr fd00:1::/64 '
            "ip6 daddr 2001:db8:f::/64 meta l4proto 17 th dport 50-59"
        )

    def test_an_entry_that_asks_nothing_matches_its_family(self) -> None:
        assert match(entry('"198.51.100.8"'), 4) == "meta nfproto ipv4"


class TestPorts:
    def test_source_ports_are_for_protocols_that_have_them(self) -> None:
        found = ruleset('"198.51.100.8/31"', 'source = "10.1.0.0/24"\nports = "2000-2999"')
        rules = [r for each in found.chains for r in each.rules if "snat ip to 198" in r]
        assert rules == [
            "meta l4proto { 6, 17, 132 } snat ip to 198.51.100.8-198.51.100.9:2000-2999 persistent",
            "snat ip to 198.51.100.8-198.51.100.9 persistent",
        ]

    def test_a_block_is_two_elements_for_each_host(self) -> None:
        more = 'source = "10.1.0.0/31"\nport_block = 30000'
        found = ruleset('"198.51.100.8"', more)
        elements = {each.name.rpartition("_")[2]: each.elements for each in found.maps}
        assert elements["block"] == {
            "10.1.0.0": "198.51.100.8 . 1024-31023",
            "10.1.0.1": "198.51.100.8 . 31024-61023",
        }
        assert elements["address"] == {"10.1.0.0": "198.51.100.8", "10.1.0.1": "198.51.100.8"}

    def test_so_it_is_for_ipv6(self) -> None:
        found = ruleset('"2001:db8::8"', 'source = "fd00::/127"\nport_block = 30000')
        elements = {each.name.rpartition("_")[2]: each.elements for each in found.maps}
        assert elements["block"] == {
            "fd00::": "2001:db8::8 . 1024-31023",
            "fd00::1": "2001:db8::8 . 31024-61023",
        }
        assert elements["address"] == {"fd00::": "2001:db8::8", "fd00::1": "2001:db8::8"}

    def test_what_is_not_in_the_map_of_ipv6_blocks_is_dropped(self) -> None:
        """The rules that look there come in a second step."""
        found = ruleset('"2001:db8::8"', 'source = "fd00::/127"\nport_block = 30000')
        (block,) = (each.name for each in found.maps if each.name.endswith("_block"))
        (entry,) = (
            each.rules
            for each in found.chains
            if any(rule.endswith(f"jump {block}") for rule in each.rules)
        )
        place = next(n for n, rule in enumerate(entry) if rule.endswith(f"jump {block}"))
        match = entry[place].removesuffix(f"jump {block}")
        assert entry[place + 1] == f'{match}counter name "dropped_changing" drop'


def test_a_limit_counts_each_source_address_in_a_set_of_its_family() -> None:
    found = ruleset('["198.51.100.8", "2001:db8:100::8"]', "limit = 2000")
    assert [(each.kind, each.key) for each in found.dynamics] == [
        ("set", "ipv4_addr"),
        ("set", "ipv6_addr"),
    ]
    for held, header in zip(found.dynamics, ("ip", "ip6"), strict=True):
        (rule,) = (r for each in found.chains for r in each.rules if f"@{held.name} " in r)
        assert rule.startswith(f"add @{held.name} {{ {header} saddr ct count over 2000 }}")
        assert rule.endswith(" drop")


class TestEndpointIndependent:
    FOUND = ruleset('"198.51.100.8/30"', 'source = "10.1.0.0/24"\nmapping = "endpoint-independent"')

    def rules(self) -> list[str]:
        return [rule for each in self.FOUND.chains for rule in each.rules]

    def test_mappings_live_five_minutes_and_are_bounded(self) -> None:
        assert len(self.FOUND.dynamics) == 4
        assert sorted(each.timeout for each in self.FOUND.dynamics) == [300, 300, 300, 301]
        assert {each.size for each in self.FOUND.dynamics} == {65536}

    def test_nobody_but_a_packet_from_inside_refreshes_them(self) -> None:
        """RFC 4787 REQ-6: a packet from outside must not."""
        writing = [
            each.name for each in self.FOUND.chains if any("update @" in r for r in each.rules)
        ]
        (name,) = writing
        jumps = [rule for rule in self.rules() if rule.endswith(f" {name}")]
        assert jumps
        assert all("ct direction original" in rule and "ct status snat" in rule for rule in jumps)

    def test_only_udp_is_concerned(self) -> None:
        held = {each.name for each in self.FOUND.dynamics}
        asking = [rule for rule in self.rules() if any(f"@{name}" in rule for name in held)]
        assert asking
        assert all("meta l4proto 17" in rule for rule in asking)

    def test_a_mapping_is_asked_for_before_a_port_is_chosen(self) -> None:
        udp = [
            rule
            for rule in self.rules()
            if "snat ip to" in rule and ("udp sport map" in rule or "fully-random" in rule)
        ]
        assert ["udp sport map" in rule for rule in udp] == [True, False]

    def test_anybody_reaches_the_holder_from_outside_last_of_all(self) -> None:
        last = chain(self.FOUND, "dnat_1").rules[-1]
        assert "dnat ip to ip daddr . udp dport map" in last
        assert "saddr" not in last

    def test_by_default_there_is_nothing_of_it(self) -> None:
        assert ruleset('"198.51.100.8/30"', 'source = "10.1.0.0/24"').dynamics == ()


class TestHelpers:
    def found(self, helpers: str) -> Ruleset:
        found = samples.desired(f"{NVI}helpers = {{ {helpers} }}\n").ruleset
        assert found is not None
        return found

    @pytest.mark.parametrize("name", TRANSPORTS)
    def test_one_object_and_one_rule_for_each_transport(self, name: str) -> None:
        found = self.found(f"{name} = 4242")
        assert [(each.type, each.protocol) for each in found.helpers] == [
            (name, transport) for transport in TRANSPORTS[name]
        ]
        rules = chain(found, "offer_1").rules
        for helper in found.helpers:
            (rule,) = (each for each in rules if f'ct helper set "{helper.name}"' in each)
            assert "th dport 4242" in rule

    def test_a_flow_that_a_helper_expected_is_bound_anew(self) -> None:
        found = self.found("ftp = 21")
        rules = chain(found, "classify").rules
        expected = next(n for n, rule in enumerate(rules) if "goto expected_flow" in rule)
        bound = next(n for n, rule in enumerate(rules) if rule.endswith("goto bound"))
        assert expected < bound
        assert chain(found, "expected_flow").rules[-1] == "iifname vmap @offer"

    def test_off_unless_named(self) -> None:
        found = samples.desired(NVI).ruleset
        assert found is not None
        assert found.helpers == ()
        assert not any("expected_flow" in rule for each in found.chains for rule in each.rules)
