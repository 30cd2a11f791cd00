"""DNAT: what becomes an element, what a chain, and in which order they are asked."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from nvid.desired.ruleset.destination import Selector, Shape
from nvid.desired.ruleset.model import Chain, Map, Ruleset
from tests import samples

HEAD = f'{samples.UPLINKS}\n[nvi.nvi0]\ninterfaces = ["lan0", "wan0"]\n'


def ruleset(*entries: str) -> Ruleset:
    found = samples.desired(HEAD + "".join(entries)).ruleset
    assert found is not None
    return found


def dnat(destination: str, to: str, more: str = "") -> str:
    return f'[[nvi.nvi0.dnat]]\ndestination = "{destination}"\nto = "{to}"\n{more}\n'


def chains(found: Ruleset) -> dict[str, Chain]:
    return {each.name: each for each in found.chains}


def maps(found: Ruleset) -> dict[str, Map]:
    return {each.name: each for each in found.maps}


def goal(found: Ruleset, key: str) -> Chain:
    """The chain that a verdict map leads a key to."""
    (verdict,) = (
        each.elements[key]
        for each in found.maps
        if each.name.startswith("dnat_1_") and key in each.elements
    )
    return chains(found)[verdict.removeprefix("jump ")]


class TestRangeOntoRange:
    def test_each_port_is_an_element(self) -> None:
        entry = dnat("198.51.100.1", "10.1.0.3:9000-9002", 'protocol = "udp"\nport = "80-82"')
        assert maps(ruleset(entry))["dnat_1_ip4_port_to_port"].elements == {
            "198.51.100.1 . 17 . 80": "10.1.0.3 . 9000",
            "198.51.100.1 . 17 . 81": "10.1.0.3 . 9001",
            "198.51.100.1 . 17 . 82": "10.1.0.3 . 9002",
        }

    def test_for_each_protocol(self) -> None:
        entry = dnat("2001:db8:100::1", "[fd00:1::3]:9000-9099", 'port = "80-179"')
        elements = maps(ruleset(entry))["dnat_1_ip6_port_to_port"].elements
        assert len(elements) == 200
        assert elements["2001:db8:100::1 . 6 . 179"] == "fd00:1::3 . 9099"

    def test_with_a_source_the_shift_is_in_the_chain(self) -> None:
        limits = 'protocol = "tcp"\nport = "80-82"\nsource = "192.0.2.0/24"'
        found = ruleset(dnat("198.51.100.1", "10.1.0.3:9000-9002", limits))
        entry = goal(found, "198.51.100.1 . 6 . 81")
        assert entry == goal(found, "198.51.100.1 . 6 . 80")
        assert entry.rules == (f"ip saddr 192.0.2.0/24 goto {entry.name}_to",)
        (rule,) = (each for each in chains(found)[f"{entry.name}_to"].rules if "dnat ip" in each)
        assert rule.endswith(
            "dnat ip to th dport map { 80 : 10.1.0.3 . 9000, 81 : 10.1.0.3 . 9001, "
            "82 : 10.1.0.3 . 9002 }"
        )


class TestChoice:
    def test_targets_share_flows_by_weight(self) -> None:
        targets = '[{ address = "10.1.0.3", port = 80, weight = 3 }, "10.1.0.4:8080"]'
        entry = '[[nvi.nvi0.dnat]]\ndestination = "198.51.100.1"\nprotocol = "tcp"\nport = 80\n'
        found = ruleset(f"{entry}to = {targets}\n")
        name = goal(found, "198.51.100.1 . 6 . 80").name
        assert chains(found)[f"{name}_to"].rules[-1] == (
            f"numgen random mod 4 vmap {{ 0-2 : goto {name}_to_0, 3 : goto {name}_to_1 }}"
        )
        assert chains(found)[f"{name}_to_0"].rules[-1].endswith("dnat ip to 10.1.0.3:80")
        assert chains(found)[f"{name}_to_1"].rules[-1].endswith("dnat ip to 10.1.0.4:8080")

    def test_a_prefix_keeps_the_host_bits(self) -> None:
        found = ruleset(dnat("198.51.100.0/24", "10.1.0.0/24"))
        (rule,) = (each for each in chains(found)["dnat_1"].rules if " jump dnat_" in each)
        assert rule.startswith("ip daddr 198.51.100.0/24 jump ")
        target = chains(found)[f"{rule.rpartition(' ')[2]}_to"]
        assert target.rules == ("dnat ip prefix to ip daddr map { 198.51.100.0/24 : 10.1.0.0/24 }",)

    def test_entries_that_share_a_destination_are_tried_in_their_order(self) -> None:
        found = ruleset(
            dnat("198.51.100.1", "10.1.0.3", 'source = "192.0.2.0/24"\nname = "a"'),
            dnat("198.51.100.1", "10.1.0.4", 'source = "198.18.0.0/15"\nname = "b"'),
        )
        group = goal(found, "198.51.100.1")
        asked = [chains(found)[rule.removeprefix("jump ")].rules for rule in group.rules]
        assert [rules[0].partition(" goto ")[0] for rules in asked] == [
            "ip saddr 192.0.2.0/24",
            "ip saddr 198.18.0.0/15",
        ]

    def test_who_does_not_fit_falls_through(self) -> None:
        """A chain of an entry is jumped to and its limits lead on with goto, so that a packet
        which they do not meet comes back and is asked the next map."""
        found = ruleset(dnat("198.51.100.1", "10.1.0.3", 'ingress = "wan0"'))
        verdicts = [
            verdict
            for each in found.maps
            if each.name.startswith("dnat_1_")
            for verdict in each.elements.values()
        ]
        assert verdicts
        assert all(verdict.startswith("jump ") for verdict in verdicts)

    def test_a_long_range_of_ports_is_one_rule(self) -> None:
        limits = 'protocol = "tcp"\nport = "1024-65535"\nsource = "192.0.2.0/24"'
        found = ruleset(dnat("198.51.100.1", "10.1.0.3", limits))
        assert [rule for rule in chains(found)["dnat_1"].rules if "jump" in rule] == [
            f"ip daddr 198.51.100.1/32 meta l4proto {{ 6 }} th dport 1024-65535 jump {name}"
            for name in chains(found)
            if name.startswith("dnat_") and f"{name}_to" in chains(found)
        ]


class TestUplinkAddress:
    ENTRY = dnat("uplink:isp1", "10.1.0.3:22", 'protocol = "tcp"\nport = 2222')

    def test_it_is_what_the_uplink_has_now(self) -> None:
        assert maps(ruleset(self.ENTRY))["dnat_1_ip4_port_to_port"].elements == {
            "203.0.113.1 . 6 . 2222": "10.1.0.3 . 22"
        }

    def test_in_the_family_of_the_target(self) -> None:
        entry = self.ENTRY.replace("10.1.0.3:22", "[fd00:1::3]:22")
        assert maps(ruleset(entry))["dnat_1_ip6_port_to_port"].elements == {
            "2001:db8:1::1 . 6 . 2222": "fd00:1::3 . 22"
        }

    def test_without_an_address_there_is_no_element(self) -> None:
        machine = samples.without_interface("wan0")
        found = samples.desired(HEAD + self.ENTRY, machine).ruleset
        assert found is not None
        assert "dnat_1_ip4_port_to_port" not in maps(found)


def test_a_static_port_is_translated_both_ways() -> None:
    entry = (
        '[[nvi.nvi0.static]]\nlocal = "10.1.0.3"\nglobal = "198.51.100.1"\nprotocol = "tcp"\n'
        "local_port = 8080\nglobal_port = 80\n"
    )
    found = maps(ruleset(entry))
    assert found["dnat_1_ip4_port_to_port"].elements == {"198.51.100.1 . 6 . 80": "10.1.0.3 . 8080"}
    assert found["static_out_1_ip4_ports"].elements == {"10.1.0.3 . 6 . 8080": "198.51.100.1 . 80"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Shape(3, False, "port", 4), Shape(2, False, "address", 4)),
        (Shape(2, True, "address", 4), Shape(1, False, "address", 4)),
        (Shape(3, False, "verdict", 6), Shape(3, True, "address", 6)),
    ],
)
def test_the_more_precise_shape_comes_first_and_single_keys_before_intervals(
    first: Shape, second: Shape
) -> None:
    assert first.rank < second.rank


def test_a_selector_has_a_key_for_each_protocol() -> None:
    network = ip_network("198.51.100.1/32")
    assert list(Selector(network).element_keys()) == ["198.51.100.1"]
    assert list(Selector(network, (6, 17)).element_keys()) == [
        *("198.51.100.1 . 6", "198.51.100.1 . 17")
    ]
