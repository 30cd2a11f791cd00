"""NAT-enabled interfaces that come and go, and several NVIs beside each other."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab import LongFlow, Namespace, Unanswered, wait_until
from tests.path.site import IPV4, ISP1_PREFERRED, SNAT_TO_UPLINK, TCP, UDP, Family, Site

TWO_NVIS = (
    ISP1_PREFERRED
    + """
[nvi.nvi0]
interfaces = ["lan0", "wan0"]
path = "{path}"
backend = "{backend}"

[[nvi.nvi0.snat]]
source = ["10.1.0.0/24", "fd00:1::/64"]
to = ["198.51.100.8", "2001:db8:100::8"]

[nvi.nvi1]
interfaces = ["dmz0", "wan1"]
path = "{other}"
backend = "{other_backend}"

[[nvi.nvi1.snat]]
source = ["10.2.0.0/24", "fd00:2::/64"]
to = ["198.51.101.8", "2001:db8:101::8"]

[[nvi.nvi1.route]]
via = "isp2"

[[nvi.nvi1.static]]
local = "10.2.0.2"
global = "198.51.101.20"

[[nvi.nvi1.static]]
local = "fd00:2::2"
global = "2001:db8:101::20"
"""
)


@pytest.fixture
def path() -> str:
    return "first-packet"


@pytest.fixture(scope="module")
def default_route() -> str:
    """Main leads out: nothing but nvid keeps back what is not translated."""
    return "isp2"


OTHER_PATH = {"first-packet": "every-packet", "every-packet": "first-packet"}


@pytest.mark.parametrize("pattern", ["late7", "late*"])
class TestAppearingLater:
    def test_is_taken_up(self, site: Site, family: Family, pattern: str) -> None:
        site.use(SNAT_TO_UPLINK, interfaces=("lan0", "wan0", "wan1", pattern))
        with site.plugged_in("late7", 7) as host:
            wait_until(lambda: answered(host, family), message="a translated flow")
            assert host.ask_udp(family.server, UDP).address == family.wan0

    def test_may_go_and_come_back(self, site: Site, family: Family, pattern: str) -> None:
        site.use(SNAT_TO_UPLINK, interfaces=("lan0", "wan0", "wan1", pattern))
        for _ in range(2):
            with site.plugged_in("late7", 7) as host:
                wait_until(lambda: answered(host, family), message="a translated flow")

    def test_is_never_let_through_untranslated(self, site: Site, pattern: str) -> None:
        """Not even before nvid has seen it: main would lead out, and the host sends from its first
        moment on. That nothing foreign arrives is checked after each test."""
        site.use(SNAT_TO_UPLINK, interfaces=("lan0", "wan0", "wan1", pattern))
        site.router.sysctl("net.ipv4.conf.default.forwarding", 1)
        for _ in range(3):
            with (
                site.plugged_in("late7", 7) as host,
                site.spray(host, "198.18.0.10", "2001:db8:f::10"),
            ):
                wait_until(lambda: answered(host, IPV4), message="a translated flow")


def test_an_interface_of_another_name_is_not_taken_up(site: Site, family: Family) -> None:
    site.use(SNAT_TO_UPLINK, interfaces=("dmz0", "wan0", "wan1"))
    site.router.sysctl("net.ipv4.conf.lan0.forwarding", 1)
    assert site.client.ask_tcp(family.host, TCP).address == family.client


def answered(host: Namespace, family: Family) -> bool:
    try:
        return host.ask_tcp(family.server, TCP, timeout=0.5).address == family.wan0
    except Unanswered:
        return False


@pytest.mark.parametrize("other_backend", ["veth", "loopback"], ids="beside {}".format)
class TestTwoNvis:
    def test_each_translates_its_own_interfaces(
        self, site: Site, family: Family, other_backend: str
    ) -> None:
        use_two(site, other_backend)
        assert site.client.ask_tcp(family.server, TCP).address == family.pool(8)
        assert site.host.ask_tcp(family.server, TCP).address == family.pool2(20)
        assert site.client.ping(family.server)
        assert site.host.ping(family.server)

    def test_statics_of_one_are_reached_from_outside(
        self, site: Site, family: Family, other_backend: str
    ) -> None:
        use_two(site, other_backend)
        address = family.pool2(20)
        assert site.server.ask_tcp(address, TCP, source=family.server).address == family.server

    def test_from_one_to_the_other(self, site: Site, family: Family, other_backend: str) -> None:
        """The client is behind nvi0. The other NVI's static is no business of nvi0's: unreachable,
        and nothing circles between the pairs."""
        use_two(site, other_backend)
        before = site.crossings()
        with pytest.raises(Unanswered):
            site.client.ask_tcp(family.pool2(20), TCP, timeout=1)
        assert site.crossings() - before <= 4


def use_two(site: Site, other_backend: str) -> None:
    site.use_whole(
        TWO_NVIS.format(
            path=site.path,
            other=OTHER_PATH[site.path],
            backend=site.backend,
            other_backend=other_backend,
        )
    )


class TestFlowsOfOthers:
    """Behind an interface that nobody has NAT-enabled: nvid never ends their flows. A mark beside
    nvid's bits tells the entry of before from one that came back with the next packet."""

    @pytest.mark.parametrize(
        "interfaces", [("lan0", "wan0", "wan1"), ("lan0",)], ids=["one more", "one less"]
    )
    def test_other_interfaces_are_covered(
        self, site: Site, family: Family, interfaces: tuple[str, ...]
    ) -> None:
        flow = marked_flow(site, family)
        site.use(SNAT_TO_UPLINK, interfaces=interfaces)
        assert has_marked_flow(site, family)
        flow.wait_for_answers(3)
        flow.stop()

    def test_the_table_is_made_again(self, site: Site, family: Family) -> None:
        flow = marked_flow(site, family)
        before = repairs(site)
        site.router.run("nft", "flush", "ruleset")
        wait_until(lambda: repairs(site) > before, message="the repair")
        assert has_marked_flow(site, family)
        flow.wait_for_answers(3)
        flow.stop()

    def test_when_it_becomes_one_of_them_they_end(self, site: Site, family: Family) -> None:
        flow = marked_flow(site, family)
        site.use(SNAT_TO_UPLINK, interfaces=("lan0", "wan0", "dmz0"))
        assert not has_marked_flow(site, family)
        flow.wait_for_answers(3)
        flow.stop()


def repairs(site: Site) -> int:
    """How many there were; a round counts them at its end."""
    reconcile: Any = site.nvid.status()["reconcile"]
    found: int = reconcile["repairs_total"]
    return found


def marked_flow(site: Site, family: Family) -> LongFlow:
    """A flow from the second LAN, which is none of nvid's business, with a mark."""
    site.use(SNAT_TO_UPLINK, interfaces=("lan0", "wan0"))
    # Forwarding is the operator's there.
    site.router.sysctl("net.ipv4.conf.dmz0.forwarding", 1)
    words = ("-f", f"ipv{family.version}", "-p", "udp", "-s", family.host)
    site.router.run("conntrack", "-D", *words, check=False)
    flow = LongFlow(site.host, family.client, UDP, "udp")
    site.router.run("conntrack", "-U", *words, "--mark", "5")
    assert has_marked_flow(site, family)
    return flow


def has_marked_flow(site: Site, family: Family) -> bool:
    """Whether it is there still."""
    words = ("-f", f"ipv{family.version}", "-p", "udp", "-s", family.host)
    return bool(site.router.run("conntrack", "-L", *words, "--mark", "5").stdout)
