"""README and the documents say nothing that the program does not do: commands, configurations."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
from pathlib import Path

import pytest

from tests.documents import EXAMPLES, NVID, ROOT, Block, all_blocks, blocks, commands, name
from tests.lab import Lab, Nvid, two_uplinks

README = ROOT / "README.md"
SERVER = {4: "198.18.0.10", 6: "2001:db8:f::10"}
ROUTER_ON_WAN0 = {4: "203.0.113.1", 6: "2001:db8:1::1"}


@functools.cache
def help_of(*command: str) -> str:
    done = subprocess.run([NVID, *command, "--help"], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def check(file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [NVID, "check", "--config", file], capture_output=True, text=True, check=False
    )


def test_every_command_and_option_exists() -> None:
    found = list(commands())
    assert len(found) > 20
    for where, words in found:
        options = [word.partition("=")[0] for word in words if word.startswith("--")]
        name_of_command = [word for word in words[:1] if not word.startswith("-")]
        text = help_of(*name_of_command)
        assert text, f"{where}: there is no such command"
        for option in options:
            assert option in text, f"{where}: there is no {option}"


def test_commands_of_the_help_are_in_the_documents() -> None:
    known = set(re.findall(r"^    ([a-z]+)(?= |$)", help_of(), re.MULTILINE))
    assert len(known) >= 6
    told = {words[0] for _, words in commands() if words}
    assert known <= told


@pytest.mark.parametrize("block", all_blocks("toml"), ids=str)
def test_configurations_in_documents_are_valid(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "nvid.toml"
    file.write_text(block.text)
    done = check(file)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("file", EXAMPLES, ids=name)
def test_example_files_are_valid(file: Path) -> None:
    done = check(file)
    assert done.returncode == 0, done.stderr


def test_the_installed_example_asks_for_nothing_and_is_ready_to_be_used(tmp_path: Path) -> None:
    text = (ROOT / "etc" / "nvid.toml").read_text()
    active = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert active == []
    ready = tmp_path / "nvid.toml"
    ready.write_text(re.sub(r"^#(?=[a-z\[])", "", text, flags=re.MULTILINE))
    done = check(ready)
    assert done.returncode == 0, done.stderr
    assert "1 NVIs, 6 translations, 2 uplinks" in done.stdout


def test_paths_that_are_told_exist() -> None:
    """In the commands of README: scripts, and what installing copies from the checkout."""
    words = [word for block in blocks(README, "sh") for word in block.text.split()]
    inside = [word for word in words if re.match(r"(\./)?(scripts|etc|requirements)[/.]", word)]
    assert len(inside) >= 4
    for word in inside:
        assert (ROOT / word).exists(), word
    # What the wheel brings along, where README copies it from.
    packaged = (ROOT / "pyproject.toml").read_text()
    for word in words:
        if word.startswith("/opt/nvid/lib/"):
            assert f'"{word.removeprefix("/opt/nvid/")}"' in packaged, word


def test_headings_of_the_demo_are_those_shown() -> None:
    source = ast.parse((ROOT / "demo" / "story.py").read_text())
    told = [
        ast.literal_eval(call.args[0])
        for call in ast.walk(source)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "step"
    ]
    shown = re.findall(r"^== \d+\. (.+)$", README.read_text(), re.MULTILINE)
    assert sorted(shown) == sorted(told)


@pytest.mark.parametrize("family", [4, 6])
def test_the_five_lines_work(lab: Lab, tmp_path: Path, family: int) -> None:
    five = blocks(README, "toml")[0]
    assert len(five.text.splitlines()) == 5
    network = two_uplinks(lab, default_route="isp1")
    Nvid(network.router, five.text, tmp_path).start()
    network.server.observe(tcp=[80])
    seen = network.client.ask_tcp(SERVER[family], 80)
    assert seen.address == ROUTER_ON_WAN0[family]
