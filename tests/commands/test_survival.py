"""Deaths at any moment, lost files, taken ports: nvid converges, and says what is wrong."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests import samples
from tests.commands.conftest import Router, as_json, converged, metric, plan
from tests.lab import METRICS, CommandFailed, Nvid, wait_until
from tests.lab.daemon import EXECUTABLE

SWAPPED = samples.EVERY_KIND.replace("uplink.isp1", "uplink.other").replace("isp1", "other")


class TestKilled:
    @pytest.mark.parametrize("moment", range(7))
    def test_while_it_starts(self, router: Router, moment: int) -> None:
        """The kernel is changed between 0.3 and 0.6 s after the start."""
        nvid = router.nvid()
        process = router.namespace.popen(
            str(EXECUTABLE), "run", "--config", str(nvid.configuration_path)
        )
        time.sleep(0.2 + moment * 0.05)
        process.kill()
        process.wait()
        nvid.start()
        converged(nvid)
        nvid.kill()
        nvid.command("down")
        assert router.leftovers() == ""

    def test_by_a_fault_in_a_c_library(self, daemon: Nvid) -> None:
        """The log says where every thread was; the next start finds everything as it was."""
        os.kill(daemon.pid, signal.SIGSEGV)
        wait_until(lambda: not daemon.is_running)
        assert "Fatal Python error: Segmentation fault" in daemon.log()
        assert "/nvid/daemon/__init__.py" in daemon.log()
        daemon.start()
        converged(daemon)

    @pytest.mark.parametrize("moment", range(5))
    def test_while_it_reloads(self, router: Router, daemon: Nvid, moment: int) -> None:
        daemon.write(samples.TWO_NVIS)
        daemon.hang_up()
        time.sleep(moment * 0.02)
        daemon.kill()
        daemon.start()
        converged(daemon)
        daemon.kill()
        daemon.command("down")
        assert router.leftovers() == ""

    @pytest.mark.parametrize("moment", range(5))
    def test_while_it_repairs(self, router: Router, daemon: Nvid, moment: int) -> None:
        router.namespace.run("nft", "flush", "ruleset")
        router.namespace.ip("link", "delete", "nvi0")
        time.sleep(moment * 0.015)
        daemon.kill()
        daemon.start()
        converged(daemon)
        daemon.kill()
        daemon.command("down")
        assert router.leftovers() == ""

    @pytest.mark.parametrize("moment", range(3))
    def test_while_it_is_taken_down(self, router: Router, daemon: Nvid, moment: int) -> None:
        daemon.kill()
        removing = router.namespace.popen(
            str(EXECUTABLE), "down", "--config", str(daemon.configuration_path)
        )
        time.sleep(0.2 + moment * 0.07)
        removing.kill()
        removing.wait()
        daemon.command("down")
        assert router.leftovers() == ""

    def test_terminated_before_it_is_ready(self, router: Router) -> None:
        """What is there by then goes on, as with any other stop."""
        nvid = router.nvid()
        process = router.namespace.popen(
            str(EXECUTABLE), "run", "--config", str(nvid.configuration_path)
        )
        wait_until(nvid.socket_path.exists)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0

    def test_a_hangup_before_it_is_ready_ends_nothing(self, router: Router) -> None:
        nvid = router.nvid()
        process = router.namespace.popen(
            str(EXECUTABLE), "run", "--config", str(nvid.configuration_path)
        )
        wait_until(nvid.socket_path.exists)
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: nvid.command("status", check=False).returncode == 0)
        assert process.poll() is None


class TestState:
    @pytest.mark.parametrize("damage", ["lost", "emptied", "overwritten"])
    def test_numbers_survive_the_state(self, router: Router, daemon: Nvid, damage: str) -> None:
        """They are read back from the kernel. The configuration first gives them an order that a
        fresh start would not."""
        daemon.reload(SWAPPED)
        before = router.namespace.run("ip", "route", "show", "table", "all", "proto", "77").stdout
        assert "table 7703" in before
        daemon.kill()
        file = daemon.state_directory / "state.json"
        if damage == "lost":
            file.unlink()
        else:
            file.write_bytes({"emptied": b"", "overwritten": b"\xff\x00{" * 40}[damage])
        daemon.start()
        converged(daemon)
        after = router.namespace.run("ip", "route", "show", "table", "all", "proto", "77").stdout
        assert after == before

    def test_a_directory_that_cannot_be_written(self, router: Router) -> None:
        """NAT goes on; the status says what is wrong and what to do."""
        read_only = router.directory / "read-only"
        read_only.mkdir()
        wrapper = router.directory / "nvid"
        wrapper.write_text(
            f'#!/bin/sh\nmount -t tmpfs -o ro none {read_only}\nexec {EXECUTABLE} "$@"\n'
        )
        wrapper.chmod(0o755)
        text = f'[daemon]\nstate_dir = "{read_only}/state"\n{samples.EVERY_KIND}'
        nvid = router.nvid(text, executable=wrapper).start()
        assert nvid.status()["state"] == "degraded"
        problems = str(nvid.status()["reconcile"])
        assert "Read-only file system" in problems
        assert "state_dir" in problems
        assert plan(nvid) == []
        down = nvid.namespace.run(
            *(str(EXECUTABLE), "down", "--socket", str(nvid.socket_path)), check=False
        )
        assert down.returncode == 0, down.stderr
        assert "Traceback" not in nvid.log()
        assert router.leftovers() == ""


class TestTwoDaemons:
    def test_on_one_socket(self, router: Router, daemon: Nvid) -> None:
        done = router.namespace.run(
            *(str(EXECUTABLE), "run", "--config", str(daemon.configuration_path)), check=False
        )
        assert done.returncode == 1
        assert f"{daemon.socket_path}: another nvid answers there" in done.stderr
        assert daemon.status()["state"] == "healthy"

    def test_a_socket_that_a_dead_one_left_is_taken_over(self, daemon: Nvid) -> None:
        daemon.kill()
        assert daemon.socket_path.exists()
        daemon.start()
        assert daemon.status()["state"] == "healthy"

    def test_a_file_at_the_sockets_place_is_not_a_victim(self, router: Router) -> None:
        nvid = router.nvid()
        nvid.socket_path.write_text("precious")
        with pytest.raises(CommandFailed) as failed:
            nvid.start()
        assert failed.value.returncode == 1
        assert str(nvid.socket_path) in failed.value.stderr
        assert nvid.socket_path.read_text() == "precious"


def test_a_metrics_port_in_use_costs_only_the_metrics(router: Router) -> None:
    host, _, port = METRICS.rpartition(":")
    router.namespace.popen(
        "socat", f"TCP-LISTEN:{port},bind={host},reuseaddr,fork", "OPEN:/dev/null"
    )
    wait_until(lambda: port in router.namespace.run("ss", "-ltn").stdout)
    nvid = router.nvid().start()
    status, data = as_json(nvid, "status")
    assert (status, data["state"]) == (1, "degraded")
    assert any("metrics: cannot listen" in each for each in data["reconcile"]["problems"])
    assert data["nvis"][0]["state"] == "up"
    assert plan(nvid) == []


@pytest.mark.parametrize(
    ("address", "warned"),
    [("127.0.0.1:9478", False), ("[::1]:9478", False), ("0.0.0.0:9478", True), ("[::]:9478", True)],
)
def test_metrics_for_everybody_are_said_so(router: Router, address: str, warned: bool) -> None:
    nvid = router.nvid(f'[daemon]\nmetrics = "{address}"\n{samples.EVERY_KIND}').start()
    said = f"metrics can be read by everybody who reaches the address on={address}" in nvid.log()
    assert said == warned, nvid.log()


def test_without_metrics(router: Router) -> None:
    nvid = router.nvid('[daemon]\nmetrics = "off"\n' + samples.EVERY_KIND).start()
    assert as_json(nvid, "status")[1]["state"] == "healthy"
    assert router.namespace.run("ss", "-Hltn").stdout == ""


def test_a_stopped_daemon_is_seen_by_systemd(router: Router) -> None:
    """The watchdog's messages stop when the loop does."""
    nvid = router.nvid(watchdog=0.2).start()
    wait_until(lambda: len(nvid.notified("WATCHDOG")) >= 2)
    os.kill(nvid.pid, signal.SIGSTOP)
    fed = len(nvid.notified("WATCHDOG"))
    time.sleep(0.5)
    assert len(nvid.notified("WATCHDOG")) <= fed + 1
    os.kill(nvid.pid, signal.SIGCONT)
    wait_until(lambda: len(nvid.notified("WATCHDOG")) > fed + 1)
    assert metric(nvid, 'nvid_nvi_up{nvi="nvi0"}') == 1
