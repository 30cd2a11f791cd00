"""What tests of translations use beside the site: its own probes, and nvid's commands."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab import Namespace, Seen, wait_until
from tests.lab.daemon import EXECUTABLE
from tests.path.site import Site

PROBES = ("/usr/bin/python3", "-I", "-S", str(Path(__file__).with_name("probes.py")))


class Probe:
    """A running probe, of these tests or of tests/path, and the lines that it says."""

    def __init__(
        self, namespace: Namespace, *words: str, program: tuple[str, ...] = PROBES
    ) -> None:
        self._output = namespace.lab.scratch(f"{namespace.label}-{words[0]}")
        with self._output.open("wb") as stream:
            self.process = namespace.popen(*program, *words, stdout=stream)

    def everything(self) -> list[list[str]]:
        """The whole lines so far, split into words."""
        return [line.split() for line in self._output.read_text().split("\n")[:-1]]

    def lines(self, first_word: str) -> list[list[str]]:
        """Those of them that begin with this word."""
        return [words for words in self.everything() if words[0] == first_word]

    def wait_for(self, first_word: str, timeout: float = 20) -> list[str]:
        """The first such line; waits until it is there."""
        return wait_until(
            lambda: self.lines(first_word), timeout=timeout, message=f"{first_word} of the probe"
        )[0]

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(5)


@contextlib.contextmanager
def probing(
    namespace: Namespace, *words: str, program: tuple[str, ...] = PROBES
) -> Iterator[Probe]:
    """A probe for the length of a block."""
    probe = Probe(namespace, *words, program=program)
    try:
        yield probe
    finally:
        probe.stop()


@dataclass(frozen=True, slots=True)
class Mapped:
    """A UDP socket inside that has asked some servers: where each saw it, None for silence."""

    seen: tuple[Seen | None, ...]
    probe: Probe

    def received(self) -> list[Seen]:
        """The senders of what came later."""
        return [Seen(words[1], int(words[2])) for words in self.probe.lines("got")]


@contextlib.contextmanager
def endpoint(
    namespace: Namespace, port: int, *servers: tuple[str, int], version: int = 4
) -> Iterator[Mapped]:
    """A socket on `port` that asks the servers, then answers everybody until the block ends. It is
    of the servers' family, or of this version where there are none."""
    words = [word for address, number in servers for word in (address, str(number))]
    if servers:
        version = 6 if ":" in servers[0][0] else 4
    with probing(namespace, "endpoint", str(version), str(port), *words) as probe:
        probe.wait_for("ready")
        lines = probe.everything()[: len(servers)]
        seen = [Seen(words[1], int(words[2])) if words[0] == "seen" else None for words in lines]
        yield Mapped(tuple(seen), probe)


@contextlib.contextmanager
def holding(
    namespace: Namespace, protocol: str, count: int, address: str, port: int
) -> Iterator[int]:
    """Try so many flows at once; how many were answered. They end with the block."""
    with probing(namespace, "hold", protocol, str(count), address, str(port)) as probe:
        yield int(probe.wait_for("held")[1])


def explain(site: Site, interface: str, protocol: str, source: str, destination: str) -> Any:
    """`nvid explain --json` on the router; its exit status is under "status"."""
    done = site.router.run(
        *(str(EXECUTABLE), "explain", "--config", str(site.nvid.configuration_path), "--json"),
        *("--in", interface, protocol, source, destination),
        check=False,
    )
    return {**json.loads(done.stdout), "status": done.returncode}


def translations(site: Site, *words: str) -> list[Any]:
    """`nvid translations --json` with filters."""
    answer = json.loads(site.nvid.command("translations", "--json", *words).stdout)
    found: list[Any] = answer["translations"]
    return found


def clear(site: Site, *words: str) -> subprocess.CompletedProcess[str]:
    """`nvid clear` with filters, whatever its exit status."""
    return site.nvid.command("clear", *words, check=False)


def written(address: str, port: int) -> str:
    """An address and a port as nvid writes and reads them."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
