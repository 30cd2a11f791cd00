"""``nvid reload --confirm``: an administrator who has locked himself out gets back in, whatever
dies meanwhile. He is a TCP connection to the router's own address, as SSH would be."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.lab import Lab, Nvid, TwoUplinks, Unanswered, two_uplinks, wait_until
from tests.lab.processes import run_here

SSH = 2222
ROUTER = {4: "10.1.0.1", 6: "fd00:1::1"}
NOBODY = {4: "10.1.0.99", 6: "fd00:1::99"}
FAMILIES = pytest.mark.parametrize("family", [4, 6])

GOOD = """
[uplink.isp1]
interface = "wan0"
gateway   = ["203.0.113.254", "2001:db8:1::fe"]

[nvi.nvi0]
interfaces = ["lan0", "wan0"]

[[nvi.nvi0.snat]]
source = ["10.1.0.0/24", "fd00:1::/64"]
to     = ["203.0.113.1", "2001:db8:1::1"]
"""
LOCKED_OUT = GOOD + "".join(
    f"""
[[nvi.nvi0.dnat]]
destination = "{ROUTER[family]}"
to          = "{NOBODY[family]}"
"""
    for family in (4, 6)
)

# Answers to far away leave by a gateway that is not there.
WRONG_GATEWAY = GOOD.replace("203.0.113.254", "203.0.113.99").replace("1::fe", "1::99")
ROUTER_OUTSIDE = {4: "203.0.113.1", 6: "2001:db8:1::1"}


class Site:
    """A router with administrators in its LAN and far away."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.network: TwoUplinks = two_uplinks(lab, default_route="isp1")
        self.client, self.router = self.network.client, self.network.router
        self.router.observe(tcp=[SSH])
        self.nvid = Nvid(self.router, GOOD, directory).start()

    @property
    def config(self) -> dict[str, Any]:
        found = self.nvid.status()["config"]
        assert isinstance(found, dict)
        return found

    def is_open(self, family: int) -> bool:
        """Whether the router lets the administrator in."""
        try:
            self.client.ask_tcp(ROUTER[family], SSH, timeout=0.5)
        except Unanswered:
            return False
        return True

    def lock_out(self, seconds: float) -> None:
        """The mistake, with a way back."""
        done = self.nvid.reload(LOCKED_OUT, "--confirm", str(seconds))
        assert done.returncode == 0, done.stderr
        assert not self.is_open(4)
        assert not self.is_open(6)

    def wait_until_open(self) -> None:
        """Nobody touches anything; the administrator tries again and again."""
        wait_until(lambda: self.is_open(4) and self.is_open(6), timeout=20, message="the way back")

    def translations(self) -> int:
        nvis: Any = self.nvid.status()["nvis"]
        found: int = nvis[0]["translations"]
        return found

    def guardians(self) -> list[int]:
        """Processes that wait for the deadline, in this router's namespace."""
        pids = run_here("ip", "netns", "pids", self.router.name).stdout.split()
        return [int(pid) for pid in pids if "--at-deadline" in _command_line(pid)]


def _command_line(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


@pytest.fixture
def site(lab: Lab, tmp_path: Path) -> Site:
    return Site(lab, tmp_path)


class TestLockedOut:
    @FAMILIES
    def test_the_daemon_goes_the_way_back(self, site: Site, family: int) -> None:
        """The session itself stands still, and goes on."""
        flow = site.network.server.long_flow(ROUTER_OUTSIDE[family], SSH)
        done = site.nvid.reload(WRONG_GATEWAY, "--confirm", "3")
        assert done.returncode == 0, done.stderr
        with pytest.raises(TimeoutError):
            flow.wait_for_answers(timeout=1)
        flow.wait_for_answers(timeout=20)
        report = flow.stop()
        assert not report.broken
        assert report.longest_gap > 2
        assert "the previous configuration is in force again" in site.nvid.log()
        assert site.config["confirm_deadline"] is None

    def test_new_connections_work_again(self, site: Site) -> None:
        site.lock_out(2)
        site.wait_until_open()

    def test_the_daemon_is_killed_and_nobody_starts_it(self, site: Site) -> None:
        site.lock_out(4)
        site.nvid.kill()
        site.wait_until_open()
        wait_until(lambda: site.guardians() == [])
        assert "nobody confirmed it in time" in site.nvid.log()

    def test_the_daemon_is_stopped_and_nobody_starts_it(self, site: Site) -> None:
        site.lock_out(4)
        assert site.nvid.terminate() == 0
        site.wait_until_open()

    def test_it_is_killed_and_started_before_the_deadline(self, site: Site) -> None:
        site.lock_out(8)
        deadline = site.config["confirm_deadline"]
        site.nvid.kill()
        site.nvid.start()
        assert site.config["confirm_deadline"] == pytest.approx(deadline)
        assert not site.is_open(4)
        assert "still on trial" in site.nvid.log()
        site.wait_until_open()

    def test_everything_is_killed_and_started_behind_the_deadline(self, site: Site) -> None:
        """As when the machine hangs: the start itself goes the way back."""
        site.lock_out(2)
        guardians = site.guardians()
        assert len(guardians) == 1
        site.nvid.kill()
        for pid in guardians:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: _is_late(site.nvid))
        assert not site.is_open(4)
        site.nvid.start()
        assert site.is_open(4)
        assert site.is_open(6)
        assert "nobody confirmed it in time" in site.nvid.log()

    def test_a_daemon_that_dies_again_and_again(self, site: Site) -> None:
        site.lock_out(5)
        for _ in range(2):
            site.nvid.kill()
            site.nvid.start()
        site.nvid.kill()
        site.wait_until_open()

    @pytest.mark.parametrize("alive", [True, False], ids=["daemon", "guardian"])
    def test_a_refusal_that_cannot_be_written_down(self, site: Site, alive: bool) -> None:
        """A full disk, say: the way back comes first, and a start goes it once more."""
        (site.nvid.state_directory / "refused.json.new").mkdir()
        site.lock_out(3)
        if not alive:
            site.nvid.kill()
        site.wait_until_open()
        wait_until(lambda: "refused.json: Is a directory; make state_dir" in site.nvid.log())
        if alive:
            site.nvid.kill()
        site.nvid.start()
        assert site.is_open(4)

    def test_whoever_asked_is_gone_before_the_answer(self, site: Site) -> None:
        """His connection ends with his own mistake."""
        site.nvid.write(LOCKED_OUT)
        call = {"method": "org.nvid.Control.Reload", "parameters": {"confirm": 3}}
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(site.nvid.socket_path))
            sock.sendall(json.dumps(call).encode() + b"\0")
        wait_until(lambda: site.config["generation"] == 2)
        assert not site.is_open(4)
        site.wait_until_open()
        assert "Traceback" not in site.nvid.log()


