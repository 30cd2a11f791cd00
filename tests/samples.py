"""Configurations and a machine that many tests share, as values and as text.

Every sample is a configuration that nvid accepts, and each one has a topic of its own. The machine
is the router of ``tests.lab.two_uplinks``.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path

from nvid.configuration import load
from nvid.configuration.types import Configuration
from nvid.desired import Desired, desired_state
from nvid.desired.numbers import Numbers, allocate
from nvid.machine import Interface, InterfaceAddress, Machine

UPLINKS = """
[uplink.isp1]
interface = "wan0"
gateway   = ["203.0.113.254", "2001:db8:1::fe"]
priority  = 10

[uplink.isp2]
interface = "wan1"
gateway   = ["192.0.2.254", "2001:db8:2::fe"]
priority  = 20
"""

MASQUERADE = f"""{UPLINKS}
[nvi.nvi0]
interfaces = ["lan0", "wan0", "wan1"]

[[nvi.nvi0.snat]]
source = ["10.1.0.0/24", "fd00:1::/64"]
to     = "uplink"
"""

EVERY_KIND = f"""{UPLINKS}
[nvi.nvi0]
interfaces = ["lan0", "wan0", "wan1"]

[[nvi.nvi0.static]]
local  = "10.1.0.2"
global = "198.51.100.10"

[[nvi.nvi0.static]]
local  = "fd00:1::2"
global = "2001:db8:100::10"

[[nvi.nvi0.static]]
local  = "10.2.0.0/28"
global = "198.51.100.32/28"

[[nvi.nvi0.static]]
local  = "fd00:2::/64"
global = "2001:db8:100:2::/64"

[[nvi.nvi0.dnat]]
destination = "198.51.100.1"
protocol    = "tcp"
port        = 80
to          = "10.1.0.3:8080"

[[nvi.nvi0.dnat]]
destination = "198.51.100.1"
protocol    = ["tcp", "udp"]
port        = "9000-9099"
to          = "10.1.0.3"

[[nvi.nvi0.dnat]]
destination = "198.51.100.2"
protocol    = "udp"
to          = "10.1.0.3:53"

[[nvi.nvi0.dnat]]
destination = "198.51.100.48/29"
to          = "10.1.0.3"

[[nvi.nvi0.dnat]]
destination = "2001:db8:100::1"
port        = 443
to          = "[fd00:1::3]:8443"

[[nvi.nvi0.snat]]
source = ["10.1.0.3", "fd00:1::3"]
to     = "none"

[[nvi.nvi0.snat]]
source      = ["10.1.0.0/24"]
destination = ["!10.0.0.0/8"]
protocol    = "udp"
port        = 53
ingress     = ["lan0"]
to          = "198.51.100.8"

[[nvi.nvi0.snat]]
source = ["10.1.0.0/24", "fd00:1::/64"]
to     = ["198.51.100.16-198.51.100.20", "198.51.100.24/29", "2001:db8:100::20/124"]

[[nvi.nvi0.snat]]
source = ["10.3.0.0/24"]
to     = "uplink:isp2"

[[nvi.nvi0.snat]]
source = ["10.0.0.0/8", "fd00::/8"]
to     = "uplink"

[[nvi.nvi0.route]]
source = ["198.51.100.16/28"]
via    = ["isp2", "isp1"]

[[nvi.nvi0.route]]
destination = ["198.18.0.0/24", "2001:db8:f::/64"]
via         = "isp1"
"""

TWO_NVIS = f"""{UPLINKS}
[nvi.nvi0]
interfaces = ["lan*"]
local      = true
path       = "every-packet"
reach      = []

[[nvi.nvi0.snat]]
to = "198.51.100.8/29"

[nvi.second]
interfaces = ["wan0", "wan1"]
on_failure = "open"
reach      = ["arp"]

[[nvi.second.static]]
local  = "10.1.0.2"
global = "203.0.113.10"

[[nvi.second.static]]
local  = "fd00:1::2"
global = "2001:db8:1::10"
"""

SHARED_POOLS = "\n".join(
    [
        '[nvi.nvi0]\ninterfaces = ["lan0", "wan0"]',
        *(
            f'[[nvi.nvi0.snat]]\nsource = ["10.1.{n}.0/24"]\nto = "198.51.100.0/{length}"'
            for n, length in ((n, 24 + n % 3) for n in range(120))
        ),
    ]
)
"""More entries that share addresses than there are label bits to tell them apart by."""

ENDPOINTS_AND_BLOCKS = """
[nvi.nvi0]
interfaces = ["lan0", "wan0"]
[[nvi.nvi0.snat]]
source  = ["10.1.0.0/24", "fd00:1::/64"]
to      = ["198.51.100.8", "2001:db8:100::8/126"]
mapping = "endpoint-independent"
[[nvi.nvi0.snat]]
source     = ["10.2.0.0/28", "fd00:2::/124"]
to         = ["198.51.100.16/31", "2001:db8:100::10/127"]
port_block = 2000
"""
"""Every kind of rule that nvid encodes itself."""

SAMPLES: dict[str, str] = {
    "endpoints and blocks": ENDPOINTS_AND_BLOCKS,
    "nothing": "",
    "masquerade": MASQUERADE,
    "every kind of translation": EVERY_KIND,
    "two NVIs": TWO_NVIS,
    "no uplinks": """
