"""The commands that work on files and the kernel themselves, without the daemon.

Each answers (data for --json, text, exit status) and prints nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nvid import state
from nvid.configuration import ConfigurationError, load
from nvid.configuration.types import Daemon
from nvid.configuration.values import TableRange
from nvid.desired.ruleset import identity
from nvid.reconcile import Reconciler


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command has to say."""

    data: dict[str, Any]
    text: str
    exit_status: int = 0


def check(path: Path) -> Answer:
    """Validate the configuration; the kernel is not touched and no privilege is needed."""
    try:
        loaded = load(path)
    except ConfigurationError as error:
        return bad_configuration(error)
    configuration = loaded.configuration
    translations = sum(len(identity.translations(nvi)) for nvi in configuration.nvis)
    files = [str(file) for file in loaded.files]
    text = (
        f"{', '.join(files)}: valid: {len(configuration.nvis)} NVIs, {translations} translations, "
        f"{len(configuration.uplinks)} uplinks"
    )
    return Answer({"valid": True, "files": files, "problems": []}, text)


def bad_configuration(error: ConfigurationError) -> Answer:
    """Every problem, one line each."""
    problems = [
        {
            "file": str(each.file),
            "line": each.line,
            "key": each.key,
            "message": each.message,
            "remedy": each.remedy,
        }
        for each in error.problems
    ]
    return Answer({"valid": False, "problems": problems}, str(error), 1)


def plan(path: Path) -> Answer:
    """What the daemon would create, change and delete. Raises NvidError."""
    try:
        configuration = load(path).configuration
    except ConfigurationError as error:
        return bad_configuration(error)
    reconciler = Reconciler(configuration.daemon.state_dir)
    prepared = reconciler.prepare(configuration)
    lines = tuple(prepared.difference.lines())
    problems = [
        *(f"{nvi}: {text}" for nvi, texts in prepared.desired.problems.items() for text in texts),
        *prepared.foreign,
    ]
    return Answer(
        {**_changes(lines), "problems": problems},
        "\n".join([*(text for _, text in lines), *(f"! {text}" for text in problems)]),
        2 if lines else 0,
    )


def down(path: Path) -> Answer:
    """Remove everything that nvid owns, without a daemon. Raises NvidError.

    The configuration may be broken or gone: what the objects were made with is in the state.
    """
    daemon = Daemon()
    with contextlib.suppress(ConfigurationError):
        daemon = load(path).configuration.daemon
    kept = state.load(daemon.state_dir)
    if kept is not None and kept.window is not None:
        window = kept.window
        daemon = Daemon(
            state_dir=daemon.state_dir,
            fwmark_mask=window.fwmark_mask,
            rule_priority=window.rule_priority,
            tables=TableRange(window.first_table, window.last_table),
            protocol=window.protocol,
        )
    removed = Reconciler(daemon.state_dir).remove_everything(daemon)
    return Answer(_changes(removed), "\n".join(text for _, text in removed))


def _changes(lines: Iterable[tuple[str, str]]) -> dict[str, Any]:
    actions = {"+": "create", "~": "change", "-": "delete"}
    return {
        "changes": [
            {"object": kind, "action": actions[text[0]], "text": text[2:]} for kind, text in lines
        ]
    }
