"""The state file: replaced whole or not at all, and never a reason not to start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvid import state
from nvid.configuration.types import Daemon
from nvid.configuration.values import TableRange
from nvid.state import State, WindowChanged, window_of
from nvid.statedir import StateNotKept

FULL = State(
    uplinks={"isp1": 1, "isp2": 7},
    nvis={"nvi0": 3},
    sysctls={"net/ipv6/conf/all/forwarding": "0", "net/ipv4/conf/lan0/forwarding": "0"},
    window=window_of(Daemon()),
)


@pytest.fixture
def directory(tmp_path: Path) -> str:
    return str(tmp_path / "deep" / "state")


def test_what_is_saved_is_loaded(directory: str) -> None:
    state.save(directory, FULL)
    assert state.load(directory) == FULL


def test_the_order_of_sysctls_survives(directory: str) -> None:
    """They are restored last written first."""
    paths = [f"net/ipv4/conf/if{n}/forwarding" for n in (3, 1, 2)]
    state.save(directory, State(sysctls=dict.fromkeys(paths, "0")))
    kept = state.load(directory)
    assert kept is not None
    assert list(kept.sysctls) == paths


def test_people_can_read_it(directory: str) -> None:
    state.save(directory, FULL)
    (file,) = Path(directory).iterdir()
    assert json.loads(file.read_text())["uplinks"] == {"isp1": 1, "isp2": 7}


def test_nothing_but_the_file_is_left_behind(directory: str) -> None:
    for _ in range(3):
        state.save(directory, FULL)
    assert len(list(Path(directory).iterdir())) == 1


def test_forgetting(directory: str) -> None:
    state.forget(directory)
    state.save(directory, FULL)
    state.forget(directory)
    assert state.load(directory) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'{"uplinks": {"isp1": "one"}}',
        b'{"nvis": 5}',
        b"\x00\xff" * 100,
        json.dumps({"uplinks": {"isp1": 1}}).encode()[:-4],
        b'{"sysctls": {"net/a": null}}',
    ],
)
def test_a_damaged_file_counts_as_lost(directory: str, content: bytes) -> None:
    state.save(directory, FULL)
    (file,) = Path(directory).iterdir()
    file.write_bytes(content)
    assert state.load(directory) is None


@given(st.integers(0, 400), st.integers(0, 255))
def test_one_wrong_byte_never_raises(position: int, byte: int) -> None:
    """Random damage: what is loaded is a State or None."""
    with pytest.MonkeyPatch.context() as patch:
        content = bytearray(msgspec.json.encode(FULL))
        content[position % len(content)] = byte
        patch.setattr(Path, "read_bytes", lambda _self: bytes(content))
        found = state.load("/does/not/matter")
    assert found is None or isinstance(found, State)


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateNotKept, match="state_dir writable"):
        state.save(str(tmp_path / "file" / "state"), FULL)
    assert state.load(str(tmp_path / "file" / "state")) is None


def test_a_writer_that_is_killed_leaves_an_old_or_a_new_state(tmp_path: Path) -> None:
    """Twenty deaths at any moment; each time the whole of one of the two states is there."""
    program = textwrap.dedent("""
        import sys
        from nvid import state
        one = state.State(uplinks={f"isp{n}": n for n in range(1000)})
        other = state.State(nvis={f"nvi{n}": n for n in range(1000)})
        state.save(sys.argv[1], one)
        print("ready", flush=True)
        while True:
            state.save(sys.argv[1], one)
            state.save(sys.argv[1], other)
    """)
    sizes = set()
    for moment in range(20):
        with subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            time.sleep(0.003 + moment * 0.0007)
            writer.send_signal(signal.SIGKILL)
        kept = state.load(str(tmp_path))
        assert kept is not None
        sizes.add((len(kept.uplinks), len(kept.nvis)))
    assert sizes <= {(1000, 0), (0, 1000)}


class TestWindow:
    """The numbers that the objects in the kernel were made with."""

    def test_the_same_numbers_are_fine(self) -> None:
        FULL.check_window(Daemon())

    def test_a_state_without_a_window_fits_everything(self) -> None:
        State().check_window(Daemon(protocol=200))

    def test_settings_that_are_no_numbers_do_not_matter(self) -> None:
        FULL.check_window(Daemon(log_level="debug", on_stop="remove", metrics=None, resync=5))

    @pytest.mark.parametrize(
        "changed",
        [
            Daemon(fwmark_mask=0x00FFF000),
            Daemon(rule_priority=7800),
            Daemon(tables=TableRange(7700, 7900)),
            Daemon(protocol=78),
        ],
    )
    def test_other_numbers_need_a_down_first(self, changed: Daemon) -> None:
        with pytest.raises(WindowChanged, match="run 'nvid down' first"):
            FULL.check_window(changed)


def test_the_file_is_on_disk_before_it_has_its_name(
    directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power failure must not leave an empty file under the right name."""
    order: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def synced(descriptor: int) -> None:
        order.append("fsync")
        fsync(descriptor)

    def renamed(self: Path, to: Path) -> Path:
        order.append("rename")
        return rename(self, to)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    state.save(directory, FULL)
    assert order[:2] == ["fsync", "rename"]
