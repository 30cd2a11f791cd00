"""The reference, the types and the readers say the same."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nvid.configuration.keys import Field, fields_of
from nvid.configuration.reading import TableOf, TablesOf
from nvid.configuration.reference import SECTIONS, reference

PRINTED = Path(__file__).parents[2] / "docs" / "reference.md"

FIELDS = [
    pytest.param(kind, field, id=f"{kind.__name__}.{field.name}")
    for _, kind in SECTIONS
    for field in fields_of(kind)
]
# What the converter fills in by itself.
GIVEN = {"name", "key_path", "ordinal"}


def toml(value: str) -> Any:
    return tomllib.loads(f"value = {value}")["value"]


def test_the_printed_reference_is_that_of_the_types() -> None:
    assert PRINTED.read_text() == reference(), (
        "print it again: python -m nvid.configuration.reference > docs/reference.md"
    )


@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_examples_are_accepted(kind: type[msgspec.Struct], field: Field) -> None:
    reader, raw = field.key.reader, toml(field.key.example)
    reader(raw)
    tables = [raw] if isinstance(reader, TableOf) else raw if isinstance(reader, TablesOf) else []
    for table in tables:
        assert isinstance(reader, TableOf | TablesOf)
        assert set(table) <= {inner.key.toml for inner in fields_of(reader.kind)}


@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_the_default_that_is_told_is_the_one_that_stands(
    kind: type[msgspec.Struct], field: Field
) -> None:
    (stands,) = [one for one in msgspec.structs.fields(kind) if one.name == field.name]
    key = field.key
    if field.required:
        assert (key.default, key.absent) == (None, None)
    elif key.default is not None:
        assert key.reader(toml(key.default)) == stands.default
    elif field.name != "gateway_auto":
        assert key.absent
        assert stands.default in (None, ())


@pytest.mark.parametrize("kind", [kind for _, kind in SECTIONS])
def test_every_field_has_a_key(kind: type[msgspec.Struct]) -> None:
    named = {field.name for field in fields_of(kind)}
    assert {field.name for field in msgspec.structs.fields(kind)} - named <= GIVEN


@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_every_key_is_told(kind: type[msgspec.Struct], field: Field) -> None:
    heading = next(heading for heading, one in SECTIONS if one is kind)
    section = reference().split(f"## `{heading}`\n")[1].split("\n## ")[0]
    assert f"### `{field.key.toml}`\n" in section
    assert field.key.reader.accepts in section
