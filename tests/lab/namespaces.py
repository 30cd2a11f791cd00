"""Network namespaces, the wires between them and the programs inside, all gone afterwards.

Every name carries the number of this test run, so that several runs share a machine, and the
sweep at the end of a run touches that run's namespaces only.
"""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import json
import os
import secrets
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.lab import traffic
from tests.lab.processes import end_processes, run_here
from tests.lab.traffic import LongFlow, Observer, Seen
from tests.lab.waiting import wait_until

RUN_PREFIX = f"nvt{os.getpid():x}{secrets.token_hex(2)}-"
_numbers = itertools.count()

# Set in every new namespace: addresses are usable at once (no duplicate address detection), and
# ICMP errors are not rationed, so that a test may provoke several in a row.
_SYSCTLS = (
    "net.ipv6.conf.all.accept_dad=0",
    "net.ipv6.conf.default.accept_dad=0",
    "net.ipv4.icmp_ratelimit=0",
    "net.ipv6.icmp.ratelimit=0",
)


class Namespace:
    """One network namespace of a lab. Made by `Lab.namespace`."""

    def __init__(self, lab: Lab, label: str, name: str) -> None:
        self.lab = lab
        self.label = label
        self.name = name

    def __repr__(self) -> str:
        return f"<namespace {self.label}: {self.name}>"

    # Programs

    def run(
        self, *argv: str, check: bool = True, input: str | None = None, timeout: float = 20
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end. Raises CommandFailed (with `check`) or TimeoutExpired."""
        return run_here(*self._inside(argv), check=check, input=input, timeout=timeout)

    def popen(self, *argv: str, **options: Any) -> subprocess.Popen[str]:
        """Start a program; `options` are those of subprocess.Popen.

        The process id is the program's own, because `ip netns exec` turns into it. Unless told
        otherwise standard input is empty, and what it prints is kept and shown if the test fails.
        """
        transcript = self.lab.scratch(f"{self.label}-{Path(argv[0]).name}")
        with transcript.open("wb") as stream:
            options.setdefault("stdin", subprocess.DEVNULL)
            options.setdefault("stdout", stream)
            options.setdefault("stderr", stream)
            process: subprocess.Popen[str] = subprocess.Popen(
                self._inside(argv), text=True, **options
            )
        self.lab.adopt(process)
        self.lab.show_on_failure(f"{self.label}: {' '.join(argv)}", transcript.read_text)
        return process

    def _inside(self, argv: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", self.name, *argv]

    # Network set-up

    def ip(self, *words: str) -> str:
        """`ip` with these words, in this namespace; returns what it prints."""
        return run_here("ip", "-n", self.name, *words).stdout

    def address(self, interface: str, address: str) -> None:
        """Give `interface` an address with its prefix length, such as "10.1.0.1/24"."""
        nodad = ["nodad"] if ipaddress.ip_interface(address).version == 6 else []
        self.ip("address", "add", address, "dev", interface, *nodad)

    def route(self, *words: str) -> None:
        """`ip route add` with these words; the family is that of the first address in them."""
        self.ip(_family_option(words), "route", "add", *words)

    def sysctl(self, key: str, value: str | int | None = None) -> str:
        """Write a sysctl if `value` is given; answer what it is now.

        Write the name of an interface that contains dots with slashes all through:
        "net/ipv4/conf/eth0.7/rp_filter".
        """
        if value is not None:
            self.run("sysctl", "-q", "-w", f"{key}={value}")
        return self.run("sysctl", "-n", key).stdout.strip()

    def nft(self, text: str) -> None:
        """Load nftables commands (`nft -f -`), all or nothing."""
        self.run("nft", "-f", "-", input=text)

    def interfaces(self) -> tuple[str, ...]:
        """The names of all interfaces, in the order of their numbers, `lo` included."""
        links: list[dict[str, str]] = json.loads(self.ip("-j", "link", "show"))
        return tuple(link["ifname"] for link in links)

    # Traffic; the work is in tests/lab/traffic.py

    def observe(self, tcp: Iterable[int] = (), udp: Iterable[int] = ()) -> Observer:
        """Servers on these ports, on all addresses of both families, ready on return."""
        return Observer(self, tuple(tcp), tuple(udp))

    def ask_tcp(
        self,
        address: str,
        port: int,
        source: str | None = None,
        source_port: int = 0,
        timeout: float = 3,
    ) -> Seen:
        """Connect to an observer; returns the (address, port) it saw. Raises Unanswered."""
        return traffic.exchange(self, "tcp", address, port, source, source_port, timeout).seen

    def ask_udp(
        self,
        address: str,
        port: int,
        source: str | None = None,
        source_port: int = 0,
        timeout: float = 3,
    ) -> Seen:
        """Send one datagram to an observer; returns what it saw. Raises Unanswered."""
        return traffic.exchange(self, "udp", address, port, source, source_port, timeout).seen

    def ping(
        self,
        address: str,
        count: int = 1,
        size: int | None = None,
        df: bool = False,
        source: str | None = None,
        timeout: int = 2,
    ) -> bool:
        """True if every one of `count` echo requests was answered within `timeout` seconds.

        `size` is the payload in octets; `df` forbids fragmentation on the way (IPv4) and at the
        sender (IPv6).
        """
        return traffic.ping(self, address, count, size, df, source, timeout)

    def long_flow(self, address: str, port: int, protocol: str = "tcp", **options: Any) -> LongFlow:
        """A flow that goes on until it is stopped; see LongFlow."""
        return LongFlow(self, address, port, protocol, **options)


class Lab:
    """A context manager that owns namespaces, programs and files, and removes them all."""

    def __init__(self) -> None:
        self.namespaces: list[Namespace] = []
        self._processes: list[subprocess.Popen[str]] = []
        self._evidence: list[tuple[str, Callable[[], str]]] = []
        self._directory: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def namespace(self, label: str) -> Namespace:
        """A new namespace with `lo` up and nothing else. `label` is for people."""
        name = f"{RUN_PREFIX}{next(_numbers)}-{label}"
        # Known before it exists: an interrupt in between leaves nothing behind.
        namespace = Namespace(self, label, name)
        self.namespaces.append(namespace)
        run_here("ip", "netns", "add", name)
        namespace.ip("link", "set", "lo", "up")
        namespace.run("sysctl", "-q", "-w", *_SYSCTLS)
        return namespace

    def link(
        self, first: Namespace, first_interface: str, second: Namespace, second_interface: str
    ) -> None:
        """A veth between two namespaces (or within one), both ends up."""
        first.ip(
            *("link", "add", first_interface, "type", "veth"),
            *("peer", "name", second_interface, "netns", second.name),
        )
        first.ip("link", "set", first_interface, "up")
        second.ip("link", "set", second_interface, "up")
        for namespace, interface in ((first, first_interface), (second, second_interface)):
            self._wait_for_carrier(namespace, interface)

    def segment(self, label: str, *ends: tuple[Namespace, str]) -> Namespace:
        """One Ethernet segment with many ends: a bridge in a namespace of its own."""
        switch = self.namespace(label)
        switch.ip(
            *("link", "add", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0"),
            *("mcast_snooping", "0"),
        )
        switch.ip("link", "set", "br0", "up")
        for namespace, interface in ends:
            self.plug(switch, namespace, interface)
        return switch

    def plug(self, switch: Namespace, namespace: Namespace, interface: str) -> str:
        """One more end on a segment; returns the name of the port at the switch."""
        port = f"p{len(switch.interfaces())}-{namespace.label}"[:15]
        self.link(switch, port, namespace, interface)
        switch.ip("link", "set", port, "master", "br0")
        return port

    @staticmethod
    def _wait_for_carrier(namespace: Namespace, interface: str) -> None:
        wait_until(
            lambda: "LOWER_UP" in namespace.ip("link", "show", "dev", interface),
            message=f"carrier on {interface} in {namespace}",
        )

    def scratch(self, label: str) -> Path:
        """The path of a new file or directory, not yet made, that goes when the lab goes."""
        if self._directory is None:
            # Short, because the path of a unix socket has at most 107 octets (unix(7)).
            self._directory = tempfile.TemporaryDirectory(prefix="nvt-")
        return Path(self._directory.name) / f"{next(_numbers)}-{label}"

    def adopt(self, process: subprocess.Popen[str]) -> None:
        """End this process, which the caller started, when the lab goes."""
        self._processes.append(process)

    def show_on_failure(self, title: str, text: Callable[[], str]) -> None:
        """Add a section to the report of a failing test; `text` is called while all still runs."""
        self._evidence.append((title, text))

    def evidence(self) -> list[tuple[str, str]]:
        """(title, text) of all that was asked for by show_on_failure and is not empty."""
        sections = []
        for title, text in self._evidence:
            try:
                content = text()
            except (OSError, subprocess.SubprocessError) as error:
                content = repr(error)
            if content.strip():
                sections.append((title, content))
        return sections

    def close(self) -> None:
        """End all programs and remove all namespaces and files; goes on after an interrupt."""
        try:
            end_processes(self._processes)
        finally:
            try:
                for namespace in self.namespaces:
                    remove_namespace(namespace.name)
            finally:
                self.namespaces.clear()
                self._processes.clear()
                if self._directory is not None:
                    self._directory.cleanup()
                    self._directory = None


def remove_namespace(name: str) -> None:
    """Remove a namespace of this run and end what still runs inside (children of its programs)."""
    if not name.startswith(RUN_PREFIX):
        raise ValueError(f"{name} does not belong to this run")
    if name not in namespaces_of_this_run():
        return
    for pid in run_here("ip", "netns", "pids", name, check=False).stdout.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    run_here("ip", "netns", "delete", name, check=False)


def namespaces_of_this_run() -> list[str]:
    """The names of this run's namespaces that the kernel knows."""
    directory = Path("/run/netns")
    if not directory.is_dir():
        return []
    return sorted(entry.name for entry in directory.iterdir() if entry.name.startswith(RUN_PREFIX))


def _family_option(words: Sequence[str]) -> str:
    for word in words:
        with contextlib.suppress(ValueError):
            return f"-{ipaddress.ip_interface(word).version}"
    raise ValueError(f"no address tells the family of this route: {' '.join(words)}")
