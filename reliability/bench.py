"""A router with nvid, flows that must not notice, and providers that count what is foreign.

``Bench.happen`` does an accident and judges what became of it: mended, counted, logged, no flow
cut, no packet with a foreign source, the router reachable all the time.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nvid.client.call import call
from reliability.accidents import CONFIGURATION, Accident
from tests.lab import Lab, LongFlow, Nvid, Unanswered, wait_until
from tests.path.site import IPV4, IPV6, TCP, UDP, Site

ROOT = Path(__file__).parents[1]
FAMILIES = (IPV4, IPV6)
PATIENCE = 12.0
"""Seconds within which everything must be mended."""
INTERVAL = 0.03
"""Seconds between the packets of a flow."""
METRIC = "nvid_reconcile_repairs_total"


def launcher(lab: Lab, faults: Path) -> Path:
    """An executable that is nvid, with the faults that stand in a file."""
    script = lab.scratch("nvid")
    script.write_text(
        f'#!/bin/sh\ncd {ROOT}\nexec {sys.executable} -m reliability.launcher {faults} "$@"\n'
    )
    script.chmod(0o755)
    return script


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an accident. ``seconds`` are from the first event, or from the accident where
    the kernel sends none, until nothing was left to do; ``problems`` what was not as it must be."""

    name: str
    seconds: float
    culprits: tuple[str, ...]
    problems: tuple[str, ...]


