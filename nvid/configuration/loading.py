"""From a path to a configuration that is right, or to everything that is wrong with it."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from nvid.configuration import checks, source
from nvid.configuration.convert import convert
from nvid.configuration.findings import located
from nvid.configuration.places import Origins
from nvid.configuration.types import Configuration, Daemon
from nvid.errors import ConfigurationError


class Loaded(Struct, frozen=True):
    """A valid configuration, where each of its keys was written, the files that were read, and
    the digest of their contents (`source.digest_of`)."""

    configuration: Configuration
    origins: Origins
    files: tuple[Path, ...]
    digest: str


def load(path: Path) -> Loaded:
    """Reads `path` and the `*.toml` in the directory `<stem>.d` beside it, in name order.

    Raises ConfigurationError with all problems, sorted by file (in reading order) and line. What
    depends on other keys is checked only when every file could be read.
    """
    read = source.read(path)
    converted = convert(read.data, whole=read.readable)
    configuration = converted.configuration
    findings = list(converted.findings)
    if read.readable:
        findings += checks.check(configuration, converted.declared)
    problems = {*read.problems, *(located(one, read.origins, path) for one in findings)}
    if problems:
        order = {file: number for number, file in enumerate(read.files)}
        raise ConfigurationError(
            sorted(
                problems,
                key=lambda one: (order.get(one.file, -1), str(one.file), one.line, str(one)),
            )
        )
    return Loaded(configuration, read.origins, read.files, read.digest)


def daemon_table(path: Path) -> Daemon:
    """The [daemon] table as far as it can be read, whatever is wrong with the rest."""
    return convert(source.read(path).data, whole=False).configuration.daemon
