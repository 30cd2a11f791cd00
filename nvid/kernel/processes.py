"""The name of a process, also where /proc shows no other processes (ProtectProc=invisible)."""

from __future__ import annotations

import socket
import struct
import sys
from pathlib import Path

from nvid.kernel import wire

_NETLINK_GENERIC = 16
_NLM_F_REQUEST = 1
_GENERIC_HEADER = struct.Struct("=BBH")
"""struct genlmsghdr: command, version, reserved."""

# genetlink.h: the controller, which knows the numbers of all families by name.
_GENL_ID_CTRL, _CTRL_CMD_GETFAMILY = 16, 3
_CTRL_ATTR_FAMILY_ID, _CTRL_ATTR_FAMILY_NAME = 1, 2

# taskstats.h
_TASKSTATS_CMD_GET, _TASKSTATS_CMD_ATTR_PID = 1, 1
_TASKSTATS_TYPE_STATS, _TASKSTATS_TYPE_AGGR_PID = 3, 4
_AC_COMM = slice(80, 112)
"""Where struct taskstats has ac_comm, in every version of it."""


def name_of(pid: int) -> str | None:
    """What a running process is called (up to 15 characters); None when it is gone, or nobody
    tells."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return _by_accounting(pid)


def _by_accounting(pid: int) -> str | None:
    """Asks the kernel's accounting (Documentation/accounting/taskstats.rst), which wants the same
    capability as all that nvid does: CAP_NET_ADMIN."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_GENERIC) as sock:
            sock.settimeout(1)
            name = wire.attribute(_CTRL_ATTR_FAMILY_NAME, b"TASKSTATS\0")
            controller = _ask(sock, _GENL_ID_CTRL, _CTRL_CMD_GETFAMILY, name)
            family = int.from_bytes(controller[_CTRL_ATTR_FAMILY_ID], sys.byteorder)
            which = wire.attribute(_TASKSTATS_CMD_ATTR_PID, struct.pack("=I", pid))
            answer = _ask(sock, family, _TASKSTATS_CMD_GET, which)
            found = wire.attributes(answer[_TASKSTATS_TYPE_AGGR_PID])
            stats = found[_TASKSTATS_TYPE_STATS]
    except (OSError, KeyError):
        return None
    return bytes(stats[_AC_COMM]).partition(b"\0")[0].decode(errors="replace")


def _ask(sock: socket.socket, family: int, command: int, attribute: bytes) -> dict[int, memoryview]:
    """The attributes of the answer; empty for an error. Raises OSError."""
    body = _GENERIC_HEADER.pack(command, 1, 0) + attribute
    sock.send(wire.message(family, _NLM_F_REQUEST, body))
    for kind, _, answer in wire.messages(memoryview(sock.recv(1 << 16))):
        if kind == family:
            return wire.attributes(answer[_GENERIC_HEADER.size :])
    return {}
