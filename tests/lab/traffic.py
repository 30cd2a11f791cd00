"""Traffic between namespaces, and what the far end saw of it."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.lab.processes import end_processes
from tests.lab.waiting import wait_until

if TYPE_CHECKING:
    from tests.lab.namespaces import Namespace

# Isolated and without site: 20 ms instead of 60.
_PEERS = ("/usr/bin/python3", "-I", "-S", str(Path(__file__).with_name("peers.py")))

# How long an answer to the last packet of a flow may take, in seconds.
_GRACE = 2.0


class Unanswered(Exception):
    """Nobody answered: refused, unreachable, or silence until the time was up."""


class Seen(NamedTuple):
    """One end of a flow as somebody saw it."""

    address: str
    port: int


class Exchange(NamedTuple):
    """One question and its answer: the source that the server saw, and the server's own end."""

    seen: Seen
    answered_by: Seen


def exchange(
    namespace: Namespace,
    protocol: str,
    address: str,
    port: int,
    source: str | None = None,
    source_port: int = 0,
    timeout: float = 3,
) -> Exchange:
    """Ask an observer once ("tcp" or "udp"). Raises Unanswered with the kernel's words."""
    argv = [*_PEERS, "ask", protocol, address, str(port), "--timeout", str(timeout)]
    argv += ["--source-port", str(source_port), *(["--source", source] if source else [])]
    done = namespace.run(*argv, check=False, timeout=timeout + 20)
    if done.stderr:
        raise RuntimeError(f"peers.py failed: {done.stderr}")
    if done.returncode != 0:
        raise Unanswered(f"{protocol} {address} {port} from {namespace}: {done.stdout.strip()}")
    return _exchange(done.stdout.split())


def _exchange(words: Sequence[str]) -> Exchange:
    return Exchange(Seen(words[0], int(words[1])), Seen(words[2], int(words[3])))


def ping(
    namespace: Namespace,
    address: str,
    count: int,
    size: int | None,
    df: bool,
    source: str | None,
    timeout: int,
) -> bool:
    """See Namespace.ping."""
    argv = ["ping", "-n", "-q", "-c", str(count), "-i", "0.05", "-W", str(timeout)]
    argv += ["-s", str(size)] if size is not None else []
    argv += ["-M", "do"] if df else []
    argv += ["-I", source] if source else []
    done = namespace.run(*argv, address, check=False, timeout=timeout + count + 20)
    return f" {count} received" in done.stdout


class Observer:
    """TCP and UDP servers in a namespace that tell who they think is talking to them."""

    def __init__(self, namespace: Namespace, tcp: Sequence[int], udp: Sequence[int]) -> None:
        self._log = namespace.lab.scratch(f"{namespace.label}-observer")
        ports = [word for port in tcp for word in ("--tcp", str(port))]
        ports += [word for port in udp for word in ("--udp", str(port))]
        with self._log.open("wb") as stream:
            self.process = namespace.popen(*_PEERS, "observe", *ports, stdout=stream)
        wait_until(
            lambda: "ready" in self._lines() or self.process.poll() is not None,
            message=f"the observer in {namespace}",
        )
        if self.process.poll() is not None:
            raise RuntimeError(f"the observer in {namespace} ended at once")

    def exchanges(self, protocol: str | None = None) -> list[Exchange]:
        """Every connection and datagram so far, oldest first ("tcp", "udp" or both)."""
        words = [line.split() for line in self._lines() if line != "ready"]
        return [_exchange(line[1:]) for line in words if protocol in (None, line[0])]

    def stop(self) -> None:
        """End the servers; connections are closed."""
        end_processes([self.process])

    def _lines(self) -> list[str]:
        return _whole_lines(self._log)


@dataclass(frozen=True, slots=True)
class FlowReport:
    """What became of a long flow; times in seconds."""

    sent: int
    answered: int
    longest_gap: float
    """The longest time between two answers, or between the last one and the last sending."""
    sources: tuple[Seen, ...]
    """The sources that the far end saw, each once: more than one means translated anew."""
    errors: tuple[str, ...]
    broken: bool
    """A TCP connection ended, a UDP flow changed its source, or the last answers are missing."""

    @property
    def lost(self) -> int:
        """Packets that were never answered (TCP sends again: then there is only a gap)."""
        return self.sent - self.answered


