"""Faults: steps that fail, and a machine that has run out of something."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

from reliability.bench import FAMILIES, Bench, Outcome
from reliability.launcher import tell
from tests.lab import wait_until

MORE = """
[nvi.second]
interfaces = ["later*"]

[[nvi.second.static]]
local  = "10.2.0.9"
global = "198.51.100.90"

[[nvi.second.static]]
local  = "fd00:2::9"
global = "2001:db8:100::90"
"""
"""An NVI more, which needs an object of each kind."""
FAILURES = 3
"""How often a step fails before it works again."""
GENTLE = 0.02
"""Seconds between the datagrams of new flows meanwhile."""


def fail_step(bench: Bench, step: str, kind: str) -> Outcome:
    """A reload that adds much, an accident, and a reload that takes it away again, while ``step``
    fails several times in each. See launcher.py for both words."""
    bench.ready("1h")
    site = bench.site
    few, many = bench.configuration("1h"), bench.configuration("1h", MORE)
    problems: list[str] = []
    seconds = 0.0
    servers = tuple(family.server for family in FAMILIES)
    with site.spray(site.client, *servers, pause=GENTLE):
        for text in (many, few):
            tell(bench.fault_file, step, FAILURES, kind)
            site.nvid.write(text)
            # A reload that fails leaves the previous configuration in force, and says why.
            for _ in range(FAILURES + 1):
                done = site.nvid.reload()
                if done.returncode == 0:
                    break
                if "told to fail" not in done.stderr:
                    problems.append(f"the reload does not say why it failed: {done.stderr}")
            else:
                problems.append(f"no reload works: {done.stderr}")
            bench.fault_file.unlink()
            if bench.mended() is None:
                problems.append("not as the file wants it after a reload")
        tell(bench.fault_file, step, FAILURES, kind)
        began = time.monotonic()
        bench.shell(("nft flush ruleset; ip link delete nvi0; ip rule del priority 7711",))
        well = bench.mended()
        bench.fault_file.unlink()
        if well is None:
            problems.append("not mended after an accident")
        else:
            seconds = well - began
    problems += bench.judge()
    return Outcome(f"{step} fails ({kind})", seconds, (), tuple(problems))


@contextlib.contextmanager
def no_descriptors(bench: Bench) -> Iterator[None]:
    """The daemon can open nothing more: not a socket, not a file."""
    pid = bench.site.nvid.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
        wait_until(lambda: "Too many open files" in bench.site.nvid.log(), message="EMFILE")
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@contextlib.contextmanager
def somebodys_table(bench: Bench) -> Iterator[None]:
    """Another process owns a table of nvid's name; nobody else can change it."""
    process = bench.site.router.popen("nft", "-i", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(
        "delete table inet nvid; add table inet nvid { flags owner; }; add chain inet nvid x\n"
    )
    process.stdin.flush()
    try:
        yield
        wait_until(lambda: _says(bench, "table inet nvid", "not permitted"), message="whose")
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def somebodys_link(bench: Bench) -> Iterator[None]:
    """A link of the pair's name that is none of nvid's."""
    words = "link delete nvi0; ip link add nvi0 type veth peer name somebodys"
    bench.shell((f"ip {words}",))
    try:
        yield
        wait_until(lambda: _says(bench, "nvi0"), message="the foreign link")
    finally:
        bench.shell(("ip link delete somebodys",))


@contextlib.contextmanager
def read_only_sysctls(bench: Bench) -> Iterator[None]:
    """/proc/sys cannot be written by the daemon."""
    enter = ("nsenter", "-t", str(bench.site.nvid.pid), "-m")
    bench.site.router.run(*enter, "mount", "--bind", "/proc/sys", "/proc/sys")
    bench.site.router.run(*enter, "mount", "-o", "remount,bind,ro", "/proc/sys")
    try:
        yield
        wait_until(lambda: _says(bench, "Read-only file system"), message="what cannot be written")
    finally:
        bench.site.router.run(*enter, "umount", "/proc/sys")


@contextlib.contextmanager
def full_disk(bench: Bench) -> Iterator[None]:
    """No octet more for the state."""
    state = bench.site.nvid.state_directory
    enter = ("nsenter", "-t", str(bench.site.nvid.pid), "-m")
    run = bench.site.router.run
    run(*enter, "mount", "-t", "tmpfs", "-o", "size=4k", "none", str(state))
    run(*enter, "sh", "-c", f"head -c 4096 /dev/zero > {state}/full")
    try:
        yield
        site = bench.site
        few, many = bench.configuration("1s"), bench.configuration("1s", MORE)
        assert site.nvid.reload(many).returncode == 0
        wait_until(lambda: _says(bench, "No space left on device"), message="the full disk")
        assert site.nvid.reload(few).returncode == 0
    finally:
        run(*enter, "umount", str(state))


@contextlib.contextmanager
def overrun(bench: Bench) -> Iterator[None]:
    """More events than the socket holds, while the daemon does not read; the accident's are
    among those that are lost."""
    before = bench.status()["reconcile"]["overruns_total"]
    os.kill(bench.site.nvid.pid, signal.SIGSTOP)
    try:
        storm = "".join(
            f"route {verb} 198.19.{n // 256 % 256}.{n % 256}/32 dev lan0 proto bird\n"
            for verb in ("add", "del")
            for n in range(20_000)
        )
        bench.site.router.run("ip", "-batch", "-", input=storm, timeout=60)
        yield
    finally:
        os.kill(bench.site.nvid.pid, signal.SIGCONT)
    wait_until(
        lambda: bench.status()["reconcile"]["overruns_total"] > before, message="the overrun"
    )


SHORTAGES: dict[str, Callable[[Bench], contextlib.AbstractContextManager[None]]] = {
    "no descriptor is left": no_descriptors,
    "somebody owns a table of nvid's name": somebodys_table,
    "a link of the pair's name is somebody else's": somebodys_link,
    "/proc/sys is read-only": read_only_sysctls,
    "the disk is full": full_disk,
    "a storm of events overruns the sockets": overrun,
}


def shortage(bench: Bench, name: str) -> Outcome:
    """An accident while the machine lacks something; the time is from when it has it again. The
    kernel tells of none of these, so full checks come every second."""
    bench.ready("1s")
    site = bench.site
    problems: list[str] = []
    servers = tuple(family.server for family in FAMILIES)
    with site.spray(site.client, *servers, pause=GENTLE):
        try:
            with SHORTAGES[name](bench):
                bench.shell(
                    (
                        "ip rule del priority 7711; ip route flush table 7716",
                        "sysctl -q -w net.ipv4.conf.lan0.forwarding=0",
                    )
                )
        except TimeoutError as error:
            problems.append(str(error))
        began = time.monotonic()
        well = bench.mended()
        if well is None:
            problems.append("not mended afterwards")
    problems += bench.judge()
    return Outcome(name, (well or began) - began, (), tuple(problems))


def _says(bench: Bench, *words: str) -> bool:
    """The status is degraded and names one of these."""
    status = bench.status()
    said = str(status["reconcile"]["problems"]) + str([each["problems"] for each in status["nvis"]])
    return status["state"] == "degraded" and any(each in said for each in words)
