"""A STUN client of somebody else's (coturn) says what kind of NAT it finds: RFC 5780, which asks
from one socket for answers from other addresses and ports of the server."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_interface

import pytest

from tests.lab import wait_until
from tests.path.entries import INDEPENDENT, STATIC, STATIC_PREFIX
from tests.path.site import Family, Site

PORT = 3478
SECOND = ("198.18.0.11/32", "2001:db8:f::11/128")
"""RFC 5780 wants a server with two addresses; the first is the site's."""

DEFAULT = INDEPENDENT.replace('mapping = "endpoint-independent"', "")


@pytest.fixture(scope="module", autouse=True)
def stun_server(ground: Site) -> Iterator[None]:
    """coturn on both addresses of both families, as a STUN server only."""
    server = ground.server
    addresses = ["198.18.0.10", "2001:db8:f::10"]
    for each in SECOND:
        server.address("lo", each)
        addresses.append(str(ip_interface(each).ip))
    scratch = ground.lab.scratch("coturn")
    process = server.popen(
        *("turnserver", "-n", "--stun-only", "--no-tcp", "--no-tls", "--no-dtls", "--no-cli"),
        *("--log-file", "stdout", "--pidfile", f"{scratch}.pid", "--db", f"{scratch}.db"),
        *(word for each in addresses for word in ("-L", each)),
    )
    wait_until(
        lambda: server.run("ss", "-Hlun").stdout.count(f":{PORT} ") >= len(addresses),
        message="coturn",
    )
    yield
    process.terminate()
    process.wait(5)


def discovered(site: Site, family: Family, *options: str) -> str:
    """What turnutils_natdiscovery says."""
    done = site.client.run("turnutils_natdiscovery", *options, family.server, timeout=60)
    return done.stdout


@pytest.mark.parametrize(
    "entries", [INDEPENDENT, STATIC, STATIC_PREFIX], ids=["mapping", "static", "static prefix"]
)
def test_is_endpoint_independent(site: Site, family: Family, entries: str) -> None:
    site.use(entries)
    found = discovered(site, family, "-m", "-f")
    assert "NAT with Endpoint Independent Mapping!" in found
    assert "NAT with Endpoint Independent Filtering!" in found


def test_is_so_for_what_has_to_be_fragmented(site: Site, family: Family) -> None:
    """Requests and answers of more than 1500 octets (RFC 4787, REQ-14)."""
    site.use(INDEPENDENT)
    found = discovered(site, family, "-m", "-f", "-P")
    assert "NAT with Endpoint Independent Mapping!" in found
    assert "NAT with Endpoint Independent Filtering!" in found


def test_hairpins(site: Site, family: Family) -> None:
    site.use(INDEPENDENT)
    assert "Received a request" in discovered(site, family, "-H")
    site.use(DEFAULT)
    assert "Received a request" not in discovered(site, family, "-H")


def test_the_default_filters_by_address_and_port(site: Site, family: Family) -> None:
    site.use(DEFAULT)
    found = discovered(site, family, "-f")
    assert "NAT with Address and Port Dependent Filtering!" in found