class LongFlow:
    """One TCP connection or UDP exchange that sends a packet every `interval` seconds.

    It is established, that is answered, when this returns; Unanswered if that fails.
    """

    def __init__(
        self,
        namespace: Namespace,
        address: str,
        port: int,
        protocol: str = "tcp",
        source: str | None = None,
        source_port: int = 0,
        interval: float = 0.02,
        timeout: float = 5,
    ) -> None:
        self._protocol = protocol
        self._log = namespace.lab.scratch(f"{namespace.label}-flow")
        self._name = f"{protocol} flow to {address} {port} from {namespace}"
        argv = [*_PEERS, "flow", protocol, address, str(port), "--interval", str(interval)]
        argv += ["--source-port", str(source_port), *(["--source", source] if source else [])]
        with self._log.open("wb") as stream:
            self.process = namespace.popen(*argv, stdout=stream)
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: self._numbers("answered") or self._ended, timeout=timeout)
        if not self._numbers("answered"):
            end_processes([self.process])
            raise Unanswered(f"{self._name}: {self._errors() or 'silence'}")

    def wait_for_answers(self, more: int = 10, timeout: float = 10) -> None:
        """Wait until `more` packets sent from now on have been answered."""
        sent = self._numbers("sent")
        aim = (sent[-1] if sent else 0) + more

        def reached() -> bool:
            if self._ended:
                raise Unanswered(f"{self._name} ended: {self._errors()}")
            return sum(number > aim - more for number in self._numbers("answered")) >= more

        wait_until(reached, timeout=timeout, message=f"{more} more answers on the {self._name}")

    def report(self) -> FlowReport:
        """How it stands now; the flow goes on."""
        sent = self._lines("sent")
        answered = self._lines("answered")
        # A packet that is answered twice counts once.
        numbers = {int(words[1]) for words in answered}
        times = [float(words[2]) for words in answered]
        ends = [*times, max(times[-1], float(sent[-1][2]))]
        sources = tuple(dict.fromkeys(Seen(words[3], int(words[4])) for words in answered))
        # TCP answers everything in order; UDP may lose, but the last ones must have come.
        last_sent = int(sent[-1][1])
        silent = last_sent - max(numbers) > (0 if self._protocol == "tcp" else 2)
        errors = tuple(self._errors())
        return FlowReport(
            sent=len(sent),
            answered=len(numbers),
            longest_gap=max((later - earlier for earlier, later in pairwise(ends)), default=0),
            sources=sources,
            errors=errors,
            broken=silent or len(sources) > 1 or (self._protocol == "tcp" and bool(errors)),
        )

    def stop(self) -> FlowReport:
        """Stop sending, wait a little for the last answers, close the flow, and report."""
        if not self._ended:
            self.process.send_signal(signal.SIGUSR1)
            with contextlib.suppress(TimeoutError):
                wait_until(self._all_answered, timeout=_GRACE)
        report = self.report()
        end_processes([self.process])
        return report

    def _all_answered(self) -> bool:
        stopped = bool(self._lines("stopped"))
        return self._ended or (
            stopped and self._numbers("answered")[-1:] == self._numbers("sent")[-1:]
        )

    @property
    def _ended(self) -> bool:
        # A TCP flow that met an error is over, whether or not its program has noticed.
        over = self._protocol == "tcp" and bool(self._lines("error"))
        return over or self.process.poll() is not None

    def _lines(self, kind: str) -> list[list[str]]:
        lines = (line.split() for line in _whole_lines(self._log))
        return [words for words in lines if words[0] == kind]

    def _numbers(self, kind: str) -> list[int]:
        return [int(words[1]) for words in self._lines(kind)]

    def _errors(self) -> list[str]:
        return [" ".join(words[2:]) for words in self._lines("error")]


def _whole_lines(log: Path) -> list[str]:
    # The last line may be half written.
    return log.read_text().split("\n")[:-1]
