"""Files in ``state_dir``: for nvid alone, written whole or not at all, used by one at a time."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from nvid.configuration.ownership import open_to_others, unsafe
from nvid.errors import NvidError

_LOCK = "lock"
_STEP = 0.05


class StateNotKept(NvidError):
    """The state directory cannot be written."""


class StateUnsafe(NvidError):
    """Others can write the state directory, so nothing in it can be believed."""


class StateInUse(NvidError):
    """Another process of nvid works with this state directory."""


def not_kept(path: Path, error: OSError) -> StateNotKept:
    """What to say when ``path`` could not be written."""
    return StateNotKept(f"{path}: {error.strerror}; make state_dir writable for nvid")


def check(directory: str) -> None:
    """Raises StateUnsafe for a directory, or a file of nvid's in it, that others can write."""
    path = Path(directory)
    try:
        found = open_to_others(path)
        inside = sorted(path.iterdir()) if found is None and path.is_dir() else []
        found = found or next(filter(None, map(unsafe, inside)), None)
    except OSError:
        return  # What cannot be looked at cannot be used either, and that is said elsewhere.
    if found is not None:
        raise StateUnsafe(
            f"{found.path}: {found.message}, and nvid would believe what it says there; run: "
            f"{found.remedy}"
        )


def replace(path: Path, content: bytes) -> None:
    """Write a file in one step, readable for nvid's user only; after it, the new content outlives
    a power failure. Raises StateNotKept."""
    try:
        make_directory(path.parent)
        fresh = path.with_name(f"{path.name}.new")
        write(fresh, content)
        sync(fresh)
        fresh.rename(path)
        sync(path.parent)
    except OSError as error:
        raise not_kept(path, error) from error


def remove(path: Path) -> None:
    """Remove a file, if it is there. Raises StateNotKept."""
    try:
        path.unlink(missing_ok=True)
    except NotADirectoryError:
        return
    except OSError as error:
        raise not_kept(path, error) from error


def make_directory(path: Path) -> None:
    """A directory for nvid's user only. Raises OSError."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def write(path: Path, content: bytes) -> None:
    """Write a file that only nvid's user can read. Raises OSError."""
    # A leftover may have another mode, or be a link that leads elsewhere.
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a directory, are on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Lock:
    """The right to work with a state directory; the kernel gives it back when its holder dies
    (flock(2)). A context manager; ``take`` makes one."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def take(directory: str, patience: float) -> Lock:
    """Wait for the lock, at most ``patience`` seconds.

    Where the directory cannot be written there is nothing to exclude: then the lock is an empty
    one. Raises StateInUse and StateUnsafe.
    """
    check(directory)
    path = Path(directory) / _LOCK
    try:
        make_directory(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return Lock(None)
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                raise StateInUse(
                    f"{directory}: another nvid works with this state_dir; stop it, or give this "
                    f"one another state_dir in [daemon]"
                ) from error
            time.sleep(_STEP)
        else:
            return Lock(descriptor)
