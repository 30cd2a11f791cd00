"""Filters of traffic control that send packets back into the interface that they leave by.

A filter hangs on the egress side of a clsact qdisc (tc-bpf(8)). Its classifier is a classic BPF
program that reads the mark: cls_bpf and act_mirred are in every distribution's kernel, and a
classic program needs no more than CAP_NET_ADMIN. Whose a filter is, its action's cookie says. A
qdisc that others made serves as well; nvid deletes the one that it made itself, and only while
nobody else has a filter there.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pyroute2.netlink.exceptions import NetlinkError

from nvid import names
from nvid.desired.objects import Redirect
from nvid.difference import Change
from nvid.errors import KernelRefused
from nvid.kernel import rtnetlink, wire
from nvid.kernel.netlink import refusing

# linux/rtnetlink.h and linux/pkt_sched.h.
_RTM_NEWQDISC, _RTM_DELQDISC, _RTM_GETQDISC = 36, 37, 38
_RTM_NEWTFILTER, _RTM_DELTFILTER, _RTM_GETTFILTER = 44, 45, 46
_HEADER = struct.Struct("=BxxxiIII")
"""struct tcmsg: family, interface index, handle, parent, preference and protocol."""
_CLSACT_HANDLE, _CLSACT = 0xFFFF0000, 0xFFFFFFF1
_KIND = "clsact"
_INGRESS, _EGRESS = 0xFFFFFFF2, 0xFFFFFFF3
_ALL_PROTOCOLS = 0x0300
"""ETH_P_ALL in network byte order."""
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_BPF_ACT, _TCA_BPF_OPS_LEN, _TCA_BPF_OPS = 1, 4, 5
_TCA_ACT_KIND, _TCA_ACT_OPTIONS, _TCA_ACT_COOKIE = 1, 2, 6
_TCA_MIRRED_PARMS = 2
_NESTED = 0x8000
_STOLEN, _INGRESS_REDIRECT = 4, 3
"""TC_ACT_STOLEN and TCA_INGRESS_REDIR (linux/tc_act/tc_mirred.h)."""
_MIRRED = struct.Struct("=IIiiiiI")
_INSTRUCTION = struct.Struct("=HBBI")
"""struct sock_filter: code, two jumps, and a constant."""
_MARK = 0xFFFFF000 + 20
"""SKF_AD_OFF + SKF_AD_MARK (linux/filter.h): loads skb->mark."""


_PROGRAM = ((0x20, 0, 0), (0x54, 0, 0), (0x15, 0, 1), (0x06, 0, 0), (0x06, 0, 0))
"""Load a word, keep some bits of it, compare; return one of two answers (linux/bpf_common.h)."""
_MATCH = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class _Filter:
    """What a filter shows of itself; ``own`` where it has nvid's cookie."""

    preference: int
    handle: int
    kind: str
    own: bool
    program: bytes
    target: tuple[int, int]


def observe(indexes: Mapping[str, int]) -> tuple[Redirect, ...]:
    """nvid's filter on lo. One that somebody has changed is shown without a mark."""
    index = indexes.get(names.LOOPBACK, 0)
    found = [each for each in _filters(index, _EGRESS) if each.own]
    return (_redirect(found, index),) if found else ()


def foreign(indexes: Mapping[str, int], wanted: Iterable[Redirect]) -> dict[str, str]:
    """Filters of others with the preference of nvid's, in words by interface."""
    return {
        redirect.device: f"a filter of {each.kind} with preference {each.preference} on "
        f"{redirect.device} is somebody else's, where nvid would have its own; remove it: "
        f"tc filter delete dev {redirect.device} egress preference {each.preference}"
        for redirect in wanted
        for each in _filters(indexes.get(redirect.device, 0), _EGRESS)
        if each.preference == names.FILTER_PREFERENCE
        and not each.own
        and (each.kind != "bpf" or each.handle == names.FILTER_HANDLE)
    }


def has_qdisc(index: int) -> bool:
    """Whether the interface has a qdisc of filters, whoever made it."""
    return _qdisc(index) is not None


def _qdisc(index: int) -> str | None:
    """The kind of the interface's qdisc of filters; None without one."""
    for body in rtnetlink.dump(_RTM_GETQDISC, _HEADER.pack(0, index, 0, 0, 0)):
        _, device, _, parent, _ = _HEADER.unpack_from(body)
        if (device, parent) == (index, _CLSACT):
            kind = wire.attributes(body[_HEADER.size :])[_TCA_KIND]
            return bytes(kind).rstrip(b"\0").decode()
    return None


def _redirect(found: list[_Filter], index: int) -> Redirect:
    """The filter as it would have been asked for; marks of 0 where nobody would ask so."""
    first = found[0]
    as_made = (names.FILTER_PREFERENCE, names.FILTER_HANDLE, (_INGRESS_REDIRECT, index))
    if len(found) == 1 and (first.preference, first.handle, first.target) == as_made:
        constants = [words[3] for words in _INSTRUCTION.iter_unpack(first.program)]
        if len(constants) == len(_PROGRAM):
            redirect = Redirect(names.LOOPBACK, constants[2], constants[1])
            if _program(redirect) == first.program:
                return redirect
    return Redirect(names.LOOPBACK, 0, 0)


