"""Reading files and merging drop-ins."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nvid.configuration import Loaded, Problem, load
from nvid.configuration.source import LARGEST_FILE, read

MAIN = """\
[uplink.isp1]
interface = "wan0"
gateway = "203.0.113.254"
[nvi.nvi0]
interfaces = ["lan0", "wan0"]
[[nvi.nvi0.snat]]
source = "10.1.0.0/16"
to = "198.51.100.8"
"""

Problems = Callable[..., tuple[Problem, ...]]
Loading = Callable[..., Loaded]
Write = Callable[..., Path]


def where(problem: Problem) -> str:
    return f"{problem.file.name}:{problem.line}"


def test_drop_ins_append_entries_in_name_order(loaded: Loading) -> None:
    found = loaded(
        MAIN,
        b='[[nvi.nvi0.snat]]\nsource = "10.3.0.0/16"\nto = "198.51.100.10"\n',
        a='\n[[nvi.nvi0.snat]]\nsource = "10.2.0.0/16"\nto = "198.51.100.9"\n',
    )
    (nvi,) = found.configuration.nvis
    assert [str(snat.to) for snat in nvi.snats] == ["198.51.100.8", "198.51.100.9", "198.51.100.10"]
    assert [snat.key_path for snat in nvi.snats] == [f"nvi.nvi0.snat[{i}]" for i in range(3)]
    assert [file.name for file in found.files] == ["nvid.toml", "a.toml", "b.toml"]
    places = [found.origins.find(f"nvi.nvi0.snat[{index}].to") for index in range(3)]
    assert [(one.file.name, one.line) for one in places if one] == [
        ("nvid.toml", 8),
        ("a.toml", 4),
        ("b.toml", 3),
    ]


def test_sub_tables_may_come_before_or_after_their_table(loaded: Loading) -> None:
    found = loaded(
        '[[nvi.nvi0.static]]\nlocal = "10.1.0.1"\nglobal = "198.51.100.1"\n',
        a='[nvi.nvi0]\ninterfaces = "lan0"\n',
        b='[[nvi.nvi0.static]]\nlocal = "10.1.0.2"\nglobal = "198.51.100.2"\n[nvi.nvi1]\n'
        'interfaces = "lan1"\n',
    )
    assert [nvi.name for nvi in found.configuration.nvis] == ["nvi0", "nvi1"]
    assert len(found.configuration.nvis[0].statics) == 2
    origin = found.origins.find("nvi.nvi0")
    assert origin is not None
    assert (origin.file.name, origin.line) == ("a.toml", 1)


@pytest.mark.parametrize(
    ("drop_in", "line", "key", "what"),
    [
        ("\n[uplink.isp1]\nweight = 2\n", 2, "uplink.isp1", "table"),
        ('[nvi.nvi0]\nreach = "arp"\n', 1, "nvi.nvi0", "table"),
        ("uplink.isp1.weight = 2\n", 1, "uplink.isp1", "table"),
        ("[uplink]\nisp1 = { weight = 2 }\n", 2, "uplink.isp1", "key"),
        ("[nvi]\nnvi0.snat = []\n", 2, "nvi.nvi0", "table"),
    ],
)
def test_nothing_is_said_twice(
    problems: Problems, drop_in: str, line: int, key: str, what: str
) -> None:
    (problem,) = problems(MAIN, more=drop_in)
    assert (problem.key, where(problem)) == (key, f"more.toml:{line}")
    earlier = 1 if key == "uplink.isp1" else 4
    assert f"the {what} stands in" in problem.message
    assert f"nvid.toml:{earlier} already" in problem.message
    assert "in one file only" in problem.remedy


def test_a_list_that_is_a_value_is_not_added_to(problems: Problems) -> None:
    (problem,) = problems(
        '[nvi.nvi0]\ninterfaces = "lan0"\nsnat = [{ to = "none" }]\n',
        more='[[nvi.nvi0.snat]]\nto = "none"\n',
    )
    assert (problem.key, where(problem)) == ("nvi.nvi0.snat", "more.toml:1")
    assert "nvid.toml:3 already" in problem.message


def test_three_files_with_one_table_are_two_problems(problems: Problems) -> None:
    table = "[daemon]\nlog_level = 'info'\n"
    found = problems(table, a=table, b=table)
    assert [where(problem) for problem in found] == ["a.toml:1", "b.toml:1"]


@pytest.mark.parametrize(
    ("text", "line", "message", "remedy"),
    [
        ("a = 1\nb = \n", 2, "not TOML: Invalid value", "toml.io"),
        ("a = 1\na = 2\n", 2, "Cannot overwrite", "toml.io"),
        ('a = 1\nb = """x\n', 2, "before the file ends", "left open"),
        ("x = [1,\n2\n", 2, "before the file ends", "left open"),
        (b"a = 1\nb = '\xff'\n", 2, "byte 0xff is not UTF-8", "save the file as UTF-8"),
        (b"\xef\xbb\xbfa = 1\n", 1, "byte order mark", "without it"),
        ("a = " + "9" * 5000, 1, "not TOML", "toml.io"),
        ("a = " + "[" * 5000, 1, "nested too deeply", "four levels"),
    ],
)
def test_what_is_not_toml_is_told_by_line(
    problems: Problems, text: str | bytes, line: int, message: str, remedy: str
) -> None:
    (problem,) = problems(text)
    assert problem.line == line
    assert message in problem.message
    assert remedy in problem.remedy


