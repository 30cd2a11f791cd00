"""Every command: what it prints, as text and as JSON, and every exit status of the contract."""

from __future__ import annotations

import re

import pytest

from tests import samples
from tests.commands.conftest import Router, as_json, as_ordinary_user, converged, plan
from tests.lab import CommandFailed, Nvid, wait_until
from tests.lab.daemon import EXECUTABLE
from tests.lab.processes import run_here

COMMANDS = ("run", "check", "plan", "reload", "confirm", "rollback", "status", "down")
THREE_PROBLEMS = """
[nvi.nvi0]
interfaces = ["lan0"]
nonsense   = 1

[[nvi.nvi0.static]]
local  = "10.1.0.300"
global = "198.51.100.1"

[[nvi.nvi0.dnat]]
destination = "198.51.100.2"
to          = "fd00::1"
"""


def nvid_here(*words: str) -> tuple[int, str, str]:
    done = run_here(str(EXECUTABLE), *words, check=False)
    return done.returncode, done.stdout, done.stderr


class TestHelp:
    def test_of_everything(self) -> None:
        status, text, _ = nvid_here("--help")
        assert status == 0
        assert "examples:" in text
        assert all(re.search(rf"^ +{command} ", text, re.MULTILINE) for command in COMMANDS)

    @pytest.mark.parametrize("command", COMMANDS)
    def test_of_one_command(self, command: str) -> None:
        status, text, _ = nvid_here(command, "--help")
        assert status == 0
        assert "exit status: 0" in text
        assert re.search(rf"example.*\n.*nvid {command}", text, re.DOTALL)

    def test_version(self) -> None:
        status, text, _ = nvid_here("--version")
        assert status == 0
        assert re.fullmatch(r"nvid \d+\.\d+\.\d+\n", text)

    @pytest.mark.parametrize("words", [(), ("nonsense",), ("status", "--nonsense"), ("check", "x")])
    def test_a_wrong_use_is_told_apart_from_everything_else(self, words: tuple[str, ...]) -> None:
        """Neither 0 nor 1, 3 or 4; 2 is "changes" for plan only, which none of these is."""
        status, text, errors = nvid_here(*words)
        assert (status, text) == (2, "")
        assert "usage: nvid" in errors


