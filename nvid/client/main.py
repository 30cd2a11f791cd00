"""The one executable: arguments in, text or JSON and an exit status out."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from nvid.client import options, show
from nvid.client.call import CallRefused, DaemonNotRunning, call, stream

if TYPE_CHECKING:
    from nvid.offline import Answer

BAD, NOT_RUNNING, NOT_PERMITTED = 1, 3, 4

_EXAMPLES = """\
examples:
  nvid check --config ./nvid.toml   is this file right?
  nvid plan                         what would change in the kernel?
  systemctl start nvid              start it; 'nvid run' is the same in the foreground
  nvid status                       is everything well?
  nvid reload                       read the changed configuration
  nvid reload --confirm 60          the same, and back again after a minute without 'nvid confirm'
  nvid down                         take everything of nvid's away again
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status (see 'nvid --help')."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except DaemonNotRunning as error:
        return _complain(arguments, str(error), NOT_RUNNING)
    except CallRefused as refusal:
        return _refused(arguments, refusal)
    except BrokenPipeError:
        # Whoever read the output has read enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nvid",
        description="NAT Virtual Interfaces: flows are translated between two routing lookups.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    file, socket, data = options.file_option(), options.socket_option(), options.json_option()
    _add(commands, "run", _run, "the daemon, in the foreground", [file])
    _add(commands, "check", _check, "validate the configuration", [file, data])
    _add(commands, "plan", _plan, "what would change in the kernel", [file, data])
    trial = [socket, data, options.confirm_option()]
    _add(commands, "reload", _reload, "make the daemon read its configuration", trial)
    kept = [socket, file, data, options.state_option()]
    _add(commands, "confirm", _confirm, "keep what is on trial", kept)
    kept = [*kept, options.deadline_option()]
    _add(commands, "rollback", _rollback, "take back what is on trial", kept)
    _add(commands, "status", _status, "health of everything at one glance", [socket, data])
    flows = options.filter_options()
    _add(commands, "translations", _translations, "live flows", [socket, data, flows])
    _add(commands, "statistics", _statistics, "counters and use of pools", [socket, data])
    _add(commands, "clear", _clear, "end flows", [socket, data, flows])
    _add(
        commands,
        "explain",
        _explain,
        "what becomes of a packet",
        [file, data, options.packet_options()],
    )
    _add(
        commands,
        "down",
        _down,
        "remove all that nvid owns",
        [file, options.socket_option(None), data],
    )
    return parser


_STATUSES = {
    "run": "0 stopped; 1 bad configuration; 4 not permitted",
    "check": "0 valid; 1 not",
    "plan": "0 nothing to do; 2 changes; 1 bad configuration; 4 not permitted",
    "reload": "0 done; 1 bad configuration, the running one stays; 3 daemon not running",
    "confirm": "0 done; 1 nothing pending; 3 daemon not running, and nothing pending",
    "rollback": "0 done; 1 nothing pending; 3 daemon not running, and nothing pending",
    "status": "0 healthy; 1 degraded; 3 daemon not running",
    "translations": "0 done; 3 daemon not running; 4 not permitted",
    "statistics": "0 done; 3 daemon not running",
    "clear": "0 done; 1 no filter given; 3 daemon not running; 4 not permitted",
    "explain": "0 it leaves, or is delivered; 1 dropped or unreachable",
    "down": "0 done; 1 something could not be removed; 4 not permitted",
}


_ARGUMENTS = {
    "run": " --config ./nvid.toml",
    "check": " --config ./nvid.toml",
    "plan": " --config ./nvid.toml",
    "reload": " --confirm 60",
    "status": " --json",
    "clear": " --source 10.1.0.0/24 --protocol udp",
    "explain": " --in lan0 tcp 10.1.0.2:40000 198.18.0.10:80",
}


def _add(
    commands: Any,
    name: str,
    function: Callable[[argparse.Namespace], int],
    summary: str,
    parents: list[argparse.ArgumentParser],
) -> None:
    sub = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"example:\n  nvid {name}{_ARGUMENTS.get(name, '')}\n\n"
        f"exit status: {_STATUSES[name]}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=parents,
    )
    sub.set_defaults(command=function, json=False)


def _filter(arguments: argparse.Namespace) -> dict[str, str]:
    return {
        name: value for name in options.FILTERS if (value := getattr(arguments, name)) is not None
    }


def _version() -> str:
    from nvid import __version__

    return f"nvid {__version__}"


# Commands that work by themselves


def _run(arguments: argparse.Namespace) -> int:
    from nvid.daemon import run

    return run(arguments.config)


def _check(arguments: argparse.Namespace) -> int:
    from nvid.offline import check

    return _offline(arguments, lambda: check(arguments.config))


def _plan(arguments: argparse.Namespace) -> int:
    from nvid.offline import plan

    return _offline(arguments, lambda: plan(arguments.config))


def _explain(arguments: argparse.Namespace) -> int:
    from nvid.offline import explain, packet_of

    def answer() -> Answer:
        packet = packet_of(
            arguments.interface, arguments.protocol, arguments.source, arguments.destination
        )
        return explain(arguments.config, packet)

    return _offline(arguments, answer)


