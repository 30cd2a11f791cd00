"""The default routes that others put on an interface, as the kernel shows them."""

from __future__ import annotations

import pytest

from nvid.kernel import facts
from nvid.kernel.netlink import session
from nvid.machine import DefaultRoute, Machine
from tests.kernel.conftest import Router
from tests.lab import wait_until

GATEWAY = {4: "203.0.113.254", 6: "2001:db8:1::fe"}
OTHER = {4: "203.0.113.253", 6: "fe80::1"}
BOTH = pytest.mark.parametrize("family", [4, 6])


def machine(router: Router, *followed: str) -> Machine:
    def look() -> Machine:
        with session() as ipr:
            return facts.look(ipr, {}, followed).machine

    return router.call(look)


def add(router: Router, family: int, *words: str) -> None:
    router.ip(f"-{family}", "route", "add", "default", *words)


def best(router: Router, family: int) -> DefaultRoute | None:
    return machine(router, "wan0").default_route("wan0", family)


def gateway(router: Router, family: int) -> str:
    found = best(router, family)
    assert found is not None
    return str(found.gateway)


@BOTH
@pytest.mark.parametrize("protocol", ["boot", "static", "dhcp", "ra"])
def test_of_those_who_configure_machines(router: Router, family: int, protocol: str) -> None:
    add(router, family, "via", GATEWAY[family], "dev", "wan0", "proto", protocol)
    assert gateway(router, family) == GATEWAY[family]


@BOTH
@pytest.mark.parametrize("protocol", ["77", "bird", "bgp"])
def test_neither_nvids_own_nor_those_of_routing_daemons(
    router: Router, family: int, protocol: str
) -> None:
    add(router, family, "via", GATEWAY[family], "dev", "wan0", "proto", protocol)
    assert best(router, family) is None


@BOTH
def test_of_followed_interfaces_only(router: Router, family: int) -> None:
    add(router, family, "via", GATEWAY[family], "dev", "wan0")
    assert machine(router).default_routes == ()
    assert machine(router, "wan1").default_routes == ()


@BOTH
def test_the_lowest_metric_wins(router: Router, family: int) -> None:
    add(router, family, "via", GATEWAY[family], "dev", "wan0", "metric", "200")
    add(router, family, "via", OTHER[family], "dev", "wan0", "metric", "100")
    assert gateway(router, family) == OTHER[family]


@BOTH
def test_main_comes_before_other_tables(router: Router, family: int) -> None:
    add(router, family, "via", OTHER[family], "dev", "wan0", "table", "99", "metric", "1")
    assert gateway(router, family) == OTHER[family]
    add(router, family, "via", GATEWAY[family], "dev", "wan0", "metric", "9")
    assert gateway(router, family) == GATEWAY[family]


@BOTH
def test_each_hop_of_a_shared_route_is_its_interfaces(router: Router, family: int) -> None:
    second = {4: "192.0.2.254", 6: "2001:db8:2::fe"}[family]
    hops = ("nexthop", "via", GATEWAY[family], "dev", "wan0", "nexthop", "via", second)
    add(router, family, *hops, "dev", "wan1")
    found = machine(router, "wan0", "wan1")
    for interface, expected in (("wan0", GATEWAY[family]), ("wan1", second)):
        route = found.default_route(interface, family)
        assert route is not None
        assert str(route.gateway) == expected


@BOTH
def test_a_point_to_point_link_has_no_gateway(router: Router, family: int) -> None:
    add(router, family, "dev", "wan0")
    found = best(router, family)
    assert found is not None
    assert found.gateway is None


def test_the_preferred_source_is_told(router: Router) -> None:
    router.ip("addr", "add", "198.51.100.1/32", "dev", "lo")
    add(router, 4, "via", GATEWAY[4], "dev", "wan0", "src", "198.51.100.1")
    found = best(router, 4)
    assert found is not None
    assert str(found.source) == "198.51.100.1"


@BOTH
def test_a_route_that_leads_nowhere_is_none(router: Router, family: int) -> None:
    router.ip(f"-{family}", "route", "add", "unreachable", "default")
    assert machine(router, "wan0", "lo").default_routes == ()


def test_what_has_expired_is_gone(router: Router) -> None:
    """The kernel removes it later, when it collects garbage."""
    router.namespace.sysctl("net.ipv6.route.gc_interval", 3600)
    add(router, 6, "via", "fe80::1", "dev", "wan0", "proto", "ra", "expires", "1")
    assert best(router, 6) is not None
    wait_until(lambda: best(router, 6) is None, message="the route expired")
