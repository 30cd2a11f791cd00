"""The table of accidents: everything that an operator or a program can do to nvid's objects.

Each is written in words of ``ip``, ``nft``, ``sysctl`` and ``conntrack``, which a shell on the
router carries out. In the words, {router}, {isp1} and {other} are names of network namespaces;
"other" has nothing to do with nvid.
"""

from __future__ import annotations

from dataclasses import dataclass

from nvid import names

CONFIGURATION = """
[[nvi.nvi0.snat]]
source = ["10.1.0.0/24", "fd00:1::/64"]
to     = "uplink"

[[nvi.nvi0.static]]
local  = "10.1.0.9"
global = "203.0.113.9"

[[nvi.nvi0.static]]
local  = "fd00:1::9"
global = "2001:db8:1::9"

[[nvi.nvi0.static]]
local  = "10.1.0.77"
global = "198.51.100.10"

[[nvi.nvi0.static]]
local  = "fd00:1::77"
global = "2001:db8:100::10"

[[nvi.nvi0.dnat]]
destination = "198.51.100.1"
protocol    = "tcp"
port        = 80
to          = "10.1.0.77:8080"

[nvi.nvi1]
interfaces = ["dmz0"]
backend    = "loopback"

[[nvi.nvi1.static]]
local  = "fd00:2::2"
global = "2001:db8:100:7::2"
"""
"""What needs an object of each kind, on the router of tests/path/site.py; it follows the keys of
nvi0, which has all interfaces but dmz0."""


@dataclass(frozen=True)
class Accident:
    """What somebody does; which kind of object nvid must count a repair of, if any."""

    name: str
    kind: str | None
    commands: tuple[str, ...]
    silent: bool = False
    """The kernel sends no event about it: it is found at the next full check."""
    culprit: str | None = None
    """What the culprit's text must contain, where the kernel tells it."""
    back: tuple[str, ...] = ()
    """What the operator does to put back what is not nvid's to mend; repair counts from there."""
    tidy: tuple[str, ...] = ()
    """What removes the traces that concern nobody, after all has been looked at."""
    cuts: frozenset[str] = frozenset()
    """The protocols ("tcp", "udp") whose flows the accident itself may end."""


def ip(name: str, kind: str | None, *commands: str, **more: object) -> Accident:
    """Words of ``ip``."""
    return Accident(name, kind, tuple(f"ip {each}" for each in commands), **more)  # type: ignore[arg-type]


def nft(name: str, *commands: str) -> Accident:
    """Words of ``nft``, which the kernel tells the name of."""
    return Accident(name, "ruleset", tuple(f"nft {each}" for each in commands), culprit="nft (pid ")


def sysctl(key: str, value: str) -> Accident:
    """One key that somebody writes."""
    return Accident(key, "sysctl", (f"sysctl -q -w {key}={value}",), silent=True)


def tc(name: str, *commands: str) -> Accident:
    """Words of ``tc``."""
    return Accident(name, "filter", tuple(f"tc {each}" for each in commands))


MAIN_RULES = tuple(
    f"ip {version} rule show priority {priority} | grep -q . || "
    f"ip {version} rule add priority {priority} lookup {table} protocol kernel"
    for version, priority, table in (
        ("-4", 32766, "main"),
        ("-4", 32767, "default"),
        ("-6", 32766, "main"),
    )
)
"""What ``ip rule flush`` takes along and is not nvid's."""

LAN0_ADDRESSES = (
    "ip address replace 10.1.0.1/24 dev lan0",
    "ip address replace fd00:1::1/64 dev lan0 nodad",
)
WAN0_ADDRESSES = (
    "ip address replace 203.0.113.1/24 dev wan0",
    "ip address replace 2001:db8:1::1/64 dev wan0 nodad",
)
ISP1 = (
    "ip -n {isp1} address replace 203.0.113.254/24 dev wan",
    "ip -n {isp1} address replace 2001:db8:1::fe/64 dev wan nodad",
    "ip -n {isp1} route replace 198.51.100.0/24 via 203.0.113.1",
    "ip -n {isp1} route replace 2001:db8:100::/48 via 2001:db8:1::1",
)
"""The provider's end of the wire to wan0."""

