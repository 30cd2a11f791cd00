"""One site for all files, because making it takes longer than most of them.

What a test of tests/path needs is taken from there, the look at what the providers dropped too.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.effort import EFFORT
from tests.kernels.inside.vrfs import BEFORE_VRFS, VRF_TENANTS, route_inside, vrf
from tests.lab import Lab
from tests.path.conftest import family, path, pytest_pyfunc_call, site
from tests.path.site import Site
from tests.path.test_tenants import Tenant, observe_hosts, plug_in, serve_everybody

__all__ = ["family", "path", "pytest_pyfunc_call", "site"]


_USUAL = (("first-packet", "IPv4", "tcp"), ("every-packet", "IPv6", "udp"))
"""Path, family and protocol as they are tried where time counts: each once."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With NVID_TEST_EFFORT above 1, every pair is tried."""
    if EFFORT == 1:
        items[:] = [each for each in items if _is_usual(each)]


def _is_usual(item: pytest.Item) -> bool:
    params = getattr(getattr(item, "callspec", None), "params", {})
    if "path" not in params or "family" not in params:
        return True
    family = f"IPv{params['family'].version}"
    protocols = [params["protocol"]] if "protocol" in params else ["tcp", "udp"]
    return any((params["path"], family, each) in _USUAL for each in protocols)


@pytest.fixture(params=["veth"])
def backend(request: pytest.FixtureRequest) -> str:
    """What flows cross, unless a file says otherwise."""
    return str(request.param)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The lab of all files."""
    with Lab() as made:
        yield made


@pytest.fixture(scope="session")
def ground(lab: Lab) -> Site:
    """The site of all files."""
    made = Site(lab, None)
    made.daemon = BEFORE_VRFS
    made.observe_everywhere()
    return made


@pytest.fixture(scope="session")
def tenants(ground: Site) -> tuple[Tenant, Tenant]:
    """Red behind ten0 in vrf-red, blue behind ten1 in vrf-blue."""
    ground.tenants = VRF_TENANTS
    serve_everybody(ground)
    made = tuple(
        plug_in(ground, interface, name, vrf(ground.router, name))
        for interface, name in (("ten0", "red"), ("ten1", "blue"))
    )
    route_inside(ground.router)
    observe_hosts(ground, made)
    return made[0], made[1]
