"""nvid, with a step that fails: a program for the faults that no real kernel makes on demand.

    launcher.py FAULTS [nvid's own words]

FAULTS is a file, read at every step: "STEP TIMES KIND", of which TIMES counts down. KIND is
"kernel", for what the kernel refuses, "system", for a socket or a file that cannot be had, or
"death", of the process itself.
"""

from __future__ import annotations

import errno
import functools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nvid.client.main import main
from nvid.errors import KernelRefused
from nvid.kernel import (
    addresses,
    conntrack,
    facts,
    links,
    neighbours,
    nft,
    routes,
    rules,
    ruleset,
    sysctls,
)

HOLDERS: dict[str, Any] = {
    "rules": rules,
    "links": links,
    "sysctls": sysctls,
    "facts": facts,
    "addresses": addresses,
    "neighbours": neighbours,
    "routes": routes,
    "ruleset": ruleset,
    "nft": nft.Nft,
    "conntrack": conntrack,
}
STEPS = (
    "facts.look",
    "links.observe",
    "addresses.observe",
    "neighbours.observe",
    "routes.observe",
    "rules.observe",
    "sysctls.observe",
    "ruleset.observe",
    "rules.make",
    "links.make",
    "sysctls.write",
    "addresses.make",
    "links.raise_up",
    "neighbours.make",
    "routes.make",
    "ruleset.apply",
    "nft.run",
    "nft.run.after",
    "sysctls.restore",
    "neighbours.remove",
    "routes.remove",
    "addresses.remove",
    "links.remove",
    "rules.remove",
    "conntrack.end",
    "conntrack.usage",
)
"""What can be told to fail, before it does anything; "after": when it is done already."""


def install(faults: Path) -> None:
    """Put a look at the file before (or after) every step."""
    for step in STEPS:
        holder, name, *when = step.split(".")
        home = HOLDERS[holder]
        setattr(home, name, _failing(getattr(home, name), step, faults, late=bool(when)))


def _failing(
    function: Callable[..., Any], step: str, faults: Path, *, late: bool
) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if late:
            answer = function(*args, **kwargs)
            _strike(step, faults)
            return answer
        _strike(step, faults)
        return function(*args, **kwargs)

    return wrapper


def tell(faults: Path, step: str, times: int, kind: str) -> None:
    """Write the file, in one step: it is read at any moment."""
    draft = faults.with_suffix(".draft")
    draft.write_text(f"{step} {times} {kind}")
    draft.rename(faults)


def _strike(step: str, faults: Path) -> None:
    if not faults.exists():
        return
    wanted, times, kind = faults.read_text().split()
    if wanted != step or int(times) <= 0:
        return
    tell(faults, wanted, int(times) - 1, kind)
    if kind == "death":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "kernel":
        raise KernelRefused(f"{step}: told to fail")
    raise OSError(errno.EMFILE, f"{step}: told to fail")


if __name__ == "__main__":
    if len(sys.argv) > 2 and sys.argv[2] == "run":
        install(Path(sys.argv[1]))
    sys.argv = ["nvid", *sys.argv[2:]]
    sys.exit(main())
