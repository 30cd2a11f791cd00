"""What nvid must remember beyond its own life: numbers, and the sysctls it found.

One small JSON file in ``state_dir``, replaced atomically, and beside it a copy of the last
configuration that was put in force. Losing it loses no traffic: numbers are
read back from the kernel; only the sysctls of before cannot be restored any more.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import msgspec

from nvid.configuration.types import Daemon
from nvid.desired.numbers import Numbers
from nvid.errors import NvidError

_NAME = "state.json"
_LAST_GOOD = "last-good"
_MAIN = "nvid.toml"


class Window(msgspec.Struct, frozen=True):
    """The numbers that nvid's objects in the kernel were made with."""

    fwmark_mask: int
    rule_priority: int
    first_table: int
    last_table: int
    protocol: int


class State(msgspec.Struct, frozen=True):
    """Numbers by name, and the value of each sysctl before nvid first wrote it.

    ``flows_to_end`` is true from before the table offers flows of more interfaces until the flows
    that began untranslated there have been ended: a death in between must not leave them.
    ``own_qdisc``: the clsact qdisc on lo was not there before nvid.
    """

    uplinks: dict[str, int] = {}
    nvis: dict[str, int] = {}
    tables: dict[int, int] = {}
    sysctls: dict[str, str] = {}
    window: Window | None = None
    flows_to_end: bool = False
    own_qdisc: bool = False

    def check_window(self, daemon: Daemon) -> None:
        """Raises WindowChanged when the objects in the kernel were made with other numbers: they
        would not be found again, and their marks would mean something else."""
        if self.window is not None and self.window != window_of(daemon):
            raise WindowChanged(
                "[daemon] fwmark_mask, rule_priority, tables or protocol differ from what nvid's "
                "objects in the kernel were made with; run 'nvid down' first, then start again"
            )

    @property
    def numbers(self) -> Numbers:
        """The numbers by name."""
        return Numbers(self.uplinks, self.nvis, self.tables)


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


class StateNotKept(NvidError):
    """The state directory cannot be written."""


def load(directory: str) -> State | None:
    """The state that was kept, or None when there is none that can be read."""
    try:
        return msgspec.json.decode((Path(directory) / _NAME).read_bytes(), type=State)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def save(directory: str, state: State) -> None:
    """Replace the kept state; raises StateNotKept."""
    _replace(Path(directory) / _NAME, msgspec.json.format(msgspec.json.encode(state)))


def forget(directory: str) -> None:
    """Remove the kept state: nvid owns nothing any more."""
    (Path(directory) / _NAME).unlink(missing_ok=True)
    shutil.rmtree(Path(directory) / _LAST_GOOD, ignore_errors=True)


def keep_configuration(directory: str, path: Path, files: Iterable[Path]) -> None:
    """Keep a copy of the files that are in force; raises StateNotKept.

    ``path`` is the main one of ``files``, all others are its drop-ins. The copy is made beside
    the old one and takes its place in one step.
    """
    last_good = Path(directory) / _LAST_GOOD
    fresh = last_good.with_suffix(".new")
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        drop_ins = (fresh / _MAIN).with_suffix(".d")
        drop_ins.mkdir(parents=True)
        for file in files:
            shutil.copyfile(file, fresh / _MAIN if file == path else drop_ins / file.name)
        shutil.rmtree(last_good, ignore_errors=True)
        fresh.rename(last_good)
    except OSError as error:
        raise StateNotKept(
            f"{last_good}: {error.strerror}; make state_dir writable for nvid"
        ) from error


def last_good(directory: str) -> Path:
    """Where the main file of the last good configuration is kept; it need not exist."""
    return Path(directory) / _LAST_GOOD / _MAIN


def _replace(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        temporary = path.with_suffix(".new")
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError as error:
        raise StateNotKept(f"{path}: {error.strerror}; make state_dir writable for nvid") from error
