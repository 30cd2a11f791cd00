"""What ``nvid explain`` says, with a table in the place of the kernel."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network

import pytest

from nvid.configuration.values import IPAddress
from nvid.desired.numbers import Numbers, allocate
from nvid.desired.ruleset.words import Plan
from nvid.desired.uplinks import uplink_states
from nvid.explain import explain
from nvid.explained import Explanation, Lookup, Packet
from nvid.machine import Machine
from tests import samples


@dataclass
class Kernel:
    """Connected networks and the uplinks' tables; what was asked is kept."""

    plan: Plan
    asked: list[tuple[str, str, int]] = field(default_factory=list)

    def __call__(self, destination: IPAddress, source: IPAddress, mark: int) -> Lookup:
        self.asked.append((str(destination), str(source), mark))
        if mark == self.plan.marks.lane(self.plan.marks.canary):
            return Lookup(None)
        for network in ("10.1.0.0/16", "fd00::/16"):
            if destination in ip_network(network):
                return Lookup("lan0")
        for up in self.plan.uplinks:
            gateway = up.gateways.get(destination.version)
            if mark == self.plan.marks.lane(up.lane) and gateway is not None:
                return Lookup(up.interface, str(gateway))
        return Lookup(None)


def explained(text: str, packet: Packet, machine: Machine = samples.MACHINE) -> Explanation:
    wanted = samples.configuration(text)
    numbers = allocate(wanted, Numbers())
    uplinks = uplink_states(wanted, machine, numbers)
    plan = Plan(wanted.daemon, wanted.nvis, uplinks, numbers, machine)
    kernel = Kernel(plan)
    told = explain(wanted, plan, packet, kernel)
    assert len(kernel.asked) <= 4
    assert told.steps
    return told


def packet(words: str) -> Packet:
    """``lan0 tcp 10.1.0.9/4000 198.18.0.10/80``."""
    interface, protocol, *ends = words.split()
    (source, _, source_port), (destination, _, port) = (each.partition("/") for each in ends)
    return Packet(
        interface,
        protocol,
        ip_address(source),
        ip_address(destination),
        int(source_port or 0),
        int(port or 0),
    )


