"""Logs: readable lines, fields in the journal, and a stalled journal stops nobody."""

from __future__ import annotations

import io
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from nvid.daemon import log
from nvid.daemon.log import Journal, Lines


@pytest.fixture(autouse=True)
def _quiet_again() -> Iterator[None]:
    """Logging is global; the next test finds it as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def said(level: str = "info", stream: io.StringIO | None = None) -> io.StringIO:
    stream = stream or io.StringIO()
    log.configure(level, stream)
    return stream


class TestLines:
    def test_level_message_and_fields(self) -> None:
        stream = said()
        structlog.get_logger().warning("repaired it", object="route", culprit="ip (pid 7)", n=3)
        assert stream.getvalue() == (
            'warning: repaired it object=route culprit="ip (pid 7)" n=3\n'
        )

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
        stream = said(level)
        logger = structlog.get_logger()
        logger.debug("a")
        logger.info("b")
        logger.warning("c")
        logger.error("d")
        assert [line.split(": ")[1] for line in stream.getvalue().splitlines()] == words

    def test_one_record_is_one_line_whatever_is_in_it(self) -> None:
        stream = said()
        structlog.get_logger().info("two\nlines", words="and\r\nmore")
        assert stream.getvalue() == 'info: two | lines words="and | more"\n'

    def test_a_traceback_is_in_the_same_line(self) -> None:
        stream = said()
        try:
            raise ValueError("deep inside")
        except ValueError:
            structlog.get_logger().exception("it failed")
        (line,) = stream.getvalue().splitlines()
        assert "ValueError: deep inside" in line

    def test_the_words_of_libraries_are_kept(self) -> None:
        stream = said()
        logging.getLogger("some.library").warning("careful with %s", "this")
        assert stream.getvalue() == "warning: careful with this library=some.library\n"

    def test_colour_only_on_a_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("NO_COLOR", raising=False)
        terminal, file = said(stream=Terminal()), io.StringIO()
        structlog.get_logger().error("red")
        assert "\033[" in terminal.getvalue()
        said(stream=file)
        structlog.get_logger().error("plain")
        assert "\033[" not in file.getvalue()

    def test_no_color_is_obeyed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        terminal = said(stream=Terminal())
        structlog.get_logger().error("plain")
        assert "\033[" not in terminal.getvalue()

    def test_a_reader_that_has_gone_is_no_reason_to_fail(self) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        stream = os.fdopen(writing, "w")
        with pytest.raises(structlog.DropEvent):
            Lines(stream)(None, "info", {"event": "hello", "level": "info"})
        with pytest.raises(BrokenPipeError):
            stream.close()


class Journald:
    """Stands for systemd-journald: a datagram socket that somebody reads, or nobody."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))

    def stall(self) -> None:
        """Fill the queue (net.unix.max_dgram_qlen) until not one datagram more is taken."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
            with pytest.raises(BlockingIOError):
                while True:
                    sender.sendto(b"x", str(self.path))

    def read_everything(self) -> None:
        self.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                self.socket.recv(100)


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
        log.journal, "send", lambda message, **fields: records.append({"MESSAGE": message, **fields})
    )
    return records


def record(journal: Journal, message: str = "hello", **fields: Any) -> None:
    with pytest.raises(structlog.DropEvent):
        journal(None, "warning", {"event": message, "level": "warning", **fields})


class TestJournal:
    def test_fields_have_names_of_their_own(
        self, journald: Journald, sent: list[dict[str, Any]]
    ) -> None:
        record(Journal(str(journald.path)), "repaired\nit", culprit="ip (pid 7)", changes=3)
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
        self, journald: Journald, sent: list[dict[str, Any]]
    ) -> None:
        journald.stall()
        journal = Journal(str(journald.path))
        started = time.monotonic()
        for _ in range(1000):
            record(journal)
        assert time.monotonic() - started < 5
        assert (journal.lost, sent) == (1000, [])

    def test_records_go_on_when_the_journal_does(
        self, journald: Journald, sent: list[dict[str, Any]]
    ) -> None:
        journal = Journal(str(journald.path))
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
        self, journald: Journald, sent: list[dict[str, Any]]
    ) -> None:
        """systemd-journald.socket was restarted: the same path, another socket."""
        journal = Journal(str(journald.path))
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

    @pytest.mark.parametrize("leads_there", [True, False])
    def test_it_is_used_where_standard_error_leads_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leads_there: bool
    ) -> None:
        """JOURNAL_STREAM, systemd.exec(5)."""
        with (tmp_path / "stderr").open("w") as stream:
            found = os.fstat(stream.fileno())
            inode = found.st_ino if leads_there else found.st_ino + 1
            monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{inode}")
            log.configure("info", stream)
            sinks = structlog.get_config()["processors"]
            assert isinstance(sinks[-1], Journal if leads_there else Lines)
