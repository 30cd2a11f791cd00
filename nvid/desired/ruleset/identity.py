"""Names in the table that stand for one translation, the same after every reload."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2s

from nvid.configuration.translations import Dnat, Snat, Static
from nvid.configuration.types import Nvi

Translation = Static | Dnat | Snat


def kind_of(translation: Translation) -> str:
    """``static``, ``dnat`` or ``snat``."""
    return type(translation).__name__.lower()


def _identity(nvi: Nvi, translation: Translation) -> str:
    words = "\0".join((nvi.name, kind_of(translation), translation.label))
    return f"{kind_of(translation)}_{blake2s(words.encode(), digest_size=6).hexdigest()}"


def chain_name(nvi: Nvi, translation: Translation) -> str:
    """The chain of an snat entry: ``snat_9f2c…``."""
    return _identity(nvi, translation)


def counter_name(nvi: Nvi, translation: Translation) -> str:
    """The named counter of a translation; it lives as long as the label stays."""
    return _identity(nvi, translation)


@dataclass(frozen=True, slots=True)
class Counted:
    """What a named counter counts: the labels of ``nvid_translation_packets_total``."""

    counter: str
    nvi: str
    kind: str
    label: str


def counted(nvis: tuple[Nvi, ...]) -> tuple[Counted, ...]:
    """Every translation with its counter, in file order."""
    return tuple(
        Counted(counter_name(nvi, each), nvi.name, kind_of(each), each.label)
        for nvi in nvis
        for each in translations(nvi)
    )


def translations(nvi: Nvi) -> tuple[Translation, ...]:
    """All entries of an NVI that translate, in file order by kind."""
    return (*nvi.statics, *nvi.dnats, *nvi.snats)
