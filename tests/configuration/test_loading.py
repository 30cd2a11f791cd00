"""The whole way, from a file to a configuration or to every problem in it."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nvid.configuration import ConfigurationError, Loaded, Problem, load
from nvid.configuration.checks import check
from nvid.configuration.convert import convert
from nvid.configuration.keys import fields_of
from nvid.configuration.reference import SECTIONS
from nvid.errors import NvidError

EXAMPLE = Path(__file__).with_name("complete.toml")


def test_the_complete_example_is_accepted(loaded: Callable[..., Loaded]) -> None:
    assert loaded(EXAMPLE.read_text()).configuration.tenants


def test_the_complete_example_is_whole() -> None:
    data = tomllib.loads(EXAMPLE.read_text())
    nvi = data["nvi"]["nvi0"]
    assert set(data) == {"daemon", "conntrack", "uplink", "tenant", "nvi"}
    assert set(nvi) >= {"static", "dnat", "snat", "route", "helpers"}


def test_errors_are_one_exception(tmp_path: Path) -> None:
    with pytest.raises(NvidError) as wrong:
        load(tmp_path / "missing.toml")
    assert isinstance(wrong.value, ConfigurationError)
    assert wrong.value.exit_status == 1
    assert str(wrong.value) == str(wrong.value.problems[0])


def attempt(content: bytes) -> tuple[Problem, ...]:
    """The problems of a content; whatever else is raised fails the test."""
    with TemporaryDirectory() as directory:
        path = Path(directory, "nvid.toml")
        path.write_bytes(content)
        try:
            load(path)
        except ConfigurationError as wrong:
            return wrong.problems
    return ()


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@example(b"\xef\xbb\xbf[daemon]\n")
@example(b"a=" + b"[" * 100_000)
@example(b"a=" + b"{a=" * 100_000)
@example(b"a." * 5_000 + b"a=1")
@example(b"a=0x" + b"f" * 100_000)
@example(b"a=" + b"1" * 100_000)
@example(b"[nvi.nvi0]\ninterfaces=0x" + b"f" * 100_000)
@example(b"a=1e999999999")
def test_any_bytes_are_a_configuration_or_an_error(content: bytes) -> None:
    for problem in attempt(content):
        assert problem.line >= 1
        assert problem.message


COMPLETE = Path(__file__).with_name("complete.toml").read_bytes()
edits = st.tuples(
    st.integers(0, len(COMPLETE)),
    st.sampled_from([0, 0, 1, 1, 3, 20, 300]),
    st.binary(max_size=3)
    | st.sampled_from(
        [
            *(
                b"[",
                b"]",
                b"[[",
                b"{",
                b"}",
                b'"',
                b"'",
                b"=",
                b",",
                b"\n",
                b"#",
                b"\0",
                b"!",
                b"-1",
            ),
            *(
                b"[nvi.nvi0]\n",
                b"[[nvi.nvi0.snat]]\n",
                b"::/0",
                b"0.0.0.0/0",
                b"99999999999999999999",
            ),
        ]
    ),
)


@given(st.lists(edits, min_size=1, max_size=5))
def test_a_valid_file_with_accidents_is_a_configuration_or_an_error(
    accidents: list[tuple[int, int, bytes]],
) -> None:
    content = bytearray(COMPLETE)
    for where, gone, fresh in accidents:
        content[where : where + gone] = fresh
    for problem in attempt(bytes(content)):
        assert problem.line >= 1
        assert problem.message
        assert problem.file.name == "nvid.toml"


words = st.sampled_from(
    [
        *("10.0.0.0/8", "10.1.0.1", "198.51.100.8/29", "198.51.100.9", "2001:db8::/32", "fd00::1"),
        *("!10.0.0.0/8", "10.1.0.1:80", "[fd00::1]:80", "198.51.100.1-198.51.100.9", "0.0.0.0/0"),
        *("uplink", "uplink:isp1", "none", "isp1", "isp2", "red", "tcp", "udp", "icmp", "60s"),
        *("lan0", "vlan*", "wan0", "nvi0", "*", "auto", "80-90", "closed", "veth", "off", "arp"),
    ]
)
scalars = st.one_of(
    words, words, st.integers(-1, 70000), st.booleans(), st.text(max_size=5), st.floats(),
    st.dates(),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)


def tables(heading: str) -> st.SearchStrategy[dict[str, Any]]:
    """Tables with the keys of a section, and sometimes others."""
    kind = dict(SECTIONS)[heading]
    known = st.sampled_from([field.key.toml for field in fields_of(kind)])
    return st.dictionaries(known | st.text(max_size=3), values, max_size=6)


names = st.sampled_from(["isp1", "isp2", "red", "nvi0", "nvi0p", "a b", ""])
entries = {
    kind: st.lists(tables(f"[[nvi.NAME.{kind}]]"), max_size=4)
    for kind in ("static", "dnat", "snat", "route")
}
nvis = st.builds(
    lambda nvi, lists: nvi | lists,
    tables("[nvi.NAME]"),
    st.fixed_dictionaries({}, optional=entries),
)
documents = st.fixed_dictionaries(
    {},
    optional={
        "daemon": tables("[daemon]") | values,
        "conntrack": tables("[conntrack]") | values,
        "uplink": st.dictionaries(names, tables("[uplink.NAME]") | values, max_size=3) | values,
        "tenant": st.dictionaries(names, tables("[tenant.NAME]") | values, max_size=3) | values,
        "nvi": st.dictionaries(names, nvis | values, max_size=3) | values,
    },
)


@given(documents)
def test_any_tables_are_converted_and_checked(data: dict[str, Any]) -> None:
    converted = convert(data)
    found = [
        *converted.findings,
        *check(converted.configuration, converted.declared),
    ]
    for finding in found:
        assert finding.message
        assert finding.remedy
        assert (finding.key + finding.message + finding.remedy).isprintable()


def many() -> str:
    lines = ['[nvi.nvi0]\ninterfaces = ["lan0", "wan0"]']
    for n in range(10_000):
        host = f"{n >> 8}.{n & 255}"
        lines.append(f'[[nvi.nvi0.static]]\nlocal = "10.1.{host}"\nglobal = "100.70.{host}"')
    return "\n".join(lines)


def test_ten_thousand_entries_load_in_seconds(loaded: Callable[..., Loaded]) -> None:
    text = many()
    start = time.process_time()
    (nvi,) = loaded(text).configuration.nvis
    assert len(nvi.statics) == 10_000
    assert time.process_time() - start < 10  # about one on an idle machine


def test_the_time_grows_with_the_entries_not_with_their_pairs() -> None:
    def seconds(count: int) -> float:
        sources = [f"10.{n >> 8}.{n & 255}.0/24" for n in range(count)]
        data: dict[str, Any] = {
            "interfaces": "lan0",
            "dnat": [
                {"destination": "198.51.100.1", "port": n + 1, "to": "10.0.0.1"}
                for n in range(count)
            ],
            "snat": [{"source": one, "to": "198.51.100.8"} for one in sources],
        }
        converted = convert({"nvi": {"nvi0": data}})
        start = time.process_time()
        assert not list(check(converted.configuration, converted.declared))
        return time.process_time() - start

    few, more = min(seconds(500) for _ in range(3)), seconds(8000)
    assert more < few * 16 * 4
