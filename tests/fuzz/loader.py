"""Coverage-guided: any bytes are a configuration or a ConfigurationError (run by scripts/fuzz).

Two files come out of one input, the second as a drop-in: what stands before and behind a zero byte.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["nvid", "tomllib"]):
    from nvid.configuration import ConfigurationError, load

DIRECTORY = Path(tempfile.mkdtemp(prefix="nvid-fuzz-"))
FILE, DROP_IN = DIRECTORY / "nvid.toml", DIRECTORY / "nvid.d" / "more.toml"
DROP_IN.parent.mkdir()


def attempt(data: bytes) -> None:
    """One input; whatever is raised here is a finding."""
    first, _, second = data.partition(b"\0")
    FILE.write_bytes(first)
    DROP_IN.write_bytes(second)
    try:
        load(FILE)
    except ConfigurationError as error:
        for problem in error.problems:
            assert problem.message
            assert str(problem).isprintable(), problem


if __name__ == "__main__":
    atheris.Setup(sys.argv, attempt)
    atheris.Fuzz()
