"""What nvid must remember beyond its own life: numbers, and the sysctls it found.

One small JSON file in ``state_dir``, replaced atomically. Losing it loses no traffic: numbers are
read back from the kernel; only the sysctls of before cannot be restored any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from nvid.configuration.types import Daemon
from nvid.desired.numbers import Numbers
from nvid.errors import NvidError
from nvid.statedir import remove, replace

_NAME = "state.json"


class Window(msgspec.Struct, frozen=True):
    """The numbers that nvid's objects in the kernel were made with."""

    fwmark_mask: int
    rule_priority: int
    first_table: int
    last_table: int
    protocol: int


class State(msgspec.Struct, frozen=True):
    """Numbers by name, and the value of each sysctl before nvid first wrote it.

    ``offers_to_end`` are patterns of interfaces, from before the table covers them until the flows
    that began untranslated there have been ended: a death in between must not leave them.
    ``lanes_to_end`` are those that an uplink or a tenant once had and nobody has any more, until
    their flows have been ended.
    ``own_qdisc``: the clsact qdisc on lo was not there before nvid. ``failing`` is what the checks
    said last, by uplink and family. ``addresses`` are those that the uplinks have, and those gone
    ones whose flows have not been ended yet.
    """

    uplinks: dict[str, int] = {}
    nvis: dict[str, int] = {}
    tables: dict[int, int] = {}
    tenants: dict[str, int] = {}
    sysctls: dict[str, str] = {}
    window: Window | None = None
    offers_to_end: tuple[str, ...] = ()
    lanes_to_end: tuple[int, ...] = ()
    own_qdisc: bool = False
    failing: dict[str, dict[int, str]] = {}
    addresses: tuple[str, ...] = ()

    def check_window(self, daemon: Daemon) -> None:
        """Raises WindowChanged when the objects in the kernel were made with other numbers: they
        would not be found again, and their marks would mean something else."""
        if self.window is not None and self.window != window_of(daemon):
            raise WindowChanged(
                "[daemon] fwmark_mask, rule_priority, tables or protocol differ from what nvid's "
                "objects in the kernel were made with; run 'nvid down' first, then start again"
            )

    @property
    def failing_by_family(self) -> dict[tuple[str, int], str]:
        """What the checks said, by uplink and family in one: the reverse of ``by_uplink``."""
        return {
            (name, family): text
            for name, families in self.failing.items()
            for family, text in families.items()
        }

    @property
    def numbers(self) -> Numbers:
        """The numbers by name."""
        return Numbers(self.uplinks, self.nvis, self.tables, self.tenants)


def by_uplink(failing: Mapping[tuple[str, int], str]) -> dict[str, dict[int, str]]:
    """What the checks say, as the file holds it."""
    found: dict[str, dict[int, str]] = {}
    for (name, family), text in failing.items():
        found.setdefault(name, {})[family] = text
    return found


def window_of(daemon: Daemon) -> Window:
    """The numbers of a configuration."""
    return Window(
        daemon.fwmark_mask,
        daemon.rule_priority,
        daemon.tables.first,
        daemon.tables.last,
        daemon.protocol,
    )


class WindowChanged(NvidError):
    """The configured numbers are not those of what is in the kernel."""


def load(directory: str) -> State | None:
    """The state that was kept, or None when there is none that can be read."""
    try:
        return msgspec.json.decode((Path(directory) / _NAME).read_bytes(), type=State)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def save(directory: str, state: State) -> None:
    """Replace the kept state; raises StateNotKept."""
    replace(Path(directory) / _NAME, msgspec.json.format(msgspec.json.encode(state)))


def forget(directory: str) -> None:
    """Remove the kept state: nvid owns nothing any more. Raises StateNotKept."""
    remove(Path(directory) / _NAME)