class Bench:
    """One site, one daemon, six flows: TCP and UDP of both families through the router, and one of
    each family to the router itself."""

    def __init__(self, lab: Lab, path: Literal["first-packet", "every-packet"]) -> None:
        self.site = Site(lab, "isp2")
        self.site.path = path
        self.fault_file = lab.scratch("fault")
        self.site.nvid = Nvid(
            self.site.router, "", lab.scratch("files"), executable=launcher(lab, self.fault_file)
        )
        self.site.observe_everywhere()
        self.site.observe(self.site.router)
        self._other = lab.namespace("other")
        self._resync = ""
        self._flows: dict[str, LongFlow] = {}
        self._log_read = 0
        self._metrics: dict[str, float] = {}
        self._watcher: subprocess.Popen[str] | None = None
        self.longest_silence = 0.0

    def ready(self, resync: str) -> None:
        """nvid runs with a full check every ``resync``, and all flows go."""
        if resync != self._resync or not self.site.nvid.is_running:
            self.site.use_whole(self.configuration(resync))
            self._resync = resync
        if self._watcher is None:
            self._watcher = self.start_watcher()
        self._start_flows()
        assert self.mended() is not None, "not well before the accident"
        self._log_read = len(self.site.nvid.log())
        self._metrics = self._repairs()
        self.site.forget_foreign()

    def configuration(self, resync: str, more: str = "") -> str:
        """What nvid is to do here; ``more`` are further tables."""
        text = self.site.configuration(CONFIGURATION, interfaces=("lan0", "wan0", "wan1"))
        return f'[daemon]\nresync = "{resync}"\n{text}\n{more}'

    def start_watcher(self) -> subprocess.Popen[str]:
        """The program that sees when all is well; see watcher.py."""
        return self.site.router.popen(
            *(sys.executable, "-m", "reliability.watcher", str(self.site.nvid.configuration_path)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )

    def _start_flows(self) -> None:
        for family in FAMILIES:
            for protocol, port in (("tcp", TCP), ("udp", UDP)):
                self._start_flow(f"{protocol} IPv{family.version}", family.server, port, protocol)
            name = f"router IPv{family.version}"
            self._start_flow(name, family.router[0], UDP, "udp")

    def _start_flow(self, name: str, address: str, port: int, protocol: str) -> None:
        if name not in self._flows:
            self._flows[name] = self.site.client.long_flow(
                address, port, protocol, interval=INTERVAL
            )

    # Accidents

    def happen(self, accident: Accident) -> Outcome:
        """Do it, wait until all is well, and judge. ``ready`` comes first."""
        repaired_before = self.status()["reconcile"]["repairs_total"]
        self._ask_watcher("arm")
        began = time.monotonic()
        self.shell(accident.commands)
        if accident.back:
            self._ask_watcher("arm")
            began = time.monotonic()
            self.shell(accident.back)
        problems: list[str] = []
        first, well = self._wait_until_well(problems)
        if accident.kind is not None:
            self._expect(self._is_counted, accident.kind, problems)
        status = self.status()
        count = status["reconcile"]["repairs_total"] - repaired_before
        repairs = status["reconcile"]["last_repairs"][-count:] if count else []
        culprits = tuple(dict.fromkeys(each["culprit"] or "" for each in repairs))
        problems += self._said(accident, culprits, count)
        self._expect(self._is_healthy, "healthy", problems)
        problems += self.judge(accident.cuts)
        self.shell(accident.tidy)
        return Outcome(accident.name, well - (first or began), culprits, tuple(problems))

    def _wait_until_well(self, problems: list[str]) -> tuple[float, float]:
        answer = self._ask_watcher(f"wait {PATIENCE}").split(maxsplit=2)
        if answer[0] == "well":
            return float(answer[1]), float(answer[2])
        problems.append(f"not mended: {' '.join(answer[1:])}")
        return 0.0, time.monotonic()

    def mended(self, seconds: float = PATIENCE) -> float | None:
        """Wait until nothing is left to do; the CLOCK_MONOTONIC second, None when it never was."""
        answer = self._ask_watcher(f"wait {seconds}").split()
        return float(answer[2]) if answer[0] == "well" else None

    def _ask_watcher(self, line: str) -> str:
        assert self._watcher is not None
        assert self._watcher.stdin is not None
        assert self._watcher.stdout is not None
        self._watcher.stdin.write(line + "\n")
        self._watcher.stdin.flush()
        return self._watcher.stdout.readline().strip()

    def shell(self, commands: Iterable[str]) -> None:
        """Commands of a table on the router, with the names of namespaces filled in."""
        names = {
            "router": self.site.router.name,
            "isp1": self.site.isp1.name,
            "other": self._other.name,
        }
        script = "\n".join(commands).format_map(names)
        if script:
            self.site.router.run("sh", "-e", "-c", script)

    # Judging

    def _said(self, accident: Accident, culprits: tuple[str, ...], count: int) -> list[str]:
        problems = []
        log = self.site.nvid.log()[self._log_read :]
        if count and "repaired" not in log:
            problems.append("the log does not name the repair")
        if accident.culprit is not None:
            if not any(accident.culprit in each for each in culprits):
                problems.append(f"the status blames {culprits}, not {accident.culprit}")
            if f'culprit="{accident.culprit}' not in log:
                problems.append(f"the log does not blame {accident.culprit}")
        if "Traceback" in log:
            problems.append(log[log.index("Traceback") :])
        return problems

    def judge(self, cuts: frozenset[str] = frozenset()) -> list[str]:
        """Whether new flows are translated, the flows go on but for those of ``cuts``, and nothing
        foreign was seen: what is wrong, in words."""
        return [
            *self.translation_works(),
            *self._flows_go_on(cuts),
            *(f"foreign: {each}" for each in self.site.foreign()),
        ]

    def _is_counted(self, kind: str) -> bool:
        return self._repairs()[kind] > self._metrics[kind]

    def _is_healthy(self, state: str) -> bool:
        return bool(self.status()["state"] == state)

    @staticmethod
    def _expect(condition: Any, what: str, problems: list[str]) -> None:
        try:
            wait_until(lambda: condition(what), timeout=5)
        except TimeoutError:
            problems.append(f"{condition.__name__.strip('_').replace('_', ' ')} {what}: never")

    def translation_works(self) -> list[str]:
        """New flows of both families have the uplink's address; what is wrong, in words."""
        problems = []
        for family in FAMILIES:
            try:
                seen = self.site.client.ask_udp(family.server, UDP, timeout=PATIENCE / 4).address
            except Unanswered as error:
                problems.append(f"a new flow: {error}")
            else:
                if seen != family.wan0:
                    problems.append(f"a new flow comes from {seen}, not {family.wan0}")
        return problems

    def _flows_go_on(self, cut: frozenset[str]) -> list[str]:
        problems = []
        for name, flow in list(self._flows.items()):
            if name.split()[0] in cut:
                # The next one who is to be ready starts it again.
                flow.stop()
                del self._flows[name]
                continue
            try:
                flow.wait_for_answers(3, timeout=PATIENCE)
                sources = flow.report().sources
                found = f"the far end saw {sources}" if len(sources) > 1 else ""
            except (Unanswered, TimeoutError) as error:
                found = str(error)
            if found:
                problems.append(f"{name}: {found}")
                flow.stop()
                del self._flows[name]
        return problems

    def stop_flows(self) -> list[str]:
        """End the flows; what is wrong with them, in words."""
        problems = []
        for name, flow in self._flows.items():
            report = flow.stop()
            self.longest_silence = max(self.longest_silence, report.longest_gap)
            if report.broken:
                problems.append(f"{name}: {report}")
        self._flows.clear()
        return problems

    def status(self) -> Any:
        """What ``nvid status --json`` prints."""
        return call(str(self.site.nvid.socket_path), "Status")["status"]

    def _repairs(self) -> dict[str, float]:
        """Repairs by kind of object, as they are scraped."""
        found = {}
        for line in self.site.nvid.metrics().splitlines():
            if line.startswith(f"{METRIC}{{"):
                labels, _, value = line.rpartition(" ")
                found[labels.split('"')[1]] = float(value)
        return found
