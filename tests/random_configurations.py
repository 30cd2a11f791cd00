"""Hypothesis strategies for configurations that nvid accepts, as values and as text.

Addresses are drawn from small spaces, so that entries meet: nested sources, shared pools,
neighbouring prefixes. What the checks of the configuration refuse is thrown away.
"""

from __future__ import annotations

from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from nvid.configuration import checks
from nvid.configuration.convert import convert
from nvid.configuration.types import Configuration

Entry = dict[str, Any]

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_IN_INTERFACES = _LETTERS + "0123456789_.:-"

interface_names = st.text(_IN_INTERFACES, min_size=1, max_size=15).filter(
    lambda name: name not in (".", "..", "lo")
)
nvi_names = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,13}", fullmatch=True)
uplink_names = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,31}", fullmatch=True)
labels = st.text(min_size=1, max_size=30).filter(
    lambda text: text.isprintable() and not set(text) & set("\"'`\\") and text.strip()
)

_ports = st.one_of(
    st.integers(1, 65535),
    st.tuples(st.integers(1, 65535), st.integers(1, 65535)).map(
        lambda ends: f"{min(ends)}-{max(ends)}" if ends[0] != ends[1] else ends[0]
    ),
)


def _prefixes(base: str, length: int, bits: int) -> st.SearchStrategy[str]:
    """Prefixes of ``length`` minus 0 to 3 bits inside a space of ``bits`` bits (IPv4)."""
    first, second, third, _ = (int(part) for part in base.split("."))

    def prefix(drawn: tuple[int, int]) -> str:
        number, wider = drawn
        number &= ~((1 << wider) - 1)
        start = (third << 8) + number
        return f"{first}.{second}.{start >> 8}.{start & 255}/{length - wider}"

    return st.tuples(st.integers(0, (1 << bits) - 1), st.integers(0, 3)).map(prefix)


_inside4 = _prefixes("10.1.0.0", 32, 6)
_global4 = _prefixes("198.51.100.0", 32, 7)
_inside6 = st.tuples(st.integers(0, 15), st.sampled_from((128, 124, 64))).map(
    lambda drawn: f"fd00:{drawn[0]:x}::/{drawn[1]}"
)
_global6 = st.tuples(st.integers(0, 15), st.sampled_from((128, 124, 64))).map(
    lambda drawn: f"2001:db8:{drawn[0]:x}::/{drawn[1]}"
)


@st.composite
def _static(draw: st.DrawFn) -> Entry:
    if draw(st.booleans()):
        local = draw(_inside4)
        outside = draw(_global4.filter(lambda each: each[-3:] == local[-3:]))
    else:
        local = draw(_inside6)
        length = local.partition("/")[2]
        outside = f"2001:db8:{draw(st.integers(0, 15)):x}::/{length}"
    return {"local": local, "global": outside}


@st.composite
def _dnat(draw: st.DrawFn) -> Entry:
    ipv4 = draw(st.booleans())
    entry: Entry = {"destination": draw(_global4 if ipv4 else _global6)}
    host = f"10.1.0.{draw(st.integers(1, 60))}" if ipv4 else f"fd00::{draw(st.integers(1, 60)):x}"
    protocols = draw(st.sampled_from(((), ("tcp",), ("udp",), ("tcp", "udp"), ("gre",), ("sctp",))))
    if protocols:
        entry["protocol"] = list(protocols)
    to_port = ""
    if protocols != ("gre",):
        if draw(st.booleans()):
            entry["port"] = draw(_ports)
        if draw(st.booleans()):
            to_port = f":{draw(st.integers(1, 65535))}"
    entry["to"] = f"{host}{to_port}" if ipv4 or not to_port else f"[{host}]{to_port}"
    if draw(st.booleans()):
        entry["source"] = (
            draw(st.sampled_from(("192.0.2.0/24", "198.18.0.0/15")))
            if ipv4
            else ("2001:db8:f::/64")
        )
    if draw(st.booleans()):
        entry["to"] = [entry["to"], {"address": host.replace("::", "::1:"), "weight": 3}]
        if to_port:
            entry["to"][1]["port"] = int(to_port[1:])
        if ipv4:
            entry["to"][1]["address"] = "10.1.0.61"
    return entry