# Of samples.EVERY_KIND: the packet, and what is said of it.
CASES: dict[str, tuple[str, dict[str, str | None]]] = {
    "static, outward": (
        "lan0 tcp 10.1.0.2/4000 198.18.5.1/80",
        {
            "snat": "static 10.1.0.2=198.51.100.10",
            "translated_source": "198.51.100.10:4000",
            "uplink": "isp1",
            "gateway": "203.0.113.254",
        },
    ),
    "static, inward": (
        "wan0 tcp 198.18.5.1/4000 198.51.100.10/80",
        {
            "dnat": "static 10.1.0.2=198.51.100.10",
            "translated_destination": "10.1.0.2:80",
            "interface": "lan0",
            "uplink": None,
            "replies": "replies: translated back, by uplink isp1, where the flow came in",
        },
    ),
    "static prefix": (
        "wan1 udp 2001:db8:f::1/9 2001:db8:100:2::7/53",
        {
            "translated_destination": "[fd00:2::7]:53",
            "interface": "lan0",
            "replies": "replies: translated back, by uplink isp2, where the flow came in",
        },
    ),
    "dnat to a port": (
        "wan0 tcp 198.18.5.1/4000 198.51.100.1/80",
        {"translated_destination": "10.1.0.3:8080", "interface": "lan0"},
    ),
    "dnat of another port": (
        "wan0 tcp 198.18.5.1/4000 198.51.100.1/9050",
        {"translated_destination": "10.1.0.3:9050"},
    ),
    "snat to none": (
        "lan0 tcp 10.1.0.3/4000 198.18.5.1/80",
        {"translated_source": "10.1.0.3:4000", "snat": "snat nvi0.snat"},
    ),
    "snat by port": (
        "lan0 udp 10.1.0.9/4000 198.18.5.1/53",
        {"translated_source": "198.51.100.8", "uplink": "isp1"},
    ),
    "snat to a pool, and a route by it": (
        "lan0 tcp 10.1.0.9/4000 198.18.5.1/80",
        {
            "translated_source": "198.51.100.16-198.51.100.20,198.51.100.24/29",
            "route": "nvi.nvi0.route[0]",
            "uplink": "isp2",
        },
    ),
    "snat to a named uplink": (
        "lan0 tcp 10.3.0.9/4000 198.18.5.1/80",
        {"translated_source": "192.0.2.1", "uplink": "isp2", "gateway": "192.0.2.254"},
    ),
    "snat to the uplink that a route picks": (
        "lan0 tcp 10.9.0.9/4000 198.18.0.1/80",
        {"translated_source": "203.0.113.1", "uplink": "isp1"},
    ),
    "IPv6": (
        "lan0 icmpv6 fd00:9::9 2001:db8:f::1",
        {"translated_source": "2001:db8:1::1", "uplink": "isp1", "gateway": "2001:db8:1::fe"},
    ),
    "to the machine": (
        "lan0 tcp 10.1.0.9/4000 10.1.0.1/22",
        {"interface": "lo", "snat": None, "uplink": None, "dropped": None},
    ),
    "not NAT-enabled": (
        "dmz0 tcp 10.2.0.9/4000 10.1.0.9/80",
        {"nvi": None, "interface": "lan0", "dropped": None, "translated_source": None},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_becomes_of_a_packet(name: str) -> None:
    words, expected = CASES[name]
    told = explained(samples.EVERY_KIND, packet(words))
    found = {key: getattr(told, key) for key in expected}
    if (expected.get("snat") or "").startswith("snat "):
        found["snat"] = expected["snat"]
        assert told.snat is not None
    assert found == expected


def test_what_main_does_not_know_is_unreachable() -> None:
    text = '[nvi.nvi0]\ninterfaces = ["lan0"]\n[[nvi.nvi0.snat]]\nto = "198.51.100.8"\n'
    told = explained(text, packet("lan0 tcp 10.1.0.9/4000 198.18.5.1/80"))
    assert told.dropped == "198.18.5.1 is unreachable"


def test_without_an_address_of_the_uplink_it_is_dropped() -> None:
    machine = samples.with_interfaces(
        samples.interface("wan0", 3, up=False), samples.interface("wan1", 4, up=False)
    )
    told = explained(samples.MASQUERADE, packet("lan0 tcp 10.1.0.9/4000 198.18.5.1/80"), machine)
    assert told.dropped == "no uplink has an IPv4 address to be translated to"
    assert told.interface is None


NVI = '[nvi.nvi0]\ninterfaces = ["lan0", "wan0"]\n'


def test_the_next_uplink_while_the_first_is_down() -> None:
    machine = samples.with_interfaces(samples.interface("wan0", 3, "203.0.113.1/24", up=False))
    told = explained(samples.MASQUERADE, packet("lan0 tcp 10.1.0.9/4000 198.18.5.1/80"), machine)
    assert (told.uplink, told.translated_source) == ("isp2", "192.0.2.1")


def failing(name: str) -> Machine:
    """The sample machine, where the checks of an uplink fail."""
    return replace(samples.MACHINE, failing={(name, 4): "silence", (name, 6): "silence"})


CHECKED = samples.UPLINKS.replace(
    "[uplink.isp2]", 'check = { targets = ["192.0.2.53", "2001:db8::53"] }\n[uplink.isp2]'
)


@pytest.mark.parametrize(
    "words", ["10.1.0.9/4000 198.18.5.1/80", "fd00:1::9/4000 2001:db8:f::1/80"]
)
def test_of_the_uplinks_of_an_entry_the_first_healthy_one(words: str) -> None:
    """Their order is that of preference, and a check may speak against the first."""
    text = CHECKED + NVI + '[[nvi.nvi0.snat]]\nto = "uplink"\n'
    text += '[[nvi.nvi0.route]]\nvia = ["isp1", "isp2"]\n'
    asked = packet(f"lan0 tcp {words}")
    assert explained(text, asked).uplink == "isp1"
    assert explained(text, asked, failing("isp1")).uplink == "isp2"


@pytest.mark.parametrize(
    "words", ["198.18.5.1/80 198.18.9.9/80", "2001:db8:f::1/80 2001:db8:e::1/80"]
)
def test_what_came_by_an_uplink_and_is_not_translated_leaves_by_none(words: str) -> None:
    told = explained(samples.UPLINKS + NVI, packet(f"wan0 tcp {words}"))
    assert told.dropped is not None
    assert "unreachable" in told.dropped
    assert any("came by uplink isp1" in step for step in told.steps)


def test_hairpin_on_one_interface_takes_the_routers_address() -> None:
    text = NVI + (
        '[[nvi.nvi0.dnat]]\ndestination = "198.51.100.1"\nport = 80\nto = "10.1.0.3:8080"\n'
    )
    told = explained(text, packet("lan0 tcp 10.1.0.9/4000 198.51.100.1/80"))
    assert (told.translated_source, told.translated_destination, told.interface) == (
        *("10.1.0.1", "10.1.0.3:8080"),
        "lan0",
    )


def test_the_block_of_a_host_is_named() -> None:
    text = NVI + (
        '[[nvi.nvi0.snat]]\nsource = "10.1.0.0/28"\nto = "198.51.100.8/31"\nport_block = 8000\n'
    )
    told = explained(text, packet("lan0 tcp 10.1.0.9/4000 10.1.2.3/80"))
    assert told.translated_source == "198.51.100.9:9024-17023"


BLOCKS = NVI + (
    '[[nvi.nvi0.snat]]\nsource = ["10.1.0.0/28", "fd00:1::/124"]\n'
    'to = ["198.51.100.8/31", "2001:db8:100::8/127"]\nport_block = 8000\n'
)


def test_the_block_of_an_ipv6_host_is_named() -> None:
    told = explained(BLOCKS, packet("lan0 udp fd00:1::9/4000 2001:db8:f::10/80"))
    assert told.translated_source == "[2001:db8:100::9]:9024-17023"


@pytest.mark.parametrize(
    ("words", "holder"),
    [
        ("wan0 udp 198.18.5.1/80 198.51.100.9/9024", "10.1.0.9"),
        ("wan0 tcp 198.18.5.1/80 198.51.100.9/17024", "10.1.0.10"),
        ("wan0 udp 2001:db8:f::10/80 2001:db8:100::9/17023", "fd00:1::9"),
        ("wan0 tcp 2001:db8:f::10/80 2001:db8:100::8/1024", "fd00:1::"),
        # Below the first block, and behind the last one.
        ("wan0 udp 2001:db8:f::10/80 2001:db8:100::8/1023", None),
        ("wan0 udp 2001:db8:f::10/80 2001:db8:100::8/65535", None),
    ],
)
def test_the_holder_of_a_block_is_named(words: str, holder: str | None) -> None:
    told = explained(BLOCKS, packet(words))
    assert told.holder == holder
    assert any(f"block of {holder}" in step for step in told.steps) == (holder is not None)


def test_a_range_onto_a_range_shifts_the_port() -> None:
    text = NVI + (
        '[[nvi.nvi0.dnat]]\ndestination = "198.51.100.1"\nprotocol = "udp"\nport = "8000-8099"\n'
        'to = "10.1.0.3:9000-9099"\n'
    )
    told = explained(text, packet("wan0 udp 198.18.5.1/4000 198.51.100.1/8042"))
    assert told.translated_destination == "10.1.0.3:9042"


@pytest.mark.parametrize(
    ("limits", "others"),
    [
        (('source = "198.18.0.0/16"', 'source = "10.1.0.0/16"'), "192.0.2.9"),
        (('ingress = "wan0"', 'ingress = "lan0"'), None),
    ],
)
def test_source_and_ingress_of_a_dnat_are_obeyed(
    limits: tuple[str, str], others: str | None
) -> None:
    text = NVI + "".join(
        f'[[nvi.nvi0.dnat]]\ndestination = "198.51.100.1"\nto = "10.1.0.{host}"\n{limit}\n'
        for host, limit in enumerate(limits, 3)
    )
    for words, target in (
        ("wan0 icmp 198.18.5.1 198.51.100.1", "10.1.0.3"),
        ("lan0 icmp 10.1.0.9 198.51.100.1", "10.1.0.4"),
    ):
        assert explained(text, packet(words)).translated_destination == target
    if others is not None:
        assert explained(text, packet(f"wan0 icmp {others} 198.51.100.1")).dnat is None


def test_a_pool_address_that_nothing_translates_is_unreachable() -> None:
    text = samples.UPLINKS + NVI + '[[nvi.nvi0.snat]]\nto = "198.51.100.0/28"\n'
    told = explained(text, packet("wan0 tcp 198.18.5.1/4000 198.51.100.1/80"))
    assert told.dropped is not None