def _filters(index: int, side: int) -> Iterator[_Filter]:
    try:
        for body in rtnetlink.dump(_RTM_GETTFILTER, _HEADER.pack(0, index, 0, side, 0)):
            _, _, handle, _, info = _HEADER.unpack_from(body)
            attributes = wire.attributes(body[_HEADER.size :])
            if _TCA_OPTIONS in attributes and handle:
                kind = bytes(attributes[_TCA_KIND]).rstrip(b"\0").decode()
                yield _filter(info >> 16, handle, kind, attributes[_TCA_OPTIONS])
    except NetlinkError as error:
        # No such qdisc: no filters.
        if error.code not in (errno.EINVAL, errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV):
            raise


def _filter(preference: int, handle: int, kind: str, options: memoryview) -> _Filter:
    if kind != "bpf":
        return _Filter(preference, handle, kind, False, b"", (0, 0))
    found = wire.attributes(options)
    cookie, target = b"", (0, 0)
    for action in wire.attributes(found.get(_TCA_BPF_ACT, memoryview(b""))).values():
        parts = wire.attributes(action)
        cookie = bytes(parts.get(_TCA_ACT_COOKIE, b""))
        parameters = wire.attributes(parts.get(_TCA_ACT_OPTIONS, memoryview(b"")))
        if _TCA_MIRRED_PARMS in parameters:
            *_, direction, device = _MIRRED.unpack_from(parameters[_TCA_MIRRED_PARMS])
            target = (direction, device)
    program = bytes(found.get(_TCA_BPF_OPS, b""))
    return _Filter(preference, handle, kind, cookie == names.FILTER_COOKIE, program, target)


def _program(redirect: Redirect) -> bytes:
    constants = (_MARK, redirect.fwmask, redirect.fwmark, _MATCH, 0)
    return b"".join(
        _INSTRUCTION.pack(*words, constant)
        for words, constant in zip(_PROGRAM, constants, strict=True)
    )


def make(changes: Iterable[Change[Redirect]], indexes: Mapping[str, int]) -> None:
    """Put filters, and the qdisc that they hang on, in their places."""
    for change in changes:
        if change.after is None:
            continue
        index = indexes[change.after.device]
        with refusing(change.after):
            _make_qdisc(index)
        if _qdisc(index) != _KIND:
            # The one other kind would take the filter, and hang it on the other side.
            raise KernelRefused(
                f"{change.after}: there is a qdisc ingress already, which has no egress side; "
                f"remove it (tc qdisc delete dev {change.after.device} ingress), {_KIND} serves "
                "for both"
            )
        if change.before is not None:
            _delete_own(change.before, index)
        try:
            with refusing(change.after):
                rtnetlink.change(
                    _RTM_NEWTFILTER,
                    _request(change.after, index),
                    rtnetlink.CREATE | rtnetlink.EXCLUSIVE,
                )
        except KernelRefused as error:
            raise KernelRefused(
                f"{error}; the loopback backend needs sch_ingress, cls_bpf and act_mirred in the "
                'kernel: load them, or write backend = "veth"'
            ) from error


def _make_qdisc(index: int) -> None:
    body = _HEADER.pack(0, index, _CLSACT_HANDLE, _CLSACT, 0)
    body += wire.attribute(_TCA_KIND, _KIND.encode() + b"\0")
    try:
        rtnetlink.change(_RTM_NEWQDISC, body, rtnetlink.CREATE | rtnetlink.EXCLUSIVE)
    except NetlinkError as error:
        if error.code != errno.EEXIST:
            raise


def _request(redirect: Redirect, index: int) -> bytes:
    program = _program(redirect)
    mirred = _MIRRED.pack(0, 0, _STOLEN, 0, 0, _INGRESS_REDIRECT, index)
    action = (
        wire.attribute(_TCA_ACT_KIND, b"mirred\0")
        + wire.attribute(_TCA_ACT_OPTIONS | _NESTED, wire.attribute(_TCA_MIRRED_PARMS, mirred))
        + wire.attribute(_TCA_ACT_COOKIE, names.FILTER_COOKIE)
    )
    options = (
        wire.attribute(_TCA_BPF_ACT | _NESTED, wire.attribute(1 | _NESTED, action))
        + wire.attribute(_TCA_BPF_OPS_LEN, struct.pack("=H", len(program) // _INSTRUCTION.size))
        + wire.attribute(_TCA_BPF_OPS, program)
    )
    return (
        _filter_header(index, names.FILTER_HANDLE, names.FILTER_PREFERENCE)
        + wire.attribute(_TCA_KIND, b"bpf\0")
        + wire.attribute(_TCA_OPTIONS | _NESTED, options)
    )


def _filter_header(index: int, handle: int, preference: int) -> bytes:
    return _HEADER.pack(0, index, handle, _EGRESS, preference << 16 | _ALL_PROTOCOLS)


def remove(
    changes: Iterable[Change[Redirect]], indexes: Mapping[str, int], *, own_qdisc: bool
) -> None:
    """Delete what is not wanted; the qdisc too where nvid made it and it is empty."""
    for change in changes:
        if change.after is None and change.before is not None:
            index = indexes[change.before.device]
            _delete_own(change.before, index)
            if own_qdisc and not [*_filters(index, _INGRESS), *_filters(index, _EGRESS)]:
                body = _HEADER.pack(0, index, _CLSACT_HANDLE, _CLSACT, 0)
                with refusing(change.before, gone_is_fine=True):
                    rtnetlink.change(_RTM_DELQDISC, body)


def _delete_own(redirect: Redirect, index: int) -> None:
    for each in tuple(_filters(index, _EGRESS)):
        if each.own:
            body = _filter_header(index, each.handle, each.preference)
            body += wire.attribute(_TCA_KIND, each.kind.encode() + b"\0")
            with refusing(redirect, gone_is_fine=True):
                rtnetlink.change(_RTM_DELTFILTER, body)
