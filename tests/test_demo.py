"""scripts/demo: it works, it notices when something does not, and it leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents import ROOT, blocks

DEMO = ROOT / "scripts" / "demo"


@pytest.fixture
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the demo makes its directory; short, for its socket's sake."""
    with tempfile.TemporaryDirectory(prefix="d") as made:
        yield Path(made)


def start(temporary: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [DEMO],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary), **environment},
        start_new_session=True,
    )


def left_behind(demo: subprocess.Popen[str], temporary: Path) -> list[str]:
    """Namespaces, files and processes of this demo; scripts/demo keeps its process id."""
    prefix = f"nvid-demo-{demo.pid}-"
    listed = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    names = [line.split()[0] for line in listed.splitlines() if line.startswith(prefix)]
    files = [str(path) for path in temporary.iterdir()]
    return [*names, *files, *_processes(str(temporary))]


def _processes(mark: str) -> list[str]:
    """Processes that have `mark` in their environment: TMPDIR is handed on to every one."""
    found = []
    for each in Path("/proc").iterdir():
        if each.name.isdigit() and int(each.name) != os.getpid():
            try:
                if mark.encode() in (each / "environ").read_bytes():
                    found.append((each / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
    return found


def read_until(demo: subprocess.Popen[str], beginning: str) -> str:
    assert demo.stdout is not None
    said = ""
    for line in demo.stdout:
        said += line
        if line.startswith(beginning):
            return said
    raise AssertionError(f"the demo ended before {beginning!r}:\n{said}")


def without_numbers(text: str) -> list[str]:
    """The lines of a text, with # for what differs from one run to the next."""
    text = re.sub(r"nvid-demo-\w+", "nvid-demo-#", text)
    text = re.sub(r"\d+(\.\d+)?", "#", text)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def test_everything_is_as_expected_and_nothing_is_left(temporary: Path) -> None:
    demo = start(temporary)
    said, _ = demo.communicate(timeout=100)
    assert demo.returncode == 0, said
    assert "[NOT AS EXPECTED]" not in said
    assert said.splitlines()[-1].startswith("Everything was as expected")
    assert left_behind(demo, temporary) == []
    (shown,) = [block for block in blocks(ROOT / "README.md", "") if "== 1." in block.text]
    printed = without_numbers(said.replace(str(temporary), "/tmp"))
    # Line by line and in order; only "[…]" may stand for something that is left out.
    rest = iter(printed)
    for line in without_numbers(shown.text):
        assert line == "[…]" or line in rest, f"README shows what the demo did not print: {line}"


def test_what_is_not_as_expected_is_said_and_fails(temporary: Path) -> None:
    """A curl with a story of its own: the demo must not take what it shows for granted."""
    programs = temporary / "bin"
    programs.mkdir()
    curl = programs / "curl"
    real = shutil.which("curl")
    curl.write_text(
        f'#!/bin/sh\ncase "$*" in *9477*) exec {real} "$@";; esac\necho server saw 10.1.0.2\n'
    )
    curl.chmod(0o755)
    demo = start(temporary, PATH=f"{programs}:{os.environ['PATH']}")
    said, _ = demo.communicate(timeout=100)
    assert demo.returncode == 1, said
    assert "[NOT AS EXPECTED] that is the router's address on wan0" in said
    assert "[ok] answers over IPv4: 3" in said
    assert left_behind(demo, temporary) == [str(programs)]


@pytest.mark.parametrize(
    ("number", "step"),
    [(signal.SIGINT, "A NAT Virtual"), (signal.SIGINT, "== 9."), (signal.SIGTERM, "== 3.")],
)
def test_an_interrupted_demo_leaves_nothing(
    temporary: Path, number: signal.Signals, step: str
) -> None:
    demo = start(temporary)
    said = read_until(demo, step)
    # As a terminal does it: to the whole group of the foreground.
    os.killpg(demo.pid, number)
    rest, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130, said + rest
    assert "interrupted" in rest
    assert left_behind(demo, temporary) == []


def test_without_root_it_says_what_it_needs() -> None:
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--clear-groups", DEMO],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "root" in done.stderr
