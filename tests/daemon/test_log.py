"""Logs: readable lines, fields in the journal, and a stalled journal stops nobody."""

from __future__ import annotations

import contextlib
import os
import pty
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from nvid.daemon import log
from nvid.daemon.log import Journal, Lines

ROOT = Path(__file__).parents[2]


def said(program: str, level: str = "info", **environment: str) -> str:
    """What a program that logs writes to its standard error. Logging is global, so each test has
    a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", PREPARED.format(level=level) + program],
        stderr=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    ).stderr


def said_on_a_terminal(program: str, **environment: str) -> str:
    """The same with standard error on a terminal."""
    ours, theirs = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-c", PREPARED.format(level="info") + program],
            stderr=theirs,
            check=True,
            cwd=ROOT,
            env={**{k: v for k, v in os.environ.items() if k != "NO_COLOR"}, **environment},
        )
        return os.read(ours, 4096).decode()
    finally:
        os.close(ours)
        os.close(theirs)


PREPARED = """
import logging, structlog
from nvid.daemon import log
log.configure("{level}")
logger = structlog.get_logger()
"""


class TestLines:
    def test_level_message_and_fields(self) -> None:
        text = said('logger.warning("repaired it", object="route", culprit="ip (pid 7)", n=3)')
        assert text == 'warning: repaired it object=route culprit="ip (pid 7)" n=3\n'

    @pytest.mark.parametrize(
        ("level", "words"),
        [
            ("debug", ["a", "b", "c", "d"]),
            ("info", ["b", "c", "d"]),
            ("warning", ["c", "d"]),
            ("error", ["d"]),
        ],
    )
    def test_only_what_matters_enough(self, level: str, words: list[str]) -> None:
        program = 'logger.debug("a"); logger.info("b"); logger.warning("c"); logger.error("d")'
        assert [line.split(": ")[1] for line in said(program, level).splitlines()] == words

    def test_one_record_is_one_line_whatever_is_in_it(self) -> None:
        text = said(r'logger.info("two\nlines", words="and\r\nmore")')
        assert text == 'info: two | lines words="and | more"\n'

    def test_a_traceback_is_in_the_same_line(self) -> None:
        text = said(
            "try:\n"
            "    raise ValueError('deep inside')\n"
            "except ValueError:\n"
            "    logger.exception('it failed')\n"
        )
        (line,) = text.splitlines()
        assert "ValueError: deep inside" in line

    def test_the_words_of_libraries_are_kept(self) -> None:
        text = said('logging.getLogger("some.library").warning("careful with %s", "this")')
        assert text == "warning: careful with this library=some.library\n"

    def test_colour_only_on_a_terminal(self) -> None:
        program = 'logger.error("red")'
        assert "\033[" in said_on_a_terminal(program)
        assert "\033[" not in said(program)

    def test_no_color_is_obeyed(self) -> None:
        assert "\033[" not in said_on_a_terminal('logger.error("plain")', NO_COLOR="1")

    def test_lines_have_a_descriptor_of_their_own(self) -> None:
        """Whoever points standard error elsewhere for a moment does not lose them."""
        program = 'import os; os.dup2(os.open(os.devnull, os.O_WRONLY), 2); logger.info("here")'
        assert said(program) == "info: here\n"

    def test_another_level_keeps_that_descriptor(self) -> None:
        """A reload may come while libnftables is listing something."""
        program = (
            "import os; os.dup2(os.open(os.devnull, os.O_WRONLY), 2); log.set_level('error')\n"
            "logger.warning('hidden'); logger.error('here')"
        )
        assert said(program) == "error: here\n"

    def test_that_descriptor_is_closed_with_them(self) -> None:
        program = (
            "import os\n"
            "held = len(os.listdir('/proc/self/fd'))\n"
            "for _ in range(5): log.configure('info')\n"
            "assert len(os.listdir('/proc/self/fd')) == held\n"
        )
        assert said(program, PYTHONWARNINGS="error::ResourceWarning") == ""

    def test_a_reader_that_has_gone_is_no_reason_to_fail(self) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        stream = os.fdopen(writing, "w")
        with pytest.raises(structlog.DropEvent):
            Lines(stream)(None, "info", {"event": "hello", "level": "info"})
        with pytest.raises(BrokenPipeError):
            stream.close()

    @pytest.mark.parametrize("leads_there", [True, False])
    def test_the_journal_is_used_where_standard_error_leads_there(
        self, tmp_path: Path, leads_there: bool
    ) -> None:
        """JOURNAL_STREAM, systemd.exec(5). Without a journal the record is lost, then."""
        with (tmp_path / "stderr").open("w") as stream:
            found = os.fstat(stream.fileno())
            inode = found.st_ino if leads_there else found.st_ino + 1
            subprocess.run(
                [sys.executable, "-c", PREPARED.format(level="info") + 'logger.info("hello")'],
                stderr=stream,
                check=True,
                cwd=ROOT,
                env={**os.environ, "JOURNAL_STREAM": f"{found.st_dev}:{inode}"},
            )
        assert ((tmp_path / "stderr").read_text() == "") == leads_there


class Journald:
    """Stands for systemd-journald: a datagram socket that somebody reads, or nobody."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))

    def stall(self) -> None:
        """Fill the queue (net.unix.max_dgram_qlen) until not one datagram more is taken."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
            _until_it_would_wait(lambda: sender.sendto(b"x", str(self.path)))

    def read_everything(self) -> None:
        self.socket.setblocking(False)
        _until_it_would_wait(lambda: self.socket.recv(100))


def _until_it_would_wait(act: Callable[[], object]) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            act()


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    made = Journald(tmp_path / "journal")
    yield made
    made.socket.close()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What reaches systemd's own function, which blocks with the interpreter's lock held."""
    records: list[dict[str, Any]] = []
    monkeypatch.setattr(
        log, "send", lambda message, **fields: records.append({"MESSAGE": message, **fields})
    )
    return records