RESTARTED_FIREWALL = (
    "printf 'flush ruleset\\n"
    "table inet filter {{ chain forward {{ type filter hook forward priority 0; "
    "ct state invalid drop; }}; }}\\n' | nft -f -"
)
"""As ``systemctl restart nftables`` with the file of a distribution."""

DISTRIBUTION_SYSCTLS = (
    "printf '%s\\n' net.ipv4.ip_forward=1 net.ipv4.ip_forward=0 net.ipv4.conf.all.rp_filter=1 "
    "net.ipv4.conf.default.rp_filter=1 net.ipv4.conf.all.accept_redirects=0 "
    "net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.all.accept_source_route=0 "
    "net.ipv6.conf.all.forwarding=0 net.ipv6.conf.all.accept_redirects=0 "
    "| sysctl -q -p -"
)
"""A file of hardening advice that is meant for servers."""


def _ends() -> list[Accident]:
    return [
        accident
        for end in ("nvi0", "nvi0p")
        for accident in (
            ip(f"{end} deleted", "link", f"link delete {end}"),
            ip(f"{end} set down", "link", f"link set {end} down"),
            ip(f"{end} renamed", "link", f"link set {end} down", f"link set {end} name other"),
            ip(f"{end} renamed while up", "link", f"link set {end} name other"),
            ip(f"{end} has another MAC", "link", f"link set {end} address 02:00:00:00:00:07"),
            ip(f"{end} has another MTU", "link", f"link set {end} mtu 1400"),
            ip(f"{end} has another group", "link", f"link set {end} group 7"),
            ip(f"{end} has another alias", "link", f"link set {end} alias other"),
            ip(f"{end} moved to another namespace", "link", f"link set {end} netns {{other}}"),
            ip(
                f"{end} put into a bridge",
                "link",
                "link add br7 type bridge",
                f"link set {end} master br7",
                tidy=("ip link delete br7",),
            ),
        )
    ]


