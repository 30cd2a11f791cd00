"""How nvid lays out the bits of fwmark and ct mark inside the configured mask.

With a mask of *w* contiguous bits (16 by default), from the highest bit down:

========  ======================  =====================================
bits      packet (fwmark)         flow (ct mark)
========  ======================  =====================================
2         state                   state: 0 not nvid's, 1 bound
w - 6     number, high part       forward lane: where the flow goes
4         number, low part        return lane: where its replies go
========  ======================  =====================================

The number in a packet's mark is an NVI (state ``ENTER``) or a lane (state ``LANE``). nftables
cannot compose a mark of two variable parts (before nft 1.1 and Linux 6.13), so every write is a
constant under a mask; bits outside the mask are never touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PASS: Final = 1
"""Packet state: seen by the table, none of nvid's business (delivered locally, for instance)."""
ENTER: Final = 2
"""Packet state: goes into the pair of the NVI whose number follows."""
LANE: Final = 3
"""Packet state: the second lookup is decided; the lane's number follows."""

BOUND: Final = 1
"""Flow state: the lanes in the ct mark are valid."""

_RETURN_BITS: Final = 4
_STATE_BITS: Final = 2


@dataclass(frozen=True, slots=True)
class Marks:
    """The layout for one mask; every method answers an unsigned 32-bit integer."""

    mask: int

    @property
    def _shift(self) -> int:
        return (self.mask & -self.mask).bit_length() - 1

    @property
    def _width(self) -> int:
        return self.mask.bit_count()

    @property
    def _number_bits(self) -> int:
        return self._width - _STATE_BITS

    @property
    def keep(self) -> int:
        """All the bits that belong to others."""
        return ~self.mask & 0xFFFFFFFF

    @property
    def state_mask(self) -> int:
        """The state bits, in packets and in flows."""
        return 0b11 << (self._shift + self._number_bits)

    def _state(self, state: int) -> int:
        return state << (self._shift + self._number_bits)

    def _packet(self, state: int, number: int) -> int:
        if not 0 <= number < 1 << self._number_bits:
            raise ValueError(f"{number} does not fit into {self._number_bits} bits of fwmark")
        return self._state(state) | number << self._shift

    @property
    def largest(self) -> int:
        """The largest number that fits into a packet's mark."""
        return (1 << self._number_bits) - 1

    @property
    def nobody(self) -> int:
        """The lane of what has no way out but those that main knows precisely."""
        return (1 << self._number_bits - _RETURN_BITS) - 1

    @property
    def refused(self) -> int:
        """The lane of what goes to a global address that nothing translates."""
        return self.nobody - 1

    @property
    def canary(self) -> int:
        """A lane that is unreachable for every destination, as long as the rules are there."""
        return self.nobody - 2

    def action(self, action: str) -> int:
        """The lane of what a route entry drops: ``unreachable``, ``prohibit`` or ``blackhole``."""
        return self.canary - ("unreachable", "prohibit", "blackhole").index(action)

    def table(self, number: int) -> int:
        """The lane of the routing table with that number (from 1) among those that route entries
        name."""
        return self.canary - 2 - number

    @property
    def last_tenant(self) -> int:
        """The largest lane that a tenant can have, where no table is in its way."""
        return self.table(0)

    @property
    def passed(self) -> int:
        """fwmark of a packet that the table has seen and leaves alone."""
        return self._state(PASS)

    @property
    def entering(self) -> int:
        """State bits of any packet that is on its way into a pair."""
        return self._state(ENTER)

    @property
    def in_lane(self) -> int:
        """State bits of any packet whose lane is chosen."""
        return self._state(LANE)

    def enter(self, nvi: int) -> int:
        """fwmark of a packet that the first lookup sends into NVI number ``nvi`` (from 1)."""
        return self._packet(ENTER, nvi)

    def lane(self, lane: int) -> int:
        """fwmark of a packet that the second lookup sends through ``lane`` (from 0)."""
        return self._packet(LANE, lane)

    @property
    def forward_mask(self) -> int:
        """The forward lane in a ct mark."""
        bits = self._number_bits - _RETURN_BITS
        return ((1 << bits) - 1) << (self._shift + _RETURN_BITS)

    @property
    def above_uplinks(self) -> int:
        """The bits of a packet's number that are zero in lane 0 and in those of uplinks."""
        return self.mask & ~self.state_mask & ~self.return_mask

    @property
    def outside_tenants(self) -> tuple[tuple[int, int], ...]:
        """fwmarks with their masks that match the lanes of what goes to no tenant: main, the
        uplinks, and the lane without a way out of its own."""
        return (
            (self.lane(0), self.state_mask | self.above_uplinks),
            (self.lane(self.nobody), self.mask),
        )

    @property
    def return_mask(self) -> int:
        """The return lane in a ct mark."""
        return ((1 << _RETURN_BITS) - 1) << self._shift

    def forward_lane(self, lane: int) -> int:
        """ct mark bits that say: packets of the original direction use ``lane``."""
        return lane << (self._shift + _RETURN_BITS)

    def return_lane(self, lane: int) -> int:
        """ct mark bits that say: replies use ``lane``."""
        return lane << self._shift

    @property
    def bound(self) -> int:
        """State bits of the ct mark of a flow whose lanes are decided."""
        return self._state(BOUND)

    def lane_of(self, fwmark: int) -> int | None:
        """The lane that ``fwmark`` names, or None: the reverse of ``lane``."""
        return self._number(LANE, fwmark)

    def nvi_of(self, fwmark: int) -> int | None:
        """The NVI that ``fwmark`` names, or None: the reverse of ``enter``."""
        return self._number(ENTER, fwmark)

    def forward_lane_of(self, ct_mark: int) -> int:
        """The forward lane that a flow's mark holds: the reverse of ``forward_lane``."""
        return (ct_mark & self.forward_mask) >> (self._shift + _RETURN_BITS)

    def return_lane_of(self, ct_mark: int) -> int:
        """The return lane that a flow's mark holds: the reverse of ``return_lane``."""
        return (ct_mark & self.return_mask) >> self._shift

    def _number(self, state: int, fwmark: int) -> int | None:
        if fwmark & self.state_mask != self._state(state):
            return None
        return (fwmark & self.mask & ~self.state_mask) >> self._shift
