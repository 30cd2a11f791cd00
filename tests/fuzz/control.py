"""Coverage-guided: any bytes on the control socket get answers or a closed connection (run by
scripts/fuzz).

The server is the daemon's own, with its real parser and permissions; behind it is no daemon, so
that "Down" may be said.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["nvid", "asyncvarlink"]):
    from nvid.daemon.control import ControlServer, Reloaded
    from nvid.daemon.statistics import Statistics
    from nvid.daemon.status import ConfigStatus, ReconcileStatus, Status
    from nvid.daemon.translations import Filter, Translation
    from nvid.errors import NvidError
    from nvid.trial import NothingPending

PATH = Path(tempfile.mkdtemp(prefix="nvid-fuzz-"), "control.sock")
_FOUND: list[Any] = []


class Nothing:
    """Answers everything that can be asked for."""

    async def status(self) -> Status:
        return Status(
            *("healthy", "0", 1),
            ConfigStatus("", 0.0, 1),
            ReconcileStatus(0, None, [], 0.0, 0, []),
        )

    async def reload(self, confirm: float | None) -> Reloaded:
        return {"changes": 0, "confirm_deadline": confirm, "restart": []}

    async def confirm(self) -> None:
        raise NothingPending

    async def rollback(self) -> int:
        raise NvidError("refused")

    async def translations(self, wanted: Filter) -> AsyncIterator[list[Translation]]:
        yield []

    async def statistics(self) -> Statistics:
        return Statistics([], [], [], [])

    async def clear(self, wanted: Filter) -> int:
        return len(wanted.nvi or "")

    async def down(self) -> list[str]:
        return []


async def exchange(data: bytes) -> bytes:
    """Send, hang up, and read until the server hangs up too."""
    server = ControlServer(str(PATH), Nothing())
    server.open()
    try:
        reader, writer = await asyncio.open_unix_connection(str(PATH))
        with contextlib.suppress(ConnectionError):
            writer.write(data)
            writer.write_eof()
        answer = b""
        with contextlib.suppress(ConnectionError):
            answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return answer
    finally:
        server.close()


def attempt(data: bytes) -> None:
    """One input; a traceback anywhere is a finding."""
    loop.set_exception_handler(lambda _, context: _FOUND.append(context))
    answer = loop.run_until_complete(exchange(data))
    for each in answer.split(b"\0")[:-1]:
        assert isinstance(json.loads(each), dict), each
    assert not _FOUND, _FOUND


class _Finding(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            _FOUND.append(record.getMessage())


if __name__ == "__main__":
    logging.getLogger().addHandler(_Finding())
    socket.setdefaulttimeout(10)
    loop = asyncio.new_event_loop()
    atheris.Setup(sys.argv, attempt)
    atheris.Fuzz()
