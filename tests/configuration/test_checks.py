"""What keys must be to each other. Each text has one problem, on the line that ends in `#@`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nvid.configuration import Loaded, Problem

Problems = Callable[..., tuple[Problem, ...]]
Loading = Callable[..., Loaded]

ISP = '[uplink.isp1]\ninterface = "wan0"\ngateway = "203.0.113.254"\n'
NVI = '[nvi.nvi0]\ninterfaces = ["lan0", "vlan*", "wan0"]\n'
NVI1 = '[nvi.nvi1]\ninterfaces = "dmz0"\n'


def static(local: str, outside: str, more: str = "", nvi: str = "nvi0", mark: str = "") -> str:
    entry = f'[[nvi.{nvi}.static]]\nlocal = "{local}"\nglobal = "{outside}" {mark}\n'
    return f"{entry}{more}\n"


def dnat(destination: str, more: str = "", to: str = "10.1.0.20", mark: str = "") -> str:
    entry = f'[[nvi.nvi0.dnat]]\ndestination = "{destination}" {mark}\nto = "{to}"\n'
    return f"{entry}{more}\n"


def snat(to: str, more: str = "", mark: str = "") -> str:
    return f'[[nvi.nvi0.snat]] {mark}\nto = "{to}"\n{more}\n'


def route(keys: str, mark: str = "") -> str:
    return f"[[nvi.nvi0.route]] {mark}\n{keys}\n"


def uplink(name: str, interface: str, gateway: str) -> str:
    return f'[uplink.{name}]\ninterface = "{interface}"\ngateway = "{gateway}"\n'


# Name, text, key, words of the message, words of the remedy.
REFUSED = [
    (
        "an uplink in via that does not exist",
        ISP + NVI + route('via = ["isp1", "ips1"] #@'),
        "nvi.nvi0.route[0].via[1]",
        'no uplink "ips1"',
        'did you mean "isp1"?',
    ),
    (
        "an uplink in to that does not exist",
        ISP + NVI + '[[nvi.nvi0.snat]]\nto = "uplink:dsl" #@\n',
        "nvi.nvi0.snat[0].to",
        'no uplink "dsl"',
        "add [uplink.dsl]",
    ),
    (
        "an uplink in destination that does not exist",
        ISP + NVI + dnat("uplink:isp2", mark="#@"),
        "nvi.nvi0.dnat[0].destination",
        'no uplink "isp2"',
        'did you mean "isp1"?',
    ),
    (
        "a tenant that does not exist",
        '[tenant.red]\ninterfaces = "red0"\n' + NVI + snat("none", 'tenant = "rd" #@'),
        "nvi.nvi0.snat[0].tenant",
        'no tenant "rd"',
        'did you mean "red"?',
    ),
    (
        "the address of an uplink when there is none",
        NVI + '[[nvi.nvi0.snat]]\nto = "uplink" #@\n',
        "nvi.nvi0.snat[0].to",
        "there is none",
        "add an [uplink.NAME]",
    ),
    (
        "an NVI named as the peer end of another",
        NVI + '[nvi.nvi0p] #@\ninterfaces = "dmz0"\n',
        "nvi.nvi0p",
        "peer end of nvi.nvi0 (",
        "another name",
    ),
    (
        "an interface in two NVIs",
        NVI + '[nvi.nvi1]\ninterfaces = ["dmz0", "lan0"] #@\n',
        "nvi.nvi1.interfaces[1]",
        "belongs to another nvi: nvi.nvi0.interfaces[0] (",
        "one nvi only",
    ),
    (
        "an interface that another NVI's glob means",
        NVI + '[nvi.nvi1]\ninterfaces = ["vlan7"] #@\n',
        "nvi.nvi1.interfaces[0]",
        "nvi.nvi0.interfaces[1]",
        "narrow the glob",
    ),
    (
        "an interface of an earlier NVI that a glob means",
        '[nvi.nvi1]\ninterfaces = "vlan7" #@\n' + NVI,
        "nvi.nvi1.interfaces",
        "nvi.nvi0.interfaces[1]",
        "narrow the glob",
    ),
    (
        "overlapping globs of two NVIs",
        NVI + '[nvi.nvi1]\ninterfaces = "vlan1*" #@\n',
        "nvi.nvi1.interfaces",
        "nvi.nvi0.interfaces[1]",
        "narrow the glob",
    ),
    (
        "the same glob in two NVIs",
        NVI + '[nvi.nvi1]\ninterfaces = "vlan*" #@\n',
        "nvi.nvi1.interfaces",
        "nvi.nvi0.interfaces[1]",
        "narrow the glob",
    ),
    (
        "an interface of two tenants",
        '[tenant.red]\ninterfaces = "vlan1"\n[tenant.blue]\ninterfaces = ["vlan1"] #@\n',
        "tenant.blue.interfaces[0]",
        "belongs to another tenant: tenant.red.interfaces",
        "one tenant only",
    ),
    (
        "the pair as its own interface",
        '[nvi.nvi0]\ninterfaces = ["lan0", "nvi0p"] #@\n',
        "nvi.nvi0.interfaces[1]",
        "matches nvi0p, an end of nvi0",
        "comes in by",
    ),
    (
        "the pair of another NVI in a glob",
        NVI + '[nvi.dmz]\ninterfaces = "nvi*" #@\n',
        "nvi.dmz.interfaces",
        "nvi* matches nvi0, an end of nvi0",
        "a glob that nvi0 does not match",
    ),
    (
        "the loopback interface",
        '[nvi.nvi0]\ninterfaces = "lo" #@\n',
        "nvi.nvi0.interfaces",
        "the loopback interface",
        "comes in by",
    ),
    (
        "a pair as uplink",
        '[uplink.isp1]\ninterface = "nvi0" #@\ngateway = "203.0.113.254"\n' + NVI,
        "uplink.isp1.interface",
        "an end of nvi0",
        "comes in by",
    ),
    (
        "what the machine sends offered twice",
        NVI + "local = true\n" + NVI1 + "local = true #@\n",
        "nvi.nvi1.local",
        "offered already to nvi.nvi0 (",
        "one NVI only",
    ),
    (
        "ingress that is not NAT-enabled",
        NVI + snat("none", 'ingress = ["lan0", "dmz0"] #@'),
        "nvi.nvi0.snat[0].ingress[1]",
        "dmz0 is not NAT-enabled in nvi0",
        "lan0, vlan*, wan0",
    ),
    (
        "a static translation across families",
        NVI + static("10.1.0.1", "2001:db8::1", mark="#@"),
        "nvi.nvi0.static[0].global",
        "is IPv6, but local is IPv4",
        "one family",
    ),
    (
        "a static translation between lengths",
        NVI + static("10.1.0.0/24", "198.51.100.0/28", mark="#@"),
        "nvi.nvi0.static[0].global",
        "different lengths",
        "length 24",
    ),
    (
        "a static translation to itself",
        NVI + static("fd00::/64", "fd00::/64", mark="#@"),
        "nvi.nvi0.static[0].global",
        "to itself",
        "another address",
    ),
    (
        "one local address in two static translations",
        NVI
        + static("10.1.0.1", "198.51.100.1")
        + '[[nvi.nvi0.static]]\nlocal = "10.1.0.1" #@\nglobal = "198.51.100.2"\n',
        "nvi.nvi0.static[1].local",
        "local side of nvi.nvi0.static[0] (",
        "one static translation only",
    ),
    (
        "one global address in two static translations",
        NVI + static("10.1.0.1", "198.51.100.1") + static("10.1.0.2", "198.51.100.1", mark="#@"),
        "nvi.nvi0.static[1].global",
        "global side of nvi.nvi0.static[0] (",
        "one static translation only",
    ),
    (
        "a global address inside a later prefix",
        NVI
        + static("10.1.0.1", "198.51.100.1")
        + static("10.2.0.0/24", "198.51.100.0/24", mark="#@"),
        "nvi.nvi0.static[1].global",
        "198.51.100.0/24 overlaps the global side of nvi.nvi0.static[0]",
        "one static translation only",
    ),
    (
        "one global address in two NVIs",
        NVI
        + NVI1
        + static("fd00::1", "2001:db8::1")
        + static("fd00::2", "2001:db8::1", nvi="nvi1", mark="#@"),
        "nvi.nvi1.static[0].global",
        "global side of nvi.nvi0.static[0]",
        "one static translation only",
    ),
    (
        "a dnat inside a static translation",
        NVI + static("10.2.0.0/24", "198.51.100.0/24") + dnat("198.51.100.9", "port=80", mark="#@"),
        "nvi.nvi0.dnat[0].destination",
        "198.51.100.9 tcp, udp port 80 lies in the global side of nvi.nvi0.static[0]",
        "remove one of both",
    ),
    (
        "a dnat around a static translation",
        NVI + static("10.2.0.1", "198.51.100.1") + dnat("198.51.100.0/24", mark="#@"),
        "nvi.nvi0.dnat[0].destination",
        "nvi.nvi0.static[0]",
        "remove one of both",
    ),
    (
        "two dnats for one port",
        NVI
        + dnat("198.51.100.1", 'port = "80-90"\nprotocol = "tcp"')
        + dnat("198.51.100.1", "port = 85", mark="#@"),
        "nvi.nvi0.dnat[1].destination",
        "belongs already to nvi.nvi0.dnat[0] (",
        "narrower",
    ),
    (
        "two dnats, one for all ports",
        NVI
        + dnat("2001:db8::1", "port = 85", to="fd00::1")
        + dnat("2001:db8::1", to="fd00::2", mark="#@"),
        "nvi.nvi0.dnat[1].destination",
        "belongs already to nvi.nvi0.dnat[0] (",
        "narrower",
    ),
    (
        "a dnat inside the prefix of another",
        NVI + dnat("198.51.100.0/24", "port = 85") + dnat("198.51.100.7", "port = 85", mark="#@"),
        "nvi.nvi0.dnat[1].destination",
        "belongs already to nvi.nvi0.dnat[0] (",
        "narrower",
    ),
    (
        "a dnat across families",
        NVI + '[[nvi.nvi0.dnat]]\ndestination = "198.51.100.1"\nto = "fd00::1" #@\n',
        "nvi.nvi0.dnat[0].to",
        "fd00::1 is IPv6, but the destination is IPv4",
        "one family",
    ),
    (
        "a dnat from sources of the other family",
        NVI + '[[nvi.nvi0.dnat]] #@\ndestination = "198.51.100.1"\nto = "10.0.0.1"\n'
        'source = "2001:db8::/32"\n',
        "nvi.nvi0.dnat[0]",
        "different families",
        "one family",
    ),
    (
        "icmp to IPv6",
        NVI + dnat("2001:db8::1", 'protocol = "icmp" #@', to="fd00::1"),
        "nvi.nvi0.dnat[0].protocol",
        "icmp is IPv4 only",
        "icmpv6",
    ),
    (
        "a port without a protocol that has ports",
        NVI + dnat("198.51.100.1", 'protocol = ["tcp", "gre"]\nport = 80 #@'),
        "nvi.nvi0.dnat[0].port",
        "gre has no ports",
        "tcp, udp, sctp",
    ),
    (
        "a target port without a protocol that has ports",
        NVI + '[[nvi.nvi0.dnat]]\ndestination = "198.51.100.1"\nprotocol = "icmp"\n'
        'to = "10.0.0.1:80" #@\n',
        "nvi.nvi0.dnat[0].to",
        "icmp has no ports",
        "tcp, udp, sctp",
    ),
    (
        "port ranges of different sizes",
        NVI + '[[nvi.nvi0.dnat]]\ndestination = "198.51.100.1"\nport = "80-89"\n'
        'to = "10.0.0.1:90-98" #@\n',
        "nvi.nvi0.dnat[0].to",
        "the target has 9 ports, and the entry 10 ports",
        "ranges of one size",
    ),
    (
        "a source without a pool of its family",
        NVI + '[[nvi.nvi0.snat]]\nsource = ["fd00::/8", "10.0.0.0/8"]\nto = "2001:db8::1" #@\n',
        "nvi.nvi0.snat[0].to",
        "no IPv4 address for the source 10.0.0.0/8",
        "add an IPv4 pool",
    ),
    (
        "a destination without a pool of its family",
        NVI + snat("198.51.100.1", 'destination = "2001:db8::/32"', mark="#@"),
        "nvi.nvi0.snat[0]",
        "different families",
        "one family",
    ),
    (
        "an snat port without a protocol that has ports",
        NVI + snat("none", 'protocol = "esp"\nport = 500 #@'),
        "nvi.nvi0.snat[0].port",
        "esp has no ports",
        "tcp, udp, sctp",
    ),
    (
        "an snat behind one for everything",
        NVI + snat("198.51.100.1") + snat("198.51.100.2", 'source = "10.0.0.0/8"', mark="#@"),
        "nvi.nvi0.snat[1]",
        "can never match: everything it could match is taken before by nvi.nvi0.snat[0] (",
        "narrower entry first",
    ),
    (
        "an snat behind two halves",
        NVI
        + snat("198.51.100.1", 'source = ["10.0.0.0/9", "10.128.0.0/9"]')
        + snat("198.51.100.2", 'source = "10.0.0.0/8"\nprotocol = "tcp"', mark="#@"),
        "nvi.nvi0.snat[1]",
        "nvi.nvi0.snat[0] (",
        "narrower entry first",
    ),
    (
        "an snat behind one that excludes what it excludes too",
        NVI
        + snat("198.51.100.1", 'destination = "!192.0.2.0/24"')
        + snat("198.51.100.2", 'destination = "!192.0.2.0/23"', mark="#@"),
        "nvi.nvi0.snat[1]",
        "nvi.nvi0.snat[0] (",
        "narrower entry first",
    ),
    (
        "an snat behind one for a wider glob and wider ports",
        NVI
        + snat("198.51.100.1", 'ingress = "vlan*"\nport = "1-100"')
        + snat("198.51.100.2", 'ingress = "vlan1"\nport = 53\nprotocol = "udp"', mark="#@"),
        "nvi.nvi0.snat[1]",
        "nvi.nvi0.snat[0] (",
        "narrower entry first",
    ),
    (
        "an snat behind one for every interface by name",
        NVI
        + snat("198.51.100.1", 'ingress = ["lan0", "vlan*", "wan0"]')
        + snat("198.51.100.2", mark="#@"),
        "nvi.nvi0.snat[1]",
        "nvi.nvi0.snat[0] (",
        "narrower entry first",
    ),
    (
        "an snat that excludes all that it includes",
        NVI + snat("none", 'destination = ["192.0.2.0/25", "!192.0.2.0/24"] #@'),
        "nvi.nvi0.snat[0].destination",
        "excluded again",
        "remove the exclusion",
    ),
    (
        "a pool with a gateway in it",
        ISP + NVI + '[[nvi.nvi0.snat]]\nto = ["198.51.100.1", "203.0.113.250-203.0.113.255"] #@\n',
        "nvi.nvi0.snat[0].to",
        "contains 203.0.113.254, the gateway of uplink.isp1 (",
        "leave the gateway's address out",
    ),
    (
        "a global address that is a gateway",
        ISP + NVI + static("10.1.0.1", "203.0.113.254", mark="#@"),
        "nvi.nvi0.static[0].global",
        "the gateway of uplink.isp1",
        "leave the gateway's address out",
    ),
    (
        "one pool of two tenants",
        '[tenant.red]\ninterfaces = "red0"\n[tenant.blue]\ninterfaces = "blue0"\n'
        + NVI
        + snat("198.51.100.0/28", 'tenant = "red"')
        + '[[nvi.nvi0.snat]]\ntenant = "blue"\nto = "198.51.100.8" #@\n',
        "nvi.nvi0.snat[1].to",
        "of tenant blue overlaps 198.51.100.0/28 of tenant red in nvi.nvi0.snat[0].to (",
        "addresses of its own",
    ),
    (
        "two uplinks with one next hop",
        ISP + '[uplink.isp2]\ninterface = "wan0"\ngateway = "203.0.113.254" #@\n',
        "uplink.isp2.gateway",
        "203.0.113.254 on wan0 belongs to uplink.isp1 (",
        "of its own",
    ),
    (
        "two uplinks that follow one default route",
        '[uplink.isp1]\ninterface = "wan0"\ngateway = "auto"\n'
        '[uplink.isp2]\ninterface = "wan0"\ngateway = "auto" #@\n',
        "uplink.isp2.gateway",
        "the default route on wan0 belongs to uplink.isp1 (",
        "of its own",
    ),
    (
        "a check of a family that the uplink does not carry",
        '[uplink.isp1]\ninterface = "wan0"\ngateway = "203.0.113.254"\n'
        'check = { targets = ["192.0.2.53", "2001:db8::53"] } #@\n',
        "uplink.isp1.check.targets",
        "2001:db8::53 cannot be asked: the uplink has no IPv6 gateway",
        "families that `gateway` has",
    ),
    (
        "a global address in the pool of another tenant",
        '[tenant.red]\ninterfaces = "red0"\n[tenant.blue]\ninterfaces = "blue0"\n'
        + NVI
        + snat("198.51.100.0/28", 'tenant = "red"')
        + '[[nvi.nvi0.static]]\ntenant = "blue"\nlocal = "10.0.0.1"\n'
        'global = "198.51.100.8" #@\n',
        "nvi.nvi0.static[0].global",
        "of tenant blue overlaps 198.51.100.0/28 of tenant red in nvi.nvi0.snat[0].to (",
        "addresses of its own",
    ),
    (
        "an uplink inside a tenant",
        '[uplink.isp1]\ninterface = "wan0"\ngateway = "203.0.113.1"\n'
        '[tenant.red]\ninterfaces = ["red0", "wan*"] #@\n',
        "tenant.red.interfaces[1]",
        "wan* means wan0, the interface of uplink.isp1",
        "outside of every tenant",
    ),
    (
        "a VRF whose own rule comes first",
        '[tenant.red]\ninterfaces = "red0"\nvrf = "vrf-red" #@\n',
        "tenant.red.vrf",
        "has the priority 1000, before nvid's own",
        "rule_priority = 800",
    ),
    (
        "routes beside a VRF",
        '[daemon]\nrule_priority = 800\n[tenant.red]\ninterfaces = "red0"\nvrf = "vrf-red"\n'
        'routes = [{ to = "10.9.0.0/16", via = "10.1.0.1" }] #@\n',
        "tenant.red.routes",
        "in the table of vrf-red",
        "add them there",
    ),
    (
        "a tenant's route to nowhere",
        '[tenant.red]\ninterfaces = "red0"\nroutes = [{ to = "10.9.0.0/16" }] #@\n',
        "tenant.red.routes[0]",
        "does not say where",
        "add via, dev or both",
    ),
    (
        "a tenant's route between families",
        '[tenant.red]\ninterfaces = "red0"\n[[tenant.red.routes]]\nto = "10.9.0.0/16"\n'
        'via = "fe80::1" #@\n',
        "tenant.red.routes[0].via",
        "fe80::1 is IPv6, but the route is IPv4",
        "one family",
    ),
    (
        "a route to nowhere",
        NVI + route('source = "198.51.100.1"', mark="#@"),
        "nvi.nvi0.route[0]",
        "does not say where",
        "via =",
    ),
    (
        "a route to two places",
        ISP + NVI + route('via = "isp1"\naction = "blackhole" #@'),
        "nvi.nvi0.route[0].action",
        "says via and action",
        "keep via or action",
    ),
    (
        "a route into nvid's own tables",
        NVI + route("table = 7701 #@"),
        "nvi.nvi0.route[0].table",
        "table 7701 is one of nvid's own (7700-7899)",
        "another table",
    ),
    (
        "a route between families",
        ISP + NVI + route('via="isp1"\nsource="198.51.100.1"\ndestination="::/0"', mark="#@"),
        "nvi.nvi0.route[0]",
        "different families",
        "one family",
    ),
    (
        "more uplinks than lanes",
        "".join(uplink(f"u{n}", f"wan{n}", f"203.0.113.{n + 1}") for n in range(15))
        + '[uplink.u15] #@\ninterface = "wan15"\ngateway = "203.0.113.16"\n',
        "uplink.u15",
        "one of 16 uplinks: the mark has 4 bits for them, and 2**4 - 1 = 15",
        "keep 15 uplinks",
    ),
    (
        "more tenants than lanes",
        "[daemon]\nfwmark_mask = 0x7ff #@\n"
        + "".join(f'[tenant.t{n}]\ninterfaces = "t{n}"\n' for n in range(17)),
        "daemon.fwmark_mask",
        "11 bits: 2 are for state, 4 for uplinks, 5 are left, and 2**5 - 16 - 5 (what route "
        "entries say, and where nothing leads) = 11 tenants fit, but there are 17",
        "12 bits or more",
    ),
    (
        "more routing tables named by routes than lanes for them",
        NVI
        + "".join(f"[[nvi.nvi0.route]]\nport = {n}\ntable = {n}\n" for n in range(1, 17))
        + "[[nvi.nvi0.route]]\ntable = 254\n[[nvi.nvi0.route]]\ntable = 17 #@\n",
        "nvi.nvi0.route[17].table",
        "routing table number 17 that routes name: 16 is the most, main not counted",
        "name 16 tables",
    ),
    (
        "fewer lanes than uplinks and tables",
        "[daemon]\nfwmark_mask = 0x3ff #@\n"
        + "".join(
            f'[uplink.u{n}]\ninterface = "u{n}"\ngateway = "203.0.113.{n + 1}"\n' for n in range(10)
        )
        + NVI
        + "[[nvi.nvi0.route]]\ntable = 100\n",
        "daemon.fwmark_mask",
        "10 bits: 4 are for lanes, 2**4 = 16 of them, but 1 for main + 10 for uplinks + 1 for the "
        "tables of routes + 5 where nothing leads = 17 are needed",
        "11 bits or more",
    ),
    (
        "more entries to follow flow by flow than conntrack labels have bits",
        NVI
        + "".join(snat("198.51.100.8", f'source = "10.0.{n}.0/24"\nlog = true') for n in range(96))
        + snat("198.51.100.8", 'source = "10.1.0.0/24"\nmapping = "endpoint-independent"').replace(
            "[[nvi.nvi0.snat]]", "[[nvi.nvi0.snat]] #@"
        ),
        "nvi.nvi0.snat[96]",
        "one of 97 entries with endpoint-independent mapping or log: conntrack labels have 96 bits",
        "keep 96 such entries",
    ),
    (
        "fewer tables than lanes",
        '[daemon]\ntables = "1000-1016" #@\n' + NVI + NVI1,
        "daemon.tables",
        "17 tables, but 1 for pools + 15 for uplinks + 2 for NVIs + 0 for tenants = 18",
        '"1000-1017"',
    ),
    (
        "a static port translation without its protocol",
        NVI + "[[nvi.nvi0.static]] #@\nlocal='10.0.0.1'\nglobal='192.0.2.1'\nlocal_port=80\n",
        "nvi.nvi0.static[0]",
        "protocol and global_port is missing",
        "add protocol and global_port",
    ),
    (
        "a static port translation of a prefix",
        NVI
        + static(
            "10.0.0.0/24", "192.0.2.0/24", 'protocol = "tcp"\nglobal_port = 80\nlocal_port = 80 #@'
        ),
        "nvi.nvi0.static[0].local_port",
        "10.0.0.0/24 is a prefix",
        "each address",
    ),
]


@pytest.mark.parametrize(
    ("text", "key", "message", "remedy"),
    [row[1:] for row in REFUSED],
    ids=[row[0] for row in REFUSED],
)
def test_refused(problems: Problems, text: str, key: str, message: str, remedy: str) -> None:
    (problem,) = problems(text)
    (line,) = [number for number, one in enumerate(text.splitlines(), 1) if "#@" in one]
    assert (problem.key, problem.line) == (key, line)
    assert message in problem.message
    assert remedy in problem.remedy


TAKEN = [
    (
        "statics that only touch",
        static("10.1.0.0/25", "198.51.100.0/25") + static("10.1.0.128/25", "198.51.100.128/25"),
    ),
    (
        "one dnat for each port",
        dnat("198.51.100.1", "port = 80") + dnat("198.51.100.1", 'port = "81-90"'),
    ),
    (
        "one dnat for each protocol",
        dnat("198.51.100.1", 'protocol = "udp"') + dnat("198.51.100.1", 'protocol = "icmp"'),
    ),
    (
        "a dnat beside a static translation",
        static("10.1.0.1", "198.51.100.1") + dnat("198.51.100.2"),
    ),
    (
        "the narrower snat first",
        snat("none", 'source = "10.1.0.0/16"') + snat("198.51.100.1", 'source = "10.0.0.0/8"'),
    ),
    (
        "an snat behind one for another protocol",
        snat("198.51.100.1", 'protocol = "udp"') + snat("198.51.100.2"),
    ),
    (
        "an snat behind one for other protocols",
        snat("198.51.100.1", 'protocol = ["udp", "icmp"]')
        + snat("198.51.100.2", 'protocol = ["udp", "tcp"]'),
    ),
    (
        "an snat behind one with an exclusion that it does not have",
        snat("198.51.100.1", 'destination = "!192.0.2.0/24"') + snat("198.51.100.2"),
    ),
    (
        "an snat for the other family",
        snat("198.51.100.1") + snat("2001:db8::1"),
    ),
    (
        "an snat behind one for half of its family",
        snat("198.51.100.1", 'source = "10.0.0.0/8"')
        + '[[nvi.nvi0.snat]]\nsource = ["10.1.0.0/16", "fd00::/8"]\nto = "none"\n',
    ),
    (
        "an snat behind one for some interfaces",
        snat("198.51.100.1", 'ingress = ["lan0", "wan0"]') + snat("198.51.100.2"),
    ),
    (
        "an snat behind one for some ports",
        snat("198.51.100.1", "port = 53") + snat("198.51.100.2", 'port = "1-100"'),
    ),
    (
        "a pool that contains a static translation's global address",
        static("10.1.0.1", "198.51.100.9") + snat("198.51.100.8/29"),
    ),
    (
        "an exclusion in a family that has no pool",
        snat("198.51.100.1", 'destination = ["!fd00::/8", "!10.0.0.0/8"]'),
    ),
    (
        "all routes",
        ISP + route('destination = "192.0.2.0/24"\nvia = "isp1"') + route('via = "isp1"'),
    ),
]


@pytest.mark.parametrize("text", [row[1] for row in TAKEN], ids=[row[0] for row in TAKEN])
def test_taken(loaded: Loading, text: str) -> None:
    assert loaded(f"{text}\n{NVI}").configuration.nvis


def test_what_the_machine_sends_is_not_taken_by_an_entry_for_every_interface(
    loaded: Loading,
) -> None:
    every = snat("198.51.100.1", 'ingress = ["lan0", "vlan*", "wan0"]')
    assert loaded(f"{NVI}local = true\n{every}{snat('198.51.100.2')}").configuration.nvis


@pytest.mark.parametrize(
    "keys",
    [
        ('source = "192.0.2.0/25"', 'source = "192.0.2.128/25"'),
        ('ingress = "lan0"', 'ingress = "wan0"'),
    ],
)
def test_dnats_apart_by_source_or_ingress_do_not_overlap(
    loaded: Loading, keys: tuple[str, str]
) -> None:
    found = loaded(NVI + "".join(dnat("198.51.100.1", key) for key in keys))
    assert len(found.configuration.nvis[0].dnats) == 2


def test_one_local_address_in_two_tenants_is_fine(loaded: Loading) -> None:
    found = loaded(
        '[tenant.red]\ninterfaces = "red0"\n[tenant.blue]\ninterfaces = "blue0"\n'
        + NVI
        + static("10.1.0.1", "198.51.100.1", 'tenant = "red"')
        + static("10.1.0.1", "198.51.100.2", 'tenant = "blue"')
    )
    assert len(found.configuration.nvis[0].statics) == 2
