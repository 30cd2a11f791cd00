"""What becomes of flows when translations come, change and go: those that an entry made end with
it, and only those."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.lab import LongFlow, wait_until
from tests.lab.processes import end_processes
from tests.path.site import IPV4, SNAT_TO_UPLINK, TCP, UDP, Family, Site
from tests.translations.actors import endpoint, translations


def dnat(number: int, v4: str, v6: str, limits: str = "") -> str:
    """Two entries that send one address of each pool to a host."""
    return f"""
[[nvi.nvi0.dnat]]
destination = "198.51.100.{number}"
to = "{v4}"
{limits}

[[nvi.nvi0.dnat]]
destination = "2001:db8:100::{number}"
to = "{v6}"
{limits}
"""


def static(number: int, v4: str, v6: str) -> str:
    """The same, one to one."""
    return (
        dnat(number, v4, v6)
        .replace("dnat", "static")
        .replace("destination", "global")
        .replace("to =", "local =")
    )


CLIENT, SECOND, HOST = (
    ("10.1.0.2", "fd00:1::2"),
    ("10.1.0.3", "fd00:1::3"),
    ("10.2.0.2", "fd00:2::2"),
)
KEPT = dnat(40, *HOST) + SNAT_TO_UPLINK
"""What stays through every change."""


@pytest.fixture
def path() -> str:
    """The rules of translations are the same for both paths."""
    return "first-packet"


@contextmanager
def flowing(site: Site, family: Family) -> Iterator[None]:
    """Flows of entries that nobody touches, which nothing must break."""
    site.nvid.command("clear", "--nvi", "nvi0")
    flows = [
        LongFlow(site.server, family.pool(40), TCP, source=family.server),
        LongFlow(site.server, family.pool(40), UDP, "udp", source=family.server),
        LongFlow(site.second, family.server, TCP),
    ]
    yield
    for flow in flows:
        flow.wait_for_answers(5)
        report = flow.stop()
        assert not report.broken, report


def live(site: Site, destination: str, inside: str, protocol: str = "udp") -> int:
    """How many flows to an outside address go to a host inside."""
    words = ("--destination", destination, "--protocol", protocol)
    return sum(
        flow["original"]["destination"] == destination
        and flow["translated"]["destination"] == inside
        for flow in translations(site, *words)
    )


@pytest.mark.parametrize(("make", "protocol"), [(static, "udp"), (dnat, "tcp"), (dnat, "udp")])
def test_removing_one_ends_its_flows(
    site: Site, family: Family, make: Callable[..., str], protocol: str
) -> None:
    site.use(make(30, *CLIENT) + KEPT)
    port = {"tcp": TCP, "udp": UDP}[protocol]
    with flowing(site, family):
        flow = LongFlow(site.server, family.pool(30), port, protocol, source=family.server)
        assert live(site, family.pool(30), family.client, protocol) == 1
        site.use(KEPT)
        assert live(site, family.pool(30), family.client, protocol) == 0
        wait_until(lambda: flow.report().broken, message="the end of the flow")
        end_processes([flow.process])


def test_removing_a_static_ends_what_it_made_outwards(site: Site, family: Family) -> None:
    site.use(static(30, *CLIENT) + KEPT)
    with flowing(site, family):
        flow = LongFlow(site.client, family.server, UDP, "udp")
        assert flow.report().sources[0].address == family.pool(30)
        site.use(KEPT)
        # The next packet is a flow of the entry that is there now.
        wait_until(lambda: flow.report().sources[-1].address == family.wan0)
        flow.stop()


@pytest.mark.parametrize("limits", ["", 'ingress = "wan0"'], ids=["plain", "limited"])
def test_another_target_takes_the_flow_over(site: Site, family: Family, limits: str) -> None:
    site.use(dnat(30, *CLIENT, limits) + KEPT)
    with flowing(site, family):
        flow = LongFlow(site.server, family.pool(30), UDP, "udp", source=family.server)
        assert live(site, family.pool(30), family.client) == 1
        site.use(dnat(30, *SECOND, limits) + KEPT)
        wait_until(
            lambda: live(site, family.pool(30), family.second) == 1,
            message="the flow at its new target",
        )
        flow.wait_for_answers(5)
        assert live(site, family.pool(30), family.client) == 0
        flow.stop()


def test_another_pool_takes_the_flows_of_snat(site: Site, family: Family) -> None:
    entry = f"""
