"""Flows that a change ends: a round that fails and a death in the middle leave none of them."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from reliability.bench import launcher
from reliability.launcher import tell
from tests.lab import Lab, LongFlow, Nvid, wait_until
from tests.path.site import (
    IPV4,
    IPV6,
    ISP1_PREFERRED,
    SNAT_TO_UPLINK,
    TCP,
    UDP,
    Family,
    Site,
)

SECOND_BY_ISP2 = """
[[nvi.nvi0.route]]
ingress = "dmz0"
via = "isp2"
"""
ONLY_ISP1 = ISP1_PREFERRED.partition("[uplink.isp2]")[0]
FAMILIES = pytest.mark.parametrize("family", [IPV4, IPV6], ids=["IPv4", "IPv6"])


def pool(number: int) -> str:
    """All of it is seen from one address of each pool."""
    addresses = f'"198.51.100.{number}", "2001:db8:100::{number}"'
    return f'[[nvi.nvi0.snat]]\nsource = ["10.1.0.0/24", "fd00:1::/64"]\nto = [{addresses}]\n'


class Faulty:
    """The site, with an nvid that can be told to fail."""

    def __init__(self, lab: Lab) -> None:
        self.site = Site(lab, None)
        self.site.observe_everywhere()
        self.faults = lab.scratch("fault")
        self.site.nvid = Nvid(
            self.site.router, "", lab.scratch("files"), executable=launcher(lab, self.faults)
        )

    def dies_at_the_endings(self, configuration: str) -> None:
        """A reload that is never answered: the table is changed, and no flow ended yet."""
        tell(self.faults, "conntrack.end", 1, "death")
        assert self.site.nvid.reload(configuration).returncode != 0
        wait_until(lambda: not self.site.nvid.is_running, message="the death")
        self.faults.unlink()

    def seen_from(self, address: str) -> int:
        """How many flows are translated to an address."""
        lines = self.site.nvid.command("translations").stdout.splitlines()
        return sum(address in line for line in lines)


@pytest.fixture
def faulty(lab: Lab) -> Generator[Faulty, None, None]:
    """One for each test: it dies."""
    made = Faulty(lab)
    yield made
    assert made.site.foreign() == []


@pytest.fixture
def lab() -> Generator[Lab, None, None]:
    """The lab of one test."""
    with Lab() as made:
        yield made


@FAMILIES
def test_a_death_leaves_no_flow_in_a_lane_that_is_gone(faulty: Faulty, family: Family) -> None:
    site = faulty.site
    site.use(SNAT_TO_UPLINK + SECOND_BY_ISP2)
    flow = LongFlow(site.host, family.server, UDP, "udp")
    kept = LongFlow(site.client, family.server, TCP)
    assert flow.report().sources[0].address == family.wan1
    after = site.configuration(SNAT_TO_UPLINK, uplinks=ONLY_ISP1)
    faulty.dies_at_the_endings(after)
    site.nvid.start()
    wait_until(lambda: flow.report().sources[-1].address == family.wan0, message="the flow by isp1")
    kept.wait_for_answers(5)
    assert not kept.stop().broken
    flow.stop()


@FAMILIES
def test_a_death_leaves_no_flow_of_what_was_never_quite_in_force(
    faulty: Faulty, family: Family
) -> None:
    """The file is put back before nvid is started again."""
    site = faulty.site
    before = site.configuration(pool(8))
    site.use_whole(before)
    faulty.dies_at_the_endings(site.configuration(pool(9)))
    flow = LongFlow(site.client, family.server, UDP, "udp")
    assert flow.report().sources[0].address == family.pool(9)
    site.nvid.write(before)
    site.nvid.start()
    wait_until(
        lambda: flow.report().sources[-1].address == family.pool(8), message="the flow as before"
    )
    assert faulty.seen_from(family.pool(9)) == 0
    flow.stop()


def test_a_reload_that_fails_leaves_no_flow_of_its_own(faulty: Faulty) -> None:
    """New flows are made all the time, so some of them while the new table was there."""
    site = faulty.site
    site.use(pool(8))
    expression = f"src host {IPV4.pool(9)} or src host {IPV6.pool(9)}"
    with (
        site.capture(site.isp1, "wan", expression) as captured,
        site.spray(site.client, IPV4.server, IPV6.server),
    ):
        tell(faulty.faults, "conntrack.end", 1, "kernel")
        done = site.nvid.reload(site.configuration(pool(9)))
        assert "told to fail" in done.stderr
        wait_until(captured, message="a packet of the table that was there for a moment")
        for family in (IPV4, IPV6):
            wait_until(lambda family=family: not faulty.seen_from(family.pool(9)))  # type: ignore[misc]
            assert faulty.seen_from(family.pool(8))


@FAMILIES
def test_what_could_not_be_ended_is_ended_by_the_next_round(faulty: Faulty, family: Family) -> None:
    """An uplink is lost while the kernel does not let its flows be ended."""
    site = faulty.site
    site.use(SNAT_TO_UPLINK)
    flow = LongFlow(site.client, family.server, UDP, "udp")
    tell(faulty.faults, "conntrack.end", 1, "kernel")
    with site.without_carrier(site.isp1):
        wait_until(
            lambda: flow.report().sources[-1].address == family.wan1, message="the flow by isp2"
        )
        assert "told to fail" in site.nvid.log()
    flow.stop()
