"""From rounds to what people read: status, log lines and metrics, as pure functions."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nvid.configuration import Loaded, load
from nvid.daemon import report
from nvid.daemon.report import History, Line
from nvid.daemon.status import Status, first_problem, headline
from nvid.daemon.usage import Usage
from nvid.desired.numbers import Numbers
from nvid.kernel.conntrack import FlowTable
from nvid.reconcile import Round
from tests import samples


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    path = tmp_path / "nvid.toml"
    path.write_text(samples.EVERY_KIND)
    return load(path)


def a_round(**changes: Any) -> Round:
    desired = samples.desired(samples.EVERY_KIND, changes.get("machine", samples.MACHINE))
    return replace(Round(desired=desired, machine=samples.MACHINE), **changes)


def history() -> History:
    return History("/etc/nvid/nvid.toml")


def status(
    loaded: Loaded, last: Round | None, told: History | None = None, usage: Usage | None = None
) -> Status:
    return report.status(loaded, last, told or history(), usage or Usage())


REPAIR = ("route", "~ route default ipv4 via 203.0.113.254 dev wan0 table 7701")
WITHOUT_WAN0 = samples.without_interface("wan0")


class TestStatus:
    def test_before_the_first_round_it_is_starting(self, loaded: Loaded) -> None:
        found = status(loaded, None)
        assert found.state == "starting"
        assert [nvi.state for nvi in found.nvis] == ["down"]

    def test_all_is_well(self, loaded: Loaded) -> None:
        found = status(loaded, a_round())
        (nvi,) = found.nvis
        assert found.state == "healthy"
        assert (nvi.name, nvi.state, nvi.problems) == ("nvi0", "up", [])
        assert nvi.interfaces == ["lan0", "wan0", "wan1"]
        assert nvi.translations == 14
        assert [uplink.state for uplink in found.uplinks] == ["up", "up"]

    @pytest.mark.parametrize(
        "trouble",
        [
            {"error": "the kernel said no"},
            {"announce_error": "cannot announce"},
            {"foreign": ("rule 7700 belongs to somebody else",)},
            {"machine": WITHOUT_WAN0},
        ],
    )
    def test_any_trouble_is_degraded(self, loaded: Loaded, trouble: dict[str, Any]) -> None:
        found = status(loaded, a_round(**trouble))
        assert found.state == "degraded"
        assert first_problem(found) is not None

    def test_metrics_that_cannot_be_served_are_a_problem(self, loaded: Loaded) -> None:
        told = replace(history(), metrics_problem="metrics: cannot listen")
        found = status(loaded, a_round(), told)
        assert found.state == "degraded"
        assert found.reconcile.problems == ["metrics: cannot listen"]

    def test_an_uplink_says_why_it_is_down(self, loaded: Loaded) -> None:
        uplink = status(loaded, a_round(machine=WITHOUT_WAN0)).uplinks[0]
        assert (uplink.state, uplink.reason) == ("down", "interface wan0 does not exist")
        assert uplink.gateway == ["203.0.113.254", "2001:db8:1::fe"]

    def test_a_foreign_link_takes_its_nvi_down(self, loaded: Loaded) -> None:
        machine = samples.with_interfaces(samples.interface("nvi0p", 9))
        (nvi,) = status(loaded, a_round(machine=machine)).nvis
        assert nvi.state == "down"
        assert "nvi0p" in nvi.problems[0]

    def test_flows_are_unknown_until_they_were_counted(self, loaded: Loaded) -> None:
        assert status(loaded, a_round()).nvis[0].flows is None
        counted = Usage(flows={"nvi0": 12})
        assert status(loaded, a_round(), usage=counted).nvis[0].flows == 12


class TestHistory:
    def test_a_repair_is_remembered_with_who_did_it(self, loaded: Loaded) -> None:
        told = history()
        told.note(a_round(repairs=(REPAIR,), seconds=0.25), ("ip (pid 7)", "nft (pid 8)"))
        found = status(loaded, a_round(), told).reconcile
        (repair,) = found.last_repairs
        assert found.repairs_total == 1
        assert found.last_duration_seconds == 0.25
        assert found.last_repair_at == repair.at
        assert (repair.object, repair.action) == (REPAIR[1][2:], "changed")
        assert repair.culprit == "ip (pid 7), nft (pid 8)"

    def test_nobody_is_accused_without_evidence(self) -> None:
        told = history()
        told.note(a_round(repairs=(REPAIR,)), ())
        assert told.last_repairs[0].culprit is None

    def test_only_the_last_repairs_are_kept_and_all_are_counted(self) -> None:
        told = history()
        for _ in range(50):
            told.note(a_round(repairs=(REPAIR, ("rule", "+ rule"))), ())
        assert len(told.last_repairs) == 20
        assert (told.repairs["route"], told.repairs["rule"]) == (50, 50)

    def test_a_new_configuration_is_a_generation(self) -> None:
        told = history()
        told.reload_successful = False
        told.loaded()
        assert (told.generation, told.reload_successful) == (2, True)


class TestLines:
    def lines(
        self, before: Round | None, done: Round, culprits: tuple[str, ...] = ()
    ) -> list[Line]:
        return report.lines(before, done, culprits)

    def test_an_uneventful_round_says_nothing(self) -> None:
        assert self.lines(a_round(), a_round()) == []

    def test_what_was_applied_is_one_line(self) -> None:
        (line,) = self.lines(None, a_round(changes=(("route", "+ route"),) * 70, seconds=0.1234))
        assert (line.level, line.text) == (logging.INFO, "applied")
        assert line.fields == {"changes": 70, "seconds": 0.123}

    def test_an_error_comes_first_and_loudest(self) -> None:
        done = a_round(error="the kernel said no", foreign=("somebody's rule",), repairs=(REPAIR,))
        assert self.lines(None, done)[0] == Line(logging.ERROR, "the kernel said no", {})

    def test_a_lasting_problem_is_said_once(self) -> None:
        done = a_round(foreign=("somebody's rule",))
        assert [each.text for each in self.lines(a_round(), done)] == ["somebody's rule"]
        assert self.lines(done, done) == []

    def test_an_uplink_is_mentioned_when_it_goes_and_when_it_comes(self) -> None:
        up, down = a_round(), a_round(machine=WITHOUT_WAN0)
        (gone,) = self.lines(up, down)
        assert gone.level == logging.WARNING
        assert gone.text == "uplink isp1 is down: interface wan0 does not exist"
        assert gone.fields == {"uplink": "isp1", "interface": "wan0"}
        assert self.lines(down, down) == []
        (back,) = self.lines(down, up)
        assert (back.level, back.text) == (logging.INFO, "uplink isp1 is up again")

    def test_an_uplink_that_is_up_from_the_start_is_no_news(self) -> None:
        assert self.lines(None, a_round()) == []

    def test_a_repair_names_the_culprit(self) -> None:
        (line,) = self.lines(a_round(), a_round(repairs=(REPAIR,)), ("ip (pid 7)",))
        assert line.text == f"repaired {REPAIR[1]}"
        assert line.fields == {"object": "route", "culprit": "ip (pid 7)"}

    def test_flows_that_were_ended(self) -> None:
        (line,) = self.lines(a_round(), a_round(ended_flows=3))
        assert (line.text, line.fields) == ("ended flows", {"flows": 3})


class TestHeadline:
    """The one line that ``systemctl status`` shows."""

    def test_when_all_is_well(self, loaded: Loaded) -> None:
        found = status(loaded, a_round(), usage=Usage(flows={"nvi0": 5}))
        assert headline(found) == "healthy, 1 NVIs, 14 translations, 2 of 2 uplinks up, 5 flows"

    def test_the_first_problem_is_in_it(self, loaded: Loaded) -> None:
        line = headline(status(loaded, a_round(machine=WITHOUT_WAN0)))
        assert line.startswith("degraded, ")
        assert "1 of 2 uplinks up" in line
        assert line.endswith(": uplink isp1: interface wan0 does not exist")


def test_a_snapshot_names_the_counters_of_everything(loaded: Loaded) -> None:
    numbers = Numbers({"isp1": 1, "isp2": 2}, {"nvi0": 3})
    usage = Usage({"nvi0": 1}, {}, {"nvi_3_original": (1, 2)}, FlowTable(10, 100), numbers)
    found = report.snapshot(loaded.configuration, status(loaded, a_round()), history(), usage)
    assert found.nvi_counters == (
        ("nvi_3_original", "nvi0", "original"),
        ("nvi_3_reply", "nvi0", "reply"),
    )
    assert {each.kind for each in found.translations} == {"static", "dnat", "snat"}
    assert len({each.label for each in found.translations}) == 14
    assert {pool.addresses for pool in found.pools} == {1, 29}
    assert found.conntrack == FlowTable(10, 100)
