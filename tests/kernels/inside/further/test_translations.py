"""static and dnat of tests/path, over lo: the data path with the most of the kernel in it."""

import pytest

from tests.path.test_dnat import test_to_an_address_and_port
from tests.path.test_static import TestAddress as Address

__all__ = ["TestStatic", "test_to_an_address_and_port"]


@pytest.fixture(params=["loopback"])
def backend(request: pytest.FixtureRequest) -> str:
    """The other one carries the tests of VRFs."""
    return str(request.param)


class TestStatic:
    """One of the tests of one address."""

    test_comes_in = Address.test_comes_in_by_tcp_udp_and_icmp
