"""The way back as files and times: whatever the clocks say and whatever is damaged."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvid import statedir, trial
from nvid.configuration import ConfigurationError, load
from nvid.statedir import StateInUse, StateNotKept
from nvid.trial import Instant, Pending, Refused

FIRST = '[nvi.nvi0]\ninterfaces = ["lan0"]\n'
SECOND = '[nvi.nvi0]\ninterfaces = ["lan0", "wan0"]\n'
TIMES = st.floats(0, 2**33)
BEGAN = Instant(wall=1000.0, boottime=50.0, boot="a")


class Place:
    """A configuration with a state directory of its own, and what a daemon would do with it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "nvid.toml"
        self.state = directory / "state"
        self.directory = str(self.state)

    def write(self, text: str) -> None:
        self.path.write_text(f'[daemon]\nstate_dir = "{self.directory}"\n{text}')

    def run(self, text: str) -> None:
        """As a daemon that loaded this for good."""
        self.write(text)
        trial.keep_last_good(self.directory, self.path, load(self.path))

    def try_out(self, text: str, seconds: float) -> None:
        """As a daemon that was told to reload this on trial, and died."""
        self.write(text)
        loaded = load(self.path)
        trial.begin(self.directory, seconds, loaded.digest)
        trial.keep_on_trial(self.directory, self.path, loaded)

    def start(self) -> tuple[tuple[str, ...], trial.Start]:
        """The interfaces of what a start begins with, and why."""
        start = trial.start(trial.read(self.path))
        (nvi,) = start.loaded.configuration.nvis
        return tuple(map(str, nvi.interfaces)), start


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


class TestTime:
    def test_the_clock_of_the_boot_decides(self) -> None:
        pending = Pending(BEGAN, 60, "")
        assert pending.deadline == 1060
        assert pending.left(Instant(5.0, 70.0, "a")) == 40
        assert pending.left(Instant(1e9, 110.0, "a")) == 0

    def test_after_another_boot_the_wall_clock_does(self) -> None:
        pending = Pending(BEGAN, 60, "")
        assert pending.left(Instant(1010.0, 3.0, "b")) == 50
        assert pending.left(Instant(1061.0, 3.0, "b")) == 0

    def test_a_clock_that_was_set_back_is_late(self) -> None:
        """A router without a battery boots in 1970."""
        assert Pending(BEGAN, 60, "").left(Instant(3.0, 3.0, "b")) == 0

    @given(TIMES, TIMES, st.sampled_from("ab"), st.floats(0.1, trial.LONGEST))
    def test_nobody_waits_longer_than_he_said(
        self, wall: float, boottime: float, boot: str, seconds: float
    ) -> None:
        assert 0 <= Pending(BEGAN, seconds, "").left(Instant(wall, boottime, boot)) <= seconds


