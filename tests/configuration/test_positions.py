"""The lines of keys, compared with what tomllib reads and with texts built line by line."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field

from hypothesis import assume, given
from hypothesis import strategies as st

from nvid.configuration.places import Place, spell
from nvid.configuration.positions import Positions, Written


def places_of(value: object, around: Place = ()) -> Iterator[Place]:
    if around:
        yield around
    if isinstance(value, dict):
        for key, part in value.items():
            yield from places_of(part, (*around, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from places_of(part, (*around, index))


def lines(text: str) -> dict[str, int]:
    tomllib.loads(text)  # the scanner is only made for what TOML accepts
    return {spell(place): line for place, line in Positions(text).lines.items()}


dotted = st.lists(
    st.sampled_from(["a", "b", '"a"', "'b.c'", '"\\u0061"', " b\t", '"]"']), min_size=1, max_size=3
).map(".".join)
# Much of this is no TOML in most places; the test leaves out what is not.
values = st.lists(
    st.sampled_from(
        [
            *("1", "true", "1979-05-27 07:32:00Z", "-3.1e2", '"]"', "'#'", "'''a\n'''"),
            *('"""\n]"""', '"""a"""""', "[1, 2]", "{a = 1}", "[\n1, # x\n{b = [2]},\n]"),
            *("[", "]", "{ a.b = ", "}", ",", "\n", " ", "# ]\n", "\\", '"', "'"),
        ]
    ),
    min_size=1,
    max_size=5,
).map("".join)
statements = st.one_of(
    dotted.map("[{}]".format),
    dotted.map("[[{}]]".format),
    st.builds("{} = {}".format, dotted, values),
    st.sampled_from(["", "# [a]", "\t", "\r"]),
)


def is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


@given(st.lists(statements, max_size=20))
def test_every_place_of_a_text_has_a_line(pieces: list[str]) -> None:
    text = ""
    for piece in pieces:
        if is_toml(f"{text}{piece}\n"):
            text += f"{piece}\n"
    positions = Positions(text)
    assert set(places_of(tomllib.loads(text))) == set(positions.lines) == set(positions.written)
    assert all(1 <= line <= text.count("\n") for line in positions.lines.values())


@dataclass
class Text:
    """A TOML text that knows the line of each place in it."""

    text: str = ""
    lines: dict[Place, int] = field(default_factory=dict)

    @property
    def line(self) -> int:
        return self.text.count("\n") + 1

    def mark(self, place: Place) -> None:
        self.lines.setdefault(place, self.line)


keys = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=4) | st.sampled_from(
    ["a", "b", "c.d", "#", "[x]", 'q"q', "="]
)
blanks = st.sampled_from(["", "\n", "# [a]\n", " # x = 1 ]\n", "\n\n"])
scalars = st.sampled_from(
    [
        *("1", "'[x]'", '"# = ]"', '"\\""', "2026-01-01 00:00:00", "false", "'''\n\n[y]\n'''"),
        *('"""\\\n  \n"quoted" \\""" """', '"""a\n""""', "0x00ffff00", "inf"),
    ]
)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)


def quoted(key: str) -> str:
    return json.dumps(key, ensure_ascii=False).replace("\x7f", "\\u007f")


def put_value(out: Text, value: object, place: Place, data: st.DataObject) -> None:
    if isinstance(value, str):
        out.text += value
    elif isinstance(value, list):
        out.text += "["
        for index, part in enumerate(value):
            out.text += data.draw(blanks)
            out.mark((*place, index))
            put_value(out, part, (*place, index), data)
            out.text += data.draw(blanks) + ","
        out.text += data.draw(blanks) + "]"
    elif isinstance(value, dict):
        out.text += "{"
        for number, (key, part) in enumerate(value.items()):
            out.text += ", " if number else " "
            out.mark((*place, key))
            out.text += f"{quoted(key)} = "
            put_value(out, part, (*place, key), data)
        out.text += "}"


def put_pairs(out: Text, tree: dict[str, object], place: Place, data: st.DataObject) -> None:
    for key, value in tree.items():
        out.text += data.draw(blanks) + data.draw(st.sampled_from(["", " ", "\t"]))
        out.mark((*place, key))
        out.text += f"{quoted(key)} ="
        put_value(out, value, (*place, key), data)
        out.text += data.draw(st.sampled_from(["\n", " # end\n", "\r\n"]))


@given(
    st.dictionaries(keys, trees, max_size=3),
    st.dictionaries(
        keys,
        st.dictionaries(keys, trees, max_size=3)
        | st.lists(st.dictionaries(keys, trees, max_size=2), min_size=1, max_size=3),
        max_size=3,
    ),
    st.data(),
)
def test_lines_are_those_on_which_keys_were_written(
    top: dict[str, object],
    tables: dict[str, dict[str, object] | list[dict[str, object]]],
    data: st.DataObject,
) -> None:
    out = Text()
    put_pairs(out, top, (), data)
    for name, table in tables.items():
        place: Place = ("under", name)
        if isinstance(table, dict):
            out.text += data.draw(blanks)
            out.mark(place)
            out.text += f"[ under . {quoted(name)} ]\n"
            put_pairs(out, table, place, data)
            continue
        for index, item in enumerate(table):
            out.text += data.draw(blanks)
            out.mark(place)
            out.mark((*place, index))
            out.text += f"[[under.{quoted(name)}]] # item\n"
            put_pairs(out, item, (*place, index), data)
    assume("under" not in top)
    tomllib.loads(out.text)
    found = Positions(out.text).lines
    found.pop(("under",), None)
    assert found == out.lines


def test_headings_after_their_sub_tables_are_the_place_of_the_table() -> None:
    assert lines("[a.b]\nx = 1\n[a]\ny = 2\n")["a"] == 3


def test_dotted_keys_and_inline_tables_share_a_line() -> None:
    found = lines("\na.b.c = { d = 1, e = [2,\n3] }\na.b.f = 4\n")
    assert found == {
        "a": 2, "a.b": 2, "a.b.c": 2, "a.b.c.d": 2, "a.b.c.e": 2, "a.b.c.e[0]": 2,
        "a.b.c.e[1]": 3, "a.b.f": 4,
    }  # fmt: skip


def test_sub_tables_belong_to_the_newest_item() -> None:
    found = lines("[[a]]\n[a.b]\nx=1\n[[a]]\n[a.b]\nx=1\n[[a.c]]\n")
    assert found["a[0].b.x"] == 3
    assert found["a[1].b.x"] == 6
    assert found["a[1].c[0]"] == 7


def test_how_places_were_written_is_known() -> None:
    text = "[a.b]\nx.y = {z = 1}\n[[a.c]]\n"
    written = {spell(place): how for place, how in Positions(text).written.items()}
    assert written == {
        "a": Written.IMPLIED,
        "a.b": Written.TABLE,
        "a.b.x": Written.TABLE,
        "a.b.x.y": Written.VALUE,
        "a.b.x.y.z": Written.VALUE,
        "a.c": Written.TABLES,
        "a.c[0]": Written.ITEM,
    }
