"""``nvid down``, and the ways to stop: nothing of nvid's is left, or everything goes on."""

from __future__ import annotations

import json

import pytest

from tests import samples
from tests.commands.conftest import Router, as_ordinary_user, converged, plan
from tests.lab import Nvid, wait_until
from tests.lab.daemon import EXECUTABLE


class TestDown:
    def test_the_daemon_does_it(self, router: Router, daemon: Nvid) -> None:
        done = daemon.namespace.run(
            str(EXECUTABLE), "down", "--socket", str(daemon.socket_path), "--json"
        )
        assert json.loads(done.stdout)
        assert daemon.process is not None
        assert daemon.process.wait(10) == 0
        assert router.leftovers() == ""

    def test_a_configuration_is_enough_to_find_the_daemon(
        self, router: Router, daemon: Nvid
    ) -> None:
        """Its socket stands in the file. Removing behind its back would be undone at once."""
        done = daemon.namespace.run(
            str(EXECUTABLE), "down", "--config", str(daemon.configuration_path)
        )
        assert done.returncode == 0
        assert daemon.process is not None
        assert daemon.process.wait(10) == 0
        assert router.leftovers() == ""

    def test_without_a_daemon(self, router: Router, daemon: Nvid) -> None:
        daemon.kill()
        done = daemon.command("down")
        assert all(line.startswith("- ") for line in done.stdout.splitlines())
        assert router.leftovers() == ""
        assert daemon.command("down").stdout == ""

    def test_the_keys_do_not_depend_on_who_does_it(self, router: Router) -> None:
        found = []
        for stop in (lambda nvid: None, Nvid.kill):
            nvid = router.nvid().start()
            stop(nvid)
            done = nvid.namespace.run(
                *(str(EXECUTABLE), "down", "--json"),
                *("--socket", str(nvid.socket_path), "--config", str(nvid.configuration_path)),
            )
            found.append(json.loads(done.stdout))
        assert set(found[0]) == set(found[1])
        assert type(next(iter(found[0].values()))[0]) is type(next(iter(found[1].values()))[0])

    @pytest.mark.parametrize(
        "broken",
        [
            pytest.param(samples.EVERY_KIND + "nonsense = 1\n", id="an unknown key"),
            pytest.param(samples.EVERY_KIND.replace("10.1.0.2", "10.1.0.256"), id="a wrong value"),
        ],
    )
    def test_with_a_broken_configuration(self, router: Router, daemon: Nvid, broken: str) -> None:
        daemon.kill()
        daemon.write(broken)
        assert daemon.command("check", check=False).returncode == 1
        assert daemon.command("down").returncode == 0
        assert router.leftovers() == ""

    def test_with_a_file_that_is_not_toml(self, router: Router) -> None:
        """The state is found where it is by default."""
        everywhere = router.directory / "lib"
        everywhere.mkdir()
        wrapper = router.directory / "nvid"
        wrapper.write_text(
            f'#!/bin/sh\nmount --bind {everywhere} /var/lib\nexec {EXECUTABLE} "$@"\n'
        )
        wrapper.chmod(0o755)
        text = '[daemon]\nstate_dir = "/var/lib/nvid"\nprotocol = 201\n' + samples.EVERY_KIND
        nvid = router.nvid(text, executable=wrapper).start()
        nvid.kill()
        nvid.configuration_path.write_text("[[[")
        assert nvid.command("down").returncode == 0
        assert router.leftovers() == ""

    def test_without_a_configuration(self, router: Router, daemon: Nvid) -> None:
        """What carries nvid's default numbers goes; only the sysctls of before are not known."""
        daemon.kill()
        daemon.configuration_path.unlink()
        assert daemon.command("down").returncode == 0
        kinds = {line.split()[1] for line in router.leftovers().splitlines()}
        # The kernel has anycast routes of its own where IPv6 is forwarded.
        assert kinds <= {"sysctl:", "route:"}
        assert "proto 77" not in router.namespace.ip("route", "show", "table", "all")
        assert "proto 77" not in router.namespace.ip("-6", "route", "show", "table", "all")

    def test_an_ordinary_user_may_not(self, daemon: Nvid) -> None:
        words = ("--socket", str(daemon.socket_path), "--config", str(daemon.configuration_path))
        assert as_ordinary_user(daemon, "down", *words).returncode == 4
        assert daemon.status()["state"] == "healthy"
        daemon.kill()
        assert as_ordinary_user(daemon, "down", *words).returncode == 4
        assert plan(daemon) == []

    def test_a_start_afterwards(self, router: Router, daemon: Nvid) -> None:
        daemon.kill()
        daemon.command("down")
        daemon.start()
        converged(daemon)


class TestStop:
    @pytest.mark.parametrize(("on_stop", "stays"), [("keep", True), ("remove", False)])
    def test_terminate(self, router: Router, on_stop: str, stays: bool) -> None:
        nvid = router.nvid(f'[daemon]\non_stop = "{on_stop}"\n' + samples.EVERY_KIND).start()
        assert nvid.terminate() == 0
        assert not nvid.socket_path.exists()
        assert (router.leftovers() != "") == stays
        assert (plan(nvid) == []) == stays
        assert ('traffic="goes on"' in nvid.log()) == stays

    def test_what_on_stop_says_now_counts(self, router: Router, daemon: Nvid) -> None:
        daemon.reload('[daemon]\non_stop = "remove"\n' + samples.EVERY_KIND)
        daemon.terminate()
        assert router.leftovers() == ""

    def test_while_somebody_holds_connections(self, daemon: Nvid) -> None:
        held = daemon.namespace.popen(
            *("sh", "-c"),
            f"exec socat -t60 UNIX-CONNECT:{daemon.socket_path} EXEC:'sleep 60',nofork",
        )
        scraper = daemon.namespace.popen("socat", "TCP:127.0.0.1:9477", "EXEC:'sleep 60'")
        wait_until(lambda: held.poll() is None and scraper.poll() is None)
        assert daemon.terminate(timeout=5) == 0
