"""Whether the kernel's flow table is full: a state that begins and ends, not each moment of it."""

from __future__ import annotations

from nvid.kernel.conntrack import FlowTable

INTERVAL = 5.0
"""Seconds between two looks: three small numbers, whatever the number of flows."""
EASED = 0.95
"""Below this part of the limit a table that was full is so no longer; up to it, a refused flow says
that it was full a moment ago."""


class Fullness:
    """Remembers the last look. ``problem`` says what is wrong and what helps; None: all is well."""

    def __init__(self) -> None:
        self.problem: str | None = None
        self._refused: int | None = None

    def note(self, table: FlowTable | None) -> bool:
        """One more look; whether the answer is another one than before."""
        before = self.problem is not None
        full = table is not None and self._is_full(table)
        self._refused = None if table is None else table.refused
        self.problem = _words(table) if full and table is not None else None
        return full != before

    def _is_full(self, table: FlowTable) -> bool:
        if table.limit == 0:
            # The kernel's word for no limit.
            return False
        nearly = table.entries >= table.limit * EASED
        refused = self._refused is not None and table.refused > self._refused
        return table.entries >= table.limit or (nearly and (refused or self.problem is not None))


def _words(table: FlowTable) -> str:
    return (
        f"the flow table is full, {table.entries} of {table.limit}: packets of new flows are "
        "dropped; raise net.netfilter.nf_conntrack_max, or max in [conntrack]"
    )
