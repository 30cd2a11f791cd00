"""Places in a configuration, and how they are spelled: `nvi.nvi0.snat[2].to`.

A place is the way from the top to a value: keys, and numbers where a list is entered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from nvid.configuration.problems import Origin

Place: TypeAlias = tuple[str | int, ...]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STEP = re.compile(r'(?:^|\.)(?:([A-Za-z0-9_-]+)|("(?:[^"\\]|\\.)*"))|\[([0-9]{1,18})\]', re.DOTALL)


def spell(place: Place) -> str:
    """The place as text; keys that TOML would want in quotes are quoted."""
    text = ""
    for step in place:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            key = step if _BARE.fullmatch(step) else json.dumps(step)
            text += f".{key}" if text else key
    return text


def parse(key_path: str) -> Place:
    """The place that a text spells; of a text that spells none, as much as does."""
    place: list[str | int] = []
    end = 0
    while (found := _STEP.match(key_path, end)) is not None and found.end() > end:
        bare, quoted, index = found.groups()
        if quoted is not None:
            try:
                bare = json.loads(quoted)
            except ValueError:
                break
        place.append(int(index) if bare is None else bare)
        end = found.end()
    return tuple(place)


class Origins:
    """Where each place of the configuration was written."""

    def __init__(self, origins: Mapping[Place, Origin]) -> None:
        self._origins = dict(origins)

    def find(self, key_path: str) -> Origin | None:
        """The origin of `nvi.nvi0.snat[2].to`, or that of the nearest place around it."""
        return self.around(parse(key_path))

    def around(self, place: Place) -> Origin | None:
        """The origin of the place, or of the nearest one around it; None outside everything."""
        for length in range(len(place), 0, -1):
            if (origin := self._origins.get(place[:length])) is not None:
                return origin
        return None

    def __contains__(self, key_path: str) -> bool:
        """Whether exactly this place was written."""
        return parse(key_path) in self._origins

    def __iter__(self) -> Iterator[str]:
        """The key paths of all places that are known exactly."""
        return map(spell, self._origins)

    def __len__(self) -> int:
        return len(self._origins)
