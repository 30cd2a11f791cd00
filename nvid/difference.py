"""What has to change: a comparison of values, which ``plan`` prints and ``apply`` carries out."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

Action = Literal["create", "change", "delete"]


class Keyed(Protocol):
    """An object with an identity in the kernel."""

    @property
    def key(self) -> Hashable:
        """Two objects of one kind with one key cannot exist side by side."""


T = TypeVar("T", bound=Keyed)


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """One object to create (no ``before``), delete (no ``after``) or change (both)."""

    before: T | None
    after: T | None

    @property
    def action(self) -> Action:
        """In one word."""
        if self.before is None:
            return "create"
        return "delete" if self.after is None else "change"

    @property
    def object(self) -> T:
        """The object as it is wanted, or as it was when it is not wanted any more."""
        found = self.after if self.after is not None else self.before
        assert found is not None
        return found

    def __str__(self) -> str:
        signs = {"create": "+", "change": "~", "delete": "-"}
        return f"{signs[self.action]} {self.object}"


def difference(desired: Iterable[T], observed: Iterable[T]) -> tuple[Change[T], ...]:
    """What turns the observed objects into the desired ones: first what is new or changed, in the
    order of ``desired``, then what has to go, in the order of ``observed``."""
    wanted = {each.key: each for each in desired}
    present = {each.key: each for each in observed}
    made = [
        Change(present.get(key), after)
        for key, after in wanted.items()
        if present.get(key) != after
    ]
    gone = [Change(before, None) for key, before in present.items() if key not in wanted]
    return (*made, *gone)
