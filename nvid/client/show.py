"""Answers as text for people."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import Any

_GREEN, _YELLOW, _RED, _RESET = "\033[32m", "\033[33m", "\033[31m", "\033[0m"
_COLOURS = {
    "healthy": _GREEN,
    "up": _GREEN,
    "starting": _YELLOW,
    "degraded": _YELLOW,
    "down": _RED,
}


def coloured(word: str) -> str:
    """A state in its colour, on a terminal and without NO_COLOR (no-color.org)."""
    if not sys.stdout.isatty() or "NO_COLOR" in os.environ or word not in _COLOURS:
        return word
    return f"{_COLOURS[word]}{word}{_RESET}"


def status(data: dict[str, Any], now: float) -> str:
    """``nvid status``: the state first, then what each NVI and uplink does, then the repairs."""
    config, reconcile = data["config"], data["reconcile"]
    lines = [
        f"{coloured(data['state'])}: nvid {data['version']}, pid {data['pid']}",
        f"configuration {config['path']}, loaded {_ago(config['loaded_at'], now)}, "
        f"generation {config['generation']}",
        *_trial(config, now),
    ]
    for nvi in data["nvis"]:
        lines += _nvi(nvi)
    lines += [_uplink(uplink) for uplink in data["uplinks"]]
    lines += [_tenant(tenant) for tenant in data["tenants"]]
    lines += [f"problem: {problem}" for problem in reconcile["problems"]]
    lines.append(_repairs(reconcile, now))
    lines += [_repair(each, now) for each in reconcile["last_repairs"][-3:]]
    return "\n".join(lines)


def reloaded(data: dict[str, Any], now: float) -> str:
    """``nvid reload``: what it did, and what is left to do."""
    lines = [f"reloaded: {data['changes']} changes"]
    if data["confirm_deadline"] is not None:
        lines.append(_on_trial(data["confirm_deadline"], now))
    if data["restart"]:
        keys = ", ".join(data["restart"])
        lines.append(f"restart nvid for the changes of [daemon] {keys}")
    return "\n".join(lines)


def _on_trial(deadline: float, now: float) -> str:
    left = max(0, round(deadline - now))
    return f"on trial: it is taken back in {left} s unless 'nvid confirm' is said"


def _trial(config: dict[str, Any], now: float) -> list[str]:
    if config["confirm_deadline"] is not None:
        return [_on_trial(config["confirm_deadline"], now)]
    if config["refused_at"] is not None:
        when = _ago(config["refused_at"], now)
        return [
            f"the files in place were taken back {when}: the last good configuration is in force "
            f"until 'nvid reload'"
        ]
    return []


def _nvi(nvi: dict[str, Any]) -> list[str]:
    flows = "uncounted" if nvi["flows"] is None else nvi["flows"]
    interfaces = ", ".join(nvi["interfaces"]) or "no interface yet"
    return [
        f"NVI {nvi['name']} {coloured(nvi['state'])}: {nvi['backend']}, {nvi['path']}, "
        f"{nvi['translations']} translations, {flows} flows, on {interfaces}",
        *(f"  problem: {problem}" for problem in nvi["problems"]),
    ]


def _uplink(uplink: dict[str, Any]) -> str:
    where = f"{uplink['interface']} via {', '.join(uplink['gateway'])}"
    return f"uplink {uplink['name']} {coloured(uplink['state'])}: {uplink['reason'] or where}"


def _tenant(tenant: dict[str, Any]) -> str:
    flows = "uncounted" if tenant["flows"] is None else tenant["flows"]
    where = f"{flows} flows, on {', '.join(tenant['interfaces'])}"
    return f"tenant {tenant['name']} {coloured(tenant['state'])}: {tenant['reason'] or where}"


def _repairs(reconcile: dict[str, Any], now: float) -> str:
    total = reconcile["repairs_total"]
    if not total:
        return "repairs: none"
    return f"repairs: {total}, the last {_ago(reconcile['last_repair_at'], now)}"


def _repair(each: dict[str, Any], now: float) -> str:
    culprit = f", disturbed by {each['culprit']}" if each["culprit"] else ""
    return f"  {_ago(each['at'], now)}: {each['action']} {each['object']}{culprit}"


def _ago(then: float, now: float) -> str:
    seconds = max(0, int(now - then))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def translation(flow: dict[str, Any]) -> str:
    """One flow in one line."""
    original, translated = _endpoints(flow["original"]), _endpoints(flow["translated"])
    words = [f"{flow['protocol']:<6} {original}  =>  {translated}", f"nvi {flow['nvi']}"]
    words += [f"{name} {flow[name]}" for name in ("uplink", "tenant") if flow[name] is not None]
    if flow["age"] is not None:
        words.append(f"age {flow['age']:.0f} s")
    if flow["bytes"] is not None:
        words.append(f"{flow['bytes']} bytes")
    return "  ".join(words)


def _endpoints(ends: dict[str, Any]) -> str:
    source = _endpoint(ends["source"], ends["source_port"])
    return f"{source} -> {_endpoint(ends['destination'], ends['destination_port'])}"


def _endpoint(address: str, port: int) -> str:
    if not port:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def statistics(data: dict[str, Any]) -> str:
    """``nvid statistics``: a line for each counter."""
    lines = [
        f"NVI {each['name']} {each['direction']}: {each['packets']} packets, {each['bytes']} bytes"
        for each in data["nvis"]
    ]
    lines += [
        f"{each['kind']} {each['translation']} ({each['nvi']}): {each['packets']} packets, "
        f"{each['bytes']} bytes" + (f", {each['limited']} refused" if each["limited"] else "")
        for each in data["translations"]
    ]
    lines += [
        f"pool {each['pool']} ({each['nvi']}): {each['flows']} flows on {each['addresses']} "
        f"addresses, {each['ports_used_ratio']:.1%} of the ports"
        for each in data["pools"]
    ]
    lines += [f"dropped, {each['reason']}: {each['packets']}" for each in data["drops"]]
    return "\n".join(lines)


def json_list(name: str, rows: Iterable[dict[str, Any]]) -> None:
    """Print ``{name: [...]}`` row by row."""
    print(f'{{"{name}": [', end="")
    separator = "\n"
    for row in rows:
        print(separator + json.dumps(row), end="")
        separator = ",\n"
    print("\n]}")
