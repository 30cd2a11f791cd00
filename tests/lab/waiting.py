"""Waiting for a condition instead of sleeping and hoping."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = float(os.environ.get("NVID_TEST_PATIENCE", "1"))
"""How many times longer than usual something may take: in an emulated processor everything does.
Only what would be an error is waited for longer; no test looks at the time it took."""

_FIRST_PAUSE = 0.002
_LONGEST_PAUSE = 0.05


def wait_until(condition: Callable[[], T], timeout: float = 10, message: str = "") -> T:
    """Call `condition` until it answers something true, and return that answer.

    An AssertionError raised by `condition` counts as "not yet"; the last one is shown when the
    time is up. Any other exception ends the wait.

    `timeout` is in seconds, times PATIENCE. Raises TimeoutError with `message` and the last thing
    seen.
    """
    timeout *= PATIENCE
    deadline = time.monotonic() + timeout
    pause = _FIRST_PAUSE
    while True:
        seen: object
        try:
            answer = condition()
            if answer:
                return answer
            seen = answer
        except AssertionError as error:
            seen = error
        if time.monotonic() >= deadline:
            raise TimeoutError(
                f"{message or 'the condition'}: not within {timeout:g} s; last seen: {seen!r}"
            )
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)
