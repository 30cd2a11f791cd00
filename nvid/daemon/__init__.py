"""The daemon: ``service`` is its loop, the other modules are what it talks through."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import structlog

from nvid.configuration import ConfigurationError, load
from nvid.daemon import log
from nvid.daemon.service import Service
from nvid.errors import NvidError

SWITCH = 0.001
"""Seconds that a thread may keep others waiting for the interpreter (5 ms by default): a thread
that reads hundreds of thousands of flows must not make the loop's answers slow."""


def run(path: Path) -> int:
    """``nvid run``: the daemon in the foreground; the exit status."""
    sys.setswitchinterval(SWITCH)
    log.configure("info")
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
    loaded = load(path)
    log.configure(loaded.configuration.daemon.log_level)

    async def main() -> int:
        return await Service(path, loaded).run()

    return asyncio.run(main())
