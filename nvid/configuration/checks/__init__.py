"""What the parts of a configuration must be to each other: one module for each subject."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nvid.configuration.checks import (
    blocks,
    destinations,
    interfaces,
    marks,
    pools,
    references,
    routes,
    snats,
    statics,
    tenants,
    uplinks,
)
from nvid.configuration.convert import Declared
from nvid.configuration.findings import Finding
from nvid.configuration.types import Configuration

_CHECKS: tuple[Callable[[Configuration], Iterator[Finding]], ...] = (
    marks.check,
    uplinks.check,
    tenants.check,
    interfaces.check,
    statics.check,
    destinations.check,
    snats.check,
    blocks.check,
    pools.check,
    routes.check,
)


def check(configuration: Configuration, declared: Declared) -> Iterator[Finding]:
    """All that is wrong with a configuration whose values are right one by one."""
    yield from references.check(configuration, declared)
    for one in _CHECKS:
        yield from one(configuration)
