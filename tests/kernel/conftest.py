"""The kernel modules at work in a namespace, called from a thread that lives there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import pytest
from pyroute2 import netns

from nvid.configuration.types import Configuration
from nvid.observed import Difference
from nvid.reconcile import Reconciler, Round
from tests import samples
from tests.lab import Lab, Namespace

P = ParamSpec("P")
T = TypeVar("T")


class Router:
    """A namespace with lan0, wan0 and wan1, and a thread of the tests inside it.

    `samples.MACHINE` is what nvid finds there, but for the numbers of the interfaces.
    """

    def __init__(self, lab: Lab, thread: ThreadPoolExecutor) -> None:
        self.lab = lab
        self.namespace = lab.namespace("router")
        self.neighbour = lab.namespace("neighbour")
        self._thread = thread
        # With flags=0 a namespace that is missing is an error, and not made.
        thread.submit(netns.setns, self.namespace.name, flags=0).result()
        for interface in (samples.LAN0, samples.WAN0, samples.WAN1):
            self.plug(interface.name)
            for each in interface.addresses:
                self.namespace.address(interface.name, str(each.interface))
        self.state_dir = str(lab.scratch("state"))
        self.reconciler = self.call(Reconciler, self.state_dir)

    def plug(self, name: str) -> None:
        """One more interface, down the wire to the neighbour."""
        self.lab.link(self.namespace, name, self.neighbour, f"n-{name}"[:15])

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in the namespace."""
        return self._thread.submit(function, *args, **kwargs).result()

    def converge(self, text: str | Configuration) -> Round:
        """One round; it must not fail."""
        wanted = samples.configuration(text) if isinstance(text, str) else text
        done = self.call(self.reconciler.converge, wanted)
        assert done.error is None
        return done

    def missing(self, text: str | Configuration) -> Difference:
        """What a process that has just started would change."""
        wanted = samples.configuration(text) if isinstance(text, str) else text
        fresh = self.call(Reconciler, self.state_dir)
        return self.call(fresh.prepare, wanted).difference

    def remove(self, text: str = "") -> None:
        """``nvid down``."""
        wanted = samples.configuration(text)
        self.call(self.reconciler.remove_everything, wanted.daemon)

    def ip(self, *words: str) -> str:
        """`ip` as somebody else uses it."""
        return self.namespace.ip(*words)

    def nft(self, command: str) -> None:
        """`nft` as somebody else uses it."""
        self.namespace.nft(command)


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    """A thread that may go into a namespace: it is not used for anything else afterwards."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


@pytest.fixture
def router(lab: Lab, thread: ThreadPoolExecutor) -> Router:
    """A router of its own for one test."""
    return Router(lab, thread)


@pytest.fixture
def elsewhere(lab: Lab) -> Namespace:
    """A namespace of somebody else."""
    return lab.namespace("elsewhere")
