"""A reconciler that knows what was in force before it was born."""

from __future__ import annotations

import contextlib

from nvid import trial
from nvid.configuration import ConfigurationError, load
from nvid.reconcile import Reconciler


def known_reconciler(state_dir: str) -> Reconciler:
    """A reconciler with the configurations whose translations may have made flows, where those
    were kept: flows of translations that have gone since then are ended in its first round."""
    befores = []
    for path in (trial.in_force(state_dir), trial.coming(state_dir)):
        with contextlib.suppress(ConfigurationError):
            befores.append(load(path).configuration)
    return Reconciler(state_dir, befores)