def _is_late(nvid: Nvid) -> bool:
    pending = json.loads((nvid.state_directory / "pending.json").read_text())
    with Path("/proc/uptime").open() as uptime:
        now = float(uptime.read().split()[0])
    late: bool = now > pending["began"]["boottime"] + pending["seconds"]
    return late


class TestAfterwards:
    """The files in place are still the refused ones."""

    @pytest.fixture
    def taken_back(self, site: Site) -> Site:
        site.lock_out(60)
        assert site.nvid.command("rollback").returncode == 0
        assert site.is_open(4)
        return site

    def test_a_restart_does_not_begin_with_them(self, taken_back: Site) -> None:
        taken_back.nvid.kill()
        taken_back.nvid.start()
        assert taken_back.is_open(4)
        assert "the files in place were taken back" in taken_back.nvid.log()
        assert taken_back.config["refused_at"] is not None
        text = taken_back.nvid.command("status").stdout
        assert "the files in place were taken back" in text

    def test_a_restart_begins_with_them_when_they_were_changed(self, taken_back: Site) -> None:
        taken_back.nvid.kill()
        taken_back.nvid.write(
            GOOD + '[[nvi.nvi0.static]]\nlocal = "10.1.0.3"\nglobal = "198.51.100.3"\n'
        )
        taken_back.nvid.start()
        assert taken_back.translations() == 2
        assert taken_back.config["refused_at"] is None

    def test_a_reload_reads_them_again(self, taken_back: Site) -> None:
        assert taken_back.nvid.reload().returncode == 0
        assert not taken_back.is_open(4)
        assert taken_back.config["refused_at"] is None

    def test_metrics_say_that_the_reload_failed(self, taken_back: Site) -> None:
        assert "nvid_config_last_reload_successful 0.0" in taken_back.nvid.metrics()

    def test_another_trial_may_follow(self, taken_back: Site) -> None:
        taken_back.lock_out(2)
        taken_back.wait_until_open()

    def test_down_forgets_no_refusal(self, taken_back: Site) -> None:
        taken_back.nvid.command("down")
        taken_back.nvid.start()
        assert taken_back.is_open(4)


