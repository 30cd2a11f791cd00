"""[conntrack]: what it says is in force for flows, and goes again with it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.lab import wait_until
from tests.path.site import SNAT_TO_UPLINK, TCP, Family, Site
from tests.translations.actors import holding

KEYS = {
    "icmp": "net.netfilter.nf_conntrack_icmp_timeout",
    "icmpv6": "net.netfilter.nf_conntrack_icmpv6_timeout",
    "udp": "net.netfilter.nf_conntrack_udp_timeout",
    "udp_stream": "net.netfilter.nf_conntrack_udp_timeout_stream",
    "tcp_established": "net.netfilter.nf_conntrack_tcp_timeout_established",
}
SECONDS = {"icmp": 77, "icmpv6": 78, "udp": 79, "udp_stream": 178, "tcp_established": 7200}
LIMIT = "net.netfilter.nf_conntrack_max"


@pytest.fixture
def path() -> str:
    """Conntrack is the same for both paths."""
    return "first-packet"


def with_conntrack(site: Site, keys: str) -> str:
    return f"[conntrack]\n{keys}\n{site.configuration(SNAT_TO_UPLINK)}"


def with_timeouts(site: Site, seconds: Mapping[str, int]) -> str:
    words = ", ".join(f'{name} = "{value}s"' for name, value in seconds.items())
    return with_conntrack(site, f"timeouts = {{ {words} }}")


def present(site: Site) -> dict[str, int]:
    return {name: int(site.router.sysctl(key)) for name, key in KEYS.items()}


def remaining(site: Site, family: Family, protocol: str) -> int:
    """The seconds that the flow of this protocol from the client still has."""
    words = ("-f", f"ipv{family.version}", "-p", protocol, "--orig-src", family.client)
    listed = site.router.run("conntrack", "-L", *words).stdout.splitlines()
    return max(int(line.split()[2]) for line in listed)


def test_timeouts_are_in_force(site: Site, family: Family) -> None:
    site.use(SNAT_TO_UPLINK)
    before = present(site)
    assert before != SECONDS
    site.use_whole(with_timeouts(site, SECONDS))
    assert present(site) == SECONDS
    site.nvid.command("clear", "--nvi", "nvi0")
    assert site.client.ping(family.server)
    echo = {4: "icmp", 6: "icmpv6"}[family.version]
    assert SECONDS[echo] - 30 < remaining(site, family, echo) <= SECONDS[echo]
    with holding(site.client, "tcp", 1, family.server, TCP) as held:
        assert held == 1
        # What is not acknowledged yet counts for 300 s.
        wait_until(lambda: 7200 - 60 < remaining(site, family, "tcp") <= 7200)
    site.use(SNAT_TO_UPLINK)
    assert present(site) == before


def test_down_brings_the_timeouts_of_before(site: Site) -> None:
    site.use(SNAT_TO_UPLINK)
    before = present(site)
    site.use_whole(with_timeouts(site, SECONDS))
    assert present(site) == SECONDS
    site.nvid.command("down")
    wait_until(lambda: not site.nvid.is_running, message="the end of the daemon")
    assert present(site) == before


def test_a_limit_that_a_namespace_cannot_set_is_reported(site: Site, family: Family) -> None:
    """The limit is one for the whole machine; traffic does not suffer."""
    limit = int(site.router.sysctl(LIMIT))
    site.use_whole(with_conntrack(site, f"max = {limit - 1}"))
    assert int(site.router.sysctl(LIMIT)) == limit
    status = site.nvid.status()
    assert status["state"] == "degraded"
    reconcile = status["reconcile"]
    assert isinstance(reconcile, dict)
    (problem,) = reconcile["problems"]
    assert "nf_conntrack_max" in problem
    assert "only the machine itself can set it" in problem
    assert site.client.ask_tcp(family.server, TCP).address == family.wan0
    site.use_whole(with_conntrack(site, f"max = {limit}"))
    assert site.nvid.status()["state"] == "healthy"
