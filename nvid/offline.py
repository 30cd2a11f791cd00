"""The commands that work on files and the kernel themselves, without the daemon.

Each answers (data for --json, text, exit status) and prints nothing.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from nvid import explain as tracer
from nvid import guardian, names, state, statedir
from nvid.configuration import ConfigurationError, daemon_table, load
from nvid.configuration.types import Configuration, Daemon, Nvi
from nvid.configuration.values import IPAddress, TableRange
from nvid.desired.numbers import allocate
from nvid.desired.ruleset import identity
from nvid.desired.ruleset.words import PROTOCOL_NUMBERS, Plan
from nvid.desired.tenants import tenant_states
from nvid.desired.uplinks import followed_interfaces, uplink_states
from nvid.errors import NvidError
from nvid.explained import Lookup, Packet
from nvid.kernel import facts, routes
from nvid.kernel.netlink import session
from nvid.reconcile import Reconciler
from nvid.state import State

_PATIENCE = 15.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command has to say."""

    data: dict[str, Any]
    text: str
    exit_status: int = 0


def check(path: Path) -> Answer:
    """Validate the configuration; the kernel is not touched and no privilege is needed."""
    try:
        loaded = load(path)
    except ConfigurationError as error:
        return bad_configuration(error)
    configuration = loaded.configuration
    translations = sum(len(identity.translations(nvi)) for nvi in configuration.nvis)
    files = [str(file) for file in loaded.files]
    text = (
        f"{', '.join(files)}: valid: {len(configuration.nvis)} NVIs, {translations} translations, "
        f"{len(configuration.uplinks)} uplinks"
    )
    return Answer({"valid": True, "files": files, "problems": []}, text)


def bad_configuration(error: ConfigurationError) -> Answer:
    """Every problem, one line each."""
    problems = [
        {
            "file": str(each.file),
            "line": each.line,
            "key": each.key,
            "message": each.message,
            "remedy": each.remedy,
        }
        for each in error.problems
    ]
    return Answer({"valid": False, "problems": problems}, str(error), 1)


def plan(path: Path) -> Answer:
    """What the daemon would create, change and delete. Raises NvidError."""
    try:
        configuration = load(path).configuration
    except ConfigurationError as error:
        return bad_configuration(error)
    statedir.check(configuration.daemon.state_dir)
    reconciler = Reconciler(configuration.daemon.state_dir)
    prepared = reconciler.prepare(configuration)
    lines = tuple(prepared.difference.lines())
    problems = [
        *(f"{nvi}: {text}" for nvi, texts in prepared.desired.problems.items() for text in texts),
        *prepared.foreign,
    ]
    return Answer(
        {**_changes(lines), "problems": problems},
        "\n".join([*(text for _, text in lines), *(f"! {text}" for text in problems)]),
        2 if lines else 0,
    )


def explain(path: Path, packet: Packet) -> Answer:
    """What becomes of a packet, by the configuration and the kernel's routes. Raises NvidError."""
    try:
        configuration = load(path).configuration
    except ConfigurationError as error:
        return bad_configuration(error)
    state_of = state.load(configuration.daemon.state_dir)
    kept = state_of or State()
    with session() as ipr:
        found = facts.look(ipr, kept.sysctls, followed_interfaces(configuration))
        machine = replace(found.machine, failing=kept.failing_by_family)
        numbers = allocate(configuration, kept.numbers)
        uplinks = uplink_states(configuration, machine, numbers)
        plan = Plan(
            configuration.daemon,
            configuration.nvis,
            uplinks,
            numbers,
            machine,
            tenant_states(configuration, machine, numbers),
        )

        def ask(destination: IPAddress, source: IPAddress, mark: int) -> Lookup:
            # The translated packet comes out of the peer, or out of lo; asking for that end asks
            # the second lookup. Without it (nvid is not running), the machine itself is asked.
            peers = [_far_end(nvi) for nvi in configuration.nvis if mark]
            index = next((found.indexes[name] for name in peers if name in found.indexes), None)
            return Lookup(*routes.look_up(ipr, destination, source, mark, found.interfaces, index))

        told = tracer.explain(configuration, plan, packet, ask)
    if (doubt := _doubt_of_health(configuration, known=state_of is not None)) is not None:
        told.say(doubt)
    return Answer(asdict(told), "\n".join(told.steps), 0 if told.dropped is None else 1)


