"""From a TOML table to the typed configuration, key by key, so that every fault is found.

What is wrong is left out or replaced by its default, and the rest goes on: the semantic checks
can then still say what they find in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from nvid.configuration import readers as read
from nvid.configuration.findings import Finding
from nvid.configuration.keys import Field, fields_of
from nvid.configuration.places import Place, parse, spell
from nvid.configuration.reading import TableOf, TablesOf, Unacceptable, nearest, wrong_kind
from nvid.configuration.types import (
    Configuration,
    Conntrack,
    Daemon,
    Dnat,
    Entry,
    Nvi,
    Route,
    Snat,
    Static,
    Tenant,
    Uplink,
)

Kind = TypeVar("Kind", bound=Struct)


_SECTIONS = ("daemon", "conntrack", "uplink", "tenant", "nvi")
_IMPLIED_PROTOCOLS = ("tcp", "udp")


class Declared(Struct, frozen=True):
    """The names that the files declare, those included whose content could not be read."""

    uplinks: frozenset[str]
    tenants: frozenset[str]


class Converted(Struct, frozen=True):
    """What could be read, and what was wrong with the rest."""

    configuration: Configuration
    declared: Declared
    findings: tuple[Finding, ...]


def convert(data: dict[str, Any], *, whole: bool = True) -> Converted:
    """Reads a merged TOML table.

    `whole` is False when a file is missing from it: then nothing is reported as absent.
    """
    converter = _Converter(whole=whole)
    configuration = converter.configuration(data)
    declared = Declared(*(frozenset(_keys(data.get(key))) for key in ("uplink", "tenant")))
    return Converted(configuration, declared, tuple(dict.fromkeys(converter.findings)))


def _keys(section: object) -> Iterable[str]:
    return section if isinstance(section, dict) else ()


class _Converter:
    def __init__(self, *, whole: bool) -> None:
        self.findings: list[Finding] = []
        self._whole = whole

    def configuration(self, data: dict[str, Any]) -> Configuration:
        self._unknown(data, _SECTIONS, ())
        conntrack = None
        if "conntrack" in data:
            conntrack = self._table(Conntrack, data["conntrack"], ("conntrack",))
        return Configuration(
            self._partial(Daemon, data.get("daemon", {}), ("daemon",)) or Daemon(),
            conntrack,
            tuple(self._named(Uplink, data.get("uplink", {}), "uplink")),
            tuple(self._named(Tenant, data.get("tenant", {}), "tenant")),
            tuple(self._nvis(data.get("nvi", {}))),
        )

    def _named(self, kind: type[Kind], section: object, key: str) -> Iterable[Kind]:
        """The tables of a section, each under its name."""
        for name, table in self._section(section, key):
            place = (key, name)
            if self._read(read.name, name, place) is None:
                continue
            if (value := self._table(kind, table, place, name=name)) is not None:
                yield value

    def _nvis(self, section: object) -> Iterable[Nvi]:
        for name, table in self._section(section, "nvi"):
            place = ("nvi", name)
            if self._read(read.nvi_name, name, place) is None:
                continue
            nvi = self._partial(Nvi, table, place, name=name, interfaces=())
            if nvi is not None:
                yield nvi

    def _section(self, section: object, key: str) -> Iterable[tuple[str, object]]:
        if isinstance(section, dict):
            return section.items()
        self._faults(wrong_kind(section, f"a table for each: [{key}.NAME]"), (key,))
        return ()

    def _table(self, kind: type[Kind], raw: object, place: Place, **given: object) -> Kind | None:
        """A table whose every key must be right; None after a fault."""
        before = len(self.findings)
        value = self._partial(kind, raw, place, **given)
        return value if len(self.findings) == before else None

    def _partial(self, kind: type[Kind], raw: object, place: Place, **given: object) -> Kind | None:
        """A table in which what is wrong counts as absent; None if a required key is missing then.

        `given` are fields that do not come from keys, and stand-ins for required ones.
        """
        if not isinstance(raw, dict):
            self._faults(wrong_kind(raw, f"a table: [{spell(place)}]"), place)
            return None
        fields = fields_of(kind)
        self._unknown(raw, [field.key.toml for field in fields], place)
        values = dict(given)
        for field in fields:
            if field.key.toml in raw:
                value = self._field(field, raw[field.key.toml], place)
                if value is not None:
                    values[field.name] = value.found
            elif field.required:
                self._missing(field, place)
        if any(field.required and field.name not in values for field in fields):
            return None
        return kind(**values)

    def _field(self, field: Field, raw: object, around: Place) -> _Read | None:
        place = (*around, field.key.toml)
        match field.key.reader:
            case TableOf(kind=kind):
                value = self._table(kind, raw, place)
                return None if value is None else _Read(value)
            case TablesOf(kind=kind):
                return self._tables(kind, field, raw, place)
            case reader:
                return self._read(reader, raw, place)

    def _tables(self, kind: type[Struct], field: Field, raw: object, place: Place) -> _Read | None:
        tables = self._read(field.key.reader, raw, place)
        if tables is None:
            return None
        entries = []
        for index, table in enumerate(tables.found):
            at = (*place, index)
            given = {"key_path": spell(at)} if kind in (Static, Dnat, Snat, Route) else {}
            if (value := self._table(kind, table, at, **given)) is not None:
                entries.append(_with_protocols(value))
        return _Read(self._labelled(entries))

    def _labelled(self, entries: list[Any]) -> tuple[Any, ...]:
        """Numbers the entries of one content, and refuses names that are taken."""
        if not entries or not isinstance(entries[0], Entry):
            return tuple(entries)
        counts: Counter[str] = Counter()
        numbered = []
        for entry in entries:
            if entry.name is None:
                counts[entry.label] += 1
                numbered.append(replace(entry, ordinal=counts[entry.label]))
            else:
                numbered.append(entry)
        owners: dict[str, str] = {
            entry.label: entry.key_path for entry in numbered if entry.name is None
        }
        for entry in numbered:
            if entry.name is None:
                continue
            owner = owners.setdefault(entry.name, entry.key_path)
            if owner != entry.key_path:
                self.findings.append(
                    Finding(
                        f"{entry.key_path}.name",
                        f'the label "{entry.name}" belongs to',
                        "write another one, or none",
                        also=owner,
                    )
                )
        return tuple(numbered)

    def _unknown(self, raw: dict[str, Any], known: Iterable[str], place: Place) -> None:
        known = list(dict.fromkeys(known))
        for key in raw:
            if key in known:
                continue
            like = nearest(key, known)
            remedy = f"did you mean {like}?" if like else f"known here are {', '.join(known)}"
            self.findings.append(Finding(spell((*place, key)), "there is no such key", remedy))

    def _missing(self, field: Field, place: Place) -> None:
        if self._whole:
            remedy = f"add {field.key.toml} = {field.key.example}"
            message = f'"{field.key.toml}" is missing'
            self.findings.append(Finding(spell(place), message, remedy))

    def _read(self, reader: read.Reader[Any], raw: object, place: Place) -> _Read | None:
        try:
            return _Read(reader(raw))
        except Unacceptable as wrong:
            self._faults(wrong, place)
            return None

    def _faults(self, wrong: Unacceptable, place: Place) -> None:
        for fault in wrong.faults:
            # A fault's own way begins with a dot or a bracket; the parser wants a key first.
            inner = parse(f"x{fault.at}")[1:]
            self.findings.append(Finding(spell((*place, *inner)), fault.message, fault.remedy))


class _Read(Struct, frozen=True):
    """A value that was read; it may be None itself."""

    found: Any


def _with_protocols(entry: Kind) -> Kind:
    """The entry, with the protocols that its ports imply when it names none."""
    if not isinstance(entry, Dnat | Snat | Route) or entry.protocols:
        return entry
    ported = entry.ports is not None
    if isinstance(entry, Dnat):
        ported = ported or any(target.ports is not None for target in entry.targets)
    return replace(entry, protocols=_IMPLIED_PROTOCOLS) if ported else entry
