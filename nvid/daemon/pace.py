"""How long to wait between rounds: nearly nothing, unless somebody fights or the kernel refuses."""

from __future__ import annotations

import time
from collections import deque

from nvid.reconcile import Round

COALESCE = 0.02
"""Seconds that events are gathered before a look: one command makes many of them."""
SLOWEST = 10.0
"""The longest wait between rounds when somebody keeps undoing what nvid mends."""
FIGHT = 30.0
"""More than a few rounds of repairs within these seconds are a fight with another manager."""
RETRY = 1.0
"""Seconds before the first try again after the kernel refused something."""


class Pace:
    """Remembers the latest rounds."""

    def __init__(self) -> None:
        self._repaired_at: deque[float] = deque(maxlen=20)
        self._failures = 0

    def note(self, done: Round) -> None:
        """One more round."""
        if done.repairs:
            self._repaired_at.append(time.monotonic())
        self._failures = self._failures + 1 if done.error else 0

    @property
    def pause(self) -> float:
        """Seconds to gather events: more when somebody keeps undoing repairs, or the kernel keeps
        refusing."""
        if self._failures:
            return min(RETRY * 2.0 ** (self._failures - 1), SLOWEST)
        recent = sum(time.monotonic() - at < FIGHT for at in self._repaired_at)
        return min(COALESCE * 2.0 ** max(recent - 3, 0), SLOWEST)