class TestConfirm:
    def test_what_is_confirmed_stays(self, site: Site) -> None:
        site.lock_out(20)
        done = site.nvid.command("confirm")
        assert (done.returncode, done.stdout) == (0, "confirmed\n")
        assert site.config["confirm_deadline"] is None
        wait_until(lambda: site.guardians() == [], timeout=10)
        assert not site.is_open(4)
        site.nvid.kill()
        site.nvid.start()
        assert not site.is_open(4)
        # What was confirmed is what the next trial goes back to.
        site.nvid.reload(GOOD, "--confirm", "1")
        wait_until(lambda: site.config["confirm_deadline"] is None)
        assert not site.is_open(4)

    def test_the_status_says_how_long(self, site: Site) -> None:
        done = site.nvid.reload(LOCKED_OUT, "--confirm", "100")
        assert re.search(r"taken back in \d+ s unless 'nvid confirm' is said", done.stdout)
        said = json.loads(site.nvid.reload(LOCKED_OUT, "--confirm", "100", "--json").stdout)
        assert said["confirm_deadline"] == site.config["confirm_deadline"]
        assert "on trial: it is taken back in" in site.nvid.command("status").stdout
        wait_until(lambda: "on trial" in site.nvid.notified("STATUS")[-1])

    @pytest.mark.parametrize("command", ["confirm", "rollback"])
    def test_nothing_pending(self, site: Site, command: str) -> None:
        done = site.nvid.command(command, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert "no reload waits for a confirmation" in done.stderr
        site.nvid.kill()
        where = ["--config", str(site.nvid.configuration_path)]
        done = site.nvid.command(command, *where, check=False)
        assert done.returncode == 3
        assert "no nvid daemon answers" in done.stderr

    def test_without_a_daemon(self, site: Site) -> None:
        where = ["--config", str(site.nvid.configuration_path)]
        site.lock_out(60)
        site.nvid.kill()
        done = site.nvid.command("rollback", *where)
        assert "taken back: " in done.stdout
        assert site.is_open(4)
        site.nvid.start()
        assert site.is_open(4)
        site.lock_out(60)
        site.nvid.kill()
        assert site.nvid.command("confirm", *where).stdout == "confirmed\n"
        site.nvid.start()
        assert site.config["confirm_deadline"] is None
        assert not site.is_open(4)

    def test_each_trial_has_one_guardian(self, site: Site) -> None:
        """The last one; it goes the way back when the daemon is gone."""
        seen = set()
        for seconds in (60, 50, 4):
            done = site.nvid.reload(LOCKED_OUT, "--confirm", str(seconds))
            assert done.returncode == 0, done.stderr
            wait_until(lambda: len(site.guardians()) == 1, message="one guardian alone")
            seen |= set(site.guardians())
        assert len(seen) == 3
        site.nvid.kill()
        site.wait_until_open()
        wait_until(lambda: site.guardians() == [])

    def test_a_plain_reload_confirms_nothing(self, site: Site) -> None:
        site.lock_out(8)
        deadline = site.config["confirm_deadline"]
        assert site.nvid.reload().returncode == 0
        site.nvid.hang_up()
        wait_until(lambda: site.config["generation"] == 4)
        assert site.config["confirm_deadline"] == deadline
        site.wait_until_open()

    def test_a_bad_configuration_begins_no_trial(self, site: Site) -> None:
        done = site.nvid.reload("[nvi.nvi0]\nnonsense = 1\n", "--confirm", "60")
        assert done.returncode == 1
        assert site.config["confirm_deadline"] is None
        assert site.guardians() == []

    def test_a_bad_one_during_a_trial_changes_nothing(self, site: Site) -> None:
        site.lock_out(3)
        assert site.nvid.reload("[nvi.nvi0]\nnonsense = 1\n", "--confirm", "60").returncode == 1
        site.wait_until_open()

    def test_no_daemon(self, site: Site) -> None:
        site.nvid.kill()
        assert site.nvid.reload(GOOD, "--confirm", "60").returncode == 3

    @pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "1e9"])
    def test_no_time_to_confirm(self, site: Site, seconds: str) -> None:
        done = site.nvid.reload(LOCKED_OUT, f"--confirm={seconds}")
        assert done.returncode == 1
        assert "--confirm takes 1 to 604800 seconds" in done.stderr
        assert site.is_open(4)

    def test_the_state_directory_stays_where_it_is(self, site: Site, tmp_path: Path) -> None:
        text = f'[daemon]\nstate_dir = "{tmp_path}/elsewhere"\n{LOCKED_OUT}'
        done = site.nvid.reload(text, "--confirm", "60")
        assert done.returncode == 1
        assert "state_dir cannot change on trial" in done.stderr
        assert site.is_open(4)

    def test_a_state_directory_that_is_gone(self, site: Site) -> None:
        """Without a place for the way back nothing is changed."""
        site.router.run("sh", "-ec", f"mv {site.nvid.state_directory} {site.nvid.directory}/moved")
        site.nvid.state_directory.write_text("")
        done = site.nvid.reload(LOCKED_OUT, "--confirm", "60")
        assert done.returncode == 1
        assert "state_dir" in done.stderr
        assert site.is_open(4)


class TestDown:
    def test_everything_is_removed_and_nothing_comes_back(self, site: Site) -> None:
        site.lock_out(2)
        site.nvid.command("down")
        wait_until(lambda: site.guardians() == [], timeout=10)
        assert "nvi0" not in site.router.interfaces()
        assert site.nvid.start().is_running
        assert site.is_open(4)

    def test_without_a_daemon(self, site: Site) -> None:
        site.lock_out(3)
        site.nvid.kill()
        site.nvid.command("down")
        wait_until(lambda: site.guardians() == [], timeout=10)
        assert "nvi0" not in site.router.interfaces()


def test_keys_that_want_a_restart(site: Site) -> None:
    text = f'[daemon]\nmetrics = "127.0.0.1:9999"\n{GOOD}'
    done = site.nvid.reload(text)
    assert done.returncode == 0
    assert "restart nvid for the changes of [daemon] metrics" in done.stdout
    assert "keys=metrics" in site.nvid.log()
    assert json.loads(site.nvid.reload(None, "--json").stdout)["restart"] == ["metrics"]