def test_every_file_that_is_not_toml_is_told(problems: Problems) -> None:
    found = problems("=", a="= =\n", b="x = 1\n")
    assert [where(one) for one in found] == ["nvid.toml:1", "a.toml:1", "b.toml:1"]
    assert found[2].message == "there is no such key"


def test_what_an_unreadable_file_may_hold_is_not_missed(problems: Problems) -> None:
    (problem,) = problems(
        '[[nvi.nvi0.route]]\nvia = "isp1"\n', broken='[nvi.nvi0]\ninterfaces = "lan0"\n='
    )
    assert where(problem) == "broken.toml:3"


def test_a_missing_file_is_a_problem(tmp_path: Path) -> None:
    (problem,) = read(tmp_path / "nvid.toml").problems
    assert "does not exist" in problem.message
    assert "create it" in problem.remedy


def test_a_directory_is_not_a_file(write: Write, problems: Problems) -> None:
    path = write(MAIN, a="")
    (path.parent / "nvid.d" / "b.toml").mkdir()
    (problem,) = problems(MAIN)
    assert problem.file.name == "b.toml"
    assert "not a regular file" in problem.message


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "nvid.toml")
    (problem,) = read(tmp_path / "nvid.toml").problems
    assert "not a regular file" in problem.message


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "nvid.toml").open("wb") as file:
        file.truncate(LARGEST_FILE + 1)
    (problem,) = read(tmp_path / "nvid.toml").problems
    assert f"more than {LARGEST_FILE}" in problem.message


def test_a_drop_in_place_that_is_no_directory_is_told(write: Write, problems: Problems) -> None:
    (write(MAIN).parent / "nvid.d").write_text("")
    (problem,) = problems(MAIN)
    assert problem.file.name == "nvid.d"
    assert "Not a directory" in problem.message
    assert "readable directory" in problem.remedy


def test_a_name_that_no_file_can_have_is_a_problem() -> None:
    source = read(Path("nvid\0.toml"))
    assert source.problems
    assert not source.readable


def test_other_files_in_the_directory_are_left_alone(write: Write) -> None:
    path = write(MAIN, a="")
    (path.parent / "nvid.d" / "a.toml.bak").write_text("=")
    assert [file.name for file in load(path).files] == ["nvid.toml", "a.toml"]
