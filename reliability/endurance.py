"""Deaths at random moments, reloads and flaps by the thousand: what is left over, what grows."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nvid.client.call import call
from reliability.accidents import ISP1
from reliability.bench import FAMILIES, Bench
from reliability.faults import GENTLE, MORE
from tests.lab import machine_state, wait_until
from tests.lab.daemon import EXECUTABLE

WARM = 20
"""Rounds before the first look at memory: caches fill."""
MOST_GROWTH = 8 << 20
"""Octets of resident memory that may come and go without anything being lost."""


@dataclass(frozen=True, slots=True)
class Endured:
    """Rounds of something; ``growth`` in octets of resident memory and ``descriptors`` more than
    before, where one process has lived through all of it; ``problems`` in words."""

    what: str
    rounds: int
    seconds: float
    growth: int | None = None
    descriptors: int = 0
    problems: tuple[str, ...] = ()


def deaths(bench: Bench, rounds: int, seed: int) -> Endured:
    """``kill -9`` at a random moment of a start, a reload or a repair, again and again; flows go
    on all the time, each next start converges, and ``nvid down`` leaves nothing in the end."""
    chance = random.Random(seed)  # noqa: S311 - the same moments again, by the number
    bench.ready("1h")
    site = bench.site
    bench.stop_flows()
    site.nvid.command("down")
    wait_until(lambda: not site.nvid.is_running, message="the end after nvid down")
    before = machine_state(site.router)
    site.nvid.start()
    bench.ready("1h")
    few, many = bench.configuration("1h"), bench.configuration("1h", MORE)
    problems: list[str] = []
    began = time.monotonic()
    servers = tuple(family.server for family in FAMILIES)
    with site.spray(site.client, *servers, pause=GENTLE):
        for number in range(rounds):
            moment = ("start", "reload", "repair")[number % 3]
            if moment == "start":
                site.nvid.kill()
                process = site.router.popen(
                    str(EXECUTABLE), "run", "--config", str(site.nvid.configuration_path)
                )
                time.sleep(chance.uniform(0.1, 0.8))
                process.kill()
                process.wait()
            else:
                if moment == "reload":
                    site.nvid.write((many, few)[number // 3 % 2])
                    site.nvid.hang_up()
                else:
                    bench.shell(
                        ("ip link delete nvi0", "ip route flush proto 77 table all || true")
                    )
                time.sleep(chance.uniform(0, 0.25))
                site.nvid.kill()
            site.nvid.start()
            if bench.mended() is None:
                problems.append(f"round {number}: not well after a death in a {moment}")
            problems += [f"round {number}, {moment}: {each}" for each in bench.judge()]
    problems += bench.stop_flows()
    site.nvid.command("down")
    wait_until(lambda: not site.nvid.is_running, message="the end after nvid down")
    if left := before.difference(machine_state(site.router)):
        problems.append(f"left over: {left}")
    return Endured("deaths", rounds, time.monotonic() - began, problems=tuple(problems))


def reloads(bench: Bench, rounds: int) -> Endured:
    """Reloads between two configurations that differ in an NVI, with flows that do not notice."""
    bench.ready("1h")
    few, many = bench.configuration("1h"), bench.configuration("1h", MORE)
    socket = str(bench.site.nvid.socket_path)

    def once(number: int) -> None:
        bench.site.nvid.write((many, few)[number % 2])
        call(socket, "Reload")

    return _endure(bench, "reloads", rounds, once)


def flaps(bench: Bench, rounds: int) -> Endured:
    """The provider's end of a wire goes down and up, as fast as it can. The flows of an uplink that
    is lost are ended on purpose, so there are none but new ones."""
    bench.ready("1h")
    bench.stop_flows()
    isp1 = bench.site.isp1
    isp1.sysctl("net.ipv6.conf.wan.keep_addr_on_down", 1)

    def once(_: int) -> None:
        isp1.ip("link", "set", "wan", "down")
        isp1.ip("link", "set", "wan", "up")

    endured = _endure(bench, "flaps", rounds, once, settle=lambda: bench.shell(ISP1))
    isp1.sysctl("net.ipv6.conf.wan.keep_addr_on_down", 0)
    return endured


def _endure(
    bench: Bench,
    what: str,
    rounds: int,
    once: Callable[[int], None],
    settle: Callable[[], None] = lambda: None,
) -> Endured:
    pid = bench.site.nvid.pid
    problems: list[str] = []
    for number in range(WARM):
        once(number)
    settle()
    bench.mended()
    state, memory, descriptors = machine_state(bench.site.router), _memory(pid), _descriptors(pid)
    began = time.monotonic()
    for number in range(rounds + rounds % 2):
        once(number)
    settle()
    seconds = time.monotonic() - began
    if bench.mended() is None:
        problems.append("not well afterwards")
    wait_until(lambda: _descriptors(pid) <= descriptors, message="descriptors are given back")
    if left := state.difference(machine_state(bench.site.router)):
        problems.append(f"left over: {left}")
    growth = _memory(pid) - memory
    if growth > MOST_GROWTH:
        problems.append(f"memory has grown by {growth} octets")
    problems += [*bench.judge(), *bench.stop_flows()]
    return Endured(what, rounds, seconds, growth, _descriptors(pid) - descriptors, tuple(problems))


def _memory(pid: int) -> int:
    """Resident memory in octets (proc(5), statm)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