[[nvi.nvi0.snat]]
source = ["{CLIENT[0]}", "{CLIENT[1]}"]
to = ["198.51.100.8", "2001:db8:100::8"]
"""
    site.use(entry + KEPT)
    with flowing(site, family):
        flow = LongFlow(site.client, family.server, UDP, "udp")
        assert flow.report().sources[0].address == family.pool(8)
        site.use(entry.replace(".8", ".9").replace("::8", "::9") + KEPT)
        wait_until(lambda: flow.report().sources[-1].address == family.pool(9))
        flow.stop()


@pytest.mark.parametrize("gone", [0, 1], ids=["the first", "the second"])
def test_of_snats_that_differ_by_ingress_one_goes(site: Site, family: Family, gone: int) -> None:
    """Conntrack does not show where a flow came in."""
    entries = [
        f"""
[[nvi.nvi0.snat]]
ingress = "{interface}"
source = {[*CLIENT, *HOST]}
to = ["198.51.100.8", "2001:db8:100::8"]
"""
        for interface in ("lan0", "dmz0")
    ]
    site.use("".join(entries) + KEPT)
    with flowing(site, family):
        flows = [
            LongFlow(each, family.server, UDP, "udp", source=address, source_port=4000 + place)
            for place, (each, address) in enumerate(
                ((site.client, family.client), (site.host, family.host))
            )
        ]
        assert [flow.report().sources[0].address for flow in flows] == [family.pool(8)] * 2
        site.use(entries[1 - gone] + KEPT)
        wait_until(lambda: flows[gone].report().sources[-1].address == family.wan0)
        flows[1 - gone].wait_for_answers(5)
        assert not flows[1 - gone].stop().broken
        flows[gone].stop()


@pytest.mark.parametrize("gone", [0, 1], ids=["the first", "the second"])
def test_of_dnats_that_differ_by_ingress_one_goes(site: Site, family: Family, gone: int) -> None:
    entries = [dnat(30, *CLIENT, f'ingress = "{interface}"') for interface in ("wan0", "dmz0")]
    site.use("".join(entries) + KEPT)
    with flowing(site, family):
        askers = ((site.server, family.server), (site.host, family.host))
        flows = [
            LongFlow(each, family.pool(30), UDP, "udp", source=address) for each, address in askers
        ]
        site.use(entries[1 - gone] + KEPT)
        assert live(site, family.pool(30), family.client) == 1
        flows[1 - gone].wait_for_answers(5)
        assert not flows[1 - gone].stop().broken
        end_processes([flows[gone].process])


def test_a_new_dnat_takes_the_untranslated_flow(site: Site, family: Family) -> None:
    """A UDP flow would go on for ever as it began."""
    covering = f"""
[[nvi.nvi0.dnat]]
destination = "{family.host}"
protocol = "udp"
to = "{family.server}"
"""
    plain = KEPT.replace('to = "uplink"', f'to = "uplink"\ndestination = "!{family.host}"')
    # The address stays the host's: no route to it, and no answer for it, is wanted from nvid.
    site.use(plain, keys="reach = []")
    with flowing(site, family):
        flow = LongFlow(site.client, family.host, UDP, "udp")
        beside = LongFlow(site.client, family.host, TCP)
        assert flow.report().sources[0].address == family.client
        site.use(covering + plain, keys="reach = []")
        wait_until(lambda: flow.report().sources[-1].address == family.wan0)
        assert not beside.stop().broken
        flow.stop()


def test_what_stands_elsewhere_in_the_file_stays(site: Site, family: Family) -> None:
    site.use(dnat(30, *CLIENT) + KEPT)
    with flowing(site, family):
        flow = LongFlow(site.server, family.pool(30), TCP, source=family.server)
        site.use(KEPT + dnat(31, *SECOND) + dnat(30, *CLIENT))
        flow.wait_for_answers(5)
        assert not flow.stop().broken


def test_removing_a_mapping_ends_what_came_in_through_it(site: Site) -> None:
    entry = f"""
[[nvi.nvi0.snat]]
source = "{IPV4.client}"
to = "198.51.100.8"
mapping = "endpoint-independent"
"""
    site.use(entry + KEPT)
    with flowing(site, IPV4), endpoint(site.client, 6200, (IPV4.server, UDP)) as mapped:
        outside = mapped.seen[0]
        assert outside is not None
        site.server.ask_udp(*outside, source=IPV4.server, source_port=9)
        assert live(site, outside.address, IPV4.client) == 1
        site.use(KEPT)
        assert live(site, outside.address, IPV4.client) == 0
