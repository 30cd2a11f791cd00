"""From tables to types: what the keys become, and that every fault is told at its place."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_network

import pytest

from nvid.configuration import Loaded, Problem
from nvid.configuration.types import (
    Configuration,
    Daemon,
    Entry,
    InterfacePattern,
    Listen,
    Nvi,
    PortRange,
    TableRange,
)

Problems = Callable[..., tuple[Problem, ...]]
Loading = Callable[..., Loaded]

# Every key that is built, none at its default.
LIVE = """\
[daemon]
metrics = "off"
socket = "/run/other/control.sock"
state_dir = "/var/lib/other"
log_level = "debug"
on_stop = "remove"
fwmark_mask = 0x0003ff00
rule_priority = 5000
tables = "1000-1099"
protocol = 78
resync = "5m"

[uplink.isp1]
interface = "wan0"
gateway = ["203.0.113.254", "2001:db8:1::fe"]
priority = 20
weight = 3

[uplink.isp2]
interface = "wan1"
gateway = "fe80::1"

[nvi.nvi0]
interfaces = ["lan0", "vlan*", "wan0"]
local = true
path = "every-packet"
reach = []
on_failure = "open"

[[nvi.nvi0.static]]
local = "10.1.0.10"
global = "198.51.100.10"

[[nvi.nvi0.static]]
name = "mail"
local = "fd00:1::/64"
global = "2001:db8:100::/64"

[[nvi.nvi0.dnat]]
destination = "198.51.100.1"
protocol = ["tcp", "udp"]
port = "8000-8099"
to = "10.1.0.20"

[[nvi.nvi0.dnat]]
destination = "2001:db8:101::1"
port = 8080
to = "[fd00::20]:80"

[[nvi.nvi0.snat]]
source = "10.1.9.0/24"
destination = ["192.0.2.0/24", "!192.0.2.9"]
protocol = "udp"
port = 53
ingress = ["lan0"]
to = ["198.51.100.20-198.51.100.30", "198.51.100.40"]

[[nvi.nvi0.snat]]
source = ["10.1.0.0/16", "fd00::/8"]
destination = "!10.0.0.0/8"
to = "uplink"

[[nvi.nvi0.snat]]
to = "none"

