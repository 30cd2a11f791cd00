"""Configurations, each for one feature of the language, that are accepted as they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nvid.configuration import Loaded

NVI = '[nvi.nvi0]\ninterfaces = ["lan0", "wan0"]\n'
TENANT = '[tenant.red]\ninterfaces = "vlan1"\n'
STATIC = NVI + '[[nvi.nvi0.static]]\nlocal = "10.0.0.1"\nglobal = "198.51.100.1"\n'
DNAT = NVI + '[[nvi.nvi0.dnat]]\ndestination = "198.51.100.1"\n'
SNAT = NVI + '[[nvi.nvi0.snat]]\nsource = "10.0.0.0/8"\nto = "198.51.100.1"\n'
UPLINK = '[uplink.isp1]\ninterface = "wan0"\n'
ROUTE = f'{UPLINK}gateway = "203.0.113.1"\n{NVI}[[nvi.nvi0.route]]\n'
VIA = f'{ROUTE}via = "isp1"\n'


@pytest.mark.parametrize(
    "text",
    [
        f'{NVI}backend = "loopback"',
        f'{UPLINK}gateway = "auto"\ncheck = {{ targets = "192.0.2.53" }}\n{NVI}',
        f"[conntrack]\nmax = 262144\n{NVI}",
        f"{NVI}helpers = {{ ftp = 21 }}",
        f'{STATIC}protocol = "tcp"\nlocal_port = 80\nglobal_port = 80',
        f'{DNAT}to = "10.0.0.1"\nsource = "192.0.2.1"\ningress = "wan0"',
        f'{DNAT}to = [{{ address = "10.0.0.1", weight = 2 }}, "10.0.0.2"]',
        f'{DNAT}port = "80-89"\nto = "10.0.0.1:90-99"',
        f'{NVI}[[nvi.nvi0.dnat]]\ndestination = "198.51.100.0/24"\nto = "10.2.0.0/24"',
        f'{UPLINK}gateway = "203.0.113.1"\n{NVI}[[nvi.nvi0.dnat]]\n'
        'destination = "uplink:isp1"\nto = "10.0.0.1"',
        f'{SNAT}ports = "1024-65535"\nlimit = 2000\nlog = true',
        f'{SNAT}mapping = "endpoint-independent"',
        f'{NVI}[[nvi.nvi0.snat]]\nsource = "fd00::/64"\nto = "2001:db8::8"\n'
        'mapping = "endpoint-independent"',
        f'{NVI}[[nvi.nvi0.snat]]\nsource = "fd00::/122"\nto = "2001:db8::8"\nport_block = 512',
        f'{NVI}[[nvi.nvi0.snat]]\nsource = "10.0.0.0/25"\nto = "198.51.100.0/31"\nport_block = 512',
        f'{SNAT}mapping = "port-dependent"\nlog = false',
        f'{DNAT}to = {{ address = "10.0.0.1", port = 80, weight = 1 }}',
        f'{DNAT}port = "80-89"\nto = ["10.0.0.1:80"]',
        f'{VIA}ingress = "lan0"\nprotocol = "tcp"\nport = 443\ndscp = 46',
        f"{ROUTE}table = 254",
        f'{ROUTE}action = "prohibit"',
        f'{STATIC}tenant = "red"\n{TENANT}',
        f'{SNAT}tenant = "red"\n{TENANT}',
        f'{DNAT}to = "10.0.0.1"\ntenant = "red"\n{TENANT}',
        f'{SNAT}destination = "!192.0.2.0/24"\nprotocol = "tcp"\nport = 80\ningress = "lan0"',
    ],
)
def test_short_ones_are_accepted(loaded: Callable[..., Loaded], text: str) -> None:
    assert loaded(text).configuration.nvis
