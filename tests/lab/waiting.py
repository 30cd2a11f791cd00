"""Waiting for a condition instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_FIRST_PAUSE = 0.002
_LONGEST_PAUSE = 0.05


def wait_until(condition: Callable[[], T], timeout: float = 10, message: str = "") -> T:
    """Call `condition` until it answers something true, and return that answer.

    An AssertionError raised by `condition` counts as "not yet"; the last one is shown when the
    time is up. Any other exception ends the wait.

    `timeout` is in seconds. Raises TimeoutError with `message` and the last thing seen.
    """
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
