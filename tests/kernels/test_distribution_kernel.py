"""The kernel that people run: the tests of `inside` on the distribution's own one, booted in qemu.

On Debian 12 that is Linux 6.1. It has the modules that other tests cannot count on (VRF), and its
sysctls are all ours: one for the whole machine can be written there.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.effort import EFFORT
from tests.kernels.machine import Run, run_pytest

HERE = Path(__file__).parent / "inside"
PATTERN = "**/test_*.py" if EFFORT > 1 else "test_*.py"
"""The files in `further` are for those who have more time."""
FILES = tuple(sorted(str(path.relative_to(HERE)) for path in HERE.glob(PATTERN)))

pytestmark = pytest.mark.timeout(1200 * EFFORT)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One boot for all files; with NVID_TEST_EFFORT above 1, all of tests/path as well."""
    words = ["-p", "no:cacheprovider", "--color=no", "--verbose", "-o", "timeout=600"]
    words += ["-p", "no:randomly"]  # The fewer the changes of configuration, the quicker.
    words += [f"tests/kernels/inside/{name}" for name in FILES]
    words += ["tests/path"] if EFFORT > 1 else []
    return run_pytest(words, tmp_path_factory.mktemp("kernel"), timeout=1000 * EFFORT)


@pytest.mark.parametrize("name", FILES)
def test_passes_inside(run: Run, name: str) -> None:
    lines = [line for line in run.console.splitlines() if f"inside/{name}::" in line]
    assert [line for line in lines if " PASSED" in line], run.console
    assert not [line for line in lines if " FAILED" in line or " ERROR" in line], run.console


def test_all_pass_inside(run: Run) -> None:
    assert run.status == 0, run.console
