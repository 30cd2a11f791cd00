"""A reconciler that knows what was in force before it was born."""

from __future__ import annotations

import contextlib

from nvid import trial
from nvid.configuration import ConfigurationError, load
from nvid.reconcile import Reconciler


def known_reconciler(state_dir: str) -> Reconciler:
    """A reconciler with the configuration that was in force last, where that was kept: flows of
    translations that have gone since then are ended in its first round."""
    before = None
    with contextlib.suppress(ConfigurationError):
        before = load(trial.in_force(state_dir)).configuration
    return Reconciler(state_dir, before)
