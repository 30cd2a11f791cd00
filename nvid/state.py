"""What nvid must remember beyond its own life: numbers, and the sysctls it found.

One small JSON file in ``state_dir``, replaced atomically. Losing it loses no traffic: numbers are
read back from the kernel; only the sysctls of before cannot be restored any more.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from nvid.desired.numbers import Numbers
from nvid.errors import NvidError

_NAME = "state.json"


class State(msgspec.Struct, frozen=True):
    """Numbers by name, and the value of each sysctl before nvid first wrote it."""

    uplinks: dict[str, int] = {}
    nvis: dict[str, int] = {}
    sysctls: dict[str, str] = {}

    @property
    def numbers(self) -> Numbers:
        return Numbers(self.uplinks, self.nvis)


class StateNotKept(NvidError):
    """The state directory cannot be written."""


def load(directory: str) -> State | None:
    """The state that was kept, or None when there is none that can be read."""
    try:
        return msgspec.json.decode((Path(directory) / _NAME).read_bytes(), type=State)
    except (OSError, msgspec.DecodeError):
        return None


def save(directory: str, state: State) -> None:
    """Replace the kept state; raises StateNotKept."""
    _replace(Path(directory) / _NAME, msgspec.json.format(msgspec.json.encode(state)))


def forget(directory: str) -> None:
    """Remove the kept state: nvid owns nothing any more."""
    (Path(directory) / _NAME).unlink(missing_ok=True)


def _replace(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        temporary = path.with_suffix(".new")
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError as error:
        raise StateNotKept(
            f"{path}: {error.strerror}; make state_dir writable for nvid"
        ) from error
