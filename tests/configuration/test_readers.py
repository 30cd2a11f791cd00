"""What each reader takes, and in which words it refuses the rest."""

from datetime import date
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvid.configuration import readers as read
from nvid.configuration.reading import Fault, Reader, Unacceptable
from nvid.configuration.types import (
    AddressRange,
    Helper,
    InterfacePattern,
    Listen,
    NoTranslation,
    Pools,
    PortRange,
    TableRange,
    Target,
    Timeout,
    UplinkAddress,
)


def span(first: str, last: str) -> AddressRange:
    return AddressRange(ip_address(first), ip_address(last))


TAKEN: list[tuple[Reader[Any], object, object]] = [
    (read.boolean, True, True),
    (read.integer(1, 9), 9, 9),
    (read.listen, "off", None),
    (read.listen, "0.0.0.0:9477", Listen("0.0.0.0", 9477)),
    (read.listen, "[::1]:9477", Listen("::1", 9477)),
    (read.table_range, "100-252", TableRange(100, 252)),
    (read.fwmark_mask, 0x3FF, 0x3FF),
    (read.fwmark_mask, 0xFFFFFFFF, 0xFFFFFFFF),
    (read.fwmark_mask, 0xFFC00000, 0xFFC00000),
    (read.route_protocol, 77, 77),
    (read.duration(0.1, 1e6), "250ms", 0.25),
    (read.duration(0.1, 1e6), "60s", 60),
    (read.duration(0.1, 1e6), "2m", 120),
    (read.duration(0.1, 1e6), "1h", 3600),
    (read.duration(0.1, 1e6), "5d", 432000),
    (read.port, 80, 80),
    (read.port, "80", 80),
    (read.ports, 65535, PortRange(65535, 65535)),
    (read.ports, "8000-8099", PortRange(8000, 8099)),
    (read.protocols, "udp", ("udp",)),
    (read.protocols, ["udp", "icmpv6"], ("udp", "icmpv6")),
    (read.choices("arp", "route"), [], ()),
    (read.interface, "eth0.100:1", "eth0.100:1"),
    (read.interfaces, "*", (InterfacePattern("*"),)),
    (
        read.interfaces,
        ["lan0", "abcdefghijklmn*"],
        (InterfacePattern("lan0"), InterfacePattern("abcdefghijklmn*")),
    ),
    (read.nvi_name, "nvi-0123456789", "nvi-0123456789"),
    (read.label, "Web server (Köln)", "Web server (Köln)"),
    (read.network, "10.1.0.10", ip_network("10.1.0.10/32")),
    (read.network, "2001:db8::/48", ip_network("2001:db8::/48")),
    (read.networks, ["0.0.0.0/0", "::/0"], (ip_network("0.0.0.0/0"), ip_network("::/0"))),
    (read.networks, "fe80::/10", (ip_network("fe80::/10"),)),
    (read.included_networks, ["10.0.0.0/8", "!10.9.0.0/16"], (ip_network("10.0.0.0/8"),)),
    (read.excluded_networks, ["10.0.0.0/8", "!10.9.0.0/16"], (ip_network("10.9.0.0/16"),)),
    (read.excluded_networks, "!fd00::/8", (ip_network("fd00::/8"),)),
    (read.gateways, "auto", ()),
    (read.gateway_auto, "auto", True),
    (read.gateway_auto, "fe80::1", False),
    (
        read.gateways,
        ["203.0.113.254", "fe80::1"],
        (ip_address("203.0.113.254"), ip_address("fe80::1")),
    ),
    (read.dnat_destination, "uplink:isp1", UplinkAddress("isp1")),
    (read.dnat_destination, "fd00::1", ip_network("fd00::1")),
    (read.snat_to, "none", NoTranslation()),
    (read.snat_to, "uplink", UplinkAddress()),
    (read.snat_to, "uplink:isp1", UplinkAddress("isp1")),
    (read.snat_to, "198.51.100.8/29", Pools((span("198.51.100.8", "198.51.100.15"),))),
    (
        read.snat_to,
        ["198.51.100.1", "2001:db8::1 - 2001:db8::9"],
        Pools((span("198.51.100.1", "198.51.100.1"), span("2001:db8::1", "2001:db8::9"))),
    ),
    (read.targets, "10.1.0.20", (Target(ip_network("10.1.0.20")),)),
    (read.targets, "10.1.0.20:80", (Target(ip_network("10.1.0.20"), PortRange(80, 80)),)),
    (
        read.targets,
        "10.1.0.20:9000-9099",
        (Target(ip_network("10.1.0.20"), PortRange(9000, 9099)),),
    ),
    (read.targets, "[fd00::1]:80", (Target(ip_network("fd00::1"), PortRange(80, 80)),)),
    (read.targets, "2001::", (Target(ip_network("2001::")),)),
    (read.targets, "[fd00::1]", (Target(ip_network("fd00::1")),)),
    (read.targets, "fd00::1", (Target(ip_network("fd00::1")),)),
    (read.targets, "10.2.0.0/24", (Target(ip_network("10.2.0.0/24")),)),
    (
        read.targets,
        [{"address": "10.1.0.20", "port": 80, "weight": 3}, "10.1.0.21:80"],
        (
            Target(ip_network("10.1.0.20"), PortRange(80, 80), 3),
            Target(ip_network("10.1.0.21"), PortRange(80, 80)),
        ),
    ),
    (
        read.timeouts,
        {"tcp_established": "2h", "udp": "30s"},
        (Timeout("tcp_established", 7200), Timeout("udp", 30)),
    ),
    (read.helpers, {"ftp": 21}, (Helper("ftp", 21),)),
]

