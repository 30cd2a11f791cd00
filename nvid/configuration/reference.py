"""Prints the reference of the configuration language, docs/reference.md, from the types.

python -m nvid.configuration.reference > docs/reference.md
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator

from msgspec import Struct

from nvid.configuration.keys import Field, fields_of
from nvid.configuration.types import (
    Conntrack,
    Daemon,
    Dnat,
    Nvi,
    Route,
    Snat,
    Static,
    Tenant,
    TenantRoute,
    Uplink,
    UplinkCheck,
)

SECTIONS: tuple[tuple[str, type[Struct]], ...] = (
    ("[daemon]", Daemon),
    ("[conntrack]", Conntrack),
    ("[uplink.NAME]", Uplink),
    ("[uplink.NAME] check", UplinkCheck),
    ("[tenant.NAME]", Tenant),
    ("[tenant.NAME] routes", TenantRoute),
    ("[nvi.NAME]", Nvi),
    ("[[nvi.NAME.static]]", Static),
    ("[[nvi.NAME.dnat]]", Dnat),
    ("[[nvi.NAME.snat]]", Snat),
    ("[[nvi.NAME.route]]", Route),
)

_OPENING = """\
# Configuration reference

<!-- Printed by `python -m nvid.configuration.reference` from nvid/configuration; not edited. -->

The configuration is TOML: `/etc/nvid/nvid.toml`, then `/etc/nvid/nvid.d/*.toml` in the order of
their names. `nvid check` reads it all and reports every problem at once, with file, line, key and
what would be accepted.

## Rules

- A drop-in adds tables, and `[[...]]` entries after those of earlier files. Nothing is said twice:
  a table or key that stands in two files is an error that names both.
- An unknown key is an error.
- Where a list is expected, a single value is one too: `source = "10.1.0.0/16"`.
- IPv4 and IPv6 are accepted everywhere. A prefix has no host bits set; an address has no zone.
- Times have a unit: `"250ms"`, `"60s"`, `"2m"`, `"1h"`, `"1d"`.
- Interfaces are named exactly, or by a beginning and a `*`: `"vlan*"`.
- The name of an NVI is a letter and up to 13 letters, digits, `_` or `-`; the pair's peer end has a
  `p` after it. Names of uplinks and tenants may have 32 characters.
- `snat` and `route` entries are tried in the order of the files, and the first that matches
  decides. `static` and `dnat` entries do not overlap, so their order does not matter.
"""


def reference() -> str:
    """The whole reference, in Markdown."""
    return _OPENING + "".join(f"\n{_section(heading, kind)}" for heading, kind in SECTIONS)


def _section(heading: str, kind: type[Struct]) -> str:
    lines = [f"## `{heading}`", "", inspect.getdoc(kind) or ""]
    written: set[str] = set()
    for field in fields_of(kind):
        if field.key.toml not in written:
            written.add(field.key.toml)
            lines += ["", *_field(field, kind)]
    return "\n".join(lines) + "\n"


def _field(field: Field, kind: type[Struct]) -> Iterator[str]:
    key = field.key
    yield f"### `{key.toml}`"
    yield ""
    yield f"{key.meaning[0].upper()}{key.meaning[1:]}."
    yield ""
    yield f"- Write {key.reader.accepts}."
    if field.required:
        yield "- Required."
    elif key.default is not None:
        yield f"- When absent: `{key.default}`."
    else:
        yield f"- When absent: {key.absent}."
    yield f"- Example: `{key.toml} = {key.example}`"


if __name__ == "__main__":
    sys.stdout.write(reference())
