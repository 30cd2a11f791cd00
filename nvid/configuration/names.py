"""Readers for names: interfaces, NVIs, uplinks, tenants, labels, conntrack timeouts, helpers.

Names end up in the kernel and in nftables rulesets, so each has a narrow alphabet.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from nvid.configuration.reading import (
    Fault,
    Reader,
    Unacceptable,
    list_reader,
    nearest,
    one_of,
    refuse,
    shown,
    text_reader,
    wrong_kind,
)
from nvid.configuration.scalars import duration, port
from nvid.configuration.values import Helper, InterfacePattern, Timeout

T = TypeVar("T")

LONGEST_INTERFACE = 15  # IFNAMSIZ is 16 with the final zero byte, linux/if.h
LONGEST_NVI = LONGEST_INTERFACE - 1  # the pair's peer end has one letter more
LONGEST_LABEL = 100

_INTERFACE = re.compile(r"[A-Za-z0-9_.:-]{1,15}")
_GLOB = re.compile(r"[A-Za-z0-9_.:-]{0,14}\*")
_NVI = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,13}")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")

# Documentation/networking/nf_conntrack-sysctl.rst: nf_conntrack_<protocol>_timeout[_<state>].
TIMEOUTS = (
    *("generic", "icmp", "icmpv6", "udp", "udp_stream", "gre", "gre_stream"),
    *(
        f"tcp_{state}"
        for state in (
            *("syn_sent", "syn_recv", "established", "fin_wait", "close_wait", "last_ack"),
            *("time_wait", "close", "max_retrans", "unacknowledged"),
        )
    ),
    *(
        f"sctp_{state}"
        for state in (
            *("closed", "cookie_wait", "cookie_echoed", "established", "shutdown_sent"),
            *("shutdown_recd", "shutdown_ack_sent", "heartbeat_sent"),
        )
    ),
    *(
        f"dccp_{state}"
        for state in ("request", "respond", "partopen", "open", "closereq", "closing", "timewait")
    ),
)

# The kernel's conntrack helpers that also translate what is said inside (net/netfilter).
HELPERS = ("ftp", "tftp", "sip", "irc", "amanda", "pptp")


def _interface(text: str) -> str:
    if _INTERFACE.fullmatch(text) is None or text in (".", ".."):
        if "*" in text:
            raise refuse(f"{shown(text)} is a glob", "write the exact name of one interface")
        raise refuse(f"{shown(text)} cannot be an interface", f"write {_INTERFACE_ACCEPTS}")
    return text


def _pattern(text: str) -> InterfacePattern:
    if _GLOB.fullmatch(text) is not None:
        return InterfacePattern(text)
    if "*" in text.rstrip("*") or text.endswith("**"):
        raise refuse(f"{shown(text)} has a * that is not at its end", f"write {_PATTERN_ACCEPTS}")
    if "*" in text:
        raise refuse(f"{shown(text)} cannot match an interface", f"write {_PATTERN_ACCEPTS}")
    return InterfacePattern(_interface(text))


def _nvi_name(text: str) -> str:
    if _NVI.fullmatch(text) is None:
        raise refuse(f"{shown(text)} cannot be the name of an NVI", f"write {_NVI_ACCEPTS}")
    return text


def _name(text: str) -> str:
    if _NAME.fullmatch(text) is None:
        raise refuse(f"{shown(text)} cannot be a name", f"write {_NAME_ACCEPTS}")
    return text


def _label(text: str) -> str:
    plain = text.isprintable() and not set(text) & set("\"'`\\")
    if not plain or not text.strip() or len(text) > LONGEST_LABEL:
        raise refuse(f"{shown(text)} cannot be a label", f"write {_LABEL_ACCEPTS}")
    return text


def _by_name(
    raw: object, known: tuple[str, ...], read: Callable[[str, object], T], accepts: str
) -> tuple[T, ...]:
    """The entries of a table that maps known words to values."""
    if not isinstance(raw, dict):
        raise wrong_kind(raw, accepts)
    values: list[T] = []
    faults: list[Fault] = []
    for word, part in raw.items():
        at = f".{word}" if _NAME.fullmatch(word) else ""
        if word not in known:
            like = nearest(word, known)
            meant = f"did you mean {like}? Known are" if like else "write one of"
            faults.append(
                Fault(f"{shown(word)} is not known here", f"{meant} {', '.join(known)}", at)
            )
            continue
        try:
            values.append(read(word, part))
        except Unacceptable as wrong:
            faults += [Fault(one.message, one.remedy, at + one.at) for one in wrong.faults]
    if faults:
        raise Unacceptable(*faults)
    return tuple(values)


def _timeout(word: str, raw: object) -> Timeout:
    seconds = _WHOLE_SECONDS(raw)
    if seconds != int(seconds):
        raise refuse(f"{shown(raw)} is not a whole number of seconds", 'write such as "30s"')
    return Timeout(word, int(seconds))


def _timeouts(raw: object) -> tuple[Timeout, ...]:
    return _by_name(raw, TIMEOUTS, _timeout, _TIMEOUTS_ACCEPT)


def _helpers(raw: object) -> tuple[Helper, ...]:
    return _by_name(raw, HELPERS, lambda word, part: Helper(word, port(part)), _HELPERS_ACCEPT)


_INTERFACE_ACCEPTS = "the name of an interface: 1 to 15 of A-Z a-z 0-9 _ . : -"
_PATTERN_ACCEPTS = 'the name of an interface, or the beginning of one and a * ("vlan*")'
_NVI_ACCEPTS = "a letter and up to 13 of A-Z a-z 0-9 _ - after it; the peer end is named with a p"
_NAME_ACCEPTS = "a letter and up to 31 of A-Z a-z 0-9 _ - after it"
_LABEL_ACCEPTS = "up to 100 printable characters without quotes and backslashes"
_WHOLE_SECONDS = duration(1, 30 * 86400)
_TIMEOUTS_ACCEPT = f"a table of times from 1s to 30d: {', '.join(TIMEOUTS)}"
_HELPERS_ACCEPT = f"a table of ports; helpers are {one_of(HELPERS)}"

interface = text_reader(_interface, _INTERFACE_ACCEPTS)
interfaces = list_reader(text_reader(_pattern, _PATTERN_ACCEPTS))
nvi_name = text_reader(_nvi_name, _NVI_ACCEPTS)
name = text_reader(_name, _NAME_ACCEPTS)
names = list_reader(name)
label = text_reader(_label, _LABEL_ACCEPTS)
timeouts: Reader[tuple[Timeout, ...]] = Reader(_timeouts, _TIMEOUTS_ACCEPT)
helpers: Reader[tuple[Helper, ...]] = Reader(_helpers, _HELPERS_ACCEPT)
