"""What the language says about one key: how it is read, and what the reference tells about it.

A field of a configuration type that can be written in a file carries a `Key` in its annotation.
The converter reads files by it and the reference is printed from it, so the three cannot differ.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from nvid.configuration.readers import Reader


class Key(Struct, frozen=True):
    """One key of the language.

    toml: the key as it is typed.
    reader: turns what TOML holds into the field's value, and says in `accepts` what it takes.
    meaning: what it does, one sentence without the final stop.
    example: a value, in TOML.
    default: the value, in TOML, that stands when the key is absent; None where absence itself
        means something, which `absent` then says in words.
    """

    toml: str
    reader: Reader[Any]
    meaning: str
    example: str
    default: str | None = None
    absent: str | None = None


class Field(Struct, frozen=True):
    """A field of a configuration type together with its key."""

    name: str
    key: Key
    required: bool


@cache
def fields_of(kind: type[Struct]) -> tuple[Field, ...]:
    """The fields of a configuration type that can be written in a file, in declaration order."""
    hints = get_type_hints(kind, include_extras=True)
    found = []
    for field in msgspec.structs.fields(kind):
        hint = hints[field.name]
        if get_origin(hint) is not Annotated:
            continue
        key = next((extra for extra in get_args(hint)[1:] if isinstance(extra, Key)), None)
        if key is not None:
            found.append(Field(field.name, key, field.required))
    return tuple(found)
