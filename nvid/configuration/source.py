"""From files to one TOML table: the main file, then the drop-ins beside it, merged.

Drop-ins lie in `<stem>.d/` and are read in the order of their names. They add: further tables,
and further items to lists of tables. Nothing can be said twice, whatever the files.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from msgspec import Struct

from nvid.configuration.ownership import unsafe
from nvid.configuration.places import Origins, Place, spell
from nvid.configuration.positions import Positions, TooDeep, Written
from nvid.configuration.problems import Origin, Problem

LARGEST_FILE = 64 * 1024 * 1024

_SYNTAX_LINE = re.compile(r" ?\(at line (\d+), column \d+\)$")
_SYNTAX_END = re.compile(r" ?\(at end of document\)$")


class Source(Struct, frozen=True):
    """All files together.

    `readable` is False when a file is missing from `data` because it could not be read: then
    what seems to be absent may well be there. `digest` is that of all contents, see `digest_of`.
    """

    data: dict[str, Any]
    origins: Origins
    files: tuple[Path, ...]
    problems: tuple[Problem, ...]
    readable: bool
    digest: str


class _File(Struct, frozen=True):
    path: Path
    content: bytes
    data: dict[str, Any]
    positions: Positions


def read(path: Path) -> Source:
    """Reads a configuration file and its drop-ins; never raises."""
    files, problems = _files(path)
    merged = _Merger()
    readable = not problems
    contents: list[tuple[str, bytes]] = []
    for file in files:
        loaded = _load(file)
        if isinstance(loaded, Problem):
            problems.append(loaded)
            readable = False
        else:
            merged.add(loaded)
            contents.append(("" if file == path else file.name, loaded.content))
    return Source(
        merged.data,
        Origins(merged.origins),
        tuple(files),
        (*problems, *merged.problems),
        readable,
        digest_of(contents),
    )


def digest_of(contents: Iterable[tuple[str, bytes]]) -> str:
    """A digest (BLAKE2s, hexadecimal) of a main file, whose name is "", and its drop-ins. It is
    the same for a copy of them elsewhere, and for no other content."""
    whole = hashlib.blake2s()
    for name, content in contents:
        whole.update(f"{len(name)} {name} {len(content)} ".encode(errors="surrogateescape"))
        whole.update(content)
    return whole.hexdigest()


def _files(path: Path) -> tuple[list[Path], list[Problem]]:
    folder = path.parent / f"{path.stem}.d"
    try:
        if (problem := _written_by_others(folder)) is not None:
            return [path], [problem]
        drop_ins = sorted(file for file in folder.iterdir() if file.name.endswith(".toml"))
    except FileNotFoundError:
        return [path], []
    except (OSError, ValueError) as refused:
        message = f"the drop-ins cannot be listed: {_words(refused)}"
        return [path], [Problem(folder, 1, "", message, "make it a readable directory")]
    return [path, *drop_ins], []


def _words(refused: OSError | ValueError) -> str:
    return (refused.strerror if isinstance(refused, OSError) else None) or str(refused)


def _written_by_others(path: Path) -> Problem | None:
    found = unsafe(path)
    if found is None:
        return None
    message = f"{found.message}: whoever can, would give nvid its orders"
    return Problem(found.path, 1, "", message, f"run: {found.remedy}")


def _regular(path: Path, status: os.stat_result) -> Problem | None:
    if stat.S_ISREG(status.st_mode):
        return None
    return Problem(path, 1, "", "this is not a regular file", "put a TOML file there")


def _small_enough(path: Path, status: os.stat_result) -> Problem | None:
    if status.st_size <= LARGEST_FILE:
        return None
    message = f"the file has {status.st_size} bytes, more than {LARGEST_FILE}"
    return Problem(path, 1, "", message, "split it, or check what was put there")


# What is looked at before a file is opened.
_EXAMINATIONS: tuple[Callable[[Path, os.stat_result], Problem | None], ...] = (
    _regular,
    _small_enough,
)


def _load(path: Path) -> _File | Problem:
    try:
        if (problem := _written_by_others(path)) is not None:
            return problem
        status = path.stat()
        for examine in _EXAMINATIONS:
            if (problem := examine(path, status)) is not None:
                return problem
        content = path.read_bytes()
    except FileNotFoundError:
        return Problem(path, 1, "", "the file does not exist", "create it, or name another one")
    except (OSError, ValueError) as refused:
        message = f"the file cannot be read: {_words(refused)}"
        return Problem(path, 1, "", message, "make it readable for the user that runs nvid")
    return _parsed(path, content)


def _parsed(path: Path, content: bytes) -> _File | Problem:
    if content.startswith(codecs.BOM_UTF8):
        message = "the file begins with a byte order mark, which TOML does not have"
        return Problem(path, 1, "", message, "save the file as UTF-8 without it")
    try:
        text = content.decode()
    except UnicodeDecodeError as wrong:
        line = content.count(b"\n", 0, wrong.start) + 1
        message = f"byte 0x{content[wrong.start]:02x} is not UTF-8"
        return Problem(path, line, "", message, "save the file as UTF-8, as TOML wants it")
    try:
        return _File(path, content, tomllib.loads(text), Positions(text))
    except (RecursionError, TooDeep):
        message = "lists or tables are nested too deeply"
        return Problem(path, 1, "", message, "no key of nvid needs more than four levels")
    except ValueError as wrong:  # TOMLDecodeError, and int() on a number of thousands of digits
        said = str(wrong)
        if (found := _SYNTAX_LINE.search(said)) is not None:
            line = int(found[1])
        else:
            line = text.count("\n") + (not text.endswith("\n")) if _SYNTAX_END.search(said) else 1
        message = _SYNTAX_END.sub(" before the file ends", _SYNTAX_LINE.sub("", said))
        remedy = "correct the TOML here, or a quote or bracket left open above (https://toml.io)"
        return Problem(path, max(line, 1), "", f"this is not TOML: {message}", remedy)


class _Merger:
    """Collects the tables of one file after another."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.origins: dict[Place, Origin] = {}
        self.problems: list[Problem] = []
        self._written: dict[Place, Written] = {}

    def add(self, file: _File) -> None:
        """Adds the content of a file that comes after all that were added before."""
        self._tables(self.data, file.data, (), file)

    def _tables(
        self, into: dict[str, Any], more: dict[str, Any], around: Place, file: _File
    ) -> None:
        for key, value in more.items():
            place = (*around, key)
            if key not in into:
                into[key] = value
                self._take(place, place, value, file)
                continue
            before, now = self._written[place], file.positions.written[place]
            if before is now is Written.TABLES:
                first = len(into[key])
                for index, item in enumerate(value):
                    into[key].append(item)
                    self._take((*place, first + index), (*place, index), item, file)
            elif _mergeable(before, now):
                if now is Written.TABLE:
                    self._written[place] = now
                    self.origins[place] = Origin(file.path, file.positions.lines[place])
                self._tables(into[key], value, place, file)
            else:
                self._twice(place, now, file)

    def _take(self, place: Place, local: Place, value: object, file: _File) -> None:
        """Notes where a value, and all that is inside, was written."""
        self.origins[place] = Origin(file.path, file.positions.lines[local])
        self._written[place] = file.positions.written[local]
        if isinstance(value, dict):
            for key, part in value.items():
                self._take((*place, key), (*local, key), part, file)
        elif isinstance(value, list):
            for index, part in enumerate(value):
                self._take((*place, index), (*local, index), part, file)

    def _twice(self, place: Place, now: Written, file: _File) -> None:
        earlier = self.origins[place]
        what = "table" if now in (Written.TABLE, Written.IMPLIED) else "key"
        message = f"the {what} stands in {earlier.file}:{earlier.line} already"
        line = file.positions.lines[place]
        remedy = "say it in one file only; drop-ins can add tables and [[...]] entries"
        self.problems.append(Problem(file.path, line, spell(place), message, remedy))


def _mergeable(before: Written, now: Written) -> bool:
    """Whether two tables are one that was written in two files, each part once."""
    tables = (Written.IMPLIED, Written.TABLE)
    return before in tables and now in tables and not (before is Written.TABLE and now is before)
