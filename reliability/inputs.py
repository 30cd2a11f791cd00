"""Inputs by the hundred thousand, to what reads files and to what reads the control socket:
scripts/fuzz, for a while each."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

from reliability.endurance import Endured

ROOT = Path(__file__).parents[1]
TARGETS = ("loader", "control")
_EXECUTED = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_UNCAUGHT = re.compile(r"=== Uncaught Python exception: ===\n(.+)")


def fuzz(target: str, seconds: int) -> Endured:
    """So many seconds of one target; ``rounds`` of the answer are inputs."""
    began = time.monotonic()
    done = subprocess.run(
        [str(ROOT / "scripts" / "fuzz"), target, str(seconds)],
        capture_output=True,
        text=True,
        check=False,
        errors="replace",
    )
    executed = _EXECUTED.search(done.stderr)
    thrown = _UNCAUGHT.search(done.stderr)
    why = f"status {done.returncode}" if thrown is None else thrown[1]
    problems = () if done.returncode == 0 else (f"{why}; scripts/fuzz {target} says more",)
    return Endured(
        f"inputs fuzzed, {target}",
        0 if executed is None else int(executed[1]),
        time.monotonic() - began,
        problems=problems,
    )
