"""The machine with a systemd of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, TwoUplinks, two_uplinks
from tests.system.machine import Machine, booted
from tests.system.rootfs import root_file_system


@pytest.fixture(scope="session")
def root() -> Path:
    """The root file system; the first time on a computer this takes about a minute."""
    return root_file_system()


@pytest.fixture
def network(lab: Lab) -> TwoUplinks:
    """The network of two uplinks; `machine` is its router."""
    return two_uplinks(lab, forwarding=True)


@pytest.fixture
def machine(network: TwoUplinks, root: Path) -> Iterator[Machine]:
    """A booted machine as the router of `network`."""
    with booted(network.router, root) as made:
        yield made
