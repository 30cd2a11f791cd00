"""One Varlink call over the control socket: a JSON object and a zero byte, each way."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

INTERFACE = "org.nvid.Control"
DEFAULT_SOCKET = "/run/nvid/control.sock"
_ANSWER_WITHIN = 120.0


class DaemonNotRunning(Exception):
    """Nobody answers on the socket."""


class CallRefused(Exception):
    """The daemon answered with an error: ``name`` is its last part, ``parameters`` its details."""

    def __init__(self, name: str, parameters: dict[str, Any]) -> None:
        super().__init__(parameters.get("message") or name)
        self.name = name
        self.parameters = parameters


def call(path: str, method: str, **parameters: Any) -> dict[str, Any]:
    """Call a method; its result. Raises DaemonNotRunning or CallRefused."""
    return next(_replies(path, {"method": f"{INTERFACE}.{method}", "parameters": parameters}))


def stream(path: str, method: str, **parameters: Any) -> Iterator[dict[str, Any]]:
    """Call a method that answers many times; each result as it comes. Raises as ``call`` does."""
    request = {"method": f"{INTERFACE}.{method}", "parameters": parameters, "more": True}
    yield from _replies(path, request)


def _replies(path: str, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(_ANSWER_WITHIN)
        try:
            sock.connect(path)
            sock.sendall(json.dumps(request).encode() + b"\0")
            for answer in _messages(sock):
                if "error" in answer:
                    name = answer["error"].rpartition(".")[2]
                    raise CallRefused(name, answer.get("parameters", {}))
                yield answer.get("parameters", {})
                if not answer.get("continues"):
                    return
        except (OSError, EOFError) as error:
            raise DaemonNotRunning(_why(path, error)) from error


def _messages(sock: socket.socket) -> Iterator[dict[str, Any]]:
    """JSON objects, each ended by a zero byte."""
    waiting = b""
    while True:
        part = sock.recv(1 << 16)
        if not part:
            raise EOFError("the daemon closed the connection")
        *whole, waiting = (waiting + part).split(b"\0")
        for message in whole:
            yield json.loads(message)


def _why(path: str, error: Exception) -> str:
    if isinstance(error, PermissionError):
        return f"no permission to reach the daemon at {path}"
    if isinstance(error, TimeoutError):
        return f"the daemon at {path} does not answer; see its log: journalctl -u nvid"
    if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
        return f"no nvid daemon answers at {path}; start it with: systemctl start nvid"
    return f"the daemon at {path} broke off ({error}); see its log: journalctl -u nvid"
