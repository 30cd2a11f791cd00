"""What bash completes is what the command line takes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMPLETION = ROOT / "etc" / "bash-completion" / "nvid"


def completed(*words: str) -> set[str]:
    """What bash offers in the place of the last word, as it asks a function of completion."""
    script = f"""
        source {COMPLETION}
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _nvid
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "-eu", "-c", script, "bash", "nvid", *words],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    return set(done.stdout.split())


def told(*words: str) -> str:
    """What nvid's own help says."""
    return subprocess.run(
        [sys.executable, "-m", "nvid", *words, "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
    ).stdout


COMMANDS = sorted(set(re.findall(r"^    (\w+)\s", told(), re.MULTILINE)))


def test_the_commands() -> None:
    assert len(COMMANDS) >= 12
    assert completed("") == {*COMMANDS, "--help", "--version"}
    assert completed("st") == {"status", "statistics"}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_options_of_a_command(command: str) -> None:
    """Each that its help names, and no other."""
    options = told(command).partition("example:")[0]
    wanted = set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", options, re.MULTILINE))
    assert completed(command, "--") == wanted


def test_files_and_interfaces() -> None:
    assert completed("check", "--config", f"{ROOT}/etc/nvid.t") == {f"{ROOT}/etc/nvid.toml"}
    assert "lo" in completed("explain", "--in", "l")
    assert completed("clear", "--protocol", "ic") == {"icmp", "icmpv6"}
