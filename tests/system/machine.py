"""A machine with a real systemd as PID 1, in a network namespace of a lab.

Built on systemd-nspawn: it brings /proc/sys/net writable, /proc/sys otherwise read-only, a
private /dev and /run, and a root file system that takes writes and forgets them. Limits by cgroup
controllers are not enforced there on a host with cgroup v1.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from tests.lab import Namespace, wait_until
from tests.lab.processes import end_processes, run_here
from tests.system.rootfs import in_use

CHECKOUT = Path(__file__).parents[2]

# Where the checkout is inside. Not at its own path: that could lie in /root or /home, which the
# service may not see.
MOUNTED_CHECKOUT = "/opt/nvid"

_ENVIRONMENT = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8")

# What an installation puts at /usr/bin/nvid: the entry point, on the interpreter of the
# environment that scripts/setup made. The path of the checkout is a line here because the one
# in the environment's .pth file is that of the world outside.
EXECUTABLE = f"""#!{MOUNTED_CHECKOUT}/.venv/bin/python3
import sys
sys.path.insert(0, {MOUNTED_CHECKOUT!r})
from nvid.client.main import main
sys.exit(main())
"""

JournalEntry = dict[str, str]


class Machine:
    """A booted machine; its network is that of `namespace`. Made by the context `booted`."""

    def __init__(self, namespace: Namespace, root: Path) -> None:
        self.namespace = namespace
        self._root = root
        self._groups: list[Path] = []
        self._nspawn: subprocess.Popen[str] | None = None
        self._leader = 0

    def boot(self) -> None:
        """Start it, and return when systemd says "running". Raises RuntimeError or TimeoutError."""
        lab = self.namespace.lab
        self._groups = [hierarchy / self.namespace.name for hierarchy in _hierarchies()]
        for group in self._groups:
            group.mkdir()
        # Its own groups first, because nspawn makes two, of fixed names, below the one it is in.
        enter = 'while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs"; shift; done; shift; exec "$@"'
        log = lab.scratch("nspawn")
        with log.open("wb") as stream:
            self._nspawn = subprocess.Popen(
                ["sh", "-c", enter, "sh", *map(str, self._groups), "--", *self._argv()],
                env={**os.environ, "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                text=True,
            )
        lab.adopt(self._nspawn)
        lab.show_on_failure("systemd-nspawn", log.read_text)
        self._leader = wait_until(self._find_leader, timeout=20, message="systemd as PID 1")
        lab.show_on_failure("journal", self._journal_text)
        self._wait_for_boot()

    def _argv(self) -> list[str]:
        return [
            *("systemd-nspawn", "--quiet", "--boot", "--volatile=overlay", "--console=pipe"),
            f"--directory={self._root}",
            f"--machine={self.namespace.name[:60]}",
            # There may be no systemd outside to register with.
            *("--register=no", "--keep-unit"),
            f"--network-namespace-path=/run/netns/{self.namespace.name}",
            "--capability=CAP_NET_ADMIN,CAP_NET_RAW",
            f"--bind-ro={CHECKOUT}:{MOUNTED_CHECKOUT}",
        ]

    # Asking and telling

    def run(
        self, *argv: str, check: bool = True, input: str | None = None, timeout: float = 20
    ) -> subprocess.CompletedProcess[str]:
        """Run a program inside, as root. Raises CommandFailed (with `check`) or TimeoutExpired."""
        return run_here(*self._inside(argv), check=check, input=input, timeout=timeout)

    def _inside(self, argv: Sequence[str]) -> list[str]:
        enter = ["nsenter", "--target", str(self._leader), "--all"]
        return [*enter, "env", "-i", *_ENVIRONMENT, *argv]

    def systemctl(
        self, *words: str, check: bool = True, timeout: float = 40
    ) -> subprocess.CompletedProcess[str]:
        """`systemctl` with these words."""
        return self.run("systemctl", "--no-pager", *words, check=check, timeout=timeout)

    def show(self, unit: str, key: str) -> str:
        """One property of a unit, such as ActiveState, StatusText, MainPID or NRestarts."""
        return self.systemctl("show", "--value", f"--property={key}", unit).stdout.strip()

    def journal(self, unit: str | None = None) -> list[JournalEntry]:
        """The journal's entries, of one unit or all, oldest first, with all their fields.

        A field that is not text, or too long for the listing, is left out.
        """
        chosen = [f"--unit={unit}"] if unit else []
        argv = ["journalctl", "--no-pager", "--all", "--output=json", *chosen]
        text = self.run(*argv).stdout
        return [
            {key: value for key, value in json.loads(line).items() if isinstance(value, str)}
            for line in text.splitlines()
        ]

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file inside, with the directories it needs."""
        self.run("mkdir", "-p", str(Path(path).parent))
        self.run("tee", path, input=text)
        self.run("chmod", f"{mode:o}", path)

    def install_nvid(self) -> None:
        """Put nvid where its package would: /usr/bin/nvid, the units, and their user."""
        self.write("/usr/bin/nvid", EXECUTABLE, mode=0o755)
        source = CHECKOUT / "systemd"
        for unit in ("nvid.service", "nvid-rollback.service", "nvid-rollback.path"):
            self.write(f"/usr/lib/systemd/system/{unit}", (source / unit).read_text())
        self.write("/usr/lib/sysusers.d/nvid.conf", (source / "nvid.sysusers").read_text())
        self.run("systemd-sysusers", "nvid.conf")
        self.run("mkdir", "-p", "/etc/nvid/nvid.d")
        self.systemctl("daemon-reload")

    # Life

    def power_off(self, timeout: float = 20) -> None:
        """Shut down in order, as a power button does. Raises TimeoutExpired."""
        if self._nspawn is not None:
            self._nspawn.terminate()
            self._nspawn.wait(timeout)

    def close(self) -> None:
        """End the machine, in order if it can, and remove its control groups."""
        if self._nspawn is not None:
            end_processes([self._nspawn])
        for group in self._groups:
            _remove_group(group)

    @property
    def _is_running(self) -> bool:
        return self._nspawn is not None and self._nspawn.poll() is None

    def _find_leader(self) -> int:
        if not self._is_running:
            raise RuntimeError("systemd-nspawn ended at once: see its section of the report")
        for pid in run_here("ip", "netns", "pids", self.namespace.name).stdout.split():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                process = Path("/proc") / pid
                inside = process.joinpath("status").read_text().partition("\nNSpid:")[2]
                comm = process.joinpath("comm").read_text().strip()
                if inside.split("\n")[0].split()[1:] == ["1"] and comm == "systemd":
                    return int(pid)
        return 0

    def _wait_for_boot(self) -> None:
        def running() -> bool:
            done = self.systemctl("is-system-running", check=False)
            state = done.stdout.strip()
            if state == "degraded":
                raise RuntimeError(self.systemctl("--failed").stdout)
            assert state == "running", done
            return True

        wait_until(running, timeout=30, message="the end of the boot")

    def _journal_text(self) -> str:
        if not self._is_running:
            return ""
        return self.run("journalctl", "--no-pager", "--output=short-monotonic").stdout


@contextlib.contextmanager
def booted(namespace: Namespace, root: Path) -> Iterator[Machine]:
    """A machine on this root file system, running when the block begins, gone when it ends."""
    with in_use(root):
        machine = Machine(namespace, root)
        try:
            machine.boot()
            yield machine
        finally:
            machine.close()


def _hierarchies() -> Iterator[Path]:
    """Where cgroup2 and, on an older host, systemd's own hierarchy are mounted."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            yield Path(where)


def _remove_group(group: Path) -> None:
    if not group.exists():
        return
    # Deepest first: a group with groups in it cannot be removed.
    below = sorted(group.rglob("*/"), key=lambda path: len(path.parts), reverse=True)
    for path in [*(path for path in below if path.is_dir()), group]:
        wait_until(partial(_removed, path), timeout=5, message=f"the end of {path}")


def _removed(group: Path) -> bool:
    # A process that has just ended may be counted for a moment longer.
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()
