"""The nvid daemon in a namespace, with a notification socket as systemd would give it."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from tests.lab.namespaces import Namespace
from tests.lab.processes import CommandFailed, end_processes
from tests.lab.waiting import PATIENCE, wait_until

EXECUTABLE = Path(__file__).parents[2] / ".venv" / "bin" / "nvid"
METRICS = "127.0.0.1:9477"

# The path of a unix socket has at most 107 octets (unix(7)).
_LONGEST_SOCKET_PATH = 107

# The commands that read a file; all others ask the daemon (the contract's section 3).
_READ_A_FILE = frozenset({"run", "check", "plan", "doctor", "down", "explain"})
_TAKE_NEITHER = frozenset({"import"})

Toml = str | int | float | bool


@dataclasses.dataclass(frozen=True, slots=True)
class Notification:
    """One datagram of sd_notify(3) and the CLOCK_MONOTONIC second it came."""

    time: float
    fields: Mapping[str, str]


class Nvid:
    """One daemon, with files of its own under `directory`; ended with the namespace's lab.

    `configuration` is TOML text or the path of a file with it. Where its [daemon] table does not
    say otherwise, the socket and the state directory lie in `directory`, and metrics are served
    at METRICS of the namespace.
    """

    def __init__(
        self,
        namespace: Namespace,
        configuration: str | Path,
        directory: Path,
        *,
        watchdog: float | None = None,
        executable: Path = EXECUTABLE,
    ) -> None:
        """`watchdog` is WATCHDOG_USEC, but in seconds."""
        self.namespace = namespace
        self.directory = directory / f"nvid-{namespace.label}"
        self.directory.mkdir(parents=True, exist_ok=True)
        self.configuration_path = self.directory / "nvid.toml"
        self.socket_path = self.directory / "control.sock"
        self.state_directory = self.directory / "state"
        self.log_path = self.directory / "stderr"
        self.process: subprocess.Popen[str] | None = None
        self._executable = executable
        self._watchdog = watchdog
        self._notifications: list[Notification] = []
        if len(str(self.socket_path)) > _LONGEST_SOCKET_PATH:
            raise ValueError(f"{self.socket_path} is too long for a unix socket")
        text = configuration.read_text() if isinstance(configuration, Path) else configuration
        self.write(text)
        self._show_on_failure()

    # Running

    def start(self, timeout: float = 15) -> Nvid:
        """Start it and wait for READY=1. Raises CommandFailed if it ends before that."""
        # Of this start alone: what the one before said last may be read as late as this.
        said: list[Notification] = []
        notifications = self._open_socket()
        environment = {**os.environ, "NOTIFY_SOCKET": notifications.getsockname()}
        environment.pop("WATCHDOG_USEC", None)
        # A C library that uses memory after it gave it back shows at once (mallopt(3)).
        environment["MALLOC_PERTURB_"] = "85"
        if self._watchdog is not None:
            environment["WATCHDOG_USEC"] = str(int(self._watchdog * 1_000_000))
        argv = [str(self._executable), "run", "--config", str(self.configuration_path)]
        with self.log_path.open("ab") as log:
            self.process = process = self.namespace.popen(
                *argv, stdout=log, stderr=log, env=environment
            )
        threading.Thread(
            target=self._collect, args=(notifications, process, said), daemon=True
        ).start()
        wait_until(
            lambda: _is_ready(said) or process.poll() is not None,
            timeout=timeout,
            message=f"READY=1 from nvid in {self.namespace}",
        )
        if not _is_ready(said):
            raise CommandFailed(process.returncode, argv, "", self.log())
        return self

    @property
    def is_running(self) -> bool:
        """Whether the process that start() made is still there."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """The daemon's process id. Raises RuntimeError before the first start."""
        if self.process is None:
            raise RuntimeError("nvid was not started")
        return self.process.pid

    def terminate(self, timeout: float = 15) -> int:
        """SIGTERM, as systemd stops it; returns the exit status. Raises TimeoutExpired."""
        return self._end(signal.SIGTERM, timeout)

    def kill(self) -> int:
        """SIGKILL: the daemon gets no chance to do anything. Returns the exit status."""
        return self._end(signal.SIGKILL, 15)

    def hang_up(self) -> None:
        """SIGHUP: read the configuration again. Wait with wait_for_status or notifications."""
        os.kill(self.pid, signal.SIGHUP)

    def _end(self, number: int, timeout: float) -> int:
        process = self.process
        if process is None:
            raise RuntimeError("nvid was not started")
        process.send_signal(number)
        status = process.wait(timeout * PATIENCE)
        end_processes([process])
        return status

    # Configuration and commands

    def write(self, text: str) -> None:
        """Replace the configuration file; nothing is said to the daemon."""
        whole = with_daemon_table(text, self._daemon_keys())
        # In one step, so that a daemon that reads at this moment sees one of the two.
        draft = self.configuration_path.with_suffix(".draft")
        draft.write_text(whole)
        draft.rename(self.configuration_path)

    def reload(self, text: str | None = None, *words: str) -> subprocess.CompletedProcess[str]:
        """Write `text` if given, then `nvid reload` with `words`; any exit status is returned."""
        if text is not None:
            self.write(text)
        return self.command("reload", *words, check=False)

    def command(
        self, *words: str, check: bool = True, timeout: float = 20
    ) -> subprocess.CompletedProcess[str]:
        """Run `nvid` with these words in the namespace, pointed at this daemon or its file."""
        if words[0] in _READ_A_FILE:
            where = ["--config", str(self.configuration_path)]
        elif words[0] in _TAKE_NEITHER:
            where = []
        else:
            where = ["--socket", str(self.socket_path)]
        return self.namespace.run(
            str(self._executable), words[0], *where, *words[1:], check=check, timeout=timeout
        )

    def status(self) -> dict[str, object]:
        """`nvid status --json`, whatever its exit status says about health."""
        done = self.command("status", "--json", check=False)
        if not done.stdout:
            raise CommandFailed(done.returncode, done.args, done.stdout, done.stderr)
        answer: dict[str, object] = json.loads(done.stdout)
        return answer

    def metrics(self) -> str:
        """The text at /metrics, fetched by curl in the namespace."""
        return self.namespace.run("curl", "-sSf", f"http://{METRICS}/metrics").stdout

    def log(self) -> str:
        """All that the daemon wrote to standard output and error, over all its starts."""
        return self.log_path.read_text() if self.log_path.exists() else ""

    # Notifications

    @property
    def notifications(self) -> tuple[Notification, ...]:
        """Every message so far, oldest first, over all starts."""
        return tuple(self._notifications)

    def notified(self, key: str) -> list[str]:
        """The values of one field, such as STATUS, oldest first."""
        return [sent.fields[key] for sent in self.notifications if key in sent.fields]

    def _open_socket(self) -> socket.socket:
        path = self.directory / "notify.sock"
        # An abstract name would belong to the network namespace of the tests (unix(7)).
        path.unlink(missing_ok=True)
        notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        notifications.bind(str(path))
        notifications.settimeout(0.2)
        return notifications

    def _collect(
        self,
        notifications: socket.socket,
        process: subprocess.Popen[str],
        said: list[Notification],
    ) -> None:
        with notifications:
            while True:
                try:
                    message = notifications.recv(65536).decode()
                except TimeoutError:
                    # Only the end of the process ends this, so that nothing it says is missed.
                    if process.poll() is not None:
                        return
                    continue
                fields = dict(line.partition("=")[::2] for line in message.splitlines() if line)
                said.append(Notification(time.monotonic(), fields))
                self._notifications.append(said[-1])

    # The rest

    def _how_it_ended(self) -> str:
        if self.process is None or self.process.poll() is None:
            return ""
        return f"exit status {self.process.returncode}"

    def _daemon_keys(self) -> dict[str, Toml]:
        return {
            "socket": str(self.socket_path),
            "state_dir": str(self.state_directory),
            "metrics": METRICS,
        }

    def _show_on_failure(self) -> None:
        lab, namespace = self.namespace.lab, self.namespace
        lab.show_on_failure(f"how nvid ended in {namespace.label}", self._how_it_ended)
        lab.show_on_failure(f"nvid in {namespace.label}", self.log)
        for argv in (
            ("nft", "list", "ruleset"),
            ("ip", "rule"),
            ("ip", "-6", "rule"),
            ("ip", "route", "show", "table", "all"),
            ("ip", "-6", "route", "show", "table", "all"),
        ):
            lab.show_on_failure(
                f"{namespace.label}: {' '.join(argv)}",
                lambda argv=argv: namespace.run(*argv, check=False).stdout,  # type: ignore[misc]
            )


def _is_ready(said: list[Notification]) -> bool:
    return any(each.fields.get("READY") == "1" for each in said)


def with_daemon_table(text: str, keys: Mapping[str, Toml]) -> str:
    """`text` with these keys in its [daemon] table, except those that it sets itself."""
    header = re.search(r"^\[daemon\][^\n]*\n", text, re.MULTILINE)
    if header is None:
        added = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
        return f"[daemon]\n{added}\n{text}"
    body = re.split(r"^\s*\[", text[header.end() :], maxsplit=1, flags=re.MULTILINE)[0]
    missing = {
        key: value
        for key, value in keys.items()
        if not re.search(rf"^\s*{re.escape(key)}\s*=", body, re.MULTILINE)
    }
    added = "".join(f"{key} = {json.dumps(value)}\n" for key, value in missing.items())
    return text[: header.end()] + added + text[header.end() :]
