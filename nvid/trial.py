"""A configuration on trial, and the way back to the one before (docs/decisions/0009).

Everything is in ``state_dir``, so that whoever is alive at the deadline can go the way back:

    last-good/    a copy of the files that were confirmed last, or began without a trial
    on-trial/     a copy of the files on trial, once they are in force
    pending.json  until when ``nvid confirm`` must have been said; it is there before anything of
                  the new configuration is
    refused.json  what was taken back: a start must not begin with it again
    coming/       a copy of the files that are being put in force, until that is done: after a
                  death in the middle, flows of theirs are found by it
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from pathlib import Path

import msgspec

from nvid.configuration import ConfigurationError, Loaded, daemon_table, load
from nvid.configuration.source import digest_of
from nvid.errors import NotPermitted, NvidError
from nvid.statedir import StateNotKept, make_directory, not_kept, remove, replace, sync, write

LONGEST = 7 * 86400
"""Seconds: nobody waits longer for a confirmation."""
PENDING = "pending.json"

_LAST_GOOD, _ON_TRIAL, _REFUSED = "last-good", "on-trial", "refused.json"
_COMING = "coming"
_MAIN = "nvid.toml"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class NothingPending(NvidError):
    """There is no reload that waits for a confirmation."""

    def __init__(self) -> None:
        super().__init__("no reload waits for a confirmation")


class Instant(msgspec.Struct, frozen=True):
    """A moment: seconds since 1970, seconds since the boot (with sleep), and which boot it was."""

    wall: float
    boottime: float
    boot: str


def now() -> Instant:
    """This moment."""
    boottime = time.clock_gettime(time.CLOCK_BOOTTIME)
    return Instant(time.time(), boottime, _BOOT_ID.read_text().strip())


class Pending(msgspec.Struct, frozen=True):
    """A trial: when it began, how many seconds it lasts, and the digest of the files on trial."""

    began: Instant
    seconds: float
    digest: str

    @property
    def deadline(self) -> float:
        """The end in seconds since 1970; right as long as nobody sets the clock."""
        return self.began.wall + self.seconds

    def left(self, at: Instant) -> float:
        """Seconds until the deadline; 0 when it has passed.

        After another boot only the wall clock can tell. A moment before the beginning cannot be
        right, and counts as late.
        """
        if at.boot == self.began.boot:
            passed = at.boottime - self.began.boottime
        else:
            passed = at.wall - self.began.wall
        return max(0.0, self.seconds - passed) if passed >= 0 else 0.0


# The trial itself may be lost with a broken disk; the way back is then the safe answer.
_UNREADABLE = Pending(Instant(0.0, 0.0, ""), 0.0, "")


class Refused(msgspec.Struct, frozen=True):
    """What was taken back: the digest of its files, and when, in seconds since 1970."""

    digest: str
    at: float


def begin(directory: str, seconds: float, digest: str) -> Pending:
    """Write down that a trial begins now. Raises StateNotKept."""
    _sync(Path(directory) / _LAST_GOOD)
    pending = Pending(now(), seconds, digest)
    write_pending(directory, pending)
    return pending


def write_pending(directory: str, pending: Pending) -> None:
    """Write a trial down, in place of another one. Raises StateNotKept."""
    replace(Path(directory) / PENDING, msgspec.json.format(msgspec.json.encode(pending)))


def pending(directory: str) -> Pending | None:
    """The trial that waits for a confirmation; one that is long over if it cannot be read.

    Raises NotPermitted.
    """
    try:
        content = (Path(directory) / PENDING).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise NotPermitted(f"{directory}: {error.strerror}; run nvid as root") from error
    except OSError:
        return _UNREADABLE
    try:
        return msgspec.json.decode(content, type=Pending)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _UNREADABLE


def refused(directory: str) -> Refused | None:
    """What was taken back last, unless something else was begun since."""
    try:
        content = (Path(directory) / _REFUSED).read_bytes()
        return msgspec.json.decode(content, type=Refused)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def confirm(directory: str) -> bool:
    """The trial is over, and what was on trial is the last good configuration now; False when
    there is no copy of it. Raises StateNotKept."""
    remove(Path(directory) / PENDING)
    on_trial = Path(directory) / _ON_TRIAL
    if not on_trial.exists():
        return False
    try:
        _take_place(on_trial, Path(directory) / _LAST_GOOD)
    except OSError:
        return False  # The trial is over all the same.
    return True


def write_refused(directory: str, found: Refused) -> None:
    """The first half of the way back: from now on, a start begins with the last good
    configuration. Raises StateNotKept."""
    replace(Path(directory) / _REFUSED, msgspec.json.format(msgspec.json.encode(found)))


def finish(directory: str) -> None:
    """The second half, when the previous configuration is in force: the trial is over. Raises
    StateNotKept."""
    remove(Path(directory) / PENDING)
    forget_on_trial(directory)


def forget_on_trial(directory: str) -> None:
    """The copy of what is on trial could not be made, or is not needed any more."""
    shutil.rmtree(Path(directory) / _ON_TRIAL, ignore_errors=True)


def forget_refused(directory: str) -> None:
    """Something else was begun. Raises StateNotKept."""
    remove(Path(directory) / _REFUSED)


# Copies


def last_good(directory: str) -> Path:
    """Where the main file of the last good configuration is kept; it need not exist."""
    return Path(directory) / _LAST_GOOD / _MAIN


def in_force(directory: str) -> Path:
    """Where the main file of what was in force last is kept; it need not exist."""
    on_trial = Path(directory) / _ON_TRIAL / _MAIN
    return on_trial if on_trial.exists() else last_good(directory)


def keep_last_good(directory: str, path: Path, loaded: Loaded) -> None:
    """Keep a copy of the files that are in force for good; raises StateNotKept."""
    _keep(Path(directory) / _LAST_GOOD, path, loaded.files, loaded.digest)


def keep_on_trial(directory: str, path: Path, loaded: Loaded) -> None:
    """Keep a copy of the files that are in force for a trial; raises StateNotKept."""
    _keep(Path(directory) / _ON_TRIAL, path, loaded.files, loaded.digest)


def coming(directory: str) -> Path:
    """Where the main file of what was being put in force is kept; it seldom exists."""
    return Path(directory) / _COMING / _MAIN


def keep_coming(directory: str, path: Path, loaded: Loaded) -> None:
    """Keep a copy of the files that are about to be put in force; raises StateNotKept."""
    _keep(Path(directory) / _COMING, path, loaded.files, loaded.digest)


def forget_coming(directory: str) -> None:
    """They are in force, or something else is."""
    shutil.rmtree(Path(directory) / _COMING, ignore_errors=True)


def _keep(place: Path, path: Path, files: Iterable[Path], digest: str) -> None:
    """Copy files beside ``place``, then let the copy take it. ``path`` is the main one of them,
    all others are its drop-ins."""
    fresh = place.with_suffix(".new")
    try:
        contents = [("" if file == path else file.name, file.read_bytes()) for file in files]
        if digest_of(contents) != digest:
            raise StateNotKept(
                f"{path} was changed while nvid read it; say 'nvid reload' once more, so that what "
                f"is in force can be kept"
            )
        make_directory(place.parent)
        shutil.rmtree(fresh, ignore_errors=True)
        drop_ins = (fresh / _MAIN).with_suffix(".d")
        make_directory(fresh)
        make_directory(drop_ins)
        for name, content in contents:
            write(drop_ins / name if name else fresh / _MAIN, content)
        _take_place(fresh, place)
    except OSError as error:
        raise not_kept(place, error) from error


def _take_place(fresh: Path, place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    fresh.rename(place)


def _sync(place: Path) -> None:
    """What somebody will depend on must outlive a power failure."""
    try:
        for path in (*place.rglob("*"), place, place.parent):
            sync(path)
    except OSError as error:
        raise not_kept(place, error) from error


# What a start begins with


@dataclass(frozen=True, slots=True)
class Start:
    """What to begin with, and why. ``pending`` is a trial that goes on, ``late`` one whose end
    nobody saw; ``refused`` says that the files in place were taken back. In the last two cases
    ``loaded`` is the last good configuration, unless ``problem`` says why that could not be."""

    loaded: Loaded
    directory: str
    pending: Pending | None = None
    late: Pending | None = None
    refused: Refused | None = None
    problem: str | None = None

    @property
    def is_way_back(self) -> bool:
        """Whether the last good configuration is begun with, and not the files in place."""
        return self.problem is None and (self.late is not None or self.refused is not None)


@dataclass(frozen=True, slots=True)
class Files:
    """What was found at the path of the configuration: something valid, or what is wrong."""

    path: Path
    directory: str
    loaded: Loaded | None
    error: ConfigurationError | None = None


def read(path: Path) -> Files:
    """Read a configuration, and find its state directory even where it is not acceptable."""
    try:
        loaded = load(path)
    except ConfigurationError as error:
        return Files(path, daemon_table(path).state_dir, None, error)
    return Files(path, loaded.configuration.daemon.state_dir, loaded)


def start(files: Files) -> Start:
    """What a daemon begins with. Raises ConfigurationError; the caller has the lock."""
    directory = files.directory
    found = Start(files.loaded, directory) if files.loaded is not None else None
    waiting, before = pending(directory), refused(directory)
    if waiting is not None and waiting.left(now()) <= 0:
        if not waiting.digest and found is not None:
            waiting = msgspec.structs.replace(waiting, digest=found.loaded.digest)
        return _way_back(files, late=waiting)
    if found is None:
        assert files.error is not None
        raise files.error
    if waiting is None and before is not None and before.digest == found.loaded.digest:
        return _way_back(files, refused=before)
    return replace_fields(found, pending=waiting)


def _way_back(files: Files, late: Pending | None = None, refused: Refused | None = None) -> Start:
    """Begin with the last good configuration. A copy that was lost or damaged must not take the
    whole service with it: then it is what is in place after all."""
    try:
        loaded, problem = load(last_good(files.directory)), None
    except ConfigurationError as error:
        if files.loaded is None:
            raise
        loaded, problem = files.loaded, f"there is no way back: {error.problems[0]}"
    return Start(loaded, files.directory, late=late, refused=refused, problem=problem)
