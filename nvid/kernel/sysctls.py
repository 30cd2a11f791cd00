"""Sysctls: present values, and writes that remember what was there before."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from nvid.desired.objects import Sysctl
from nvid.difference import Change
from nvid.errors import KernelRefused, NotPermitted

ROOT = Path("/proc/sys")


def read(path: str) -> str | None:
    """The present value of a key, or None where this machine has no such key."""
    try:
        return (ROOT / path).read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        return None


def observe(desired: Iterable[Sysctl], originals: Mapping[str, str]) -> tuple[Sysctl, ...]:
    """The keys that are wanted or were changed once, as they are. A value that the wanted one
    accepts is shown as the wanted one, so that the two are equal."""
    wanted = {each.path: each for each in desired}
    found = []
    for path in (*wanted, *(path for path in originals if path not in wanted)):
        value = read(path)
        if value is None:
            continue
        want = wanted.get(path)
        if want is not None and (value == want.value or value in want.accepts):
            found.append(want)
        else:
            found.append(Sysctl(path, value))
    return tuple(found)


def before(changes: Iterable[Change[Sysctl]]) -> dict[str, str]:
    """The present values of the keys that are about to be written, to be kept for ``restore``."""
    paths = [each.after.path for each in changes if each.after is not None]
    return {path: value for path in paths if (value := read(path)) is not None}


def absent(desired: Iterable[Sysctl], interfaces: Collection[str]) -> frozenset[str]:
    """The keys that are wanted of ``interfaces``, which exist, and that are not there: an
    interface whose MTU is too small for IPv6 has no such directory, for instance."""
    return frozenset(
        each.path
        for each in desired
        if each.belongs_to in interfaces and not (ROOT / each.path).exists()
    )


def unwritable(desired: Iterable[Sysctl]) -> dict[str, str]:
    """The optional keys that differ and that this process may not write here, in words by path: in
    a network namespace the kernel shows the machine's own limits without letting them be set."""
    found = {}
    for each in desired:
        # By the effective identity: access(2) would leave out capabilities of an ordinary user.
        if each.optional and not os.access(ROOT / each.path, os.W_OK, effective_ids=True):
            present = read(each.path)
            if present is None:
                found[each.path] = f"{each}: this kernel has no such key"
            elif present not in {each.value, *each.accepts}:
                found[each.path] = (
                    f"{each}: it is {present}, and only the machine itself can set it"
                )
    return found


def write(changes: Iterable[Change[Sysctl]]) -> dict[str, str]:
    """Write what is wanted. Raises NotPermitted or KernelRefused, but for optional keys, whose
    refusals are the answer: words by path."""
    refused: dict[str, str] = {}
    for change in changes:
        if change.after is None:
            continue
        try:
            _write(change.after.path, change.after.value)
        except (KernelRefused, NotPermitted) as error:
            if not change.after.optional:
                raise
            refused[change.after.path] = str(error)
    return refused


def restore(changes: Iterable[Change[Sysctl]], originals: Mapping[str, str]) -> None:
    """Write back what was there before nvid, last written first."""
    gone = [each.before.path for each in changes if each.after is None and each.before is not None]
    for path in sorted(gone, key=list(originals).index, reverse=True):
        _write(path, originals[path])


def _write(path: str, value: str) -> None:
    try:
        descriptor = os.open(ROOT / path, os.O_WRONLY)
    except FileNotFoundError:
        return  # Its interface has just gone.
    except OSError as error:
        raise _refusal(path, value, error) from error
    try:
        os.write(descriptor, value.encode())
    except OSError as error:
        raise _refusal(path, value, error) from error
    finally:
        os.close(descriptor)


def _refusal(path: str, value: str, error: OSError) -> KernelRefused | NotPermitted:
    what = f"sysctl {path.replace('/', '.')} = {value}: {error.strerror}"
    if isinstance(error, PermissionError):
        return NotPermitted(f"{what}; run nvid as root or with CAP_NET_ADMIN")
    return KernelRefused(what)
