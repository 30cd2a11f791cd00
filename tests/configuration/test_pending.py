"""What is not built yet is read, and refused in plain words."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nvid.configuration import Loaded, Problem
from nvid.configuration.keys import fields_of
from nvid.configuration.pending import PENDING, Pending

NVI = '[nvi.nvi0]\ninterfaces = ["lan0", "wan0"]\n'
TENANT = '[tenant.red]\ninterfaces = "vlan1"\n'
STATIC = NVI + '[[nvi.nvi0.static]]\nlocal = "10.0.0.1"\nglobal = "198.51.100.1"\n'
DNAT = NVI + '[[nvi.nvi0.dnat]]\ndestination = "198.51.100.1"\n'
SNAT = NVI + '[[nvi.nvi0.snat]]\nsource = "10.0.0.0/8"\nto = "198.51.100.1"\n'
UPLINK = '[uplink.isp1]\ninterface = "wan0"\n'
ROUTE = f'{UPLINK}gateway = "203.0.113.1"\n{NVI}[[nvi.nvi0.route]]\n'
VIA = f'{ROUTE}via = "isp1"\n'

# Text whose last line is what is pending; key; words of the feature.
REFUSED = [
    ('[tenant]\nred.interfaces = "vlan1"', "tenant.red", "tenants"),
]


@pytest.mark.parametrize(("text", "key", "feature"), REFUSED)
def test_refused_in_plain_words(
    problems: Callable[..., tuple[Problem, ...]], text: str, key: str, feature: str
) -> None:
    (problem,) = problems(text)
    assert (problem.key, problem.line) == (key, text.rstrip("\n").count("\n") + 1)
    assert problem.message.startswith("not built yet: ")
    assert feature in problem.message
    assert problem.remedy.split()[0] in ("keep", "remove", "write")


@pytest.mark.parametrize("text", [STATIC, SNAT])
def test_tenants_of_entries_are_refused(
    problems: Callable[..., tuple[Problem, ...]], text: str
) -> None:
    found = problems(f'{text}tenant = "red"\n{TENANT}')
    assert [one.key.rpartition(".")[2] for one in found] == ["tenant", "red"]


def test_the_target_tenant_is_refused(problems: Callable[..., tuple[Problem, ...]]) -> None:
    found = problems(f'{DNAT}to = "10.0.0.1"\ntenant = "red"\n{TENANT}')
    assert [one.key for one in found] == ["nvi.nvi0.dnat[0].tenant", "tenant.red"]


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
        f'{SNAT}destination = "!192.0.2.0/24"\nprotocol = "tcp"\nport = 80\ningress = "lan0"',
    ],
)
def test_what_is_built_is_taken(loaded: Callable[..., Loaded], text: str) -> None:
    assert loaded(text).configuration.nvis


@pytest.mark.parametrize("row", PENDING, ids=lambda row: f"{row.kind.__name__}.{row.key}")
def test_rows_name_keys_that_exist(row: Pending) -> None:
    assert not row.key or row.key in [field.key.toml for field in fields_of(row.kind)]
