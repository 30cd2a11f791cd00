"""The kernel's flow table is full: new flows are refused, nothing leaves untranslated, what goes on
goes on, and nvid says what is wrong until there is room again.

The limit is one sysctl for all network namespaces, which only the first of them may write.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab import Namespace, Unanswered, wait_until
from tests.path.site import IPV4, IPV6, SNAT_TO_UPLINK, TCP, UDP, Site

LIMIT = Path("/proc/sys/net/netfilter/nf_conntrack_max")
SAID = "the flow table is full"


@pytest.fixture(params=["every-packet"])
def path(request: pytest.FixtureRequest) -> str:
    """That flows which go on cross the pair says more than that they do not."""
    return str(request.param)


def test_new_flows_are_refused_until_there_is_room(site: Site) -> None:
    site.use(SNAT_TO_UPLINK)
    # The kernel would end flows of other tests that are closing, and have room again.
    for each in ("ipv4", "ipv6"):
        site.router.run("conntrack", "-D", "-f", each, check=False)
    kept = [
        site.client.long_flow(family.server, port, protocol)
        for family in (IPV4, IPV6)
        for protocol, port in (("tcp", TCP), ("udp", UDP))
    ]
    # Likewise flows that are not assured yet.
    wait_until(lambda: assured(site.router) >= len(kept), message="assured flows")
    with at_most(assured(site.router)):
        for family in (IPV4, IPV6):
            with pytest.raises(Unanswered):
                site.client.ask_tcp(family.server, TCP, timeout=1)
            with pytest.raises(Unanswered):
                site.client.ask_udp(family.server, UDP, timeout=1)
        wait_until(lambda: problems(site), message="nvid says so")
        assert site.nvid.status()["state"] == "degraded"
        assert site.nvid.reload().returncode == 0
        for flow in kept:
            flow.wait_for_answers()
    wait_until(lambda: not problems(site), message="nvid says that it is over")
    for family in (IPV4, IPV6):
        assert site.client.ask_tcp(family.server, TCP).address == family.wan0
        assert site.client.ask_udp(family.server, UDP).address == family.wan0
    assert not any(flow.stop().broken for flow in kept)
    assert SAID in site.nvid.log()
    assert "room again" in site.nvid.log()
    assert metric(site, "nvid_conntrack_refused_packets_total") >= 4


@contextmanager
def at_most(flows: int) -> Iterator[None]:
    """The limit of the flow table; afterwards it is as before."""
    before = LIMIT.read_text()
    LIMIT.write_text(str(flows))
    try:
        yield
    finally:
        LIMIT.write_text(before)


def assured(router: Namespace) -> int:
    """How many flows the kernel would not end to make room."""
    return router.run("conntrack", "-L").stdout.count("[ASSURED]")


def problems(site: Site) -> list[str]:
    """What the status says of the flow table."""
    found = site.nvid.status()["reconcile"]
    assert isinstance(found, dict)
    return [each for each in found["problems"] if SAID in each]


def metric(site: Site, name: str) -> float:
    """A metric without labels."""
    lines = [line for line in site.nvid.metrics().splitlines() if line.startswith(f"{name} ")]
    return float(lines[0].split()[1])
