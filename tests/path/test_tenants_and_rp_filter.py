"""Tenants where rp_filter is 1 or 2, as distributions set it: the kernel asks for every source."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import Lab
from tests.path.site import IPV4, Family, Site
from tests.path.test_tenants import (
    blue,
    red,
    tenants,
    test_a_tenant_is_reached_by_its_global_address,
    test_all_to_one_server_from_one_port,
    test_from_tenant_to_tenant,
    test_one_address_and_port_in_each_tenant_at_once,
)

__all__ = [
    "blue",
    "red",
    "tenants",
    "test_a_tenant_is_reached_by_its_global_address",
    "test_all_to_one_server_from_one_port",
    "test_from_tenant_to_tenant",
    "test_one_address_and_port_in_each_tenant_at_once",
]


@pytest.fixture(scope="module", params=["1", "2"], ids=lambda each: f"rp_filter {each}")
def rp_filter(request: pytest.FixtureRequest) -> str:
    """The value of "all", of "default", and so of what is plugged in later."""
    return str(request.param)


@pytest.fixture(scope="module")
def lab(rp_filter: str) -> Iterator[Lab]:
    """A lab for each."""
    with Lab() as made:
        yield made


@pytest.fixture(scope="module")
def ground(lab: Lab, rp_filter: str) -> Site:
    """The site with that rp_filter."""
    made = Site(lab, None)
    for name in ("all", "default", *made.router.interfaces()):
        made.router.sysctl(f"net/ipv4/conf/{name}/rp_filter", rp_filter)
    made.observe_everywhere()
    return made


@pytest.fixture
def family() -> Family:
    """IPv6 has no rp_filter."""
    return IPV4
