"""A router with a daemon on it, as the commands of ``nvid`` find it."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests import samples
from tests.lab import Lab, Namespace, Nvid, machine_state, wait_until
from tests.lab.daemon import EXECUTABLE
from tests.lab.snapshot import MachineState


class Router:
    """One namespace with the interfaces of ``samples.MACHINE``, and nvid's files for it."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.lab = lab
        self.directory = directory
        self.namespace: Namespace = lab.namespace("r")
        self.neighbour = lab.namespace("n")
        for interface in (samples.LAN0, samples.WAN0, samples.WAN1):
            self.plug(interface.name)
            for each in interface.addresses:
                self.namespace.address(interface.name, str(each.interface))
        self.before: MachineState = machine_state(self.namespace)

    def plug(self, name: str) -> None:
        """One more interface, with carrier."""
        self.lab.link(self.namespace, name, self.neighbour, f"n-{name}"[:15])

    def nvid(self, configuration: str = samples.EVERY_KIND, **options: Any) -> Nvid:
        """A daemon that is not started yet."""
        return Nvid(self.namespace, configuration, self.directory, **options)

    def leftovers(self) -> str:
        """What is not as it was before nvid came."""
        return self.before.difference(machine_state(self.namespace))


@pytest.fixture
def router(lab: Lab) -> Router:
    """A router of its own for one test."""
    directory = lab.scratch("files")
    directory.mkdir(parents=True)
    # Ordinary users reach the socket, as in /run/nvid.
    directory.parent.chmod(0o755)
    return Router(lab, directory)


@pytest.fixture
def daemon(router: Router) -> Nvid:
    """A daemon that runs ``samples.EVERY_KIND``."""
    return router.nvid().start()


def as_ordinary_user(nvid: Nvid, *words: str, timeout: float = 20) -> CompletedProcess[str]:
    """Run `nvid` as nobody. It may read all files, so that it does not matter where this checkout
    lies, and nothing else."""
    may_read = "+dac_read_search"
    return nvid.namespace.run(
        *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
        *(f"--inh-caps={may_read}", f"--ambient-caps={may_read}"),
        *(str(EXECUTABLE), *words),
        check=False,
        timeout=timeout,
    )


def plan(nvid: Nvid) -> list[str]:
    """The lines of ``nvid plan``. Raises AssertionError when it fails."""
    done = nvid.command("plan", check=False)
    assert done.returncode in (0, 2), done.stderr
    return done.stdout.splitlines()


def converged(nvid: Nvid, timeout: float = 10) -> None:
    """Wait until a fresh look at the kernel finds nothing to do."""

    def nothing_to_do() -> bool:
        assert plan(nvid) == []
        return True

    wait_until(nothing_to_do, timeout=timeout, message="nvid plan prints nothing")


def as_json(nvid: Nvid, *words: str) -> tuple[int, Any]:
    """Exit status and data of a command with --json."""
    done = nvid.command(*words, "--json", check=False)
    return done.returncode, json.loads(done.stdout)


def metric(nvid: Nvid, sample: str) -> float:
    """The value of one sample, spelled as it is scraped."""
    for line in nvid.metrics().splitlines():
        if line.startswith(f"{sample} "):
            return float(line.rpartition(" ")[2])
    raise AssertionError(f"{sample} is not among the metrics")
