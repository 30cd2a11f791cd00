"""The control socket: Varlink, so that ``varlinkctl`` and other programs can use it too.

Everybody may ask how it is. What changes something wants root, the daemon's own user, or a member
of the group ``nvid``; the kernel says who asks (SO_PEERCRED, unix(7)).

Annotations are not postponed here: asyncvarlink 0.3 reads them as they are.
"""

import asyncio
import contextlib
import grp
import os
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypedDict

import structlog
from asyncvarlink import (
    LastResult,
    TypedVarlinkErrorReply,
    VarlinkInterface,
    VarlinkInterfaceRegistry,
    VarlinkTransport,
    varlinkmethod,
)
from asyncvarlink.message import VarlinkMethodCall
from asyncvarlink.serverprotocol import VarlinkInterfaceServerProtocol
from asyncvarlink.serviceinterface import VarlinkServiceInterface
from asyncvarlink.types import FileDescriptorArray

from nvid import __version__, trial
from nvid.daemon.statistics import Statistics
from nvid.daemon.status import Status
from nvid.daemon.translations import Filter, Translation
from nvid.errors import ConfigurationError, NvidError, in_words

GROUP = "nvid"
INTERFACE = "org.nvid.Control"
OPEN_METHODS = frozenset({"Status", "Statistics", "GetInfo", "GetInterfaceDescription"})
_MOST_ORDINARY, _MOST_PRIVILEGED, _BACKLOG = 64, 1024, 64
_LONGEST_CALL = 1 << 16
_SO_PEERGROUPS = 59
"""asm-generic/socket.h"""
_LONGEST_OPTION = 1024
"""Octets that Python's getsockopt takes: 256 groups. Who is in more has no rights by them."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in the configuration, as ``nvid check`` prints it."""

    file: str
    line: int
    key: str
    message: str
    remedy: str


class BadConfiguration(TypedVarlinkErrorReply, interface=INTERFACE):
    """The configuration was not accepted; the running one stays."""

    class Parameters:
        problems: list[Problem]


def bad_configuration(error: ConfigurationError) -> BadConfiguration:
    """The error reply for a configuration that was not accepted."""
    problems = [
        Problem(str(each.file), each.line, each.key, each.message, each.remedy)
        for each in error.problems
    ]
    # The annotation promises JSON, the class converts by its declared parameters.
    return BadConfiguration(problems=problems)  # type: ignore[arg-type]


class NotPermitted(TypedVarlinkErrorReply, interface=INTERFACE):
    """The caller may not do this."""

    class Parameters:
        message: str


class Failed(TypedVarlinkErrorReply, interface=INTERFACE):
    """It was tried and did not work; the message says why."""

    class Parameters:
        message: str


class NothingPending(TypedVarlinkErrorReply, interface=INTERFACE):
    """No reload waits for a confirmation."""

    class Parameters:
        message: str


class Reloaded(TypedDict):
    """What a reload did."""

    changes: int
    confirm_deadline: float | None
    restart: list[str]


class Backend(Protocol):
    """What the daemon can be asked for."""

    async def status(self) -> Status:
        """How everything is, as far as it is known."""

    async def reload(self, confirm: float | None) -> "Reloaded":
        """Read the files again, on trial for so many seconds. Raises BadConfiguration or
        NvidError."""

    async def confirm(self) -> None:
        """Keep what is on trial. Raises NothingPending or NvidError."""

    async def rollback(self) -> int:
        """Take back what is on trial; the number of changes. Raises NothingPending or
        NvidError."""

    def translations(self, wanted: Filter) -> AsyncIterator[list[Translation]]:
        """The flows that are meant, batch by batch. Raises NvidError."""

    async def statistics(self) -> Statistics:
        """All counters. Raises NvidError."""

    async def clear(self, wanted: Filter) -> int:
        """End the flows that are meant; their number. Raises NvidError."""

    async def down(self) -> list[str]:
        """Remove everything and end; what was removed. Raises NvidError."""


