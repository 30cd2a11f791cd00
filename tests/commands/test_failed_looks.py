"""A kernel that does not answer: who asks nvid is told so, and everything else that is known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reliability.bench import launcher
from reliability.launcher import tell
from tests.commands.conftest import Router, as_json
from tests.lab import Lab, Nvid, wait_until


@pytest.fixture
def faults(lab: Lab) -> Path:
    """What fails."""
    return lab.scratch("fault")


@pytest.fixture(params=["kernel", "system"])
def failing(
    router: Router, lab: Lab, faults: Path, request: pytest.FixtureRequest
) -> Iterator[Nvid]:
    """A daemon that cannot look at the table of flows: refused, or no socket to be had."""
    nvid = router.nvid(executable=launcher(lab, faults)).start()
    tell(faults, "conntrack.usage", 1_000_000, request.param)
    yield nvid
    assert "Traceback" not in nvid.log()


def test_the_status_says_what_it_knows(failing: Nvid, faults: Path) -> None:
    wait_until(lambda: as_json(failing, "status")[0] == 1, message="a degraded state")
    _, data = as_json(failing, "status")
    assert data["state"] == "degraded"
    assert [nvi["state"] for nvi in data["nvis"]] == ["up"]
    assert len(data["uplinks"]) == 2
    assert "conntrack.usage: told to fail" in str(data["reconcile"]["problems"])
    faults.unlink()
    wait_until(lambda: as_json(failing, "status")[1]["state"] == "healthy", message="all is well")


def test_statistics_are_refused_in_words(failing: Nvid) -> None:
    done = failing.command("statistics", check=False)
    assert done.returncode == 1
    assert "flows and counters cannot be read" in done.stderr
    assert "told to fail" in done.stderr
    assert "Traceback" not in done.stderr
