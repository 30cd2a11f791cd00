"""Fixtures for all tests, and the clean-up that happens however a run ends."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Generator, Iterator
from types import FrameType

import pytest
from hypothesis import settings

from tests.effort import EFFORT, examples
from tests.lab import Lab, namespaces_of_this_run, remove_namespace

# Machines with two cores and much to do: how long an example takes says nothing.
settings.register_profile(
    "suite", deadline=None, derandomize=EFFORT == 1, max_examples=examples(100)
)
settings.load_profile("suite")


_BOOTS = "test_distribution_kernel"


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A lab of its own for one test."""
    with Lab() as made:
        yield made


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The file that boots a machine first, then those with most tests: several workers, each with
    a file at a time, are done sooner when none begins a long one at the end."""
    sizes = Counter(each.path for each in items)
    items.sort(key=lambda each: (each.path.stem != _BOOTS, -sizes[each.path], each.path))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the programs of a failing test said, while its lab still stands."""
    report = yield
    made = getattr(item, "funcargs", {}).get("lab")
    if report.failed and call.when == "call" and isinstance(made, Lab):
        report.sections.extend(made.evidence())
    return report


def pytest_configure(config: pytest.Config) -> None:
    """End a run that is told to terminate like one that is interrupted: with a clean-up."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(f"signal {number}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Remove what an interrupted fixture may have left; only namespaces of this run."""
    for name in namespaces_of_this_run():
        remove_namespace(name)
