"""Rounds: none without need, fewer in a fight, and interfaces that come and go. Accidents to nvid's
own objects are in tests/reliability/test_accidents.py."""

from __future__ import annotations

from typing import Any

import pytest

from tests import samples
from tests.commands.conftest import Router, converged, metric, plan
from tests.lab import Nvid, wait_until

ALL_WITH_PROXIES = (
    samples.EVERY_KIND
    + """
[[nvi.nvi0.static]]
local  = "10.1.0.9"
global = "203.0.113.9"

[[nvi.nvi0.static]]
local  = "fd00:1::9"
global = "2001:db8:1::9"

[nvi.nvi1]
interfaces = ["dmz0"]
backend    = "loopback"

[[nvi.nvi1.static]]
local  = "fd00:2::2"
global = "2001:db8:100:7::2"
"""
)


def test_a_quiet_machine_is_not_repaired(router: Router) -> None:
    """Rounds without a disturbance change nothing and count nothing."""
    nvid = router.nvid("[daemon]\nresync = '1s'\n" + ALL_WITH_PROXIES).start()
    first = metric(nvid, "nvid_reconcile_duration_seconds_count")
    wait_until(lambda: metric(nvid, "nvid_reconcile_duration_seconds_count") >= first + 3)
    assert nvid.status()["reconcile"]["repairs_total"] == 0  # type: ignore[index]
    assert "repaired" not in nvid.log()


def test_changes_that_concern_nobody_cost_no_round(router: Router, daemon: Nvid) -> None:
    """Other people's routes and tables: a router with a routing daemon has many."""
    wait_until(lambda: plan(daemon) == [])
    first = metric(daemon, "nvid_reconcile_duration_seconds_count")
    routes = "".join(f"route add 198.18.{n}.0/24 dev lan0 proto bird\n" for n in range(200))
    router.namespace.run("ip", "-batch", "-", input=routes)
    router.namespace.nft("add table inet somebodys; add chain inet somebodys c")
    assert daemon.command("status").returncode == 0
    assert metric(daemon, "nvid_reconcile_duration_seconds_count") - first <= 1


def test_a_fight_slows_down_and_ends(router: Router, daemon: Nvid) -> None:
    """Somebody undoes every repair: nvid goes on, says so, and does not run hot."""
    stop = router.lab.scratch("stop")
    router.namespace.popen(
        *("sh", "-c"),
        f"while [ ! -e {stop} ]; do ip link set nvi0 mtu 1400; sleep 0.01; done",
    )
    wait_until(lambda: "keeps undoing repairs" in daemon.log(), timeout=20)
    first = metric(daemon, "nvid_reconcile_duration_seconds_count")
    assert daemon.command("status", check=False).returncode in (0, 1)
    stop.touch()
    converged(daemon, timeout=30)
    assert metric(daemon, "nvid_reconcile_duration_seconds_count") - first < 100


class TestInterfaces:
    """A NAT-enabled interface goes and comes back, or is another one under the same name."""

    @pytest.mark.parametrize("name", ["lan0", "wan0"])
    def test_gone_and_back(self, router: Router, daemon: Nvid, name: str) -> None:
        router.namespace.ip("link", "delete", name)
        wait_until(lambda: name not in str(daemon.status()["nvis"]))
        converged(daemon)
        router.plug(name)
        for each in {"lan0": samples.LAN0, "wan0": samples.WAN0}[name].addresses:
            router.namespace.address(name, str(each.interface))
        wait_until(lambda: daemon.status()["state"] == "healthy")
        converged(daemon)

    def test_an_uplink_without_its_interface_is_down_and_says_why(
        self, router: Router, daemon: Nvid
    ) -> None:
        router.namespace.ip("link", "set", "wan0", "down")

        def reported() -> bool:
            uplinks: Any = daemon.status()["uplinks"]
            isp1 = uplinks[0]
            assert (isp1["state"], isp1["reason"]) == ("down", "interface wan0 is down")
            return True

        wait_until(reported)
        assert daemon.status()["state"] == "degraded"
        assert daemon.command("status", check=False).returncode == 1
        assert metric(daemon, 'nvid_uplink_up{uplink="isp1"}') == 0
        router.namespace.ip("link", "set", "wan0", "up")
        wait_until(lambda: daemon.status()["state"] == "healthy")
        converged(daemon)

    def test_one_that_appears_late_is_guarded_from_its_first_packet(self, router: Router) -> None:
        nvid = router.nvid(samples.SAMPLES["globs"]).start()
        router.plug("lan7")

        def covered() -> bool:
            assert "fwmark 0/0xc00000 iif lan7 blackhole" in router.namespace.ip("rule")
            return True

        wait_until(covered)
        # Forwarding comes last, and a moment later.
        converged(nvid)
        assert router.namespace.sysctl("net.ipv4.conf.lan7.forwarding") == "1"

    def test_a_new_address_on_an_uplink_is_used(self, router: Router, daemon: Nvid) -> None:
        router.namespace.ip("addr", "del", "203.0.113.1/24", "dev", "wan0")
        router.namespace.address("wan0", "203.0.113.7/24")

        def used() -> bool:
            chain = router.namespace.run("nft", "list", "chain", "inet", "nvid", "source_1").stdout
            assert "snat ip to 203.0.113.7" in chain
            return True

        wait_until(used)
        converged(daemon)
