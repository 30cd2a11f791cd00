"""Entries that several files try: TOML, for `Site.use`."""

from __future__ import annotations

INDEPENDENT = """
[[nvi.nvi0.snat]]
source = ["10.0.0.0/8", "fd00::/16"]
to = ["198.51.100.8", "2001:db8:100::8"]
mapping = "endpoint-independent"
"""
"""Mappings that hold for every destination."""

SNAT_TO_POOL = """
[[nvi.nvi0.snat]]
source = ["10.0.0.0/8", "fd00::/16"]
to = ["198.51.100.8", "2001:db8:100::8"]
"""
"""From every inside network to one address of a pool."""

LAN_TO_POOL = """
[[nvi.nvi0.snat]]
source = ["10.1.0.0/24", "fd00:1::/64"]
to = ["198.51.100.8", "2001:db8:100::8"]
"""
"""From the LAN to one address of a pool."""

STATIC = """
[[nvi.nvi0.static]]
local = "10.1.0.2"
global = "198.51.100.10"

[[nvi.nvi0.static]]
local = "fd00:1::2"
global = "2001:db8:100::10"
"""
"""The client, one to one."""

STATIC_PREFIX = """
[[nvi.nvi0.static]]
local = "10.1.0.0/24"
global = "198.51.100.0/24"

[[nvi.nvi0.static]]
local = "fd00:1::/64"
global = "2001:db8:100:1::/64"
"""
"""The LAN, prefix to prefix."""

DNAT = """
[[nvi.nvi0.dnat]]
destination = "198.51.100.30"
to = "10.1.0.2"

[[nvi.nvi0.dnat]]
destination = "2001:db8:100::30"
to = "fd00:1::2"
"""
"""An address of a pool, to the client."""

LAN_TO_RANGE = """
[[nvi.nvi0.snat]]
source = ["10.1.0.0/24", "fd00:1::/64"]
to = ["198.51.100.8/29", "2001:db8:100::10/124"]
"""
"""From the LAN to some addresses of a pool."""

ELSEWHERE = """
[[nvi.nvi0.route]]
destination = ["198.18.0.11", "2001:db8:f::11"]
via = "isp2"
"""
"""What goes to the second server leaves by isp2."""