# Reader, value, where in the value, what the message says, what the remedy says.
REFUSED: list[tuple[Reader[Any], object, str, str, str]] = [
    (read.boolean, "true", "", '"true" is text', "without quotes"),
    (read.boolean, 1, "", "1 is a number", "true or false"),
    (read.integer(1, 9), "5", "", '"5" is text', "without quotes"),
    (read.integer(1, 9), True, "", "true is a boolean", "from 1 to 9"),
    (read.integer(1, 9), 1.5, "", "1.5 is a number with a fraction", "whole number"),
    (read.integer(1, 9), 10, "", "out of range", "from 1 to 9"),
    (read.integer(1, 9), 2**70, "", "a number beyond 64 bits is out of range", "from 1 to 9"),
    (read.absolute_path, "nvid.sock", "", "not an absolute path", '"/"'),
    (read.absolute_path, "/a/../b", "", "not an absolute path", '".."'),
    (read.absolute_path, "/a\nb", "", r'"/a\nb"', '"/"'),
    (read.socket_path, "/" + "x" * 107, "", "longer than 107 bytes", "shorter"),
    (read.listen, "9477", "", "not an address and a port", '"127.0.0.1:9477"'),
    (read.listen, "[127.0.0.1]:9477", "", "wrong spelling", "brackets"),
    (read.listen, "127.0.0.999:1", "", "holds no address", '"127.0.0.1:9477"'),
    (read.listen, "127.0.0.1:0", "", "port 0 is out of range", "1 to 65535"),
    (read.table_range, "7700", "", "not a range", '"7700-7899"'),
    (read.table_range, "9-8", "", "backwards", '"8-9"'),
    (read.table_range, "200-300", "", "contains 253 (default), 254 (main), 255 (local)", "beside"),
    (read.table_range, "0-99", "", "contains 0 (unspec)", "beside"),
    (read.table_range, "300-4294967296", "", "no table number", "below"),
    (read.fwmark_mask, 0x00FF0F00, "", "0x00ff0f00 is not one run of bits", "0x00ffff00"),
    (read.fwmark_mask, 0x1FF, "", "has 9 bits", "at least 10 bits"),
    (read.fwmark_mask, 2**32, "", "out of range", "4294967295"),
    (read.fwmark_mask, 0, "", "out of range", "from 1"),
    (read.route_protocol, 2, "", "used by the kernel", "77"),
    (read.route_protocol, 4, "", "static routes of the administrator", "77"),
    (read.route_protocol, 9, "", "used by router advertisements", "77"),
    (read.route_protocol, 11, "", "used by zebra", "77"),
    (read.route_protocol, 12, "", "used by BIRD", "77"),
    (read.route_protocol, 16, "", "used by DHCP", "rt_protos"),
    (read.route_protocol, 18, "", "used by keepalived", "77"),
    (read.route_protocol, 99, "", "used by Open/R", "77"),
    (read.route_protocol, 186, "", "used by BGP", "77"),
    (read.route_protocol, 256, "", "out of range", "255"),
    (read.duration(1, 60), 30, "", "30 has no unit", '"30s"'),
    (read.duration(1, 60), "30", "", "not a time", "unit (ms, s, m, h, d)"),
    (read.duration(1, 60), "1m30s", "", "not a time", "unit"),
    (read.duration(1, 60), "٣s", "", "not a time", "unit"),
    (read.duration(1, 60), "2m", "", "out of range", '"1s" to "1m"'),
    (read.duration(0.1, 60), "50ms", "", "out of range", '"100ms" to "1m"'),
    (read.choice("keep", "remove"), "kep", "", '"keep" is the nearest', '"keep" or "remove"'),
    (read.choice("keep", "remove"), 3, "", "3 is a number", '"keep" or "remove"'),
    (read.port, "80-81", "", "is a range", "single port"),
    (read.ports, 0, "", "port 0 is out of range", "1 to 65535"),
    (read.ports, 65536, "", "out of range", "1 to 65535"),
    (read.ports, "9-8", "", "backwards", '"8-9"'),
    (read.ports, "http", "", "not a port", '"8000-8099"'),
    (read.ports, [80, 443], "", "a list", "further entry"),
    (read.ports, True, "", "a boolean", "a port"),
    (read.protocols, ["tcp", "tpc"], "[1]", '"tcp" is the nearest', '"udp"'),
    (read.protocols, ["tcp", "udp", "tcp"], "[2]", "says the same as item [0]", "remove"),
    (read.protocols, [], "", "list is empty", "leave the key out"),
    (read.interface, "vlan*", "", "is a glob", "exact name"),
    (read.interface, "an-interface-too", "", "cannot be an interface", "1 to 15"),
    (read.interface, "a b", "", "cannot be an interface", "1 to 15"),
    (read.interface, "..", "", "cannot be an interface", "1 to 15"),
    (read.interface, "", "", "cannot be an interface", "1 to 15"),
    (read.interfaces, "v*n", "", "* that is not at its end", '"vlan*"'),
    (read.interfaces, "vlan**", "", "* that is not at its end", '"vlan*"'),
    (read.interfaces, 'x" drop*', "", "cannot match", '"vlan*"'),
    (read.interfaces, ["lan0", 3], "[1]", "3 is a number", "name of an interface"),
    (read.nvi_name, "nvi-01234567890", "", "name of an NVI", "13"),
    (read.nvi_name, "0nvi", "", "name of an NVI", "letter"),
    (read.name, "isp 1", "", "cannot be a name", "letter"),
    (read.name, "isp1\n", "", "cannot be a name", "letter"),
    (read.name, "x" * 33, "", "cannot be a name", "31"),
    (read.label, 'a"b', "", "cannot be a label", "without quotes"),
    (read.label, "a\\b", "", "cannot be a label", "backslashes"),
    (read.label, "a\tb", "", "cannot be a label", "printable"),
    (read.label, "x" * 101, "", "cannot be a label", "100"),
    (read.label, " ", "", "cannot be a label", "printable"),
    (read.network, "10.1.0.1/16", "", "host bits", '"10.1.0.0/16"'),
    (read.network, "2001:db8::1/48", "", "host bits", '"2001:db8::/48"'),
    (read.network, "10.1.0.0/33", "", "not a prefix", "0 to 32"),
    (read.network, "10.1.0.0/255.255.0.0", "", "not a prefix", "10.1.0.0/16"),
    (read.network, "10.1.0.256", "", "not an address", "2001:db8::10"),
    (read.network, "10.1.0.1-10.1.0.9", "", "is a range", "prefix"),
    (read.network, "fe80::1%lan0", "", "has a zone", '"fe80::1"'),
    (read.network, "fe80::1", "", "link-local", "unique local"),
    (read.network, "224.0.0.5", "", "multicast", "flows can have"),
    (read.network, "ff02::1", "", "multicast", "flows can have"),
    (read.network, "127.0.0.1", "", "loopback", "flows can have"),
    (read.network, "::1", "", "loopback", "flows can have"),
    (read.network, "0.0.0.0", "", "this host", "flows can have"),
    (read.network, "::", "", "unspecified", "flows can have"),
    (read.network, "255.255.255.255", "", "broadcast", "flows can have"),
    (read.network, "::ffff:10.0.0.1", "", "IPv4 in IPv6", "flows can have"),
    (read.network, "0.0.0.0/0", "", "every address", "prefix"),
    (read.network, "126.0.0.0/7", "", "contains 127.0.0.0/8", "smaller"),
    (read.snat_to, "126.0.0.0-128.0.0.1", "", "contains 127.0.0.0/8", "smaller"),
    (read.network, 10, "", "10 is a number", "an address or a prefix"),
    (read.networks, ["10.0.0.0/8", "nope"], "[1]", "not an address", "2001:db8::10"),
    (read.networks, ["10.0.0.0/8", "!10.1.0.0/16"], "[1]", "excludes", "without !"),
    (read.networks, ["10.0.0.1", "10.0.0.1/32"], "[1]", "same as item [0]", "remove"),
    (read.included_networks, "!!10.0.0.0/8", "", "excludes", "without !"),
    (read.gateways, ["203.0.113.254", "auto"], "[1]", "beside addresses", "either"),
    (read.gateways, ["203.0.113.254", "203.0.113.1"], "", "several IPv4", "uplink of its own"),
    (read.gateways, "203.0.113.0/24", "", "is a prefix", "next hop"),
    (read.gateways, "fe80::1%wan0", "", "has a zone", '"fe80::1"'),
    (read.gateways, [], "", "list is empty", "next hop"),
    (read.gateways, "automatic", "", "not an address", "IPv6"),
    (read.check_targets, ["192.0.2.0/24"], "[0]", "is a prefix", "one host"),
    (read.dnat_destination, "uplink:", "", "cannot be a name", "letter"),
    (read.snat_to, "198.51.100.9-198.51.100.1", "", "backwards", '"198.51.100.1-198.51.100.9"'),
    (read.snat_to, "198.51.100.9-2001:db8::1", "", "mixes families", "range"),
    (read.snat_to, "10.0.0.0/30-10.0.0.9", "", "prefix in a range", "last address"),
    (read.snat_to, ["198.51.100.9", "uplink"], "[1]", "stands in a list", "alone"),
    (read.snat_to, ["none"], "[0]", "stands in a list", "alone"),
    (read.snat_to, "masquerade", "", "not an address", "IPv4"),
    (read.snat_to, "uplink:a b", "", "cannot be a name", "letter"),
    (read.snat_to, 3, "", "3 is a number", '"uplink"'),
    (read.targets, "10.1.0.20:0", "", "port 0", "65535"),
    (read.targets, "10.1.0.20:", "", "not a port", "8000-8099"),
    (read.targets, "[10.1.0.20]:80", "", "IPv4 in brackets", "only IPv6"),
    (read.targets, "10.2.0.0/24:80", "", "not a prefix", "prefix"),
    (read.targets, [], "", "list is empty", "10.1.0.20"),
    (read.targets, 80, "", "80 is a number", "10.1.0.20:80"),
    (read.targets, [{"port": 80}], "[0]", "no address", "address ="),
    (read.targets, [{"address": "10.1.0.2", "prot": 1}], "[0]", '"prot" is not known', "weight"),
    (read.targets, [{"address": "10.1.0.2", "weight": 0}], "[0].weight", "range", "1 to 1000"),
    (read.targets, [{"address": "10.1.0.0/24", "port": 1}], "[0].port", "prefix", "address"),
    (read.timeouts, {"tcp_establish": "2h"}, ".tcp_establish", "not known", "tcp_established"),
    (read.timeouts, {"udp": "1500ms"}, ".udp", "whole number of seconds", '"30s"'),
    (read.timeouts, {"udp": 30}, ".udp", "no unit", '"30s"'),
    (read.timeouts, "30s", "", "is text", "table"),
    (read.helpers, {"ftp": 0}, ".ftp", "port 0", "65535"),
    (read.helpers, {"fpt": 21}, ".fpt", "not known", "ftp"),
    (read.networks, date(2026, 1, 1), "", "a date or time", "an address or a prefix"),
    (read.network, "x" * 500, "", "x...", "an IPv4"),
]


