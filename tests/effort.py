"""How hard the property tests search.

The suite tries the same examples each time, so that what passed once passes again. With
``NVID_TEST_EFFORT=20`` in the environment it tries twenty times as many, chosen anew.
"""

from __future__ import annotations

import os

EFFORT = int(os.environ.get("NVID_TEST_EFFORT", "1"))
"""How many times the usual number of examples, 1 or more."""


def examples(usual: int) -> int:
    """The number of examples for a test that usually tries so many."""
    return usual * EFFORT
