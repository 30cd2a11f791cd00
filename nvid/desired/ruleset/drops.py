"""Why the table drops packets: each reason has a counter of its own."""

from __future__ import annotations

DROPS = (
    "unmarked",
    "invalid",
    "began_before",
    "stray",
    "no_uplink",
    "mapping",
    "changing",
    "wrong_uplink",
    "not_redirected",
    "wrong_tenant",
    "untranslated",
)
"""Reasons for which the table drops; each has a named counter ``dropped_<reason>``."""


def drop(reason: str) -> str:
    """Drop and count, by reason."""
    assert reason in DROPS
    return f'counter name "dropped_{reason}" drop'
