"""One bench for each file: a router with traffic, to which things happen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from reliability.bench import Bench
from tests.lab import Lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The lab of one file."""
    with Lab() as made:
        yield made


@pytest.fixture(scope="module")
def bench(lab: Lab) -> Bench:
    """The bench of one file."""
    return Bench(lab, "first-packet")
