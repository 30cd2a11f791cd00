"""What the passes over a configuration find, before it is known where that was written."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from nvid.configuration.places import Origins
from nvid.configuration.problems import Problem


class Finding(Struct, frozen=True):
    """Something to correct at a key path.

    `also` is the key path of a second place that has to do with it; the message then ends where
    that place can be named.
    """

    key: str
    message: str
    remedy: str
    also: str | None = None


def located(finding: Finding, origins: Origins, main: Path) -> Problem:
    """The problem that a finding is, given where each key was written; `main` when nowhere."""
    key = _as_written(finding.key, origins)
    origin = origins.find(key)
    file, line = (main, 1) if origin is None else (origin.file, origin.line)
    message = finding.message
    if finding.also is not None:
        also = _as_written(finding.also, origins)
        other = origins.find(also)
        message += f" {also}"
        if other is not None:
            message += f" ({other.file}:{other.line})"
    return Problem(file, line, key, message, finding.remedy)


def _as_written(key_path: str, origins: Origins) -> str:
    """The key path without the `[0]` of a list that was written as a single value."""
    whole = key_path.removesuffix("[0]")
    return whole if whole in origins and key_path not in origins else key_path