ACCIDENTS: tuple[Accident, ...] = (
    *_ends(),
    ip(
        "both ends moved to another namespace",
        "link",
        "link set nvi0 netns {other}",
        "link set nvi0p netns {other}",
        tidy=("ip -n {other} link delete nvi0",),
    ),
    ip(
        "the pair set down, renamed and readdressed at once",
        "link",
        "link set nvi0 down",
        "link set nvi0p down",
        "link set nvi0 name one",
        "link set nvi0p name two",
        "link set one address 02:00:00:00:00:07",
    ),
    ip("ARP switched off on the pair", "neighbour", "link set nvi0 arp off"),
    ip("the peer's address deleted", "address", "addr del 169.254.128.2/32 dev nvi0p"),
    ip("the peer's addresses flushed", "address", "addr flush dev nvi0p"),
    ip("an address added to the pair", "address", "addr add 192.168.77.1/24 dev nvi0"),
    ip("an IPv6 address added to the pair", "address", "addr add fd77::1/64 dev nvi0p nodad"),
    ip("the pair's neighbour deleted", "neighbour", "neigh del 169.254.128.3 dev nvi0"),
    ip("the pair's IPv6 neighbour deleted", "neighbour", "neigh del fe80::1 dev nvi0"),
    ip(
        "the pair's neighbour changed",
        "neighbour",
        "neigh replace 169.254.128.3 lladdr 02:00:00:00:00:07 nud permanent dev nvi0",
    ),
    ip("the pair's neighbours flushed", "neighbour", "neigh flush dev nvi0 nud permanent"),
    ip("all neighbours flushed", "neighbour", "neigh flush nud permanent", "neigh flush all"),
    ip(
        "a proxy neighbour deleted",
        "neighbour",
        "neigh del proxy 203.0.113.9 dev wan0",
        silent=True,
    ),
    ip(
        "an IPv6 proxy neighbour deleted",
        "neighbour",
        "neigh del proxy 2001:db8:1::9 dev wan0",
        silent=True,
    ),
    ip("a lane's rule deleted", "rule", "rule del priority 7711"),
    ip("an IPv6 lane's rule deleted", "rule", "-6 rule del priority 7711"),
    ip("a guard deleted", "rule", "rule del priority 7790 iif lan0"),
    ip("the rule into the pair deleted", "rule", "rule del priority 7750"),
    ip("an IPv6 guard deleted", "rule", "-6 rule del priority 7790 iif lan0"),
    ip("a rule added with nvid's protocol", "rule", "rule add priority 7705 table 254 protocol 77"),
    ip("all rules flushed", "rule", "rule flush", "-6 rule flush", tidy=MAIN_RULES),
    ip(
        "all rules flushed but main's",
        "rule",
        "rule flush",
        "rule add priority 32766 lookup main",
        "-6 rule flush",
        "-6 rule add priority 32766 lookup main",
        tidy=MAIN_RULES,
    ),
    ip("an uplink's route deleted", "route", "route del default table 7701"),
    ip("an uplink's IPv6 route deleted", "route", "-6 route del default dev wan0 table 7701"),
    ip(
        "an uplink's route changed",
        "route",
        "route replace default via 203.0.113.77 dev wan0 onlink table 7701 proto 77",
    ),
    ip("the route into the pair deleted", "route", "route del default table 7716 metric 0"),
    ip("a table flushed", "route", "route flush table 7716"),
    ip("an IPv6 table flushed", "route", "-6 route flush table 7716"),
    ip(
        "every route of nvid's flushed",
        "route",
        # Some kernels refuse what ip sends for a route with a nexthop object.
        "route flush proto 77 table all || true",
        "-6 route flush proto 77 table all || true",
    ),
    ip("a pool's route in main deleted", "route", "route del 198.51.100.10/32"),
    ip("an IPv6 pool's route in main deleted", "route", "-6 route del 2001:db8:100::10/128"),
    ip(
        "a route added with nvid's protocol",
        "route",
        "route add 198.18.77.0/24 dev lan0 proto 77 table 7701",
    ),
    ip("a nexthop deleted", "nexthop", f"nexthop del id {names.LOOPBACK_NEXTHOP}"),
    ip(
        "a nexthop changed",
        "nexthop",
        f"nexthop del id {names.LOOPBACK_NEXTHOP}",
        f"-6 nexthop add id {names.LOOPBACK_NEXTHOP} dev lan0 protocol 77",
    ),
    ip("a route over lo deleted", "route", "-6 route del 2001:db8:100:7::2 table 7700"),
    tc("the filter on lo deleted", "filter del dev lo egress pref 7700"),
    tc("all filters on lo deleted", "filter del dev lo egress"),
    tc("the qdisc on lo deleted", "qdisc del dev lo clsact"),
    nft("the ruleset flushed", "flush ruleset"),
    nft("the table deleted", "delete table inet nvid"),
    nft("a rule inserted", "insert rule inet nvid classify drop"),
    nft("a rule appended", "add rule inet nvid bind drop"),
    nft("a chain's rules flushed", "flush chain inet nvid translate_source"),
    nft("the rules of all chains flushed", "flush table inet nvid"),
    nft("an empty chain deleted", "delete chain inet nvid owned_by_nvid"),
    nft(
        "a chain deleted",
        "flush chain inet nvid second_pass",
        "delete chain inet nvid second_pass",
    ),
    nft("a chain added", "add chain inet nvid somebodys"),
    nft("a policy changed", "chain inet nvid bind '{{ policy drop; }}'"),
    nft("an element added", "add element inet nvid snat_of '{{ 7 : accept }}'"),
    nft("an element deleted", "delete element inet nvid snat_of '{{ 0x00800100 }}'"),
    nft("a map emptied", "flush map inet nvid offer"),
    nft(
        "a map deleted",
        "flush chain inet nvid translate_source",
        "delete map inet nvid snat_of",
    ),
    nft("the table put to sleep", "add table inet nvid '{{ flags dormant; }}'"),
    nft("a map added", "add map inet nvid somebodys '{{ type mark : verdict; }}'"),
    nft("a set added", "add set inet nvid somebodys '{{ type mark; }}'"),
    nft("a counter added", "add counter inet nvid somebodys"),
    nft(
        "everything deleted from the offers",
        "flush map inet nvid offer",
        "flush map inet nvid dnat_of",
    ),
    Accident(
        "the firewall's service restarted",
        "ruleset",
        (RESTARTED_FIREWALL,),
        culprit="nft (pid ",
        tidy=("nft delete table inet filter",),
    ),
    Accident(
        "the table, the rules, the routes and the pair, all at once",
        "ruleset",
        (
            "nft flush ruleset",
            "ip rule flush; ip -6 rule flush",
            "ip route flush proto 77 table all || true",
            "ip -6 route flush proto 77 table all || true",
            "ip link delete nvi0",
        ),
        culprit="nft (pid ",
        tidy=MAIN_RULES,
    ),
    sysctl("net.ipv4.conf.nvi0.forwarding", "0"),
    sysctl("net.ipv4.conf.nvi0p.rp_filter", "1"),
    sysctl("net.ipv4.conf.nvi0p.accept_local", "0"),
    sysctl("net.ipv4.conf.wan0.rp_filter", "1"),
    sysctl("net.ipv4.conf.lan0.src_valid_mark", "0"),
    sysctl("net.ipv4.conf.lo.accept_local", "0"),
    sysctl("net.ipv4.conf.nvi0p.send_redirects", "1"),
    sysctl("net.ipv4.conf.lan0.forwarding", "0"),
    Accident(
        "net.ipv4.ip_forward",
        "sysctl",
        # Where it is 0 already, writing 0 does nothing.
        ("sysctl -q -w net.ipv4.ip_forward=1", "sysctl -q -w net.ipv4.ip_forward=0"),
        silent=True,
    ),
    sysctl("net.ipv6.conf.all.forwarding", "0"),
    sysctl("net.ipv6.conf.nvi0.disable_ipv6", "1"),
    sysctl("net.ipv6.conf.nvi0p.disable_ipv6", "1"),
    sysctl("net.ipv6.conf.wan0.proxy_ndp", "0"),
    Accident(
        "a distribution's sysctl file loaded",
        "sysctl",
        (DISTRIBUTION_SYSCTLS,),
        silent=True,
        tidy=("sysctl -q -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0",),
    ),
    Accident(
        "all flows forgotten",
        None,
        ("conntrack -F",),
        # A reply without its flow is for the router itself, which knows no such connection.
        cuts=frozenset({"tcp"}),
    ),
    ip(
        "an address of nvid's pool added to an uplink",
        None,
        "address add 198.51.100.10/32 dev wan0",
        tidy=("ip address del 198.51.100.10/32 dev wan0",),
    ),
    Accident(
        "a short queue put before the pair",
        None,
        ("tc qdisc replace dev nvi0 root pfifo limit 2",),
        tidy=("tc qdisc del dev nvi0 root",),
    ),
    ip("the route cache flushed", None, "route flush cache"),
    ip(
        "an uplink's addresses flushed",
        None,
        "address flush dev wan0 scope global",
        # Its flows are ended, so that they begin anew by the other uplink.
        cuts=frozenset({"tcp", "udp"}),
        back=(*WAN0_ADDRESSES,),
    ),
    ip(
        "an uplink's interface set down",
        None,
        "link set wan0 down",
        # Its flows are ended, so that they begin anew by the other uplink.
        cuts=frozenset({"tcp", "udp"}),
        back=("ip link set wan0 up", *WAN0_ADDRESSES),
    ),
    ip(
        "an uplink's interface deleted and made again",
        None,
        "link delete wan0",
        # Its flows are ended, so that they begin anew by the other uplink.
        cuts=frozenset({"tcp", "udp"}),
        back=(
            "ip link add wan0 type veth peer name wan netns {isp1}",
            *WAN0_ADDRESSES,
            "ip link set wan0 up",
            "ip -n {isp1} link set wan up",
            *ISP1,
        ),
    ),
    ip(
        "a LAN's interface moved to another namespace and back",
        None,
        "link set lan0 netns {other}",
        back=(
            "ip -n {other} link set lan0 netns {router}",
            "ip link set lan0 up",
            *LAN0_ADDRESSES,
        ),
    ),
    ip(
        "a LAN's addresses flushed",
        None,
        "address flush dev lan0 scope global",
        back=LAN0_ADDRESSES,
    ),
    ip(
        "a LAN's interface renamed and named back",
        None,
        "link set lan0 name other",
        back=("ip link set other name lan0",),
    ),
)

HEARD = tuple(each for each in ACCIDENTS if not each.silent)
UNHEARD = tuple(each for each in ACCIDENTS if each.silent)