class TestCheck:
    """Validates without touching the kernel, and needs no privilege."""

    def test_valid(self, router: Router) -> None:
        nvid = router.nvid()
        done = nvid.command("check")
        assert "valid: 1 NVIs, 14 translations, 2 uplinks" in done.stdout
        assert as_json(nvid, "check") == (
            0,
            {"valid": True, "files": [str(nvid.configuration_path)], "problems": []},
        )
        assert router.leftovers() == ""

    def test_invalid(self, router: Router) -> None:
        nvid = router.nvid(THREE_PROBLEMS)
        done = nvid.command("check", check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert len(done.stderr.splitlines()) == 3
        assert all(
            line.startswith(str(nvid.configuration_path)) for line in done.stderr.splitlines()
        )

    def test_invalid_as_json(self, router: Router) -> None:
        status, data = as_json(router.nvid(THREE_PROBLEMS), "check")
        assert (status, data["valid"]) == (1, False)
        assert [set(each) for each in data["problems"]] == [
            {"file", "line", "key", "message", "remedy"}
        ] * 3

    def test_an_ordinary_user_may(self, router: Router) -> None:
        nvid = router.nvid()
        done = as_ordinary_user(nvid, "check", "--config", str(nvid.configuration_path))
        assert done.returncode == 0, done.stderr

    @pytest.mark.parametrize("command", ["check", "plan", "run"])
    def test_a_file_that_is_not_there(self, router: Router, command: str) -> None:
        done = router.namespace.run(
            str(EXECUTABLE), command, "--config", "/nonexistent/nvid.toml", check=False
        )
        assert done.returncode == 1
        assert "/nonexistent/nvid.toml" in done.stderr
        assert "Traceback" not in done.stderr


class TestPlan:
    def test_what_a_start_would_do(self, router: Router) -> None:
        nvid = router.nvid()
        done = nvid.command("plan", check=False)
        assert done.returncode == 2
        changed = [line for line in done.stdout.splitlines() if not line.startswith("+ ")]
        assert all(line.startswith("~ sysctl ") for line in changed)
        assert router.leftovers() == ""

    def test_as_json(self, router: Router) -> None:
        status, data = as_json(router.nvid(), "plan")
        assert status == 2
        assert {each["action"] for each in data["changes"]} == {"create", "change"}
        kinds = {each["object"] for each in data["changes"]}
        assert kinds == {"rule", "link", "address", "neighbour", "route", "sysctl", "ruleset"}
        assert data["problems"] == []

    @pytest.mark.parametrize("name", ["masquerade", "every kind of translation", "two NVIs"])
    def test_nothing_on_a_converged_machine(self, router: Router, name: str) -> None:
        nvid = router.nvid(samples.SAMPLES[name]).start()
        done = nvid.command("plan")
        assert (done.returncode, done.stdout) == (0, "")
        assert as_json(nvid, "plan") == (0, {"changes": [], "problems": []})

    def test_what_a_reload_would_do(self, daemon: Nvid) -> None:
        daemon.write(samples.EVERY_KIND.replace('"198.51.100.10"', '"198.51.100.11"'))
        lines = plan(daemon)
        assert {line[0] for line in lines} == {"+", "~", "-"}
        assert any("198.51.100.11/32" in line for line in lines)

    def test_a_bad_configuration(self, router: Router) -> None:
        done = router.nvid(THREE_PROBLEMS).command("plan", check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert len(done.stderr.splitlines()) == 3

    def test_an_ordinary_user_may_not(self, router: Router) -> None:
        nvid = router.nvid()
        done = as_ordinary_user(nvid, "plan", "--config", str(nvid.configuration_path))
        assert done.returncode == 4
        assert "CAP_NET_ADMIN" in done.stderr


class TestRun:
    def test_a_bad_configuration(self, router: Router) -> None:
        with pytest.raises(CommandFailed) as failed:
            router.nvid(THREE_PROBLEMS).start()
        assert failed.value.returncode == 1
        assert failed.value.stderr.count("nvid.toml:") == 3
        assert router.leftovers() == ""

    def test_an_ordinary_user_may_not(self, router: Router) -> None:
        nvid = router.nvid()
        done = as_ordinary_user(nvid, "run", "--config", str(nvid.configuration_path))
        assert done.returncode == 4, done.stderr
        assert "Traceback" not in done.stderr
        assert router.leftovers() == ""

    def test_one_that_may_write_its_files_but_not_to_the_kernel(self, router: Router) -> None:
        """As a unit without its AmbientCapabilities: everything but the kernel is permitted."""
        nvid = router.nvid()
        done = router.namespace.run(
            *("setpriv", "--bounding-set=-all", "--inh-caps=-all"),
            *(str(EXECUTABLE), "run", "--config", str(nvid.configuration_path)),
            check=False,
        )
        assert done.returncode == 4, done.stderr
        assert "Traceback" not in done.stderr

    def test_the_log_level_is_obeyed(self, router: Router) -> None:
        nvid = router.nvid('[daemon]\nlog_level = "warning"\n' + samples.MASQUERADE).start()
        assert "info:" not in nvid.log()
        nvid.reload('[daemon]\nlog_level = "info"\n' + samples.MASQUERADE)
        wait_until(lambda: "info: reloaded" in nvid.log())

    def test_systemd_is_told(self, daemon: Nvid) -> None:
        assert daemon.notified("READY") == ["1"]
        assert daemon.notified("STATUS")[-1].startswith("healthy, 1 NVIs, 14 translations")
        daemon.reload()
        wait_until(lambda: daemon.notified("READY") == ["1", "1"])
        assert daemon.notified("RELOADING") == ["1"]
        daemon.terminate()
        wait_until(lambda: daemon.notified("STOPPING") == ["1"])

    def test_the_watchdog_is_fed(self, router: Router) -> None:
        nvid = router.nvid(watchdog=0.4).start()
        wait_until(lambda: len(nvid.notified("WATCHDOG")) >= 4, timeout=3)


class TestStatus:
    def test_healthy(self, daemon: Nvid) -> None:
        done = daemon.command("status")
        assert done.returncode == 0
        assert done.stdout.startswith("healthy: nvid ")
        assert "uplink isp1 up: wan0 via 203.0.113.254, 2001:db8:1::fe" in done.stdout
        assert "\033[" not in done.stdout

    def test_the_keys_of_the_contract(self, daemon: Nvid) -> None:
        status, data = as_json(daemon, "status")
        assert status == 0
        assert {"state", "config", "nvis", "uplinks", "reconcile"} <= set(data)
        assert {"path", "loaded_at", "generation", "confirm_deadline"} <= set(data["config"])
        nvi = {
            "name",
            "backend",
            "path",
            "state",
            "problems",
            "interfaces",
            "translations",
            "flows",
        }
        assert nvi <= set(data["nvis"][0])
        assert {"name", "interface", "state", "gateway", "reason"} <= set(data["uplinks"][0])
        assert {
            *("repairs_total", "last_repair_at", "last_repairs"),
            *("last_duration_seconds", "overruns_total"),
        } <= set(data["reconcile"])

    def test_a_repair_has_the_keys_of_the_contract(self, router: Router, daemon: Nvid) -> None:
        router.namespace.run("nft", "flush", "ruleset")
        wait_until(lambda: as_json(daemon, "status")[1]["reconcile"]["repairs_total"] > 0)
        data = as_json(daemon, "status")[1]["reconcile"]
        assert {"object", "action", "culprit"} <= set(data["last_repairs"][0])
        assert isinstance(data["last_repair_at"], float)

    def test_degraded(self, router: Router, daemon: Nvid) -> None:
        router.namespace.ip("link", "set", "wan0", "down")

        def told() -> bool:
            done = daemon.command("status", check=False)
            assert "uplink isp1 down: interface wan0 is down" in done.stdout
            assert done.stdout.startswith("degraded: ")
            assert done.returncode == 1
            return True

        wait_until(told)

    @pytest.mark.parametrize("command", ["status", "reload"])
    def test_no_daemon(self, router: Router, command: str) -> None:
        nvid = router.nvid()
        done = nvid.command(command, check=False)
        assert (done.returncode, done.stdout) == (3, "")
        assert "no nvid daemon answers" in done.stderr
        status, data = as_json(nvid, command)
        assert status == 3
        assert "no nvid daemon answers" in data["error"]

    def test_a_daemon_that_was_killed_is_not_running(self, daemon: Nvid) -> None:
        """Its socket is still there."""
        daemon.kill()
        assert daemon.socket_path.exists()
        assert daemon.command("status", check=False).returncode == 3

    def test_an_ordinary_user_may(self, daemon: Nvid) -> None:
        done = as_ordinary_user(daemon, "status", "--socket", str(daemon.socket_path))
        assert done.returncode == 0, done.stderr

    def test_a_reader_that_leaves_early_is_fine(self, daemon: Nvid) -> None:
        done = daemon.namespace.run(
            "sh", "-c", f"{EXECUTABLE} status --json --socket {daemon.socket_path} | true"
        )
        assert "Traceback" not in done.stderr


class TestReload:
    def test_the_number_of_changes(self, daemon: Nvid) -> None:
        done = daemon.reload(samples.MASQUERADE)
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(r"reloaded: \d+ changes\n", done.stdout)
        converged(daemon)
        assert as_json(daemon, "reload") == (
            0,
            {"changes": 0, "confirm_deadline": None, "restart": []},
        )
        assert daemon.status()["config"]["generation"] == 3  # type: ignore[index]

    def test_a_bad_configuration_changes_nothing(self, daemon: Nvid) -> None:
        done = daemon.reload(THREE_PROBLEMS)
        assert (done.returncode, done.stdout) == (1, "")
        assert len(done.stderr.splitlines()) == 3
        status, data = as_json(daemon, "reload")
        assert (status, data["valid"], len(data["problems"])) == (1, False, 3)
        assert "nvid_config_last_reload_successful 0.0" in daemon.metrics()
        assert daemon.status()["nvis"][0]["translations"] == 14  # type: ignore[index]
        daemon.write(samples.EVERY_KIND)
        converged(daemon)
        daemon.reload()
        assert "nvid_config_last_reload_successful 1.0" in daemon.metrics()

    def test_what_check_prints_is_what_reload_prints(self, daemon: Nvid) -> None:
        refused = daemon.reload(THREE_PROBLEMS)
        assert refused.stderr == daemon.command("check", check=False).stderr

    def test_other_numbers_are_refused(self, daemon: Nvid) -> None:
        done = daemon.reload("[daemon]\nprotocol = 78\n" + samples.EVERY_KIND)
        assert done.returncode == 1
        assert "run 'nvid down' first" in done.stderr
        assert daemon.status()["state"] == "healthy"

    def test_an_ordinary_user_may_not(self, daemon: Nvid) -> None:
        done = as_ordinary_user(daemon, "reload", "--socket", str(daemon.socket_path))
        assert done.returncode == 4
        assert "needs root" in done.stderr
        assert daemon.status()["config"]["generation"] == 1  # type: ignore[index]

    def test_on_hangup(self, daemon: Nvid) -> None:
        daemon.write(samples.MASQUERADE)
        daemon.hang_up()
        wait_until(lambda: daemon.status()["config"]["generation"] == 2)  # type: ignore[index]
        converged(daemon)
        daemon.write(THREE_PROBLEMS)
        daemon.hang_up()
        wait_until(lambda: daemon.log().count("error: ") == 3)
        assert daemon.is_running