def _offline(arguments: argparse.Namespace, command: Callable[[], Answer]) -> int:
    from nvid.errors import NvidError

    try:
        answer = command()
    except NvidError as error:
        return _complain(arguments, str(error), error.exit_status)
    _print(arguments, answer.data, answer.text, wrong=answer.exit_status == BAD)
    return answer.exit_status


# Commands that ask the daemon


def _status(arguments: argparse.Namespace) -> int:
    status = call(arguments.socket, "Status")["status"]
    _print(arguments, status, show.status(status, time.time()))
    return 0 if status["state"] == "healthy" else BAD


def _reload(arguments: argparse.Namespace) -> int:
    wanted = {} if arguments.confirm is None else {"confirm": arguments.confirm}
    done = call(arguments.socket, "Reload", **wanted)
    _print(arguments, done, show.reloaded(done, time.time()))
    return 0


def _confirm(arguments: argparse.Namespace) -> int:
    def here() -> Answer:
        from nvid.offline import confirm

        return confirm(arguments.config, arguments.state_dir)

    try:
        call(arguments.socket, "Confirm")
    except DaemonNotRunning as not_running:
        return _by_itself(arguments, here, not_running)
    _print(arguments, {"confirmed": True}, "confirmed")
    return 0


def _rollback(arguments: argparse.Namespace) -> int:
    def here() -> Answer:
        from nvid.offline import rollback

        return rollback(arguments.config, arguments.state_dir)

    if arguments.at_deadline:
        return _at_deadline(arguments)
    try:
        changes = call(arguments.socket, "Rollback")["changes"]
    except DaemonNotRunning as not_running:
        return _by_itself(arguments, here, not_running)
    _print(arguments, {"changes": changes}, f"taken back: {changes} changes")
    return 0


def _by_itself(
    arguments: argparse.Namespace, command: Callable[[], Answer], not_running: DaemonNotRunning
) -> int:
    """What the daemon would have done, if it left something to do when it died."""
    from nvid.trial import NothingPending

    def attempt() -> Answer:
        try:
            return command()
        except NothingPending:
            raise not_running from None

    return _offline(arguments, attempt)


def _at_deadline(arguments: argparse.Namespace) -> int:
    from nvid.errors import NvidError
    from nvid.guardian import at_deadline, directory_of

    def say(words: str) -> None:
        print(f"nvid: {words}", file=sys.stderr, flush=True)

    try:
        at_deadline(directory_of(arguments.config, arguments.state_dir), say)
    except NvidError as error:
        return _complain(arguments, str(error), error.exit_status)
    return 0


def _translations(arguments: argparse.Namespace) -> int:
    """Printed as they come: a large table is never in memory, here or in the daemon."""
    batches = stream(arguments.socket, "Translations", wanted=_filter(arguments))
    rows = (flow for batch in batches for flow in batch["flows"])
    if arguments.json:
        show.json_list("translations", rows)
        return 0
    for flow in rows:
        print(show.translation(flow))
    return 0


def _statistics(arguments: argparse.Namespace) -> int:
    statistics = call(arguments.socket, "Statistics")["statistics"]
    _print(arguments, statistics, show.statistics(statistics))
    return 0


def _clear(arguments: argparse.Namespace) -> int:
    """Without a filter it would end everything; that must be said (--nvi NAME)."""
    wanted = _filter(arguments)
    if not wanted:
        message = "say which flows: " + ", ".join(f"--{name}" for name in options.FILTERS)
        return _complain(arguments, message, BAD)
    ended = call(arguments.socket, "Clear", wanted=wanted)["ended"]
    _print(arguments, {"ended": ended}, f"{ended} flows ended")
    return 0


def _down(arguments: argparse.Namespace) -> int:
    """The daemon does it when there is one: it would mend what somebody else removes."""
    from nvid.offline import down, socket_of

    try:
        removed = call(arguments.socket or socket_of(arguments.config), "Down")["removed"]
    except DaemonNotRunning:
        return _offline(arguments, lambda: down(arguments.config))
    _print(arguments, {"removed": removed}, "\n".join(removed))
    return 0


# Output


def _print(
    arguments: argparse.Namespace, data: dict[str, Any], text: str, *, wrong: bool = False
) -> None:
    if arguments.json:
        print(json.dumps(data, indent=2))
    elif text:
        print(text, file=sys.stderr if wrong else sys.stdout)


def _complain(arguments: argparse.Namespace, message: str, status: int) -> int:
    if arguments.json:
        print(json.dumps({"error": message}))
    print(f"nvid: {message}", file=sys.stderr)
    return status


def _refused(arguments: argparse.Namespace, refusal: CallRefused) -> int:
    """An error from the daemon; the problems of a configuration look as 'nvid check' prints
    them."""
    problems = refusal.parameters.get("problems")
    if refusal.name != "BadConfiguration" or problems is None:
        status = NOT_PERMITTED if refusal.name == "NotPermitted" else BAD
        return _complain(arguments, str(refusal), status)
    lines = [
        f"{each['file']}:{each['line']}: {each['key']}: {each['message']}; {each['remedy']}"
        for each in problems
    ]
    data = {"valid": False, "problems": problems}
    _print(arguments, data, "\n".join(lines), wrong=True)
    return BAD
