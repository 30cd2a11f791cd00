"""The site of tests/path, with one daemon for each file, which is reloaded between tests."""

from __future__ import annotations

from tests.path.conftest import (
    backend,
    default_route,
    family,
    ground,
    lab,
    path,
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
