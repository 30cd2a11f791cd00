"""The daemon on the router of the demonstration, and what the router's kernel holds."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from demo.network import Network
from demo.programs import Done, ProgramFailed, Started, must_run

ROOT = Path(__file__).parents[1]
NVID = ROOT / ".venv" / "bin" / "nvid"
CONFIGURATION = ROOT / "etc" / "examples" / "demo.toml"


class Router:
    """nvid in the router's namespace, with files of its own in the demonstration's directory."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._socket = network.directory / "nvid.sock"
        self._file = network.directory / "nvid.toml"
        self._program: Started | None = None
        shutil.copyfile(CONFIGURATION, self._file)
        drop_ins = network.directory / "nvid.d"
        drop_ins.mkdir()
        state = network.directory / "state"
        (drop_ins / "paths.toml").write_text(
            f'[daemon]\nsocket = "{self._socket}"\nstate_dir = "{state}"\n'
        )

    def start(self) -> None:
        """Start the daemon and wait until it answers. Raises ProgramFailed with its log."""
        program = self._network.start("router", str(NVID), "run", "--config", str(self._file))
        self._program = program
        wait_until(lambda: not program.running or self._healthy(), "nvid is not healthy")
        if not program.running:
            raise ProgramFailed(f"nvid ended:\n{self.log()}")

    def _healthy(self) -> bool:
        return self._network.run("router", *self.command("status")).status == 0

    def log(self) -> str:
        """What the daemon has written so far."""
        return "" if self._program is None else self._program.log.read_text()

    def command(self, *words: str) -> tuple[str, ...]:
        """A command line that asks this daemon."""
        return (str(NVID), words[0], "--socket", str(self._socket), *words[1:])

    def ask(self, *words: str) -> Done:
        """Run such a command."""
        return self._network.run("router", *self.command(*words))

    def status(self) -> dict[str, Any]:
        """``nvid status --json``."""
        status: dict[str, Any] = json.loads(self.ask("status", "--json").output)
        return status

    def wait_for_end(self) -> None:
        """Wait until the daemon has ended by itself."""
        program = self._program
        assert program is not None
        wait_until(lambda: not program.running, "nvid does not end")

    def kernel(self) -> str:
        """What the router's kernel holds: links, addresses, rules, all routes, nftables, and the
        sysctls that forwarding and the interfaces have."""
        ip = ("ip", "-netns", self._network.namespace("router"))
        parts = [
            must_run(*ip, "-oneline", "address"),
            must_run(*ip, "rule"),
            must_run(*ip, "-6", "rule"),
            must_run(*ip, "route", "show", "table", "all"),
            must_run(*ip, "-6", "route", "show", "table", "all"),
            self._network.must_run("router", "nft", "list", "ruleset"),
            self._network.must_run("router", "sysctl", "-a", "--pattern", r"^net\.ipv[46]\.conf"),
        ]
        return "".join(parts)


def wait_until(condition: Callable[[], object], otherwise: str, seconds: float = 15) -> None:
    """Wait for a condition. Raises ProgramFailed with ``otherwise`` when it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ProgramFailed(f"{otherwise}, after {seconds:.0f} s")
        time.sleep(0.05)
