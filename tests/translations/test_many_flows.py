"""A large flow table costs the daemon neither memory nor its answers.

``NVID_TEST_FLOWS=200000`` tries it with as many; docs/operations.md has what that gave.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.daemon import EXECUTABLE
from tests.path.entries import LAN_TO_POOL
from tests.path.site import Family, Site
from tests.translations.actors import probing, translations

FLOWS = int(os.environ.get("NVID_TEST_FLOWS", "20000"))
SELECTED = FLOWS // 4
"""Flows to each of four addresses, of which one is cleared first. At most 55,000."""
MOST_GROWTH = 32 << 10
"""Kilobytes, however many flows there are."""
WITHOUT_ANSWER = '[conntrack]\ntimeouts = { udp = "30m" }\n'
"""Flows that get no answer stay while they are counted."""
QUIET = """
table inet quiet {
    chain arriving {
        type filter hook prerouting priority raw;
        udp dport 10000-65535 drop;
    }
}
"""
OTHERS = {4: "198.18.0.{}", 6: "2001:db8:f::{}"}


@pytest.fixture
def path() -> str:
    """The table is the same for both paths."""
    return "first-packet"


@pytest.fixture
def backend() -> str:
    """And for both backends."""
    return "veth"


def test_a_large_table_is_listed_and_cleared(site: Site, family: Family) -> None:
    if not site.server.run("nft", "list", "tables").stdout.count("quiet"):
        site.server.nft(QUIET)
    site.use_whole(WITHOUT_ANSWER + site.configuration(LAN_TO_POOL))
    site.nvid.command("clear", "--nvi", "nvi0", timeout=120)
    selected, *others = [OTHERS[family.version].format(20 + place) for place in range(4)]
    for address in (selected, *others):
        with probing(site.client, "storm", str(SELECTED), address) as probe:
            probe.wait_for("sent", timeout=60)
    # What loads with the first answer is not the flows' doing.
    translations(site, "--protocol", "tcp")
    before = resident(site)
    with asking_for_the_status(site) as took:
        lines = command(site, "translations").splitlines()
        assert len(lines) == FLOWS
        assert command(site, "clear", "--destination", selected) == f"{SELECTED} flows ended\n"
        left = command(site, "translations").splitlines()
        assert len(left) == FLOWS - SELECTED
        assert not any(selected + ":" in line or f"[{selected}]" in line for line in left)
        statistics = command(site, "statistics")
        assert "198.51.100.8" in statistics
    assert resident(site) - before < MOST_GROWTH
    # The best of many, because the machine has other things to do, this among them.
    assert min(took) < 0.3
    assert max(took) < 5
    assert command(site, "clear", "--nvi", "nvi0") == f"{FLOWS - SELECTED} flows ended\n"
    assert resident(site) - before < MOST_GROWTH


def command(site: Site, *words: str) -> str:
    """What an `nvid` command prints, however long it takes."""
    return site.nvid.command(*words, timeout=300).stdout


@contextmanager
def asking_for_the_status(site: Site) -> Iterator[list[float]]:
    """Ask again and again; the seconds that each answer took."""
    took: list[float] = []
    stopping = threading.Event()

    def ask() -> None:
        while not stopping.wait(0.1):
            started = time.monotonic()
            argv = [str(EXECUTABLE), "status", "--socket", str(site.nvid.socket_path)]
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            if done.stdout.startswith("healthy"):
                took.append(time.monotonic() - started)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield took
    finally:
        stopping.set()
        asking.join()


def resident(site: Site) -> int:
    """The daemon's memory at its largest, in kilobytes."""
    status = site.router.run("cat", f"/proc/{site.nvid.pid}/status").stdout
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found.group(1))
