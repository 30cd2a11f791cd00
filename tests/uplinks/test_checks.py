"""`check`: an uplink that is silent though it has a carrier; failover, what ends, recovery."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab import Namespace, wait_until
from tests.path.entries import ELSEWHERE
from tests.path.site import IPV4, IPV6, SNAT_TO_UPLINK, TCP, UDP, Family, Site

CHECK = (
    'check = { targets = ["198.18.0.10", "2001:db8:f::10"], interval = "200ms", '
    "down_after = 3, up_after = 3 }"
)
ONE = f"""
[uplink.isp1]
interface = "wan0"
gateway = ["203.0.113.254", "2001:db8:1::fe"]
priority = 10
{CHECK}
"""
TWO = f"""{ONE}
[uplink.isp2]
interface = "wan1"
gateway = ["192.0.2.254", "2001:db8:2::fe"]
priority = 20
{CHECK}
"""
BY_EITHER = SNAT_TO_UPLINK + ELSEWHERE
OTHER = {4: "198.18.0.11", 6: "2001:db8:f::11"}
REASON = "no answer from 198.18.0.10 for 3 rounds; no answer from 2001:db8:f::10 for 3 rounds"


@pytest.fixture(scope="module", autouse=True)
def another_server(ground: Site) -> None:
    ground.server.address("lo", "198.18.0.11/32")
    ground.server.address("lo", "2001:db8:f::11/128")


@contextlib.contextmanager
def silence(provider: Namespace, *matches: str) -> Iterator[None]:
    """The provider forwards nothing (or not what matches), and its interfaces stay up."""
    rules = "\n".join(f"{match} counter drop" for match in matches or ("",))
    provider.nft(f"""
        table inet silence {{
            chain forward {{
                type filter hook forward priority 0;
                {rules}
            }}
        }}
    """)
    try:
        yield
    finally:
        provider.nft("delete table inet silence")


def uplink(site: Site, name: str) -> dict[str, str]:
    uplinks = site.nvid.status()["uplinks"]
    assert isinstance(uplinks, list)
    (found,) = (each for each in uplinks if each["name"] == name)
    return dict(found)


def wait_for(site: Site, name: str, state: str, reason: str) -> None:
    wait_until(
        lambda: (uplink(site, name)["state"], uplink(site, name)["reason"]) == (state, reason),
        message=f"{name} {state}: {reason}",
    )


def requests(provider: Namespace, more: int) -> None:
    """Wait until so many more echo requests have come."""
    provider.nft("""
        table inet looking {
            counter requests4 { }
            counter requests6 { }
            chain arriving {
                type filter hook prerouting priority -150;
                icmp type echo-request counter name requests4
                icmpv6 type echo-request counter name requests6
            }
        }
    """)

    def came() -> bool:
        counters = json.loads(
            provider.run("nft", "-j", "list", "counters", "table", "inet", "looking").stdout
        )
        packets = [each["counter"]["packets"] for each in counters["nftables"] if "counter" in each]
        return bool(min(packets) >= more)

    try:
        wait_until(came, timeout=15, message=f"{more} requests at {provider}")
    finally:
        provider.nft("delete table inet looking")


def seen(site: Site, family: Family) -> str:
    return site.client.ask_tcp(family.server, TCP).address


class TestASilentProvider:
    def test_new_flows_take_the_other_uplink_and_come_back(
        self, site: Site, family: Family
    ) -> None:
        site.use(BY_EITHER, uplinks=TWO)
        wait_for(site, "isp1", "up", "")
        with silence(site.isp1):
            wait_for(site, "isp1", "down", REASON)
            assert seen(site, family) == family.wan1
            assert uplink(site, "isp2")["state"] == "up"
            assert 'nvid_uplink_up{uplink="isp1"} 0.0' in site.nvid.metrics()
            assert "uplink isp1: no answer from" in site.nvid.notified("STATUS")[-1]
        wait_for(site, "isp1", "up", "")
        assert seen(site, family) == family.wan0
        assert 'nvid_uplink_up{uplink="isp1"} 1.0' in site.nvid.metrics()

    def test_its_flows_end_and_those_of_the_healthy_one_do_not_notice(
        self, site: Site, family: Family
    ) -> None:
        site.use(BY_EITHER, uplinks=TWO)
        wait_for(site, "isp1", "up", "")
        tcp = site.client.long_flow(family.server, TCP)
        udp = site.client.long_flow(family.server, UDP, "udp")
        healthy = site.second.long_flow(OTHER[family.version], TCP)
        from_outside = site.server.long_flow(
            family.wan1, SSH, source=OTHER[family.version], source_port=4711
        )
        with silence(site.isp1):
            wait_for(site, "isp1", "down", REASON)
            # Clients reconnect at once: the far end refuses what it does not know.
            wait_until(lambda: tcp.report().errors, message="the end of the connection")
            udp.wait_for_answers()
        wait_for(site, "isp1", "up", "")
        udp.wait_for_answers()
        sources = [each.address for each in udp.stop().sources]
        assert sources == [family.wan0, family.wan1], "it stays where it went"
        for flow in (healthy, from_outside):
            flow.wait_for_answers()
            report = flow.stop()
            assert not report.broken
            assert report.longest_gap < 1

    def test_while_nothing_else_is_up_flows_stay(self, site: Site, family: Family) -> None:
        site.use(SNAT_TO_UPLINK, uplinks=ONE)
        wait_for(site, "isp1", "up", "")
        flow = site.client.long_flow(family.server, TCP)
        with silence(site.isp1):
            wait_for(site, "isp1", "down", REASON)
        wait_for(site, "isp1", "up", "")
        flow.wait_for_answers()
        assert not flow.stop().broken

    def test_a_check_that_fails_everywhere_is_no_reason_to_give_up(
        self, site: Site, family: Family
    ) -> None:
        site.use(SNAT_TO_UPLINK, uplinks=ONE)
        with silence(site.isp1, "meta l4proto { 1, 58 }"):
            wait_for(site, "isp1", "down", REASON)
            assert seen(site, family) == family.wan0
        wait_for(site, "isp1", "up", "")

    def test_one_family_alone(self, site: Site, family: Family) -> None:
        other = IPV6 if family is IPV4 else IPV4
        site.use(SNAT_TO_UPLINK, uplinks=TWO)
        wait_for(site, "isp1", "up", "")
        stays = site.client.long_flow(other.server, TCP)
        with silence(site.isp1, f"meta nfproto ipv{family.version}"):
            text = f"IPv{family.version}: no answer from {family.server} for 3 rounds"
            wait_for(site, "isp1", "up", text)
            assert seen(site, family) == family.wan1
            assert seen(site, other) == other.wan0
            assert site.nvid.status()["state"] == "degraded"
        wait_for(site, "isp1", "up", "")
        assert seen(site, family) == family.wan0
        stays.wait_for_answers()
        assert not stays.stop().broken

    def test_a_restart_remembers(self, site: Site, family: Family) -> None:
        site.use(SNAT_TO_UPLINK, uplinks=TWO)
        wait_for(site, "isp1", "up", "")
        with silence(site.isp1):
            wait_for(site, "isp1", "down", REASON)
            flow = site.client.long_flow(family.server, TCP)
            assert site.nvid.command("plan", check=False).stdout == ""
            site.nvid.kill()
            site.nvid.start()
            assert uplink(site, "isp1")["state"] == "down"
            assert seen(site, family) == family.wan1
            flow.wait_for_answers()
        wait_for(site, "isp1", "up", "")
        assert not flow.stop().broken


SSH = 22


@pytest.fixture(scope="module", autouse=True)
def service(ground: Site) -> None:
    """Of the router itself."""
    ground.router.observe(tcp=[SSH])


class TestNoFlapping:
    """Answers to every second request only: a verdict wants three rounds in a row."""

    EVERY_SECOND = tuple(
        f"{protocol} type echo-request numgen inc mod 2 == 0" for protocol in ("icmp", "icmpv6")
    )

    def transitions(self, site: Site) -> list[str]:
        words = ("uplink isp1 is down", "uplink isp1 is up again", "uplink isp1 works in part")
        return [
            line for line in site.nvid.log().splitlines() if any(word in line for word in words)
        ]

    def test_up_stays_up(self, site: Site) -> None:
        site.use(SNAT_TO_UPLINK, uplinks=TWO)
        wait_for(site, "isp1", "up", "")
        before = self.transitions(site)
        with silence(site.isp1, *self.EVERY_SECOND):
            requests(site.isp1, 16)
            assert uplink(site, "isp1")["state"] == "up"
        assert self.transitions(site) == before

    def test_down_stays_down(self, site: Site) -> None:
        site.use(SNAT_TO_UPLINK, uplinks=TWO)
        with silence(site.isp1):
            wait_for(site, "isp1", "down", REASON)
        with silence(site.isp1):
            requests(site.isp1, 4)
            before = self.transitions(site)
            site.isp1.nft(
                "flush chain inet silence forward\n"
                + "\n".join(
                    f"add rule inet silence forward {match} counter drop"
                    for match in self.EVERY_SECOND
                )
            )
            requests(site.isp1, 16)
            assert uplink(site, "isp1")["state"] == "down"
            assert self.transitions(site) == before
        wait_for(site, "isp1", "up", "")


def test_an_answer_by_another_uplink_does_not_count(site: Site) -> None:
    """The request arrives, the answer comes back by isp2."""
    site.use(SNAT_TO_UPLINK, uplinks=TWO)
    wait_for(site, "isp1", "up", "")
    server, isp2 = site.server, site.isp2
    ways = (
        ("203.0.113.0/24", "198.18.2.1", "192.0.2.1", "198.18.1.1"),
        ("2001:db8:1::/64", "2001:db8:f:2::1", "2001:db8:2::1", "2001:db8:f:1::1"),
    )
    for net, core, router, _ in ways:
        isp2.route(net, "via", router)
        server.ip("route", "replace", net, "via", core)
    wait_for(site, "isp1", "down", REASON)
    for net, _, router, before in ways:
        isp2.ip("route", "delete", net, "via", router)
        server.ip("route", "replace", net, "via", before)
    wait_for(site, "isp1", "up", "")


def test_requests_are_not_translated_where_the_machines_own_flows_are(site: Site) -> None:
    """Whatever the entries say: the check is about this uplink and its own address."""
    site.use(
        """
        [[nvi.nvi0.snat]]
        source = ["203.0.113.1", "2001:db8:1::1"]
        to = ["198.51.101.8", "2001:db8:101::8"]

        [[nvi.nvi0.dnat]]
        destination = "198.18.0.10"
        to = "10.1.0.99"

        [[nvi.nvi0.dnat]]
        destination = "2001:db8:f::10"
        to = "fd00:1::99"

        [[nvi.nvi0.route]]
        via = "isp2"
        """,
        uplinks=TWO,
        keys="local = true",
    )
    before = uplink(site, "isp1")
    assert before["state"] == "up"
    requests(site.isp1, 8)
    assert uplink(site, "isp1") == before


def test_an_uplink_that_is_taken_out_is_not_asked_any_more(site: Site) -> None:
    site.use(SNAT_TO_UPLINK, uplinks=TWO)
    requests(site.isp1, 2)
    site.use(SNAT_TO_UPLINK, uplinks=TWO.replace(CHECK, "", 1))
    with silence(site.isp1):
        requests(site.isp2, 10)
        assert uplink(site, "isp1")["state"] == "up"


class TestExplained:
    """What is said of a packet is what becomes of it."""

    def test_while_the_first_uplink_of_an_entry_is_silent(self, site: Site, family: Family) -> None:
        site.use(SNAT_TO_UPLINK + EITHER, uplinks=TWO)
        wait_for(site, "isp1", "up", "")
        assert seen(site, family) == family.wan0
        assert explained(site, family)["translated_source"] == family.wan0
        with silence(site.isp1):
            wait_for(site, "isp1", "down", REASON)
            assert seen(site, family) == family.wan1
            told = explained(site, family)
            assert (told["translated_source"], told["uplink"]) == (family.wan1, "isp2")
            assert not any("nvid does not run" in each for each in told["steps"])

    def test_without_a_daemon_it_says_that_it_does_not_know(
        self, site: Site, family: Family
    ) -> None:
        site.use(SNAT_TO_UPLINK + EITHER, uplinks=TWO)
        site.nvid.terminate()
        told = explained(site, family)
        assert "nvid does not run: whether uplinks answer" in told["steps"][-1]
        (site.nvid.state_directory / "state.json").unlink()
        assert "they count as healthy here" in explained(site, family)["steps"][-1]
        site.use(SNAT_TO_UPLINK + EITHER, uplinks=TWO)


EITHER = """
[[nvi.nvi0.route]]
via = ["isp1", "isp2"]
"""


def explained(site: Site, family: Family) -> Any:
    """What ``nvid explain`` says of a flow from the client to the server."""
    ends = [
        f"[{each}]:80" if ":" in each else f"{each}:80" for each in (family.client, family.server)
    ]
    done = site.nvid.command("explain", "--json", "--in", "lan0", "tcp", *ends)
    return json.loads(done.stdout)