class TestStart:
    def test_nothing_special(self, place: Place) -> None:
        place.write(FIRST)
        interfaces, start = place.start()
        assert interfaces == ("lan0",)
        assert (start.pending, start.late, start.refused) == (None, None, None)

    def test_in_time(self, place: Place) -> None:
        place.run(FIRST)
        place.try_out(SECOND, 1000)
        interfaces, start = place.start()
        assert interfaces == ("lan0", "wan0")
        assert start.pending is not None

    def test_late(self, place: Place) -> None:
        place.run(FIRST)
        place.try_out(SECOND, 0)
        interfaces, start = place.start()
        assert interfaces == ("lan0",)
        assert start.late is not None

    def test_late_with_a_file_that_is_broken_meanwhile(self, place: Place) -> None:
        place.run(FIRST)
        place.try_out(SECOND, 0)
        place.write(FIRST + "nonsense = 1\n")
        assert place.start()[0] == ("lan0",)

    def test_in_time_with_a_file_that_is_broken_meanwhile(self, place: Place) -> None:
        place.run(FIRST)
        place.try_out(SECOND, 1000)
        place.write(FIRST + "nonsense = 1\n")
        with pytest.raises(ConfigurationError):
            place.start()

    def test_refused_until_it_is_changed(self, place: Place) -> None:
        place.run(FIRST)
        place.try_out(SECOND, 0)
        _, start = place.start()
        assert start.late is not None
        trial.write_refused(place.directory, Refused(start.late.digest, 1.0))
        trial.finish(place.directory)
        assert place.start()[0] == ("lan0",)
        assert place.start()[1].refused is not None
        place.write(SECOND + "# a thought\n")
        assert place.start()[0] == ("lan0", "wan0")

    def test_confirmed(self, place: Place) -> None:
        place.run(FIRST)
        place.try_out(SECOND, 0)
        assert trial.confirm(place.directory)
        assert place.start()[0] == ("lan0", "wan0")
        kept = load(trial.last_good(place.directory)).configuration
        assert kept == load(place.path).configuration

    @given(st.binary(max_size=60))
    def test_a_damaged_trial_is_late(self, content: bytes) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "read_bytes", lambda _self: content)
            found = trial.pending("/does/not/matter")
        assert found is not None
        assert found.left(trial.now()) == 0

    def test_a_damaged_trial_goes_back_once(self, place: Place) -> None:
        place.run(FIRST)
        place.try_out(SECOND, 1000)
        (place.state / "pending.json").write_bytes(b"\xff")
        interfaces, start = place.start()
        assert interfaces == ("lan0",)
        assert start.late is not None
        assert start.late.digest == load(place.path).digest

    def test_without_a_copy_no_trial_begins(self, place: Place) -> None:
        with pytest.raises(StateNotKept, match="last-good"):
            place.try_out(SECOND, 60)

    def test_a_lost_copy_is_no_reason_not_to_start(self, place: Place) -> None:
        place.run(FIRST)
        place.try_out(SECOND, 0)
        shutil.rmtree(place.state / "last-good")
        interfaces, start = place.start()
        assert interfaces == ("lan0", "wan0")
        assert "there is no way back: " in str(start.problem)


class TestCopies:
    def test_drop_ins_come_along(self, place: Place) -> None:
        drop_ins = place.path.with_suffix(".d")
        drop_ins.mkdir()
        (drop_ins / "more.toml").write_text('[nvi.nvi1]\ninterfaces = ["dmz0"]\n')
        place.run(FIRST)
        kept = load(trial.last_good(place.directory))
        assert [nvi.name for nvi in kept.configuration.nvis] == ["nvi0", "nvi1"]
        assert kept.digest == load(place.path).digest

    def test_they_are_for_nvids_user_only(self, place: Place) -> None:
        place.run(FIRST)
        place.try_out(SECOND, 1000)
        modes = {
            found.stat().st_mode & 0o777: found.is_dir() for found in place.state.rglob("*")
        } | {place.state.stat().st_mode & 0o777: True}
        assert modes == {0o700: True, 0o600: False}

    def test_files_that_change_while_they_are_read_are_not_kept(self, place: Place) -> None:
        place.run(FIRST)
        loaded = load(place.path)
        place.write(SECOND)
        with pytest.raises(StateNotKept, match="was changed while nvid read it"):
            trial.keep_last_good(place.directory, place.path, loaded)
        kept = load(trial.last_good(place.directory)).configuration
        assert kept == loaded.configuration

    def test_digests_tell_names_and_contents_apart(self, place: Place) -> None:
        drop_ins = place.path.with_suffix(".d")
        drop_ins.mkdir()
        seen = set()
        for name, content in (("a", "# b\n"), ("b", "# b\n"), ("a", "# c\n")):
            (drop_ins / f"{name}.toml").write_text(content)
            place.write(FIRST)
            seen.add(load(place.path).digest)
            (drop_ins / f"{name}.toml").unlink()
        assert len(seen) == 3


class TestLock:
    def test_one_at_a_time(self, tmp_path: Path) -> None:
        words = "another nvid works with this state_dir"
        with statedir.take(str(tmp_path), 0), pytest.raises(StateInUse, match=words):
            statedir.take(str(tmp_path), 0)
        with statedir.take(str(tmp_path), 0):
            pass

    def test_it_ends_with_its_holder(self, tmp_path: Path) -> None:
        child = os.fork()
        if child == 0:
            statedir.take(str(tmp_path), 0)
            os._exit(0)
        os.waitpid(child, 0)
        with statedir.take(str(tmp_path), 0):
            pass

    def test_without_a_place_for_it(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with statedir.take(str(tmp_path / "file"), 0):
            pass