class Control(VarlinkInterface, name=INTERFACE):
    """Ask nvid how it is, and tell it what to do."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @varlinkmethod(return_parameter="status")
    async def Status(self) -> Status:
        """Health of everything at one glance. Anybody may ask."""
        with _failing_politely():
            return await self._backend.status()

    @varlinkmethod
    async def Reload(self, *, confirm: float | None = None) -> Reloaded:
        """Read the configuration again, on trial for `confirm` seconds; how many kernel objects
        changed, when the trial ends, and which changed keys want a restart."""
        with _failing_politely():
            return await self._backend.reload(confirm)

    @varlinkmethod
    async def Confirm(self) -> None:
        """Keep what is on trial."""
        with _failing_politely():
            await self._backend.confirm()

    @varlinkmethod(return_parameter="changes")
    async def Rollback(self) -> int:
        """Take back what is on trial; how many kernel objects changed."""
        with _failing_politely():
            return await self._backend.rollback()

    # Delayed, asyncvarlink 0.3 yields once more to a caller that has gone.
    @varlinkmethod(return_parameter="flows", delay_generator=False)
    async def Translations(self, *, wanted: Filter) -> AsyncIterator[list[Translation]]:
        """The live flows that are wanted, in batches (a call with `more`); the last is empty."""
        with _failing_politely():
            async for batch in self._backend.translations(wanted):
                yield batch
        raise LastResult([])

    @varlinkmethod(return_parameter="statistics")
    async def Statistics(self) -> Statistics:
        """Counters per NVI and translation, use of pools. Anybody may ask."""
        with _failing_politely():
            return await self._backend.statistics()

    @varlinkmethod(return_parameter="ended")
    async def Clear(self, *, wanted: Filter) -> int:
        """End the flows that are wanted; how many."""
        with _failing_politely():
            return await self._backend.clear(wanted)

    @varlinkmethod(return_parameter="removed")
    async def Down(self) -> list[str]:
        """Remove everything that nvid owns, and end the daemon."""
        with _failing_politely():
            return await self._backend.down()


@contextlib.contextmanager
def _failing_politely() -> Iterator[None]:
    try:
        yield
    except trial.NothingPending as error:
        raise NothingPending(message=str(error)) from error
    except (NvidError, OSError) as error:
        raise Failed(message=in_words(error)) from error


class _Connection(VarlinkInterfaceServerProtocol):
    """One client: every call is weighed against who it is."""

    def __init__(self, registry: VarlinkInterfaceRegistry, user: int, may_change: bool) -> None:
        super().__init__(registry)
        self._user = user
        self._unfinished = 0
        self.may_change = may_change

    def message_received(self, data: bytes, fds: FileDescriptorArray | None) -> None:
        """Nobody needs a long call: memory is not for everybody to fill."""
        self._unfinished = (
            len(data) - data.rfind(b"\0") - 1 + (0 if b"\0" in data else self._unfinished)
        )
        if self._unfinished > _LONGEST_CALL:
            assert self._transport is not None
            self._transport.close()
            return
        try:
            super().message_received(data, fds)
        except (RecursionError, ValueError):
            # Nested too deeply, no UTF-8, or a number of thousands of digits.
            assert self._transport is not None
            self._transport.close()

    def call_received(
        self, call: VarlinkMethodCall, fds: FileDescriptorArray | None
    ) -> asyncio.Future[None] | None:
        if call.method_name not in OPEN_METHODS and not self.may_change:
            log.warning("refused a control call", method=call.method_name, user=self._user)
            raise NotPermitted(
                message=f"{call.method_name} needs root or membership of the group {GROUP}"
            )
        waiting: asyncio.Future[None] | None = super().call_received(call, fds)
        return waiting


def _group_id() -> int | None:
    try:
        return grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return None


def _peer(sock: socket.socket) -> tuple[int, set[int]]:
    """User and groups of the process at the other end, as the kernel knows them: nobody is looked
    up, because that may ask a directory server and take long."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, user, group = struct.unpack("3i", credentials)
    others = b""
    with contextlib.suppress(OSError):
        others = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _LONGEST_OPTION)
    return user, {group, *struct.unpack(f"{len(others) // 4}I", others)}


class ControlServer:
    """The listening socket and its clients."""

    def __init__(self, path: str, backend: Backend) -> None:
        self._path = Path(path)
        self._group = _group_id()
        self._registry = VarlinkInterfaceRegistry()
        self._registry.register_interface(
            VarlinkServiceInterface("nvid", "nvid", __version__, "", self._registry)
        )
        self._registry.register_interface(Control(backend))
        self._transports: dict[VarlinkTransport, _Connection] = {}
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Listen. Raises NvidError when another daemon answers there, or the path cannot be."""
        check_unanswered(self._path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.is_socket():
                self._path.unlink()
            sock.bind(str(self._path))
            # Who may ask what is decided by credentials, not by the mode.
            self._path.chmod(0o666)
        except OSError as error:
            sock.close()
            raise NvidError(
                f"{self._path}: {error.strerror}; make its directory writable for nvid, and remove "
                f"what else is there"
            ) from error
        sock.listen(_BACKLOG)
        self._socket = sock
        asyncio.get_running_loop().add_reader(sock, self._accept)

    def _accept(self) -> None:
        assert self._socket is not None
        try:
            client, _ = self._socket.accept()
        except OSError:
            return
        client.setblocking(False)
        try:
            user, groups = _peer(client)
        except OSError:
            client.close()
            return
        may_change = user in (0, os.geteuid()) or self._group in groups
        protocol = _Connection(self._registry, user, may_change)
        if not self._room_for(protocol):
            client.close()
            return
        transport = VarlinkTransport(asyncio.get_running_loop(), client, client, protocol)
        self._transports[transport] = protocol
        transport.closed_future.add_done_callback(lambda _: self._transports.pop(transport, None))

    def _room_for(self, client: _Connection) -> bool:
        """Ordinary users share a part of the places: a crowd of them locks no operator out."""
        ordinary = sum(not each.may_change for each in self._transports.values())
        privileged = len(self._transports) - ordinary
        if client.may_change:
            return privileged < _MOST_PRIVILEGED
        return ordinary < _MOST_ORDINARY

    def close(self) -> None:
        """Stop listening, remove the socket, end the clients."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._path.unlink(missing_ok=True)
        for transport in tuple(self._transports):
            transport.close()


def check_unanswered(path: Path) -> None:
    """Raises NvidError when another daemon answers on this socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(1)
        try:
            sock.connect(str(path))
        except OSError:
            return
    raise NvidError(
        f"{path}: another nvid answers there; stop it, or give this one another socket in [daemon]"
    )
