"""libnftables, behind the only module that imports its binding.

Text goes in (each error then has a line and a column), JSON comes out. A context belongs to the
network namespace of the thread that made it.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from nftables import Nftables

from nvid.errors import KernelRefused, NotPermitted
from nvid.kernel import encoded

_LARGE = 1 << 20
_libc = ctypes.CDLL(None)


class Nft:
    """One libnftables context."""

    def __init__(self) -> None:
        self._nft = Nftables()
        self._nft.set_json_output(True)
        self._nft.set_handle_output(False)
        self._nft.set_numeric_proto_output(True)
        self._nft.set_stateless_output(False)

    def run(self, text: str) -> None:
        """Carry out nft commands as one transaction: all of them or none. Rules that need encoding
        are a second one, behind it.

        Raises KernelRefused with nft's words for every failing command, or NotPermitted.
        """
        text, rules = encoded.divide(text)
        self._run(text)
        if rules:
            encoded.append(rules)

    def _run(self, text: str) -> None:
        descriptor = os.memfd_create("nvid-transaction")
        try:
            with open(descriptor, "w", closefd=False) as file:
                file.write(text)
            os.lseek(descriptor, 0, os.SEEK_SET)
            status, _, errors = self._nft.cmd_from_file(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
        _give_back_memory(len(text))
        if status != 0:
            raise _refusal(errors)

    def show(self, command: str, *, elements: bool = True) -> list[dict[str, Any]] | None:
        """What a ``list`` command prints, or None where the object does not exist. Without
        ``elements`` those of maps and sets are left out. No table with a flag may be in it
        (``kernel.tables``). Raises KernelRefused."""
        output = self._list(command, elements=elements)
        if not output:
            return None if output is None else []
        try:
            found: list[dict[str, Any]] = msgspec.json.decode(output)["nftables"]
        except msgspec.DecodeError as error:
            raise KernelRefused(
                f"nftables: what '{command}' prints is no JSON: {error}; it ends in "
                f"{output[-80:]!r}"
            ) from error
        _give_back_memory(len(output))
        return found

    def _list(self, command: str, *, elements: bool) -> str | None:
        """What nft prints; None where the object does not exist."""
        self._nft.set_terse_output(not elements)
        with _quiet():
            status, output, errors = self._nft.cmd(command)
        if status == 0:
            return str(output)
        if "No such file or directory" in errors:
            return None
        raise _refusal(errors)


@contextmanager
def _quiet() -> Iterator[None]:
    """libnftables 1.0.6 warns on standard error, past its own error buffer, of every rule that
    updates a map ("stmt ops map have no json callback"). Log lines have a descriptor of their own
    (``daemon.log``)."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _give_back_memory(size: int) -> None:
    """After a large table, glibc keeps ten times its size in free memory (malloc_trim(3))."""
    if size > _LARGE:
        _libc.malloc_trim(0)


def _refusal(errors: str) -> KernelRefused | NotPermitted:
    first = re.sub(r"/proc/self/fd/\d+:", "transaction line ", errors.strip())
    if "Operation not permitted" in errors:
        return NotPermitted(f"nftables: {first}; run nvid as root or with CAP_NET_ADMIN")
    return KernelRefused(f"nftables: {first}")