@pytest.fixture
def journal(journald: Journald) -> Journal:
    return Journal(str(journald.path))


def record(journal: Journal, message: str = "hello", **fields: Any) -> None:
    with pytest.raises(structlog.DropEvent):
        journal(None, "warning", {"event": message, "level": "warning", **fields})


class TestJournal:
    def test_fields_have_names_of_their_own(
        self, journal: Journal, sent: list[dict[str, Any]]
    ) -> None:
        record(journal, "repaired\nit", culprit="ip (pid 7)", changes=3)
        assert sent == [
            {
                "MESSAGE": "repaired | it",
                "PRIORITY": 4,
                "SYSLOG_IDENTIFIER": "nvid",
                "NVID_CULPRIT": "ip (pid 7)",
                "NVID_CHANGES": "3",
            }
        ]

    def test_a_stalled_journal_loses_records_and_no_time(
        self, journald: Journald, journal: Journal, sent: list[dict[str, Any]]
    ) -> None:
        journald.stall()
        started = time.monotonic()
        for _ in range(1000):
            record(journal)
        assert time.monotonic() - started < 5
        assert (journal.lost, sent) == (1000, [])

    def test_records_go_on_when_the_journal_does(
        self, journald: Journald, journal: Journal, sent: list[dict[str, Any]]
    ) -> None:
        journald.stall()
        record(journal)
        journald.read_everything()
        record(journal, "again")
        assert journal.lost == 1
        assert [each["MESSAGE"] for each in sent] == ["again"]

    def test_without_a_journal_records_are_lost_and_nothing_else(
        self, tmp_path: Path, sent: list[dict[str, Any]]
    ) -> None:
        journal = Journal(str(tmp_path / "nobody"))
        record(journal)
        assert (journal.lost, sent) == (1, [])

    def test_a_journal_that_comes_back_elsewhere_is_found(
        self, journald: Journald, journal: Journal, sent: list[dict[str, Any]]
    ) -> None:
        """systemd-journald.socket was restarted: the same path, another socket."""
        record(journal, "before")
        journald.socket.close()
        journald.path.unlink()
        second = Journald(journald.path)
        second.stall()
        record(journal, "stalled")
        second.socket.close()
        assert [each["MESSAGE"] for each in sent] == ["before"]
        assert journal.lost == 1

    def test_systemds_function_does_block_on_such_a_socket(self, journald: Journald) -> None:
        """The reason for all this: a plain send waits for ever. When this fails, so may go the
        guard."""
        journald.stall()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            done = threading.Event()

            def send() -> None:
                sender.sendto(b"x", str(journald.path))
                done.set()

            waiting = threading.Thread(target=send, daemon=True)
            waiting.start()
            assert not done.wait(0.3)
            journald.read_everything()
            assert done.wait(5)
