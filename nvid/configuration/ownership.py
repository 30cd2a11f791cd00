"""Who else can write a file: nobody but root and the user who runs nvid may.

A file is as safe as every directory and symbolic link on the way to it: who can write a directory
can put another file into its place. A sticky directory (/tmp) is safe for what others cannot
replace there, which is what belongs to somebody who may.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_WRITABLE = stat.S_IWGRP | stat.S_IWOTH
_MOST_LINKS = 40
"""As many as the kernel follows (path_resolution(7))."""


@dataclass(frozen=True, slots=True)
class Unsafe:
    """What others can write, why, and the command that ends it."""

    path: Path
    message: str
    remedy: str


def unsafe(path: Path) -> Unsafe | None:
    """The first thing on the way to ``path`` that others can write, ``path`` included; None when
    all is well, or there is nothing to look at. Raises OSError, and ValueError for a path that
    cannot be one."""
    trusted = _trusted()
    return next(
        (
            found
            for each, status in _steps(path)
            if (found := _judge(each, status, trusted)) is not None
        ),
        None,
    )


def open_to_others(path: Path) -> Unsafe | None:
    """The same for a directory in which others may not make anything, sticky or not."""
    found = unsafe(path)
    if found is None and path.exists() and path.stat().st_mode & _WRITABLE:
        return _writable(path, path.stat())
    return found


def _trusted() -> frozenset[int]:
    """root, who runs this, and who called sudo: root reads a file of his own accord then."""
    caller = os.environ.get("SUDO_UID", "")
    by_sudo = {int(caller)} if os.geteuid() == 0 and caller.isdecimal() else set()
    return frozenset({0, os.geteuid()} | by_sudo)


def _steps(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every directory, link and file that the kernel meets on the way, from the root on."""
    waiting = list(reversed((Path.cwd() / path).parts))
    current, links = Path("/"), 0
    while waiting:
        part = waiting.pop()
        step = Path("/") if part == "/" else current.parent if part == ".." else current / part
        try:
            status = step.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return
        yield step, status
        if not stat.S_ISLNK(status.st_mode):
            current = step
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        waiting += reversed(step.readlink().parts)


def _judge(path: Path, status: os.stat_result, trusted: frozenset[int]) -> Unsafe | None:
    if status.st_uid not in trusted:
        return Unsafe(path, f"it belongs to {_name(status.st_uid)}", f"chown root: {path}")
    if stat.S_ISLNK(status.st_mode) or not status.st_mode & _WRITABLE:
        return None
    if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX:
        return None
    if not status.st_mode & stat.S_IWOTH and _is_private(status):
        return None
    return _writable(path, status)


def _writable(path: Path, status: os.stat_result) -> Unsafe:
    who = "everybody" if status.st_mode & stat.S_IWOTH else f"the group {_group(status.st_gid)}"
    return Unsafe(path, f"{who} can write it", f"chmod go-w {path}")


def _is_private(status: os.stat_result) -> bool:
    """Whether the group is that of one ordinary user alone, who runs this: where umask is 002, all
    of his files are writable for it. A daemon takes no orders from groups."""
    if os.geteuid() == 0 or status.st_uid != os.geteuid():
        return False
    try:
        group = grp.getgrgid(status.st_gid)
        return group.gr_name == pwd.getpwuid(status.st_uid).pw_name and not group.gr_mem
    except KeyError:
        return False


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


def _group(group: int) -> str:
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)
