"""Which sysctls are written follows from facts about the machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nvid.desired.objects import Sysctl
from nvid.machine import Interface, Machine
from tests import samples

RP_FILTER = "net/ipv4/conf/all/rp_filter"
FORWARDING6 = "net/ipv6/conf/all/forwarding"


def wanted(text: str = samples.EVERY_KIND, machine: Machine = samples.MACHINE) -> dict[str, Sysctl]:
    return {each.path: each for each in samples.desired(text, machine).sysctls}


def facts(**values: str) -> Machine:
    keys = {"rp_filter": RP_FILTER, "forwarding6": FORWARDING6}
    changed = {keys[name]: value for name, value in values.items()}
    return replace(samples.MACHINE, sysctls={**samples.MACHINE.sysctls, **changed})


@pytest.mark.parametrize(("in_all", "on_peer"), [("0", "0"), ("1", "2"), ("2", "2")])
def test_the_peer_is_never_strict(in_all: str, on_peer: str) -> None:
    """The larger one of "all" and the interface is in force (design: fact 4)."""
    found = wanted(machine=facts(rp_filter=in_all))
    assert found["net/ipv4/conf/nvi0p/rp_filter"].value == on_peer


@pytest.mark.parametrize(
    ("in_all", "as_good"), [("0", {"0", "2"}), ("1", {"2"}), ("2", {"0", "1", "2"})]
)
def test_uplinks_are_loose_by_whatever_way(in_all: str, as_good: set[str]) -> None:
    for interface in ("wan0", "wan1"):
        found = wanted(machine=facts(rp_filter=in_all))[f"net/ipv4/conf/{interface}/rp_filter"]
        assert found.value == "2"
        assert found.accepts == as_good


def test_an_uplink_that_is_absent_has_no_sysctls() -> None:
    found = wanted(machine=samples.without_interface("wan0"))
    assert not any("wan0" in path for path in found)


def test_ipv4_forwards_on_nat_enabled_interfaces_only() -> None:
    machine = samples.with_interfaces(samples.interface("mgmt0", 9, "192.168.0.1/24"))
    found = wanted(machine=machine)
    assert all(f"net/ipv4/conf/{name}/forwarding" in found for name in ("lan0", "wan0", "wan1"))
    assert "net/ipv4/conf/mgmt0/forwarding" not in found
    assert "net/ipv4/conf/all/forwarding" not in found


def test_forwarding_is_switched_on_last() -> None:
    paths = [each.path for each in samples.desired(samples.EVERY_KIND).sysctls]
    first = paths.index(FORWARDING6)
    rest = {path for path in paths[first:] if "nvi0" not in path}
    assert all(path.endswith("/forwarding") for path in rest)


class TestIPv6:
    def test_routers_keep_listening_to_other_routers(self) -> None:
        """A kernel that starts to forward forgets what it learned, unless accept_ra is 2."""
        found = wanted(machine=facts(forwarding6="0"))
        accept_ra = found["net/ipv6/conf/wan0/accept_ra"]
        assert (accept_ra.value, set(accept_ra.accepts)) == ("2", {"0", "2"})

    def test_a_machine_that_forwards_already_is_left_alone(self) -> None:
        found = wanted(machine=facts(forwarding6="1"))
        assert "net/ipv6/conf/wan0/accept_ra" not in found

    def test_what_nvid_switched_on_itself_does_not_count_as_already(self) -> None:
        machine = replace(facts(forwarding6="1"), sysctl_originals={FORWARDING6: "0"})
        assert "net/ipv6/conf/wan0/accept_ra" in wanted(machine=machine)

    def test_a_configuration_without_ipv6_does_not_switch_it_on(self) -> None:
        only4 = '[nvi.nvi0]\ninterfaces=["lan0"]\n[[nvi.nvi0.snat]]\nto = "198.51.100.0/24"\n'
        assert FORWARDING6 not in wanted(only4)

    def test_a_kernel_without_ipv6_has_no_such_keys(self) -> None:
        found = wanted(machine=replace(samples.MACHINE, ipv6=False))
        assert found
        assert not any(path.startswith("net/ipv6") for path in found)


def test_proxies_answer_at_once() -> None:
    found = wanted(samples.SAMPLES["two NVIs"])
    assert found["net/ipv4/neigh/wan0/proxy_delay"].value == "0"
    assert found["net/ipv6/neigh/wan0/proxy_delay"].value == "0"
    assert found["net/ipv6/conf/wan0/proxy_ndp"].value == "1"


@pytest.mark.parametrize("name", samples.SAMPLES)
def test_each_key_has_one_value(name: str) -> None:
    paths = [each.path for each in samples.desired(samples.SAMPLES[name]).sysctls]
    assert len(set(paths)) == len(paths)


def test_a_foreign_link_of_the_name_is_not_touched() -> None:
    foreign = Interface("nvi0", 9, up=True, carrier=True)
    found = wanted(machine=samples.with_interfaces(foreign))
    of_the_link = {path for path in found if "/nvi0/" in path or "/nvi0p/" in path}
    # As on every interface of the machine, so that it goes on hearing routers.
    assert of_the_link == {"net/ipv6/conf/nvi0/accept_ra"}