@pytest.mark.parametrize(("reader", "raw", "value"), TAKEN)
def test_taken(reader: Reader[Any], raw: object, value: object) -> None:
    assert reader(raw) == value


@pytest.mark.parametrize(("reader", "raw", "at", "message", "remedy"), REFUSED)
def test_refused(reader: Reader[Any], raw: object, at: str, message: str, remedy: str) -> None:
    with pytest.raises(Unacceptable) as wrong:
        reader(raw)
    (fault,) = wrong.value.faults
    assert fault.at == at
    assert message in fault.message
    assert remedy in fault.remedy
    assert (fault.message + fault.remedy).isprintable()


def test_all_faults_of_a_list_are_told() -> None:
    with pytest.raises(Unacceptable) as wrong:
        read.networks(["10.0.0.1/8", "10.0.0.0/8", 3])
    assert [fault.at for fault in wrong.value.faults] == ["[0]", "[2]"]


toml_values = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.datetimes(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
near_values = st.one_of(
    toml_values,
    st.text("0123456789abcdf.:/-[]!*%upliknmsh ", max_size=24),
    st.lists(st.text("0123456789.:/-[]!*", max_size=12), max_size=3),
    st.fixed_dictionaries(
        {"address": st.text("0123.:/", max_size=9)}, optional={"port": toml_values}
    ),
)
every_reader = [value for name, value in vars(read).items() if isinstance(value, Reader)]


@pytest.mark.parametrize("reader", [*every_reader, read.duration(1, 9), read.choices("a", "b")])
@given(raw=near_values)
def test_readers_refuse_in_words_or_take(reader: Reader[Any], raw: object) -> None:
    try:
        hash(reader(raw))  # what it takes is immutable all through
    except Unacceptable as wrong:
        assert_words(wrong.faults)


def assert_words(faults: tuple[Fault, ...]) -> None:
    assert faults
    for fault in faults:
        assert fault.message
        assert fault.remedy
        assert (fault.message + fault.remedy).isprintable()
