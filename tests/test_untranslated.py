"""Which flows began before the table covered the interface that they come in by."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from nvid.flows import Flow
from nvid.untranslated import began_before
from tests import samples

INSIDE = {4: "10.1.0.9", 6: "fd00:1::9"}
UPSTREAM = {4: "203.0.113.77", 6: "2001:db8:1::77"}
ROUTER = {4: "10.1.0.1", 6: "fd00:1::1"}
ANYWHERE = {4: "198.18.0.10", 6: "2001:db8:f::10"}


def flow(source: str, destination: str) -> Flow:
    ends = ip_address(source), ip_address(destination)
    return Flow((2, b"", b""), 17, *ends, ends[1], ends[0])


@pytest.mark.parametrize("family", [4, 6])
class TestBeganBefore:
    def test_behind_the_interface_that_is_covered_now(self, family: int) -> None:
        found = flow(INSIDE[family], ANYWHERE[family])
        assert began_before(["lan0"], samples.MACHINE)(found)
        assert began_before(["la*"], samples.MACHINE)(found)

    def test_not_behind_another_one(self, family: int) -> None:
        chosen = began_before(["lan0"], samples.MACHINE)
        assert not chosen(flow(UPSTREAM[family], INSIDE[family]))

    def test_from_anywhere_it_may_have_come_by_any(self, family: int) -> None:
        for offers in (["lan0"], ["wan0"]):
            chosen = began_before(offers, samples.MACHINE)
            assert chosen(flow(ANYWHERE[family], INSIDE[family]))

    def test_neither_the_machines_own_nor_what_somebody_translates(self, family: int) -> None:
        chosen = began_before(["lan0"], samples.MACHINE)
        assert not chosen(flow(INSIDE[family], ROUTER[family]))
        assert not chosen(flow(ROUTER[family], INSIDE[family]))
        assert not chosen(replace(flow(INSIDE[family], ANYWHERE[family]), snat=True))
