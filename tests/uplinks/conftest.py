"""The site of tests/path, with providers that hand out addresses or fall silent."""

from __future__ import annotations

import pytest

from tests.path.conftest import (
    default_route,
    family,
    ground,
    lab,
    pytest_pyfunc_call,
    site,
)

__all__ = [
    "backend",
    "default_route",
    "family",
    "ground",
    "lab",
    "path",
    "pytest_pyfunc_call",
    "site",
]


@pytest.fixture
def path() -> str:
    """How an uplink is found and watched has nothing to do with the way through the pair."""
    return "first-packet"


@pytest.fixture
def backend() -> str:
    """What the pair is made of neither."""
    return "veth"