[nvi.nvi0]
interfaces = ["lan0", "wan0"]
[[nvi.nvi0.static]]
local  = "10.1.0.2"
global = "203.0.113.10"
""",
    "an NVI without translations": '[nvi.nvi0]\ninterfaces = ["lan0"]',
    "equal uplinks by weight": MASQUERADE.replace("priority  = 20", "priority = 10\nweight = 3"),
    "every packet": MASQUERADE.replace("[nvi.nvi0]", '[nvi.nvi0]\npath = "every-packet"'),
    "fails open": MASQUERADE.replace("[nvi.nvi0]", '[nvi.nvi0]\non_failure = "open"'),
    "local traffic": MASQUERADE.replace("[nvi.nvi0]", "[nvi.nvi0]\nlocal = true"),
    "over lo": EVERY_KIND.replace("[nvi.nvi0]", '[nvi.nvi0]\nbackend = "loopback"\nlocal = true'),
    "a pair beside lo": TWO_NVIS.replace("[nvi.second]", '[nvi.second]\nbackend = "loopback"'),
    "globs": EVERY_KIND.replace('["lan0", "wan0", "wan1"]', '["lan*", "lan0", "wan*"]'),
    "absent interfaces": MASQUERADE.replace('"lan0",', '"lan0", "lan7", "ppp*",'),
    "interfaces named like words of nft": MASQUERADE.replace(
        '"lan0",', '"lan0", "ip", "drop", "counter", "vlan", "mark", "th", "eth0.7",'
    ),
    "interfaces named like numbers": MASQUERADE.replace(
        '"lan0",', '"lan0", "6in4-wan", "4g0", "7", "0x10", "eth0:1", "10.1.0.1", "-a", "_b",'
    ),
    "globs named like words and numbers": MASQUERADE.replace(
        '"lan0",', '"lan0", "vlan*", "6in4-*", "eth0.*", "ip*", "br-*",'
    ),
    "NVIs named like words of nft": MASQUERADE.replace("nvi0", "counter")
    + '[nvi.drop]\ninterfaces = ["dmz0"]\n',
    "shared pools": SHARED_POOLS,
    "one destination in two NVIs": """
[nvi.nvi0]
interfaces = ["lan0"]
[[nvi.nvi0.dnat]]
destination = "198.51.100.0/24"
to          = "10.1.0.2"

[nvi.nvi1]
interfaces = ["wan0"]
[[nvi.nvi1.dnat]]
destination = "198.51.100.0/25"
to          = "10.1.0.3"
""",
    "one pool in two NVIs": """
[nvi.nvi0]
interfaces = ["lan0"]
[[nvi.nvi0.snat]]
to = "198.51.100.0/24"

[nvi.nvi1]
interfaces = ["wan0"]
[[nvi.nvi1.snat]]
to = ["198.51.100.128/25", "2001:db8:100::/64"]
""",
    "numbers of one's own": """
[daemon]
fwmark_mask   = 0x000003ff
rule_priority = 100
tables        = "100-117"
protocol      = 201
"""
    + EVERY_KIND,
    "all bits of the mark": "[daemon]\nfwmark_mask = 0xffffffff\n" + EVERY_KIND,
}


def configuration(text: str) -> Configuration:
    """A text as `nvid.configuration` reads it from a file. Raises ConfigurationError."""
    with tempfile.TemporaryDirectory(prefix="nvt-") as directory:
        path = Path(directory) / "nvid.toml"
        path.write_text(text)
        return load(path).configuration


def interface(name: str, index: int, *addresses: str, up: bool = True) -> Interface:
    """A NAT-enabled interface with carrier, as the kernel would show it."""
    return Interface(
        name,
        index,
        up=up,
        carrier=up,
        addresses=tuple(InterfaceAddress(ip_interface(each)) for each in addresses),
    )


LAN0 = interface("lan0", 2, "10.1.0.1/24", "fd00:1::1/64")
WAN0 = interface("wan0", 3, "203.0.113.1/24", "2001:db8:1::1/64")
WAN1 = interface("wan1", 4, "192.0.2.1/24", "2001:db8:2::1/64")

MACHINE = Machine(
    interfaces=(Interface("lo", 1, up=True, carrier=True), LAN0, WAN0, WAN1),
    sysctls={"net/ipv4/conf/all/rp_filter": "0", "net/ipv6/conf/all/forwarding": "0"},
)


def with_interfaces(*changed: Interface) -> Machine:
    """The machine with some interfaces as they are given, or more of them."""
    found = {each.name: each for each in (*MACHINE.interfaces, *changed)}
    return replace(MACHINE, interfaces=tuple(found.values()))


def without_interface(name: str) -> Machine:
    """The machine before an interface appears."""
    return replace(
        MACHINE, interfaces=tuple(each for each in MACHINE.interfaces if each.name != name)
    )


def desired(text: str, machine: Machine = MACHINE, previous: Numbers | None = None) -> Desired:
    """What a configuration wants on a machine, with numbers as at a first start."""
    wanted = configuration(text)
    return desired_state(wanted, machine, allocate(wanted, previous or Numbers()))
