"""What is wrong with a configuration, and where."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct


class Problem(Struct, frozen=True):
    """One thing to correct: where it stands, what is wrong, and what would be accepted instead.

    `line` counts from 1; 0 means that the problem concerns the file as a whole.
    `key` is spelled like `nvi.nvi0.snat[2].to`, or is empty.
    """

    file: Path
    line: int
    key: str
    message: str
    remedy: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: "
        what = f"{self.message}; {self.remedy}" if self.remedy else self.message
        return f"{where}{self.key}: {what}" if self.key else f"{where}{what}"


class Origin(Struct, frozen=True):
    """Where a key was written: a file, and a line that counts from 1."""

    file: Path
    line: int
