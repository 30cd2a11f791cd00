"""The daemon: ``service`` is its loop, the other modules are what it talks through."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import structlog

from nvid import statedir, trial
from nvid.configuration import ConfigurationError
from nvid.daemon import log
from nvid.daemon.control import check_unanswered
from nvid.daemon.service import Service
from nvid.errors import NvidError

SWITCH = 0.001
"""Seconds that a thread may keep others waiting for the interpreter (5 ms by default): a thread
that reads hundreds of thousands of flows must not make the loop's answers slow."""
_PATIENCE = 15.0
"""Seconds; less than the unit's TimeoutStartSec."""


def run(path: Path) -> int:
    """``nvid run``: the daemon in the foreground; the exit status."""
    sys.setswitchinterval(SWITCH)
    log.configure("info")
    log.tell_of_crashes()
    logger = structlog.get_logger()
    try:
        return _serve(path)
    except ConfigurationError as error:
        for problem in error.problems:
            logger.error(str(problem))
        return error.exit_status
    except NvidError as error:
        logger.error(str(error))
        return error.exit_status


def _serve(path: Path) -> int:
    """Raises ConfigurationError, NotPermitted, or another NvidError before anything changed."""
    files = trial.read(path)
    if files.loaded is not None:
        check_unanswered(Path(files.loaded.configuration.daemon.socket))
    # A guardian may be on the way back just now: it needs no longer than a round.
    with statedir.take(files.directory, _PATIENCE):
        start = trial.start(files)
        log.configure(start.loaded.configuration.daemon.log_level)

        async def main() -> int:
            return await Service(path, start).run()

        return asyncio.run(main())
