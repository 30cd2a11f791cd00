"""What nvid hangs on lo stands beside what others hang there, and goes without it."""

from __future__ import annotations

from typing import Any

import pytest

from nvid import names
from tests import samples
from tests.commands.conftest import Router, as_json, converged, plan
from tests.lab import Nvid, wait_until

OVER_LO = samples.SAMPLES["over lo"]
CLSACT = "qdisc add dev lo clsact"
OTHERS = "filter add dev lo egress pref {} protocol all u32 match mark 0x7 0xff classid 1:1"


def tc(router: Router, *commands: str) -> None:
    for command in commands:
        router.namespace.run("tc", *command.split())


def filters(router: Router) -> str:
    return router.namespace.run("tc", "filter", "show", "dev", "lo", "egress").stdout


def problems(nvid: Nvid) -> str:
    status: Any = nvid.status()
    return str(status["reconcile"]["problems"]) + str([each["problems"] for each in status["nvis"]])


@pytest.fixture
def over_lo(router: Router) -> Nvid:
    """A daemon whose NVI crosses lo."""
    return router.nvid(OVER_LO).start()


class TestDown:
    def test_nothing_is_left(self, router: Router, over_lo: Nvid) -> None:
        assert "mirred (Ingress Redirect to device lo)" in filters(router)
        over_lo.command("down", "--socket", str(over_lo.socket_path))
        assert over_lo.process is not None
        assert over_lo.process.wait(10) == 0
        assert router.leftovers() == ""

    def test_without_a_daemon(self, router: Router, over_lo: Nvid) -> None:
        over_lo.kill()
        assert "- filter dev lo egress fwmark 0xc00000/0xc00000" in over_lo.command("down").stdout
        assert router.leftovers() == ""

    @pytest.mark.parametrize("others", [(CLSACT,), (CLSACT, OTHERS.format(7))])
    def test_what_others_had_there_before_stays(
        self, router: Router, others: tuple[str, ...]
    ) -> None:
        tc(router, *others)
        before = filters(router)
        nvid = router.nvid(OVER_LO).start()
        converged(nvid)
        nvid.kill()
        nvid.command("down")
        assert "clsact" in router.namespace.run("tc", "qdisc", "show", "dev", "lo").stdout
        assert filters(router) == before

    def test_what_others_hung_there_meanwhile_stays(self, router: Router, over_lo: Nvid) -> None:
        tc(router, OTHERS.format(7))
        over_lo.kill()
        over_lo.command("down")
        assert "pref 7 " in filters(router)
        assert "mirred" not in filters(router)


def test_a_reload_to_veth_and_back(router: Router, over_lo: Nvid) -> None:
    over_lo.reload(samples.EVERY_KIND)
    converged(over_lo)
    assert "clsact" not in router.namespace.run("tc", "qdisc", "show", "dev", "lo").stdout
    over_lo.reload(OVER_LO)
    converged(over_lo)
    assert over_lo.status()["nvis"][0]["backend"] == "loopback"  # type: ignore[index]
    assert "loopback" in over_lo.command("status").stdout


def test_a_restart_with_and_without_its_state_finds_everything_in_place(
    over_lo: Nvid,
) -> None:
    over_lo.kill()
    assert plan(over_lo) == []
    (over_lo.configuration_path.parent / "state" / "state.json").unlink(missing_ok=True)
    assert plan(over_lo) == []


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(OTHERS.format(names.FILTER_PREFERENCE), id="another classifier"),
        pytest.param(
            f"filter add dev lo egress pref {names.FILTER_PREFERENCE} handle "
            f"{names.FILTER_HANDLE} protocol all bpf bytecode 1,6\x000\x000\x000",
            id="the same classifier",
        ),
    ],
)
def test_a_filter_of_somebody_else_in_the_way_is_reported(router: Router, command: str) -> None:
    tc(router, CLSACT)
    router.namespace.run("tc", *(word.replace("\0", " ") for word in command.split()))
    nvid = router.nvid(OVER_LO).start()
    wait_until(lambda: "is somebody else's" in problems(nvid))
    assert nvid.status()["state"] == "degraded"
    assert "mirred" not in filters(router)
    router.namespace.run("tc", "filter", "del", "dev", "lo", "egress")
    wait_until(lambda: nvid.status()["state"] == "healthy")
    assert "mirred" in filters(router)


def test_a_nexthop_of_somebody_else_in_the_way_is_reported(router: Router) -> None:
    router.namespace.ip("nexthop", "add", "id", str(names.LOOPBACK_NEXTHOP), "blackhole")
    nvid = router.nvid(OVER_LO)
    nvid.write(OVER_LO)
    status, data = as_json(nvid, "plan")
    assert status == 2
    assert "is somebody else's" in str(data["problems"])


def test_lo_that_is_down_is_reported_and_taken_up_again(router: Router, over_lo: Nvid) -> None:
    router.namespace.ip("link", "set", "lo", "down")
    wait_until(lambda: "ip link set lo up" in problems(over_lo))
    assert over_lo.status()["nvis"][0]["state"] == "down"  # type: ignore[index]
    router.namespace.ip("link", "set", "lo", "up")
    wait_until(lambda: over_lo.status()["state"] == "healthy")
    converged(over_lo)


def test_what_the_kernel_refuses_is_reported_and_nobody_else_suffers(router: Router) -> None:
    """The older qdisc for filters has no egress side, and keeps the newer one out."""
    tc(router, "qdisc add dev lo ingress")
    nvid = router.nvid(samples.SAMPLES["a pair beside lo"]).start()
    wait_until(lambda: "there is a qdisc ingress already" in problems(nvid))
    assert "mirred" not in filters(router)
    status: Any = nvid.status()
    assert status["state"] == "degraded"
    assert "nvi0" in {link.split("@")[0] for link in router.namespace.interfaces()}
    assert "table inet nvid" in router.namespace.run("nft", "list", "tables").stdout
    assert plan(nvid) != []
    tc(router, "qdisc del dev lo ingress")
    wait_until(lambda: nvid.status()["state"] == "healthy")
    assert "mirred" in filters(router)
