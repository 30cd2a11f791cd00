"""What systemd is told (sd_notify(3))."""

from __future__ import annotations

import contextlib
import os
import time

from systemd import daemon


def ready(status: str) -> None:
    """The first round is done; ``status`` is shown by ``systemctl status``."""
    _send(f"READY=1\nSTATUS={_one_line(status)}")


def _send(text: str) -> None:
    """Where no socket can be had, systemd hears the next message: NAT goes on without it."""
    with contextlib.suppress(OSError):
        daemon.notify(text)


def _one_line(text: str) -> str:
    """A line break would begin another assignment."""
    return " ".join(text.split())


def reloading() -> None:
    """A reload begins; ``ready`` ends it. systemd wants the time with it from 253 on."""
    _send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


def status(text: str) -> None:
    """One line that says how it is."""
    _send(f"STATUS={_one_line(text)}")


def stopping() -> None:
    """The daemon goes down on purpose."""
    _send("STOPPING=1")


def alive() -> None:
    """The watchdog may wait again."""
    _send("WATCHDOG=1")


def watchdog_interval() -> float | None:
    """Seconds between two ``alive``: half of what systemd waits for; None without a watchdog."""
    text = os.environ.get("WATCHDOG_USEC", "")
    for_us = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    if not text.isdigit() or int(text) == 0 or not for_us:
        return None
    return int(text) / 2_000_000
