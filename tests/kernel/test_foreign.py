"""What belongs to somebody else is named and never touched."""

from __future__ import annotations

import pytest

from nvid.reconcile import Round
from tests import samples
from tests.kernel.conftest import Router
from tests.lab import Namespace, machine_state

FAMILIES = pytest.mark.parametrize("family", [4, 6])


def round_of(router: Router, text: str = samples.EVERY_KIND) -> Round:
    return router.call(router.reconciler.converge, samples.configuration(text))


def complaints(done: Round) -> str:
    """Everything that status and log would say."""
    problems = [text for texts in done.desired.problems.values() for text in texts]
    return "\n".join([*problems, *done.foreign, done.error or ""])


@pytest.mark.parametrize("end", ["nvi0", "nvi0p"])
def test_a_link_of_the_name_of_an_end(router: Router, end: str) -> None:
    router.ip("link", "add", end, "type", "bridge")
    before = router.ip("-d", "link", "show", end)
    done = round_of(router)
    assert f"a link {end} exists that is not nvid's" in complaints(done)
    assert router.ip("-d", "link", "show", end) == before
    router.remove()
    assert router.ip("-d", "link", "show", end) == before


def test_a_foreign_link_closes_its_nvi_and_no_other(router: Router) -> None:
    router.ip("link", "add", "second", "type", "bridge")
    done = round_of(router, samples.TWO_NVIS)
    assert [pair.nvi for pair in done.desired.pairs] == ["nvi0"]
    assert "nvi0" in router.ip("link", "show", "nvi0p")


FOREIGN_TABLE = """
add table inet nvid
add chain inet nvid mine { type filter hook forward priority 5; }
add rule inet nvid mine accept
add set inet nvid addresses { type ipv4_addr; }
"""


def test_a_table_of_the_name(router: Router) -> None:
    router.nft(FOREIGN_TABLE)
    before = router.namespace.run("nft", "list", "ruleset").stdout
    done = round_of(router)
    assert "table inet nvid" in complaints(done)
    assert router.namespace.run("nft", "list", "ruleset").stdout == before


def test_down_leaves_a_table_of_the_name(router: Router) -> None:
    before = machine_state(router.namespace)
    round_of(router)
    router.nft("delete table inet nvid" + FOREIGN_TABLE)
    with_table = router.namespace.run("nft", "list", "ruleset").stdout
    router.remove()
    assert router.namespace.run("nft", "list", "ruleset").stdout == with_table
    router.nft("delete table inet nvid")
    assert before.difference(machine_state(router.namespace)) == ""


def test_tables_of_other_families_and_names_do_not_matter(router: Router) -> None:
    router.nft("add table inet nvid2; add table ip nvid; add chain ip nvid c")
    assert complaints(round_of(router)) == ""
    assert router.missing(samples.EVERY_KIND).table.lines == ()


@FAMILIES
@pytest.mark.parametrize("priority", [7700, 7725, 7799])
def test_a_rule_inside_the_window(router: Router, family: int, priority: int) -> None:
    rule = (f"-{family}", "rule", "add", "priority", str(priority), "iif", "lan0", "table", "main")
    router.ip(*rule)
    done = round_of(router)
    assert f"rule ipv{family} {priority}:" in complaints(done)
    router.remove()
    assert f"{priority}:" in router.ip(f"-{family}", "rule")


@pytest.mark.parametrize("priority", [7699, 7800])
def test_a_rule_beside_the_window_is_no_news(router: Router, priority: int) -> None:
    router.ip("rule", "add", "priority", str(priority), "iif", "lan0", "table", "main")
    assert complaints(round_of(router)) == ""


@pytest.mark.parametrize(
    ("pool", "via"), [("198.51.100.10", "10.1.0.77"), ("2001:db8:100::10", "fd00:1::77")]
)
def test_a_route_to_a_pool_in_main(router: Router, pool: str, via: str) -> None:
    """The one who routes it elsewhere is the one who knows; it stays, and is named."""
    router.ip("route", "add", pool, "via", via)
    done = round_of(router)
    assert pool in complaints(done)
    family = "-4" if "." in pool else "-6"
    assert via in router.ip(family, "route", "show", pool)
    router.remove()
    assert via in router.ip(family, "route", "show", pool)


@FAMILIES
def test_a_route_in_a_table_of_nvids(router: Router, family: int) -> None:
    network = {4: "198.18.99.0/24", 6: "2001:db8:99::/64"}[family]
    words = (network, "dev", "lan0", "table", "7701", "proto", "bird")
    router.ip(f"-{family}", "route", "add", *words)
    done = round_of(router)
    assert network in complaints(done)
    router.remove()
    assert network in router.ip(f"-{family}", "route", "show", "table", "7701")


@FAMILIES
def test_a_default_route_in_an_uplinks_table(router: Router, family: int) -> None:
    gateway = {4: "203.0.113.99", 6: "2001:db8:1::99"}[family]
    words = ("default", "via", gateway, "dev", "wan0", "table", "7701", "proto", "static")
    router.ip(f"-{family}", "route", "add", *words)
    done = round_of(router)
    assert "7701" in complaints(done)
    assert gateway in router.ip(f"-{family}", "route", "show", "table", "7701")


def test_a_proxy_of_somebody_else_serves_as_well(router: Router) -> None:
    text = samples.SAMPLES["no uplinks"]
    router.ip("neigh", "add", "proxy", "203.0.113.10", "dev", "wan0")
    assert complaints(round_of(router, text)) == ""
    assert list(router.missing(text).lines()) == []
    router.remove()
    assert "203.0.113.10" in router.ip("neigh", "show", "proxy")


class TestHalfPairs:
    """One end is nvid's, and the other one is not where it should be.

    A new pair takes what lay on the old one along, so that mending takes two rounds. The daemon
    makes them without waiting for an event.
    """

    def settle(self, router: Router) -> list[tuple[str, str]]:
        for _ in range(2):
            round_of(router)
        return list(router.missing(samples.EVERY_KIND).lines())

    def test_an_end_in_another_namespace(self, router: Router, elsewhere: Namespace) -> None:
        round_of(router)
        router.ip("link", "set", "nvi0p", "netns", elsewhere.name)
        assert self.settle(router) == []
        assert elsewhere.interfaces() == ("lo",)

    @pytest.mark.parametrize("end", ["nvi0", "nvi0p"])
    def test_an_end_with_another_name(self, router: Router, end: str) -> None:
        round_of(router)
        router.ip("link", "set", end, "down")
        router.ip("link", "set", end, "name", "renamed")
        assert self.settle(router) == []
        assert "renamed" not in router.namespace.interfaces()

    @pytest.mark.parametrize("end", ["nvi0", "nvi0p"])
    def test_a_renamed_end_is_mended_without_an_error(self, router: Router, end: str) -> None:
        """An error would make the daemon wait, and tell the operator of trouble."""
        round_of(router)
        router.ip("link", "set", end, "name", "renamed")
        assert round_of(router).error is None

    @pytest.mark.parametrize("end", ["nvi0", "nvi0p"])
    def test_an_end_that_has_lost_its_alias(self, router: Router, end: str) -> None:
        round_of(router)
        router.ip("link", "set", end, "alias", "")
        assert self.settle(router) == []

    def test_down_removes_a_half_pair(self, router: Router, elsewhere: Namespace) -> None:
        before = machine_state(router.namespace)
        round_of(router)
        router.ip("link", "set", "nvi0", "netns", elsewhere.name)
        router.remove()
        assert before.difference(machine_state(router.namespace)) == ""
        assert elsewhere.interfaces() == ("lo",)
