"""What systemd is told, over a real notification socket."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nvid.daemon import notify


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Stands for systemd: the socket that NOTIFY_SOCKET names."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listening


def received(manager: socket.socket) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in manager.recv(4096).decode().splitlines())


def test_ready(manager: socket.socket) -> None:
    notify.ready("healthy, 1 NVIs")
    assert received(manager) == {"READY": "1", "STATUS": "healthy, 1 NVIs"}


def test_reloading_says_since_when(manager: socket.socket) -> None:
    before = time.monotonic_ns() // 1000
    notify.reloading()
    found = received(manager)
    assert found.keys() == {"RELOADING", "MONOTONIC_USEC"}
    assert before <= int(found["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000


def test_the_others(manager: socket.socket) -> None:
    notify.status("degraded: wan0 is down")
    notify.alive()
    notify.stopping()
    assert [received(manager) for _ in range(3)] == [
        {"STATUS": "degraded: wan0 is down"},
        {"WATCHDOG": "1"},
        {"STOPPING": "1"},
    ]


def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify.ready("healthy")
    notify.alive()


@pytest.mark.parametrize("text", ["two\nREADY=1", "WATCHDOG=1\n"])
def test_a_status_is_one_line(manager: socket.socket, text: str) -> None:
    """A second line would be another message to systemd."""
    notify.status(text)
    assert received(manager).keys() == {"STATUS"}


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_it_asks(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], seconds: float | None
) -> None:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert notify.watchdog_interval() == seconds
