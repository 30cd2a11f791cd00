"""One lab and one daemon for each file; tests run for both paths and, where they ask for a
family, for both families. Between tests the daemon is reloaded.

Whatever a test is about, its two providers drop and count every packet whose source is not their
own, and the test fails if they counted any.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Literal

import pytest

from tests.effort import EFFORT
from tests.lab import Lab
from tests.path.site import IPV4, IPV6, Family, Site


@pytest.fixture(scope="module")
def lab(default_route: str | None) -> Iterator[Lab]:
    """The lab of one file, for each default route that it is tried with."""
    assert default_route in {None, "isp1", "isp2"}
    with Lab() as made:
        yield made


@pytest.fixture(scope="module")
def default_route() -> str | None:
    """The provider that the default route in main leads to; a file may say another one."""
    return None


@pytest.fixture(scope="module")
def ground(lab: Lab, default_route: Literal["isp1", "isp2"] | None) -> Site:
    """The site of one file."""
    made = Site(lab, default_route)
    made.observe_everywhere()
    return made


@pytest.fixture(params=["first-packet", "every-packet"])
def path(request: pytest.FixtureRequest) -> str:
    """Which packets of a flow cross the pair. A file for which it makes no difference says one."""
    found: str = request.param
    return found


@pytest.fixture(params=["veth", "loopback"])
def backend(request: pytest.FixtureRequest) -> str:
    """What flows cross. A file for which it makes no difference says one."""
    found: str = request.param
    return found


@pytest.fixture
def site(ground: Site, backend: str, path: str) -> Site:
    """The site, with `backend` and `path` in its configurations."""
    ground.backend, ground.path = backend, path
    return ground


@pytest.fixture(params=[IPV4, IPV6], ids=["IPv4", "IPv6"])
def family(request: pytest.FixtureRequest) -> Family:
    """The addresses of one family."""
    found: Family = request.param
    return found


_HERE = Path(__file__).parent
_DATA_PATH = (_HERE, _HERE.parent / "translations")
_WHOLE = ("test_snat", "test_static", "test_dnat", "test_loopback", "test_route_keys")
"""Files that run over both backends times both paths. All others of the data path run over both
backends and both paths, but not over every pair of them, which would take twice as long."""
_LEFT_OUT = (("veth", "every-packet"), ("loopback", "first-packet"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With NVID_TEST_EFFORT above 1, every pair of backend and path is tried."""
    if EFFORT > 1:
        return
    dropped = [each for each in items if _is_left_out(each)]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        left_out = set(dropped)
        items[:] = [each for each in items if each not in left_out]


def _is_left_out(item: pytest.Item) -> bool:
    if item.path.parent not in _DATA_PATH or item.path.stem in _WHOLE:
        return False
    params = getattr(getattr(item, "callspec", None), "params", {})
    return (params.get("backend"), params.get("path")) in _LEFT_OUT


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """After each test: nothing foreign has reached the providers meanwhile."""
    site = pyfuncitem.funcargs.get("site")
    if not isinstance(site, Site):
        return (yield)
    try:
        answer = yield
        foreign = site.foreign()
        assert not foreign, "packets left with a source that is not the provider's"
    except BaseException as error:
        if foreign := site.foreign():
            error.add_note(f"dropped by the providers: {foreign}")
            site.forget_foreign()
        raise
    return answer
