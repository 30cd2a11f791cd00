"""``on_failure = "open"`` under accidents: translated when it can be, forwarded plainly when it
cannot, and never half translated.

The accidents are looked at while the daemon stands still, as long as they last; then it mends them.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Generator, Iterator
from ipaddress import ip_address, ip_network

import pytest

from reliability.accidents import ACCIDENTS, MAIN_RULES
from tests.lab import Lab, LongFlow, wait_until
from tests.path.site import IPV4, IPV6, SNAT_TO_UPLINK, UDP, Family, Site

INSIDE = [ip_network(each) for each in ("10.0.0.0/8", "fd00::/16")]
CHOICE = (
    "the ruleset flushed",
    "the table deleted",
    "everything deleted from the offers",
    "the rule into the pair deleted",
    "all rules flushed but main's",
    "nvi0 deleted",
    "a table flushed",
    "the table, the rules, the routes and the pair, all at once",
)
OF_IPV4 = ("the rule into the pair deleted", "a table flushed")
"""The other family does not notice."""
BY_NAME = {each.name: each for each in ACCIDENTS}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The lab of this file."""
    with Lab() as made:
        yield made


@pytest.fixture(scope="module")
def ground(lab: Lab) -> Site:
    """Main leads to isp1, and so does the preferred uplink."""
    made = Site(lab, "isp1")
    made.observe_everywhere()
    return made


@pytest.fixture
def site(ground: Site) -> Generator[Site, None, None]:
    """All well before each test; what the providers saw afterwards is not half translated."""
    ground.use(SNAT_TO_UPLINK, keys='on_failure = "open"')
    ground.forget_foreign()
    yield ground
    assert half_translated(ground) == []


def half_translated(site: Site) -> list[str]:
    """What a provider got that is neither its own nor as it came: an address of the other one's."""
    seen = [line for each in site.foreign() for line in each.split(": ", 1)[1].split("; ")]
    return [
        line for line in seen if not any(ip_address(line.split()[0]) in each for each in INSIDE)
    ]


@contextlib.contextmanager
def standing_still(site: Site) -> Iterator[None]:
    """The daemon mends nothing meanwhile."""
    os.kill(site.nvid.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(site.nvid.pid, signal.SIGCONT)


def happen(site: Site, commands: tuple[str, ...]) -> None:
    """Commands of the table of accidents; what was flushed along and is not nvid's to mend is put
    back at once: without main there is no way at all."""
    script = "\n".join((*commands, *MAIN_RULES)).format(router=site.router.name)
    site.router.run("sh", "-e", "-c", script)


def seen_by_the_host(site: Site, family: Family) -> str:
    """Where a new flow to the second LAN comes from, as the host there sees it."""
    return site.client.ask_udp(family.host, UDP).address


@pytest.mark.parametrize("name", CHOICE)
def test_new_flows_go_on_untranslated_until_it_is_mended(site: Site, name: str) -> None:
    accident = BY_NAME[name]
    for family in (IPV4, IPV6):
        assert seen_by_the_host(site, family) == family.wan0
    with standing_still(site):
        happen(site, accident.commands)
        for family in (IPV4, IPV6):
            concerned = family is IPV4 or name not in OF_IPV4
            expected = family.client if concerned else family.wan0
            assert seen_by_the_host(site, family) == expected
        begun = [LongFlow(site.client, each.host, UDP, "udp") for each in (IPV4, IPV6)]
    for family, flow in zip((IPV4, IPV6), begun, strict=True):
        wait_until(
            lambda family=family: seen_by_the_host(site, family) == family.wan0,  # type: ignore[misc]
            message="a translated flow",
        )
        wait_until(
            lambda flow=flow, family=family: flow.report().sources[-1].address == family.wan0,  # type: ignore[misc]
            message="the flow that began meanwhile, translated",
        )
        flow.stop()


@pytest.mark.parametrize("name", CHOICE)
def test_flows_that_are_translated_stay_so(site: Site, name: str) -> None:
    accident = BY_NAME[name]
    flows = [LongFlow(site.client, each.server, UDP, "udp") for each in (IPV4, IPV6)]
    with standing_still(site):
        happen(site, accident.commands)
        for flow in flows:
            flow.wait_for_answers(5)
    for family, flow in zip((IPV4, IPV6), flows, strict=True):
        flow.wait_for_answers(5)
        assert [each.address for each in flow.stop().sources] == [family.wan0]
