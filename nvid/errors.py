"""What can go wrong, and the exit status that the command line gives for it.

NvidError                   1  anything that nvid reports on purpose
├── ConfigurationError      1  the files are not acceptable; carries every problem found
├── NotPermitted            4  the kernel wants a capability that this process lacks
├── KernelRefused           1  the kernel said no to a change
└── ForeignObject           1  something of that name exists and is not nvid's
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from nvid.configuration.problems import Problem


class NvidError(Exception):
    """The root of everything that nvid raises on purpose; its text is written for the operator."""

    exit_status: ClassVar[int] = 1


class ConfigurationError(NvidError):
    """The configuration is not acceptable; `problems` holds all of them, by file and line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class NotPermitted(NvidError):
    """The kernel wants a capability (usually CAP_NET_ADMIN) that this process does not have."""

    exit_status = 4


class KernelRefused(NvidError):
    """The kernel refused a change; the text holds its own words."""


class ForeignObject(NvidError):
    """An object that nvid needs to own exists already and does not carry nvid's mark."""


def in_words(error: NvidError | OSError) -> str:
    """What stopped a round. An OSError is what a socket or a file answered: too many open files,
    no memory, a receive buffer that ran over. The next round may fare better."""
    return str(error) if isinstance(error, NvidError) else f"the system refused: {error}"
