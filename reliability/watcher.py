"""When somebody touched nvid's objects, and when all was well again; a program in the router's
network namespace.

    watcher.py CONFIGURATION

It reads a word a line. "arm": forget what was; answers "armed". "wait SECONDS": look until nothing
is to be done, as ``nvid plan`` does; answers "well FIRST LAST", two CLOCK_MONOTONIC seconds: the
first event since "arm" (0 when there was none) and the end of the look that found all well. Or
"ill" and what is still to be done.
"""

from __future__ import annotations

import select
import sys
import time
from pathlib import Path

from nvid import names
from nvid.configuration import load
from nvid.errors import NvidError
from nvid.kernel.events import Watch
from nvid.reconcile import Reconciler


class Watcher:
    """The two event sockets, and the time of the first event."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._own: frozenset[int] = frozenset()
        self._first = 0.0
        protocol = load(path).configuration.daemon.protocol
        self._watch = Watch(names.TABLE, lambda: protocol, lambda: self._own)

    def serve(self) -> None:
        """Until the end of standard input."""
        while True:
            readable, _, _ = select.select(
                [sys.stdin, self._watch.routing, self._watch.netfilter], [], []
            )
            self._note()
            if sys.stdin in readable:
                words = sys.stdin.readline().split()
                if not words:
                    return
                print(self._arm() if words[0] == "arm" else self._wait(float(words[1])), flush=True)

    def _note(self) -> None:
        now = time.monotonic()
        events = [*self._watch.read_routing(), *self._watch.read_netfilter()]
        if events and not self._first:
            self._first = now

    def _arm(self) -> str:
        configuration = load(self._path).configuration
        machine = Reconciler(configuration.daemon.state_dir).prepare(configuration).machine
        self._own = frozenset(each.index for each in machine.interfaces if each.ours)
        self._note()
        self._first = 0.0
        return "armed"

    def _wait(self, seconds: float) -> str:
        configuration = load(self._path).configuration
        deadline = time.monotonic() + seconds
        while True:
            try:
                reconciler = Reconciler(configuration.daemon.state_dir)
                prepared = reconciler.prepare(configuration)
                left = [text for _, text in prepared.difference.lines()]
            except (NvidError, OSError) as error:
                left = [str(error)]
            now = time.monotonic()
            if not left:
                return f"well {self._first} {now}"
            if now > deadline:
                return f"ill {'; '.join(left)}".replace("\n", " ")
            time.sleep(0.002)


if __name__ == "__main__":
    Watcher(Path(sys.argv[1])).serve()
