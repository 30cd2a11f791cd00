"""A reconciler that knows what was in force before it was born."""

from __future__ import annotations

import contextlib

from nvid import state
from nvid.configuration import ConfigurationError, load
from nvid.reconcile import Reconciler


def known_reconciler(state_dir: str) -> Reconciler:
    """A reconciler with the last good configuration, where that was kept: flows of translations
    that have gone since then are ended in its first round."""
    before = None
    with contextlib.suppress(ConfigurationError):
        before = load(state.last_good(state_dir)).configuration
    return Reconciler(state_dir, before)
