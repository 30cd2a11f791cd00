"""Loading configurations that stand in the tests as text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from nvid.configuration import ConfigurationError, Loaded, Problem, load

Write: TypeAlias = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes nvid.toml, and drop-ins by name, and returns the path of the former."""

    def files(text: str | bytes, **drop_ins: str) -> Path:
        path = tmp_path / "nvid.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        for name, content in drop_ins.items():
            (tmp_path / "nvid.d").mkdir(exist_ok=True)
            (tmp_path / "nvid.d" / f"{name}.toml").write_text(content)
        return path

    return files


@pytest.fixture
def loaded(write: Write) -> Callable[..., Loaded]:
    """Loads a text that must be right."""
    return lambda text, **drop_ins: load(write(text, **drop_ins))


@pytest.fixture
def problems(write: Write) -> Callable[..., tuple[Problem, ...]]:
    """All problems of a text that must be wrong."""

    def found(text: str | bytes, **drop_ins: str) -> tuple[Problem, ...]:
        with pytest.raises(ConfigurationError) as wrong:
            load(write(text, **drop_ins))
        return wrong.value.problems

    return found
