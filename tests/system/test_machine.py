"""The machine itself, proved with a unit of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import CommandFailed, Lab, TwoUplinks, wait_until
from tests.lab.processes import run_here
from tests.system.machine import MOUNTED_CHECKOUT, Machine, booted

# The first one may have to make the root file system.
pytestmark = pytest.mark.timeout(900)

PROGRAM = """#!/usr/bin/python3
import signal, sys, time
from systemd import daemon, journal
stopped = False
def reload(*_):
    daemon.notify("RELOADING=1\\nMONOTONIC_USEC=%d" % (time.monotonic_ns() // 1000))
    journal.send("read again", STANDIN_KEY="reload", STANDIN_COUNT=2)
    daemon.notify("READY=1\\nSTATUS=after a reload")
signal.signal(signal.SIGHUP, reload)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
daemon.notify("READY=1\\nSTATUS=all is well")
while True:
    daemon.notify("WATCHDOG=1")
    time.sleep(0.1)
"""
UNIT = """
[Service]
Type=notify
ExecStart=/usr/local/bin/stand-in
ExecReload=kill -HUP $MAINPID
WatchdogSec=1s
Restart=on-failure
RestartSec=100ms
TimeoutAbortSec=1s
"""


@pytest.fixture
def stand_in(machine: Machine) -> Machine:
    machine.write("/usr/local/bin/stand-in", PROGRAM, mode=0o755)
    machine.write("/etc/systemd/system/stand-in.service", UNIT)
    machine.systemctl("daemon-reload")
    machine.systemctl("start", "stand-in")
    return machine


def test_unit_starts_reloads_and_stops(stand_in: Machine) -> None:
    assert stand_in.show("stand-in", "ActiveState") == "active"
    assert stand_in.show("stand-in", "StatusText") == "all is well"
    stand_in.systemctl("reload", "stand-in")
    wait_until(lambda: stand_in.show("stand-in", "StatusText") == "after a reload")
    entry = wait_until(
        lambda: [found for found in stand_in.journal("stand-in") if "STANDIN_KEY" in found]
    )[0]
    assert (entry["STANDIN_KEY"], entry["STANDIN_COUNT"]) == ("reload", "2")
    assert entry["MESSAGE"] == "read again"
    stand_in.systemctl("stop", "stand-in")
    assert stand_in.show("stand-in", "ActiveState") == "inactive"
    assert stand_in.show("stand-in", "Result") == "success"


def test_watchdog_restarts_what_hangs(stand_in: Machine) -> None:
    before = stand_in.show("stand-in", "MainPID")
    stand_in.run("kill", "-STOP", before)
    wait_until(lambda: stand_in.show("stand-in", "NRestarts") == "1", timeout=15)
    wait_until(lambda: stand_in.show("stand-in", "ActiveState") == "active")
    assert stand_in.show("stand-in", "MainPID") != before


def test_network_is_that_of_the_lab(machine: Machine, network: TwoUplinks) -> None:
    assert "203.0.113.1/24" in machine.run("ip", "address", "show", "dev", "wan0").stdout
    machine.run("sysctl", "-q", "-w", "net.ipv4.conf.wan0.rp_filter=2")
    assert network.router.sysctl("net.ipv4.conf.wan0.rp_filter") == "2"
    machine.run("nft", "add", "table", "inet", "seen")
    assert "table inet seen" in network.router.run("nft", "list", "tables").stdout


def test_the_host_is_out_of_reach(machine: Machine) -> None:
    with pytest.raises(CommandFailed, match="permission denied"):
        machine.run("sysctl", "-w", "kernel.panic=7")
    with pytest.raises(CommandFailed, match="Read-only"):
        machine.run("touch", f"{MOUNTED_CHECKOUT}/written")


def test_nothing_stays(lab: Lab, root: Path) -> None:
    namespace = lab.namespace("router")
    with booted(namespace, root) as machine:
        machine.run("touch", "/etc/written")
        assert machine.show("default.target", "ActiveState") == "active"
        # Another one at the same time, on the same root, is another machine.
        with booted(lab.namespace("other"), root) as other:
            assert other.run("test", "-e", "/etc/written", check=False).returncode == 1
            other.power_off()
    assert not (root / "etc/written").exists()
    assert run_here("ip", "netns", "pids", namespace.name).stdout == ""
    groups = [path.name for path in Path("/sys/fs/cgroup").rglob(f"*{namespace.name}*")]
    assert groups == []
