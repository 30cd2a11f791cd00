"""The texts by which metrics and status name a translation."""

from __future__ import annotations

from hashlib import sha256
from typing import Protocol

# Room for " (10000)" within the hundred characters that an explicit name may have.
_LONGEST = 92
_DIGEST = 8


class Labelled(Protocol):
    """An entry that may have a name of its own."""

    @property
    def name(self) -> str | None:
        """The explicit name."""

    @property
    def ordinal(self) -> int:
        """1, or the place of the entry among those of the same content."""


def labelled(entry: Labelled, content: str) -> str:
    """The entry's name, or its content: at most 100 characters, numbered from the second on.

    A content that is too long ends in a digest of the whole instead, so that two long ones
    that begin alike stay apart.
    """
    if entry.name is not None:
        return entry.name
    if len(content) > _LONGEST:
        digest = sha256(content.encode()).hexdigest()[:_DIGEST]
        content = f"{content[: _LONGEST - _DIGEST - 1]}~{digest}"
    return content if entry.ordinal == 1 else f"{content} ({entry.ordinal})"


def side(address: str, protocols: tuple[str, ...], ports: object | None) -> str:
    """An address with the protocols and ports that are meant there: `[2001:db8::1]:tcp/80`."""
    if not protocols:
        return address
    bracketed = f"[{address}]" if ":" in address and not address.startswith("uplink") else address
    port = "" if ports is None else f"/{ports}"
    return f"{bracketed}:{','.join(protocols)}{port}"


def selector(lead: str, *parts: object | None) -> str:
    """The parts after their lead, or nothing when there are none."""
    said = [str(part) for part in parts if part is not None]
    return lead + ",".join(said) if said else ""
