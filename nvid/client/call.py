"""One Varlink call over the control socket: a JSON object and a zero byte, each way."""

from __future__ import annotations

import json
import socket
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


def call(path: str, method: str, timeout: float = _ANSWER_WITHIN) -> dict[str, Any]:
    """Call a method without parameters; its result. Raises DaemonNotRunning or CallRefused."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout)
        try:
            sock.connect(path)
            sock.sendall(json.dumps({"method": f"{INTERFACE}.{method}"}).encode() + b"\0")
            answer = _receive(sock)
        except (OSError, EOFError) as error:
            raise DaemonNotRunning(_why(path, error)) from error
    if "error" in answer:
        raise CallRefused(answer["error"].rpartition(".")[2], answer.get("parameters", {}))
    result: dict[str, Any] = answer.get("parameters", {})
    return result


def _receive(sock: socket.socket) -> dict[str, Any]:
    parts: list[bytes] = []
    while not (parts and parts[-1].endswith(b"\0")):
        part = sock.recv(1 << 16)
        if not part:
            raise EOFError("the daemon closed the connection")
        parts.append(part)
    answer: dict[str, Any] = json.loads(b"".join(parts)[:-1])
    return answer


def _why(path: str, error: Exception) -> str:
    if isinstance(error, PermissionError):
        return f"no permission to reach the daemon at {path}"
    if isinstance(error, TimeoutError):
        return f"the daemon at {path} does not answer; see its log: journalctl -u nvid"
    return f"no nvid daemon answers at {path}; start it with: systemctl start nvid"