@st.composite
def _snat(draw: st.DrawFn, uplinks: list[str]) -> Entry:
    ipv4, ipv6 = draw(st.sampled_from(((True, False), (False, True), (True, True))))
    targets: list[Any] = ["none"]
    pools = st.lists(_global4, min_size=1, max_size=3) if ipv4 else st.just([])
    more = st.lists(_global6, min_size=1, max_size=2) if ipv6 else st.just([])
    targets.append([*draw(pools), *draw(more)])
    if uplinks:
        targets += ["uplink", f"uplink:{draw(st.sampled_from(uplinks))}"]
    entry: Entry = {"to": draw(st.sampled_from(targets))}
    sources = [*(draw(st.lists(_inside4, max_size=3)) if ipv4 else ())]
    sources += draw(st.lists(_inside6, max_size=2)) if ipv6 else []
    if sources:
        entry["source"] = sources
    if draw(st.booleans()):
        entry["limit"] = draw(st.integers(1, 5000))
    if isinstance(entry["to"], list) and draw(st.booleans()):
        entry["mapping"] = "endpoint-independent"
    if draw(st.booleans()):
        entry["destination"] = [f"!{draw(_global4 if ipv4 else _global6)}"]
    if draw(st.booleans()):
        entry["protocol"] = draw(st.sampled_from(("tcp", "udp")))
        if draw(st.booleans()):
            entry["port"] = draw(_ports)
    return entry


def _labelled(entries: list[Entry], names: list[str | None]) -> list[Entry]:
    return [
        entry if name is None else {**entry, "name": name}
        for entry, name in zip(entries, [*names, *[None] * len(entries)], strict=False)
    ]


def _route(uplinks: list[str], interfaces: list[str]) -> st.SearchStrategy[Entry]:
    ways: tuple[tuple[str, st.SearchStrategy[object]], ...] = (
        ("via", st.lists(st.sampled_from(uplinks), min_size=1, max_size=2, unique=True)),
        ("table", st.sampled_from((100, 254, 2**32 - 1))),
        ("action", st.sampled_from(("unreachable", "blackhole", "prohibit"))),
    )
    optional: dict[str, st.SearchStrategy[object]] = {
        "source": st.lists(st.one_of(_global4, _global6), min_size=1, max_size=2),
        "destination": st.lists(st.one_of(_global4, _global6), min_size=1, max_size=2),
        "ingress": st.lists(st.sampled_from(interfaces), min_size=1, max_size=2, unique=True),
        "protocol": st.lists(st.sampled_from(("tcp", "udp")), min_size=1, max_size=2, unique=True),
        "port": st.integers(1, 65535),
        "dscp": st.integers(0, 63),
    }
    return st.one_of(*(st.fixed_dictionaries({key: way}, optional=optional) for key, way in ways))


@st.composite
def _nvi(draw: st.DrawFn, uplinks: list[str], interfaces: list[str]) -> Entry:
    names = draw(st.lists(st.one_of(st.none(), labels), max_size=4))
    nvi: Entry = {
        "interfaces": interfaces,
        "path": draw(st.sampled_from(("first-packet", "every-packet"))),
        "on_failure": draw(st.sampled_from(("closed", "open"))),
        "reach": draw(st.sampled_from(([], ["arp"], ["route"], ["arp", "route"]))),
        "static": _labelled(draw(st.lists(_static(), max_size=4)), names),
        "dnat": _labelled(draw(st.lists(_dnat(), max_size=4)), names),
        "snat": _labelled(draw(st.lists(_snat(uplinks), max_size=6)), names),
    }
    ports = {"ftp": 21, "tftp": 69, "sip": 5060}
    helpers = draw(st.lists(st.sampled_from(sorted(ports)), max_size=2, unique=True))
    if helpers:
        nvi["helpers"] = {name: ports[name] for name in helpers}
    if uplinks:
        nvi["route"] = draw(st.lists(_route(uplinks, interfaces), max_size=4))
    return nvi


@st.composite
def tables(draw: st.DrawFn) -> Entry:
    """A merged TOML table, accepted or not."""
    uplinks = draw(st.lists(uplink_names, max_size=3, unique=True))
    names = draw(st.lists(nvi_names, min_size=1, max_size=2, unique=True))
    interfaces = draw(st.lists(interface_names, min_size=3, max_size=6, unique=True))
    data: Entry = {
        "uplink": {
            name: {
                "interface": interfaces[place % len(interfaces)],
                "gateway": [f"203.0.113.{place + 1}", f"2001:db8:ffff::{place + 1}"],
                "priority": draw(st.integers(1, 2)),
                "weight": draw(st.integers(1, 5)),
            }
            for place, name in enumerate(uplinks)
        },
        "nvi": {
            name: draw(_nvi(uplinks, interfaces[place :: len(names)]))
            for place, name in enumerate(names)
        },
    }
    first = draw(st.integers(0, 22))
    width = draw(st.integers(10, 32 - first))
    data["daemon"] = {"fwmark_mask": ((1 << width) - 1) << first}
    return data


@st.composite
def accepted(draw: st.DrawFn) -> Configuration:
    """A configuration in which no check finds anything."""
    converted = convert(draw(tables()))
    wanted = converted.configuration
    assume(not converted.findings)
    assume(not list(checks.check(wanted, converted.declared)))
    return wanted
