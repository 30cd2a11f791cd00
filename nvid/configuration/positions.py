"""Which line of a TOML text each key, table and list item stands on.

tomllib reads values but keeps no positions. This index is made by a scanner of its own, for texts
that tomllib has accepted: it relies on that and checks nothing.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from enum import Enum

from nvid.configuration.places import Place

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:[^"\\]|\\.)*"'
    r"|'[^']*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\r\n]+")


# Far more than the language has; a place as long as its text would cost its square in memory.
DEEPEST = 64


class TooDeep(ValueError):
    """Keys, tables or lists nested in more than DEEPEST levels."""


class Written(Enum):
    """How a place came into a file."""

    IMPLIED = "implied"  # the table around something that was written
    TABLE = "table"  # [a.b], or the table that dotted keys fill
    TABLES = "tables"  # the list that [[a.b]] makes
    ITEM = "item"  # one [[a.b]]
    VALUE = "value"  # key = value, or an item of a list that is a value


class Positions:
    """The lines of all places of one text, counted from 1, and how each place was written.

    Raises TooDeep.
    """

    def __init__(self, text: str) -> None:
        self.lines: dict[Place, int] = {}
        self.written: dict[Place, Written] = {}
        self._text = text
        self._at = 0
        self._breaks = [found.start() for found in re.finditer("\n", text)]
        self._items: dict[Place, int] = {}
        self._scan()

    def _scan(self) -> None:
        table: Place = ()
        while self._skip(_BLANK) < len(self._text):
            if self._text.startswith("[[", self._at):
                table = self._item_heading()
            elif self._text.startswith("[", self._at):
                table = self._table_heading()
            else:
                self._pair(table)

    def _item_heading(self) -> Place:
        line = self._line()
        self._at += 2
        *around, last = self._key()
        self._at += 2
        tables = (*self._resolve(tuple(around), line), last)
        self._note(tables, line, Written.TABLES)
        index = self._items.get(tables, -1) + 1
        self._items[tables] = index
        item: Place = (*tables, index)
        self._note(item, line, Written.ITEM)
        return item

    def _table_heading(self) -> Place:
        line = self._line()
        self._at += 1
        *around, last = self._key()
        self._at += 1
        table = (*self._resolve(tuple(around), line), last)
        # A heading may follow those of its own sub-tables; the heading is then the better place.
        self.lines[table] = line
        self.written[table] = Written.TABLE
        return table

    def _resolve(self, keys: tuple[str, ...], line: int) -> Place:
        """The place that keys of a heading mean: in a list of tables, its newest item."""
        place: Place = ()
        for key in keys:
            place = (*place, key)
            self._note(place, line, Written.IMPLIED)
            if place in self._items:
                place = (*place, self._items[place])
        return place

    def _pair(self, table: Place) -> None:
        """`key = value`, the key perhaps dotted."""
        line = self._line()
        keys = self._key()
        self._at += 1  # the equals sign
        self._skip(_SPACE)
        place = table
        for key in keys[:-1]:
            place = (*place, key)
            self._note(place, line, Written.TABLE)
        place = (*place, keys[-1])
        self._note(place, line, Written.VALUE)
        self._value(place)

    def _value(self, place: Place) -> None:
        match self._text[self._at]:
            case "[":
                self._list(place)
            case "{":
                self._inline_table(place)
            case '"' | "'":
                self._skip(_STRING)
            case _:
                self._skip(_SCALAR)

    def _list(self, place: Place) -> None:
        self._at += 1
        index = 0
        while self._text[self._skip(_BLANK)] != "]":
            if self._text[self._at] == ",":
                self._at += 1
                continue
            item: Place = (*place, index)
            self._note(item, self._line(), Written.VALUE)
            self._value(item)
            index += 1
        self._at += 1

    def _inline_table(self, place: Place) -> None:
        self._at += 1
        while self._text[self._skip(_BLANK)] != "}":
            if self._text[self._at] == ",":
                self._at += 1
            else:
                self._pair(place)
        self._at += 1

    def _key(self) -> tuple[str, ...]:
        """A key, perhaps dotted; afterwards the scanner stands behind the space that follows."""
        keys = []
        while True:
            self._skip(_SPACE)
            start = self._at
            if self._text[start] in "\"'":
                self._skip(_STRING)
                keys.append(_unquoted(self._text[start : self._at]))
            else:
                self._skip(_BARE_KEY)
                keys.append(self._text[start : self._at])
            if self._text[self._skip(_SPACE)] != ".":
                return tuple(keys)
            self._at += 1

    def _skip(self, pattern: re.Pattern[str]) -> int:
        """Moves behind what the pattern matches here, and returns where that is."""
        found = pattern.match(self._text, self._at)
        if found is not None:
            self._at = found.end()
        return self._at

    def _line(self) -> int:
        return bisect_right(self._breaks, self._at) + 1

    def _note(self, place: Place, line: int, written: Written) -> None:
        if len(place) > DEEPEST:
            raise TooDeep
        self.lines.setdefault(place, line)
        self.written.setdefault(place, written)


def _unquoted(key: str) -> str:
    text = tomllib.loads(f"key = {key}")["key"] if "\\" in key else key[1:-1]
    assert isinstance(text, str)
    return text
