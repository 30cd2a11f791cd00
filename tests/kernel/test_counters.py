"""Named counters as netlink has them: those that libnftables shows, however many."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from nvid.kernel import counters
from nvid.kernel.nft import Nft
from tests.kernel.conftest import Router

ROOT = Path(__file__).parents[2]
MANY = 3000
"""More than fit into one datagram of the kernel's."""


def test_all_are_read_with_their_values(router: Router) -> None:
    nft = router.call(Nft)
    text = "add table inet nvid\nadd table inet other\nadd counter inet other foreign\n" + "".join(
        f"add counter inet nvid c{n} {{ packets {n} bytes {n << 32}; }}\n" for n in range(MANY)
    )
    router.call(nft.run, text)
    assert router.call(counters.read) == {f"c{n}": (n, n << 32) for n in range(MANY)}


def test_they_are_those_that_libnftables_shows(router: Router) -> None:
    nft = router.call(Nft)
    router.call(nft.run, "add table inet nvid\nadd counter inet nvid a { packets 3 bytes 252; }\n")
    shown = router.call(nft.show, "list counters table inet nvid") or []
    (counter,) = (each["counter"] for each in shown if "counter" in each)
    found = router.call(counters.read)
    assert found == {counter["name"]: (counter["packets"], counter["bytes"])} == {"a": (3, 252)}


def test_an_ordinary_user_is_told_so(router: Router) -> None:
    program = (
        "import os\nfrom nvid.errors import NotPermitted\nfrom nvid.kernel import counters\n"
        "os.setuid(65534)\ntry:\n    counters.read()\n"
        "except NotPermitted as error:\n    print(error)\n"
    )
    done = subprocess.run(
        ["ip", "netns", "exec", router.namespace.name, sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert "CAP_NET_ADMIN" in done.stdout