def _doubt_of_health(configuration: Configuration, *, known: bool) -> str | None:
    """What to say where nobody knows whether uplinks answer their checks at the moment."""
    if all(each.check is None for each in configuration.uplinks):
        return None
    if not known:
        return "whether uplinks answer their checks is not known: they count as healthy here"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(1)
        try:
            sock.connect(configuration.daemon.socket)
        except OSError:
            return "nvid does not run: whether uplinks answer their checks is what it last knew"
    return None


def _far_end(nvi: Nvi) -> str:
    return names.LOOPBACK if nvi.is_loopback else nvi.peer


def packet_of(interface: str, protocol: str, source: str, destination: str) -> Packet:
    """A packet from the words of a command line. Raises NvidError for what is none."""
    if protocol not in PROTOCOL_NUMBERS:
        raise NvidError(f"{protocol} is no protocol; write one of {', '.join(PROTOCOL_NUMBERS)}")
    from_address, from_port = _endpoint(source)
    to_address, to_port = _endpoint(destination)
    if from_address.version != to_address.version:
        raise NvidError(f"{source} and {destination} are of different families; write both in one")
    return Packet(interface, protocol, from_address, to_address, from_port, to_port)


def _endpoint(text: str) -> tuple[IPAddress, int]:
    """``10.1.0.2``, ``10.1.0.2:80``, ``2001:db8::1`` or ``[2001:db8::1]:80``."""
    address, port = text, "0"
    if text.startswith("["):
        address, _, port = text[1:].partition("]")
        port = port.removeprefix(":") or "0"
    elif text.count(":") == 1:
        address, port = text.split(":")
    try:
        found, number = ip_address(address), int(port)
    except ValueError as error:
        raise NvidError(
            f"{text} is no address with or without a port; write 10.1.0.2:80 or [2001:db8::1]:80"
        ) from error
    if not 0 <= number <= 65535:
        raise NvidError(f"{text}: a port is at most 65535")
    return found, number


def socket_of(path: Path) -> str:
    """Where the daemon of a configuration file listens; the default when the file is broken."""
    return daemon_table(path).socket


def down(path: Path) -> Answer:
    """Remove everything that nvid owns, without a daemon. Raises NvidError.

    The configuration may be broken or gone: what the objects were made with is in the state.
    """
    daemon = daemon_table(path)
    kept = state.load(daemon.state_dir)
    if kept is not None and kept.window is not None:
        window = kept.window
        daemon = Daemon(
            state_dir=daemon.state_dir,
            fwmark_mask=window.fwmark_mask,
            rule_priority=window.rule_priority,
            tables=TableRange(window.first_table, window.last_table),
            protocol=window.protocol,
        )
    with statedir.take(daemon.state_dir, _PATIENCE):
        removed = Reconciler(daemon.state_dir).remove_everything(daemon)
        with contextlib.suppress(statedir.StateNotKept):
            guardian.abandon(daemon.state_dir)
    texts = [text for _, text in removed]
    return Answer({"removed": texts}, "\n".join(texts))


def confirm(path: Path, state_dir: str | None) -> Answer:
    """Keep what a dead daemon had on trial. Raises NothingPending, or another NvidError."""
    guardian.confirm(guardian.directory_of(path, state_dir))
    return Answer({"confirmed": True}, "confirmed")


def rollback(path: Path, state_dir: str | None) -> Answer:
    """Take back what a dead daemon had on trial. Raises NothingPending, or another NvidError."""
    changes = guardian.rollback(guardian.directory_of(path, state_dir))
    return Answer({"changes": changes}, f"taken back: {changes} changes")


def _changes(lines: Iterable[tuple[str, str]]) -> dict[str, Any]:
    actions = {"+": "create", "~": "change", "-": "delete"}
    return {
        "changes": [
            {"object": kind, "action": actions[text[0]], "text": text[2:]} for kind, text in lines
        ]
    }
