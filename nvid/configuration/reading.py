"""What a reader is: it takes what TOML holds under a key and gives a value, or says what is wrong.

TOML knows text, numbers, booleans, dates, lists and tables (`str`, `int`, `float`, `bool`,
`datetime`, `list`, `dict`). A reader is a pure function of one of these.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import date, datetime, time
from difflib import get_close_matches
from typing import Any, Generic, TypeVar

from msgspec import Struct

T = TypeVar("T")

_LONGEST_SHOWN = 60


class Fault(Struct, frozen=True):
    """What is wrong with a value, or with a part of it.

    `at` leads from the value to the part: empty, or such as `[1]` or `[0].port`.
    """

    message: str
    remedy: str
    at: str = ""


class Unacceptable(ValueError):
    """A value that the language does not accept; `faults` says why, one for each wrong part."""

    def __init__(self, *faults: Fault) -> None:
        self.faults = faults
        super().__init__("; ".join(fault.message for fault in faults))


class Reader(Generic[T]):
    """A function from what TOML holds to a value, with the words for what it accepts.

    `accepts` completes the sentence "write ...".
    """

    def __init__(self, read: Callable[[object], T], accepts: str) -> None:
        self._read = read
        self.accepts = accepts

    def __call__(self, raw: object) -> T:
        """The value; raises Unacceptable."""
        return self._read(raw)


class TableOf(Reader[dict[str, Any]]):
    """Reads a table whose keys are the fields of `kind`; the converter looks inside."""

    def __init__(self, kind: type[Struct], accepts: str = "a table") -> None:
        super().__init__(_table, accepts)
        self.kind = kind


class TablesOf(Reader[list[Any]]):
    """Reads a list of tables whose keys are the fields of `kind`; the converter looks inside."""

    def __init__(self, kind: type[Struct], accepts: str = "a list of tables") -> None:
        super().__init__(_list, accepts)
        self.kind = kind


def _table(raw: object) -> dict[str, Any]:
    if isinstance(raw, dict):
        return raw
    raise wrong_kind(raw, "a table")


def _list(raw: object) -> list[Any]:
    if isinstance(raw, list):
        return raw
    raise wrong_kind(raw, "a list of tables, each under a heading in double brackets")


def refuse(message: str, remedy: str, at: str = "") -> Unacceptable:
    """The exception for a single fault."""
    return Unacceptable(Fault(message, remedy, at))


def wrong_kind(raw: object, accepts: str) -> Unacceptable:
    """The exception for a value of the wrong TOML type."""
    return refuse(f"{shown(raw)} is {kind_of(raw)}", f"write {accepts}")


def kind_of(raw: object) -> str:
    """The TOML type of a value, in plain words."""
    match raw:
        case bool():
            return "a boolean"
        case str():
            return "text"
        case int():
            return "a number"
        case float():
            return "a number with a fraction"
        case list():
            return "a list"
        case dict():
            return "a table"
        case datetime() | date() | time():
            return "a date or time"
        case _:
            return "nothing that TOML knows"


def shown(raw: object) -> str:
    """A value for a message: in TOML's spelling, without control characters, not too long."""
    match raw:
        case bool() | str():
            text = json.dumps(raw).replace("\x7f", "\\u007f")
        case int():
            text = str(raw) if abs(raw) < 2**64 else "a number beyond 64 bits"
        case list():
            text = "[...]" if raw else "[]"
        case dict():
            text = "{...}" if raw else "{}"
        case _:
            text = str(raw)
    if len(text) <= _LONGEST_SHOWN:
        return text
    closing = '"' if isinstance(raw, str) else ""
    return f"{text[:_LONGEST_SHOWN]}...{closing}"


def text_reader(parse: Callable[[str], T], accepts: str) -> Reader[T]:
    """A reader of text only."""

    def read(raw: object) -> T:
        if not isinstance(raw, str):
            raise wrong_kind(raw, accepts)
        return parse(raw)

    return Reader(read, accepts)


def list_reader(item: Reader[T], *, empty: bool = False) -> Reader[tuple[T, ...]]:
    """A reader of one value or a list of them; the list may be empty only if `empty` says so.

    The same value twice is refused, as one of the two is probably meant to be another.
    """

    def read(raw: object) -> tuple[T, ...]:
        if not isinstance(raw, list):
            return (item(raw),)
        if not raw and not empty:
            raise refuse("the list is empty", f"write {item.accepts}, or leave the key out")
        return tuple(read_each(item, raw))

    return Reader(read, f"{item.accepts}; or a list of these")


def read_each(item: Reader[T], raw: Iterable[object]) -> list[T]:
    """All values of a list; raises Unacceptable with the faults of all its parts."""
    values: list[T] = []
    places: dict[T, int] = {}
    faults: list[Fault] = []
    for index, part in enumerate(raw):
        try:
            value = item(part)
        except Unacceptable as wrong:
            faults += [Fault(one.message, one.remedy, f"[{index}]{one.at}") for one in wrong.faults]
            continue
        if value in places:
            message = f"{shown(part)} says the same as item [{places[value]}] of the list"
            faults.append(Fault(message, "remove one of the two", f"[{index}]"))
        places.setdefault(value, index)
        values.append(value)
    if faults:
        raise Unacceptable(*faults)
    return values


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like this one, if any is."""
    matches = get_close_matches(word[:_LONGEST_SHOWN], list(known), n=1)
    return matches[0] if matches else None


def one_of(known: Iterable[str]) -> str:
    """Words for a choice: `"a"`, `"b" or "c"`."""
    quoted = [f'"{word}"' for word in known]
    return " or ".join(filter(None, (", ".join(quoted[:-1]), quoted[-1])))
