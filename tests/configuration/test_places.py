"""How places are spelled, and the nearest enclosing origin."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvid.configuration import Origin, Origins
from nvid.configuration.places import Place, parse, spell

places = st.builds(
    lambda first, rest: (first, *rest),
    st.text(),
    st.lists(st.text() | st.integers(0, 10**9)),
)


@given(places)
def test_a_spelled_place_is_parsed_back(place: Place) -> None:
    assert parse(spell(place)) == place


@given(st.text('ab.[]"\\0 '))
def test_any_text_can_be_parsed(text: str) -> None:
    assert parse(spell(parse(text))) == parse(text)


def test_places_look_like_the_language() -> None:
    assert spell(("nvi", "nvi0", "snat", 2, "to")) == "nvi.nvi0.snat[2].to"
    assert spell(("uplink", "a b")) == 'uplink."a b"'


@pytest.mark.parametrize(
    ("key_path", "line"),
    [
        ("nvi.nvi0.snat[2].to", 7),
        ("nvi.nvi0.snat[2].to[1]", 7),
        ("nvi.nvi0.snat[2].ports", 6),
        ("nvi.nvi0.local", 3),
        ("nvi.nvi0", 3),
        ("uplink", None),
        ("", None),
    ],
)
def test_the_nearest_origin_is_found(key_path: str, line: int | None) -> None:
    file = Path("/etc/nvid/nvid.toml")
    lines = {"nvi": 3, "nvi.nvi0": 3, "nvi.nvi0.snat[2]": 6, "nvi.nvi0.snat[2].to": 7}
    origins = Origins({parse(key): Origin(file, number) for key, number in lines.items()})
    assert origins.find(key_path) == (None if line is None else Origin(file, line))
    assert set(origins) == set(lines)
    assert "nvi.nvi0" in origins
    assert "nvi.nvi1" not in origins
    assert len(origins) == len(lines)
