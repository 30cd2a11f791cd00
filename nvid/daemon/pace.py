"""How long to wait before the next look: longer when the kernel refuses, or somebody fights.

The same damage to the same object, again and again, is another manager that undoes repairs. Other
damage is another accident, and mended as fast as the first.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Hashable

from nvid.reconcile import Round

COALESCE = 0.02
"""Seconds that events are gathered before a look: one command makes many of them."""
RETRY = 0.05
"""Seconds before the first try again after the kernel refused something: most often somebody was
quicker, and the next look finds things as they are."""
SLOWEST = 10.0
"""The longest wait, whatever the reason."""
WINDOW = 30.0
"""Seconds for which a repair is remembered."""
FAIR = 3
"""So often within the window may one damage come back before it is a fight."""
MOST = 64
"""Rounds with repairs that are remembered, at most."""


class Pace:
    """Remembers the latest rounds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._repairs: deque[tuple[float, frozenset[Hashable]]] = deque(maxlen=MOST)

    def note(self, done: Round) -> None:
        """One more round."""
        self._failures = self._failures + 1 if done.error else 0
        if done.damage:
            self._repairs.append((self._clock(), done.damage))

    @property
    def is_fight(self) -> bool:
        """Somebody keeps undoing repairs."""
        return self._most() > FAIR

    @property
    def pause(self) -> float:
        """Seconds to gather events before the next round."""
        if self._failures:
            return min(RETRY * 2.0 ** min(self._failures - 1, 30), SLOWEST)
        return min(COALESCE * 2.0 ** max(self._most() - FAIR, 0), SLOWEST)

    def _most(self) -> int:
        now = self._clock()
        recent = Counter(
            each for at, damage in self._repairs if now - at < WINDOW for each in damage
        )
        return max(recent.values(), default=0)
