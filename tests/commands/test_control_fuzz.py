"""The control socket under random frames: the daemon lives, nothing changes, nothing is traced."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.commands.conftest import converged
from tests.commands.test_control_socket import memory, works
from tests.effort import examples
from tests.lab import Nvid, wait_until

NOBODY = 65534
HARMLESS = (
    *(
        "Status",
        "Statistics",
        "Translations",
        "Clear",
        "Confirm",
        "Rollback",
        "Nonsense",
        "_backend",
    ),
    *("__init__", "Status.__call__", "", "GetInfo"),
)
CHANGING = ("Reload", "Down")
INTERFACES = ("org.nvid.Control", "org.varlink.service", "org.nvid", "")

values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["10.1.0.0/16", "::/0", "tcp", "nvi0", "isp1", "a" * 5000]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
filters = st.dictionaries(
    st.sampled_from(["nvi", "source", "destination", "protocol", "uplink", "tenant", "x"]), values
)
parameters = st.dictionaries(
    st.sampled_from(["wanted", "confirm", "interface", "x"]), filters | values, max_size=2
)


def calls(methods: tuple[str, ...]) -> st.SearchStrategy[bytes]:
    """Calls that are nearly right."""
    method = st.builds(".".join, st.tuples(st.sampled_from(INTERFACES), st.sampled_from(methods)))
    flags = {name: st.booleans() | values for name in ("more", "oneway", "upgrade", "x")}
    call = st.fixed_dictionaries(
        {"method": method | method | values},
        optional={"parameters": parameters | values, **flags},
    )
    return call.map(lambda found: json.dumps(found).encode())


def streams(methods: tuple[str, ...]) -> st.SearchStrategy[list[bytes]]:
    """What comes over one connection, cut into pieces anywhere."""
    frame = (
        calls(methods) | st.binary(max_size=100) | st.builds(_cut, calls(methods), st.floats(0, 1))
    )
    ended = st.builds(bytes.__add__, frame, st.sampled_from([b"\0", b"\0", b"\0", b"\0\0", b""]))
    return st.lists(ended, max_size=6)


def _cut(frame: bytes, where: float) -> bytes:
    return frame[: int(len(frame) * where)]


def send(nvid: Nvid, pieces: list[bytes]) -> bytes:
    """Send, hang up, and read what comes; the daemon ends every connection that has ended."""
    answer = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(10)
        sock.connect(str(nvid.socket_path))
        # It may have had enough before everything is said.
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                sock.sendall(piece)
            sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while part := sock.recv(1 << 16):
                answer += part
    return answer


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """The kernel notes who connects, at that moment."""
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


many = settings(
    max_examples=examples(300), suppress_health_check=[HealthCheck.too_slow], deadline=None
)


def test_files_that_are_handed_over_are_not_kept(daemon: Nvid) -> None:
    """unix(7) lets anybody pass 253 open files with a message."""
    files = Path(f"/proc/{daemon.pid}/fd")
    before = len(list(files.iterdir()))
    call = json.dumps({"method": "org.nvid.Control.Status"}).encode()
    for frame in (call + b"\0", call, b"nonsense\0", b"\0", b"\xff\0") * 4:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(10)
            sock.connect(str(daemon.socket_path))
            socket.send_fds(sock, [frame], [0] * 253)
            sock.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                while sock.recv(1 << 16):
                    pass
    assert works(daemon)
    wait_until(lambda: len(list(files.iterdir())) <= before)
    assert "Traceback" not in daemon.log()


def check(daemon: Nvid, before: int) -> None:
    assert daemon.is_running
    assert works(daemon)
    assert daemon.status()["config"]["generation"] == 1  # type: ignore[index]
    converged(daemon)
    assert "Traceback" not in daemon.log()
    assert memory(daemon) - before < 32_000
    assert daemon.terminate() == 0


def test_an_operator_who_mistypes(daemon: Nvid) -> None:
    before = memory(daemon)

    @many
    @given(streams(HARMLESS))
    def attempt(pieces: list[bytes]) -> None:
        for answer in send(daemon, pieces).split(b"\0")[:-1]:
            assert isinstance(json.loads(answer), dict)

    attempt()
    check(daemon, before)


def test_somebody_who_may_nothing(daemon: Nvid) -> None:
    """Whatever he sends, he gets no flow and changes nothing."""
    for folder in daemon.socket_path.parents[:5]:
        folder.chmod(folder.stat().st_mode | 0o055)
    before = memory(daemon)

    @many
    @given(streams(HARMLESS + CHANGING))
    def attempt(pieces: list[bytes]) -> None:
        with as_nobody():
            answers = send(daemon, pieces)
        for answer in answers.split(b"\0")[:-1]:
            found = json.loads(answer)
            keys = set(found.get("parameters", {}))
            assert "error" in found or not keys & {"flows", "ended", "changes", "removed"}

    attempt()
    check(daemon, before)
