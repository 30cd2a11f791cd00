"""ip rules with nvid's protocol number, inside its window of priorities."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

from pyroute2 import IPRoute

from nvid.desired.objects import Family, Rule
from nvid.difference import Change
from nvid.kernel.netlink import AF_FAMILY, dump, refusing
from nvid.names import RuleOffset

FR_ACT = {"to_table": 1, "goto": 2, "blackhole": 6, "unreachable": 7, "prohibit": 8}
_ACTION = {number: name for name, number in FR_ACT.items()}
_FAMILY: dict[int, Family] = {socket.AF_INET: 4, socket.AF_INET6: 6}
_NO_SUPPRESSION = 0xFFFFFFFF


def observe(ipr: IPRoute, protocol: int) -> tuple[Rule, ...]:
    """Every rule with nvid's protocol number (FRA_PROTOCOL, Linux 4.17)."""
    return tuple(
        _rule(message)
        for family in (socket.AF_INET, socket.AF_INET6)
        for message in dump(ipr, "rule", family=family)
        if message.get("protocol") == protocol
    )


def foreign(ipr: IPRoute, protocol: int, base: int) -> set[str]:
    """Rules of others inside nvid's window of priorities, in words."""
    return {
        f"{_rule(message)} is somebody else's, inside nvid's priorities {base} to "
        f"{base + RuleOffset.LAST}; move it, or set [daemon] rule_priority"
        for family in (socket.AF_INET, socket.AF_INET6)
        for message in dump(ipr, "rule", family=family)
        if message.get("protocol") != protocol
        and base <= (message.get("priority") or 0) <= base + RuleOffset.LAST
    }


def _rule(message: Any) -> Rule:
    action = _ACTION.get(message["action"], "to_table")
    mark, mask = message.get("fwmark"), message.get("fwmask")
    suppress = message.get("suppress_prefixlen")
    return Rule(
        family=_FAMILY[message["family"]],
        priority=message.get("priority") or 0,
        fwmark=(mark or 0) if mask else None,
        fwmask=mask or 0,
        input_interface=message.get("iifname"),
        source=None if message.get("src") is None else ip_address(message.get("src")),
        table=(message.get("table") or message["table"]) if action == "to_table" else None,
        action=action,  # type: ignore[arg-type]
        target=message.get("goto") if action == "goto" else None,
        suppress_prefix_length=None if suppress in (None, _NO_SUPPRESSION, -1) else suppress,
    )


def make(ipr: IPRoute, changes: Iterable[Change[Rule]], protocol: int) -> None:
    """Add what is missing."""
    for change in changes:
        if change.after is not None:
            _send(ipr, "add", change.after, protocol)


def remove(ipr: IPRoute, changes: Iterable[Change[Rule]], protocol: int) -> None:
    """Delete what is not wanted."""
    for change in changes:
        if change.after is None and change.before is not None:
            _send(ipr, "del", change.before, protocol)


def _send(ipr: IPRoute, command: str, rule: Rule, protocol: int) -> None:
    fields: dict[str, Any] = {
        "family": AF_FAMILY[rule.family],
        "priority": rule.priority,
        "action": FR_ACT[rule.action],
        "protocol": protocol,
    }
    if rule.fwmark is not None:
        fields |= {"fwmark": rule.fwmark, "fwmask": rule.fwmask}
    if rule.source is not None:
        fields |= {"src": str(rule.source), "src_len": rule.source.max_prefixlen}
    if rule.input_interface is not None:
        fields["iifname"] = rule.input_interface
    if rule.table is not None:
        fields["table"] = rule.table
    if rule.target is not None:
        fields["goto"] = rule.target
    if rule.suppress_prefix_length is not None:
        fields["suppress_prefixlen"] = rule.suppress_prefix_length
    with refusing(rule, gone_is_fine=command == "del"):
        ipr.rule(command, **fields)
