"""Global addresses: which need a route into the pair, which are answered for, and where."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import HealthCheck, given, settings

from nvid.configuration.types import Configuration, Nvi
from nvid.desired.pools import MOST_PROXIED, global_networks, proxied_addresses, routed_networks
from tests import samples
from tests.effort import examples
from tests.random_configurations import accepted

STATICS = """
[nvi.nvi0]
interfaces = ["lan0", "wan0"]
"""


def nvi_of(*globals_: str) -> Nvi:
    text = STATICS
    for place, each in enumerate(globals_):
        network = ip_network(each)
        local = "10.{}.0.0" if network.version == 4 else "fd00:{}::"
        text += f'[[nvi.nvi0.static]]\nlocal = "{local.format(place)}/{network.prefixlen}"\n'
        text += f'global = "{network}"\n'
    return samples.configuration(text).nvis[0]


def proxied(nvi: Nvi, *gateways: str) -> dict[str, list[str]]:
    found = proxied_addresses(nvi, samples.MACHINE, [ip_address(each) for each in gateways])
    return {each.interface: [str(address) for address in each.addresses] for each in found}


def test_neighbours_are_joined() -> None:
    nvi = nvi_of("198.51.100.0/25", "198.51.100.128/25", "2001:db8::/65", "2001:db8:0:0:8000::/65")
    assert [str(each) for each in global_networks(nvi)] == ["198.51.100.0/24", "2001:db8::/64"]


@settings(
    max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.filter_too_much]
)
@given(accepted())
def test_global_networks_are_disjoint(wanted: Configuration) -> None:
    for nvi in wanted.nvis:
        networks = global_networks(nvi)
        for place, one in enumerate(networks):
            assert not any(
                one.version == other.version and one.overlaps(other)
                for other in networks[place + 1 :]
            )


def test_an_address_of_the_machine_itself_needs_no_route() -> None:
    nvi = nvi_of("203.0.113.1/32", "203.0.113.2/32", "2001:db8:1::1/128", "2001:db8:1::2/128")
    routed = [str(each) for each in routed_networks(nvi, samples.MACHINE)]
    assert routed == ["203.0.113.2/32", "2001:db8:1::2/128"]


class TestProxied:
    """``reach = ["arp"]``: the segment of the next hop."""

    @pytest.mark.parametrize(
        ("address", "interface"),
        [
            ("203.0.113.10", "wan0"),
            ("2001:db8:1::10", "wan0"),
            ("10.1.0.99", "lan0"),
            ("fd00:1::99", "lan0"),
        ],
    )
    def test_inside_the_subnet_of_an_interface(self, address: str, interface: str) -> None:
        found = proxied(nvi_of(f"{address}/{32 if '.' in address else 128}"))
        assert found[interface] == [address]
        assert not any(addresses for name, addresses in found.items() if name != interface)

    def test_outside_of_all_subnets_nothing_is_answered(self) -> None:
        found = proxied(nvi_of("198.51.100.0/24", "2001:db8:100::/120"))
        assert found == {"lan0": [], "wan0": []}

    def test_only_the_part_inside_the_subnet(self) -> None:
        addresses = proxied(nvi_of("203.0.112.0/23"))["wan0"]
        assert len(addresses) == 255  # 203.0.113.0 to .255 without the router's own
        assert "203.0.112.255" not in addresses
        assert "203.0.113.1" not in addresses

    def test_the_machine_and_the_gateways_answer_for_themselves(self) -> None:
        nvi = nvi_of("203.0.113.252/30", "203.0.113.0/30")
        addresses = proxied(nvi, "203.0.113.254")["wan0"]
        assert addresses == [
            *("203.0.113.0", "203.0.113.2", "203.0.113.3"),
            *("203.0.113.252", "203.0.113.253", "203.0.113.255"),
        ]

    def test_a_prefix_with_too_many_addresses_is_reported(self) -> None:
        nvi = nvi_of("2001:db8:1::/64")
        (wan0,) = (
            each for each in proxied_addresses(nvi, samples.MACHINE, []) if each.interface == "wan0"
        )
        assert ip_network("2001:db8:1::/64").num_addresses > MOST_PROXIED
        assert wan0.addresses == ()
        assert wan0.too_large == (ip_network("2001:db8:1::/64"),)
