"""Somebody sets the clock, by an hour or by a day: neither a trial nor a check notices.

The clock of a machine cannot be set for one namespace alone (time_namespaces(7) knows the other
clocks only), so libfaketime tells nvid another time of day, and leaves those other clocks alone.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.commands.conftest import Router
from tests.lab import Nvid, wait_until
from tests.lab.daemon import EXECUTABLE

GATEWAYS = {4: "203.0.113.254", 6: "2001:db8:1::fe"}
UPLINK = f"""
[uplink.isp1]
interface = "wan0"
gateway   = ["{GATEWAYS[4]}", "{GATEWAYS[6]}"]

[uplink.isp1.check]
targets    = ["{GATEWAYS[4]}", "{GATEWAYS[6]}"]
interval   = "200ms"
down_after = 3
up_after   = 3
"""
NVI = """
[nvi.nvi0]
interfaces = ["lan0", "wan0"]

[[nvi.nvi0.snat]]
to = "uplink"
"""
SECONDS = 5
JUMPS = pytest.mark.parametrize("jump", ["+3600", "-86400"])


class Clock:
    """The time of day as a daemon sees it."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "clock"
        self.set("+0")
        self.executable = directory / "nvid-in-another-time"
        self.executable.write_text(
            "#!/bin/sh\n"
            f"export FAKETIME_TIMESTAMP_FILE={self._file} FAKETIME_NO_CACHE=1\n"
            "export FAKETIME_DONT_FAKE_MONOTONIC=1\n"
            f'exec faketime -f +0 env -u FAKETIME {EXECUTABLE} "$@"\n'
        )
        self.executable.chmod(0o755)

    def set(self, offset: str) -> None:
        """Seconds from the machine's own, with their sign."""
        draft = self._file.with_suffix(".draft")
        draft.write_text(offset + "\n")
        draft.rename(self._file)


@pytest.fixture
def clock(router: Router) -> Clock:
    """One for each daemon."""
    return Clock(router.directory)


@pytest.fixture
def nvid(router: Router, clock: Clock) -> Nvid:
    """A daemon whose clock can be set."""
    for address, length in zip(GATEWAYS.values(), (24, 64), strict=True):
        router.neighbour.address("n-wan0", f"{address}/{length}")
    return router.nvid(UPLINK + NVI, executable=clock.executable).start()


def loaded_at(nvid: Nvid) -> float:
    config = nvid.status()["config"]
    assert isinstance(config, dict)
    return float(config["loaded_at"])


def is_on_trial(nvid: Nvid) -> bool:
    config = nvid.status()["config"]
    assert isinstance(config, dict)
    return config["confirm_deadline"] is not None


def uplink_state(nvid: Nvid) -> str:
    uplinks = nvid.status()["uplinks"]
    assert isinstance(uplinks, list)
    return str(uplinks[0]["state"])


@JUMPS
def test_the_daemon_sees_the_clock_jump(nvid: Nvid, clock: Clock, jump: str) -> None:
    """Or the other tests would prove nothing."""
    before = loaded_at(nvid)
    clock.set(jump)
    nvid.reload()
    assert abs(loaded_at(nvid) - before - int(jump)) < 600


@JUMPS
def test_a_trial_ends_when_it_should(nvid: Nvid, clock: Clock, jump: str) -> None:
    began = time.monotonic()
    done = nvid.reload(None, "--confirm", str(SECONDS))
    assert done.returncode == 0, done.stderr
    clock.set(jump)
    # Longer than the daemon, or its guardian, sleeps at a stretch.
    wait_until(lambda: time.monotonic() - began > SECONDS / 2)
    assert is_on_trial(nvid), "it ended early"
    wait_until(lambda: not is_on_trial(nvid), timeout=SECONDS * 2, message="the end of the trial")
    assert SECONDS <= time.monotonic() - began < SECONDS * 2


@JUMPS
def test_a_trial_ends_without_a_daemon(nvid: Nvid, clock: Clock, jump: str) -> None:
    began = time.monotonic()
    done = nvid.reload(None, "--confirm", str(SECONDS))
    assert done.returncode == 0, done.stderr
    nvid.kill()
    clock.set(jump)
    pending = nvid.state_directory / "pending.json"
    wait_until(lambda: not pending.exists(), timeout=SECONDS * 3, message="the end of the trial")
    assert time.monotonic() - began >= SECONDS


@JUMPS
def test_checks_go_on(router: Router, nvid: Nvid, clock: Clock, jump: str) -> None:
    wait_until(lambda: uplink_state(nvid) == "up")
    clock.set(jump)
    router.neighbour.ip("link", "set", "n-wan0", "arp", "off")
    router.neighbour.nft("table inet x { chain y { type filter hook input priority 0; drop; }; }")
    wait_until(lambda: uplink_state(nvid) == "down", timeout=5, message="silence")
    router.neighbour.nft("delete table inet x")
    router.neighbour.ip("link", "set", "n-wan0", "arp", "on")
    wait_until(lambda: uplink_state(nvid) == "up", timeout=5, message="answers")
