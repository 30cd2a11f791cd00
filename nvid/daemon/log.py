"""Structured logs: fields in the journal, one readable line on a terminal or in a file.

A stalled journal must not stop the daemon: ``journal.send`` of systemd-python blocks with the GIL
held, so a record is sent only when the journal's socket can take it, and counted as lost if not.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import logging
import os
import select
import socket
import sys
import traceback
import weakref
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog
from systemd.journal import send

_JOURNAL = "/run/systemd/journal/socket"
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_COLOURS = {"warning": "\033[33m", "error": "\033[31m", "critical": "\033[31m"}
_RESET = "\033[0m"

Event = MutableMapping[str, Any]


def configure(level: str, stream: TextIO = sys.stderr) -> None:
    """Send records of ``level`` and above to the journal, when standard error leads there
    (systemd.exec(5), JOURNAL_STREAM), else as lines to ``stream``."""
    sink = Journal() if _leads_to_journal(stream) else _lines(stream)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            sink,
        ],
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    set_level(level)
    logging.basicConfig(handlers=[_Bridge()], level=logging.WARNING, force=True)


def tell_of_crashes(stream: TextIO = sys.stderr) -> None:
    """From now on a fault in a C library says where every thread was, before the process dies of
    it. The descriptor is one of its own, for the same reason as that of ``Lines``."""
    faulthandler.enable(os.dup(stream.fileno()))


def set_level(level: str) -> None:
    """From now on records of ``level`` and above. The stream stays: while libnftables lists
    something, standard error leads nowhere (``kernel.nft``), and must not be taken for it."""
    chosen = structlog.make_filtering_bound_logger(getattr(logging, level.upper()))
    structlog.configure(wrapper_class=chosen)


def _lines(stream: TextIO) -> Lines:
    """Lines to a descriptor of their own, closed with them: libnftables is kept from writing to
    the one that all share. A stream without a descriptor is used itself."""
    try:
        own = os.fdopen(os.dup(stream.fileno()), "w", buffering=1)
    except io.UnsupportedOperation:
        return Lines(stream)
    lines = Lines(own)
    weakref.finalize(lines, _close, own)
    return lines


def _close(stream: TextIO) -> None:
    # What a reader that has gone did not take is written again here.
    with contextlib.suppress(OSError):
        stream.close()


def _leads_to_journal(stream: TextIO) -> bool:
    where = os.environ.get("JOURNAL_STREAM", "")
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return where == f"{found.st_dev}:{found.st_ino}"


class Journal:
    """A structlog processor that ends in the journal; ``lost`` counts what it would not take."""

    def __init__(self, path: str = _JOURNAL) -> None:
        self.lost = 0
        self._path = path

    def __call__(self, _logger: object, _method: str, event: Event) -> Event:
        """Send one record, or count it as lost; never waits."""
        message = _one_line(str(event.pop("event")))
        priority = _PRIORITIES[event.pop("level")]
        if self._takes_more():
            fields = {f"NVID_{name.upper()}": str(value) for name, value in event.items()}
            send(message, PRIORITY=priority, SYSLOG_IDENTIFIER="nvid", **fields)
        else:
            self.lost += 1
        raise structlog.DropEvent

    def _takes_more(self) -> bool:
        """Whether a datagram would be taken without waiting (unix_dgram_poll looks at the
        receiver's queue as well)."""
        try:
            # A new one each time: one that stays connected does not see the journal restarted.
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
                probe.connect(self._path)
                return bool(select.select([], [probe], [], 0)[1])
        except OSError:
            return False


class Lines:
    """A structlog processor that writes ``level: message field=value`` lines."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._colour = stream.isatty() and "NO_COLOR" not in os.environ

    def __call__(self, _logger: object, _method: str, event: Event) -> Event:
        """Write one record."""
        message = _one_line(str(event.pop("event")))
        level = event.pop("level")
        fields = "".join(f" {name}={_quoted(value)}" for name, value in event.items())
        line = f"{level}: {message}{fields}"
        if self._colour and level in _COLOURS:
            line = f"{_COLOURS[level]}{line}{_RESET}"
        # When nobody reads, there is nowhere left to say so.
        with contextlib.suppress(OSError):
            self._stream.write(f"{line}\n")
            self._stream.flush()
        raise structlog.DropEvent


def _quoted(value: object) -> str:
    text = _one_line(str(value))
    return f'"{text}"' if " " in text or not text else text


def _one_line(text: str) -> str:
    return " | ".join(part.strip() for part in text.splitlines() if part.strip())


class _Bridge(logging.Handler):
    """What libraries say through the standard library's logging."""

    def emit(self, record: logging.LogRecord) -> None:
        """Hand the record on."""
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + "".join(traceback.format_exception(*record.exc_info))
        structlog.get_logger().warning(text, library=record.name)