[[nvi.nvi0.route]]
source = "198.51.100.8/29"
destination = "0.0.0.0/0"
via = ["isp1", "isp2"]
"""


def test_every_live_key_arrives(loaded: Loading) -> None:
    found = loaded(LIVE).configuration
    assert found.daemon == Daemon(
        metrics=None,
        socket="/run/other/control.sock",
        state_dir="/var/lib/other",
        log_level="debug",
        on_stop="remove",
        fwmark_mask=0x3FF00,
        rule_priority=5000,
        tables=TableRange(1000, 1099),
        protocol=78,
        resync=300.0,
    )
    isp1, isp2 = found.uplinks
    assert (isp1.name, isp1.interface, isp1.priority, isp1.weight) == ("isp1", "wan0", 20, 3)
    assert isp1.gateways == (ip_address("203.0.113.254"), ip_address("2001:db8:1::fe"))
    assert (isp2.gateways, isp2.gateway_auto) == ((ip_address("fe80::1"),), False)
    assert (isp2.priority, isp2.weight, isp2.check) == (10, 1, None)
    (nvi,) = found.nvis
    assert [str(one) for one in nvi.interfaces] == ["lan0", "vlan*", "wan0"]
    assert (nvi.local, nvi.path, nvi.reach, nvi.on_failure) == (True, "every-packet", (), "open")


def test_every_entry_arrives(loaded: Loading) -> None:
    (nvi,) = loaded(LIVE).configuration.nvis
    host, prefix = nvi.statics
    assert (host.local, host.global_) == (ip_network("10.1.0.10"), ip_network("198.51.100.10"))
    assert (prefix.name, prefix.local) == ("mail", ip_network("fd00:1::/64"))
    ranged, implied = nvi.dnats
    assert (ranged.protocols, ranged.ports) == (("tcp", "udp"), PortRange(8000, 8099))
    assert (implied.protocols, implied.targets[0].ports) == (("tcp", "udp"), PortRange(80, 80))
    dns, uplink, rest = nvi.snats
    assert dns.destinations == (ip_network("192.0.2.0/24"),)
    assert dns.excluded_destinations == (ip_network("192.0.2.9"),)
    assert (dns.protocols, dns.ports) == (("udp",), PortRange(53, 53))
    assert dns.ingress == (InterfacePattern("lan0"),)
    assert (uplink.destinations, uplink.excluded_destinations) == ((), (ip_network("10.0.0.0/8"),))
    assert (rest.sources, rest.destinations, rest.protocols) == ((), (), ())
    assert nvi.routes[0].via == ("isp1", "isp2")


def test_key_paths_lead_back(loaded: Loading) -> None:
    found = loaded(LIVE)
    (nvi,) = found.configuration.nvis
    assert [one.key_path for one in found.configuration.uplinks] == ["uplink.isp1", "uplink.isp2"]
    entries: tuple[Entry, ...] = (*nvi.statics, *nvi.dnats, *nvi.snats, *nvi.routes)
    paths = {nvi.key_path: "[nvi.nvi0]", **{one.key_path: "[[nvi.nvi0." for one in entries}}
    assert len(paths) == 1 + len(entries)
    for key_path, text in paths.items():
        origin = found.origins.find(key_path)
        assert origin is not None
        assert LIVE.splitlines()[origin.line - 1].startswith(text)


def test_an_empty_file_is_all_defaults(loaded: Loading) -> None:
    assert loaded("").configuration == Configuration()
    assert Configuration().daemon.metrics == Listen("127.0.0.1", 9477)
    assert Configuration().daemon.tables.count == 200


def test_the_smallest_nvi(loaded: Loading) -> None:
    (nvi,) = loaded('[nvi.nvi0]\ninterfaces = "lan0"\n').configuration.nvis
    assert nvi == Nvi("nvi0", (InterfacePattern("lan0"),))
    assert (nvi.peer, nvi.reach, nvi.on_failure) == ("nvi0p", ("arp", "route"), "closed")


def test_values_are_immutable_all_through(loaded: Loading) -> None:
    hash(loaded(LIVE).configuration)


# Text in which `@` is put at the end of the line that the problem is about; key; message; remedy.
WRONG = [
    ('[deamon] #@\nlog_level = "info"', "deamon", "no such key", "did you mean daemon?"),
    ("zzz = 1 #@", "zzz", "no such key", "daemon, conntrack, uplink, tenant, nvi"),
    ('[daemon]\n\nlog-level = "info" #@', "daemon.log-level", "no such key", "log_level?"),
    ('[daemon]\nlog_level = "loud" #@', "daemon.log_level", '"loud" is not known', '"debug"'),
    ("[daemon]\nresync = 60 #@", "daemon.resync", "60 has no unit", '"60s"'),
    ("[daemon]\nprotocol = 11 #@", "daemon.protocol", "zebra", "77"),
    ("[daemon]\nprotocol = 3 #@", "daemon.protocol", "the kernel", "77"),
    ("[daemon]\nrule_priority = 32001 #@", "daemon.rule_priority", "range", "1 to 32000"),
    ("[daemon]\nrule_priority = 0 #@", "daemon.rule_priority", "range", "1 to 32000"),
    ("[daemon]\nfwmark_mask = 0x1ff #@", "daemon.fwmark_mask", "has 9 bits", "at least 10"),
    ("[daemon]\nfwmark_mask = 0xff00ff #@", "daemon.fwmark_mask", "one run", "at least 10"),
    ('[daemon]\ntables = "250-280" #@', "daemon.tables", "255 (local)", "7700-7899"),
    ("daemon = 3 #@", "daemon", "3 is a number", "[daemon]"),
    ("[[nvi]] #@", "nvi", "is a list", "[nvi.NAME]"),
    ("[nvi]\nnvi0 = 1 #@", "nvi.nvi0", "1 is a number", "[nvi.nvi0]"),
    ('[nvi.a_very_long_name] #@\ninterfaces="lan0"', "nvi.a_very_long_name", "name of", "13"),
    ('[nvi."a b"] #@\ninterfaces="lan0"', 'nvi."a b"', "name of an NVI", "letter"),
    ('[uplink."x;y"] #@\ninterface="a"\ngateway="203.0.113.1"', 'uplink."x;y"', "name", "letter"),
    ("[nvi.nvi0] #@", "nvi.nvi0", '"interfaces" is missing', 'interfaces = ["lan0"'),
    ('[uplink.a] #@\ninterface = "wan0"', "uplink.a", '"gateway" is missing', "add gateway ="),
    ('[uplink.a]\ninterface = "wan0"\ngateway = [] #@', "uplink.a.gateway", "empty", "next hop"),
    (
        '[uplink.a]\ninterface = "wan0"\ngateway = "203.0.113.1"\nweight = 0 #@',
        "uplink.a.weight",
        "out of range",
        "1 to 1000",
    ),
    (
        '[uplink.a]\ninterface = "wan0"\ngateway = "203.0.113.1"\npriority = -1 #@',
        "uplink.a.priority",
        "out of range",
        "0 to 65535",
    ),
    (
        '[uplink.a]\ninterface = "wan*" #@\ngateway = "203.0.113.1"',
        "uplink.a.interface",
        "is a glob",
        "exact name",
    ),
    (
        '[uplink.a]\ninterface = "wan0"\ngateway = "203.0.113.1"\n'
        'check = { target = "192.0.2.1", targets = "192.0.2.1" } #@',
        "uplink.a.check.target",
        "no such key",
        "did you mean targets?",
    ),
    (
        '[tenant.red]\ninterfaces = "vlan1"\nroutes = [\n{ to = "10.9.0.0/16" },\n'
        '{ to = "10.9.0.1/16" }, #@\n]',
        "tenant.red.routes[1].to",
        "host bits",
        '"10.9.0.0/16"',
    ),
    (
        '[nvi.nvi0]\ninterfaces = [\n"lan0",\n"lan 1", #@\n]',
        "nvi.nvi0.interfaces[1]",
        "cannot be an interface",
        "1 to 15",
    ),
    (
        '[nvi.nvi0]\ninterfaces = "lan0"\n[nvi.nvi0.static]\nlocal = "10.0.0.1"',
        "nvi.nvi0.static",
        "is a table",
        "double brackets",
    ),
    (
        '[nvi.nvi0]\ninterfaces = "lan0"\nsnat = ["uplink"] #@',
        "nvi.nvi0.snat[0]",
        "is text",
        "a table",
    ),
    (
        '[nvi.nvi0]\ninterfaces = "lan0"\n[[nvi.nvi0.dnat]] #@\ndestination = "198.51.100.1"',
        "nvi.nvi0.dnat[0]",
        '"to" is missing',
        'add to = "10.1.0.20:80"',
    ),
    (
        '[nvi.nvi0]\ninterfaces = "lan0"\n[[nvi.nvi0.snat]]\nto = "none"\n'
        'destinaton = "!10.0.0.1" #@',
        "nvi.nvi0.snat[0].destinaton",
        "no such key",
        "did you mean destination?",
    ),
    (
        '[nvi.nvi0]\ninterfaces = "lan0"\n[[nvi.nvi0.snat]]\nto = "none"\n'
        'destination = "!10.0.0.1/8" #@',
        "nvi.nvi0.snat[0].destination",
        "host bits",
        "10.0.0.0/8",
    ),
    (
        '[nvi.nvi0]\ninterfaces = "lan0"\n[[nvi.nvi0.snat]]\nto = "none"\nname = "a\'b" #@',
        "nvi.nvi0.snat[0].name",
        "cannot be a label",
        "without quotes",
    ),
    (
        '[nvi.nvi0]\ninterfaces = "lan0"\n[nvi.nvi0.helpers]\nftpp = 21 #@',
        "nvi.nvi0.helpers.ftpp",
        "not known",
        "ftp",
    ),
    (
        '[conntrack]\ntimeouts = { udp = "30s", tcp_etablished = "2h" } #@',
        "conntrack.timeouts.tcp_etablished",
        "not known",
        "tcp_established",
    ),
]


@pytest.mark.parametrize(("text", "key", "message", "remedy"), WRONG)
def test_faults_are_told_where_they_are(
    problems: Problems, text: str, key: str, message: str, remedy: str
) -> None:
    lines = text.splitlines()
    expected = next((number for number, line in enumerate(lines, 1) if "#@" in line), 3)
    (problem,) = problems(text)
    assert (problem.key, problem.line) == (key, expected)
    assert message in problem.message
    assert remedy in problem.remedy
    assert str(problem) == f"{problem.file}:{expected}: {key}: {problem.message}; {problem.remedy}"


def test_all_faults_are_told_at_once_in_the_order_of_the_lines(problems: Problems) -> None:
    found = problems(
        '[daemon]\nlog_level = 3\nresync = 60\n[nvi.nvi0]\ninterfaces = ["a b", "lan0", "c d"]\n'
        '[[nvi.nvi0.snat]]\nsource = ["10.0.0.1/8", "x"]\nto = "y"\nport = 0\n'
        '[[nvi.nvi0.route]]\nvia = "isp9"\n',
        more='[[nvi.nvi0.snat]]\nto = "uplink"\nfrom = 3\n',
    )
    assert [(one.file.name, one.line, one.key) for one in found] == [
        ("nvid.toml", 2, "daemon.log_level"),
        ("nvid.toml", 3, "daemon.resync"),
        ("nvid.toml", 5, "nvi.nvi0.interfaces[0]"),
        ("nvid.toml", 5, "nvi.nvi0.interfaces[2]"),
        ("nvid.toml", 7, "nvi.nvi0.snat[0].source[0]"),
        ("nvid.toml", 7, "nvi.nvi0.snat[0].source[1]"),
        ("nvid.toml", 8, "nvi.nvi0.snat[0].to"),
        ("nvid.toml", 9, "nvi.nvi0.snat[0].port"),
        ("nvid.toml", 11, "nvi.nvi0.route[0].via"),
        ("more.toml", 3, "nvi.nvi0.snat[1].from"),
    ]


def test_an_uplink_with_a_fault_is_not_unknown_too(problems: Problems) -> None:
    (problem,) = problems(
        '[uplink.isp1]\ninterface = "wan0"\ngateway = "wrong"\n[nvi.nvi0]\ninterfaces = "lan0"\n'
        '[[nvi.nvi0.route]]\nvia = "isp1"\n'
    )
    assert problem.key == "uplink.isp1.gateway"
