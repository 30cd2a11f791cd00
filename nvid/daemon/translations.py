"""Live flows as ``nvid translations`` shows them, and which of them a request means.

Annotations are not postponed here: asyncvarlink 0.3 reads them as they are.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from itertools import islice

from nvid.configuration.types import Configuration
from nvid.configuration.values import IPAddress, IPNetwork
from nvid.desired.marks import Marks
from nvid.desired.numbers import Numbers
from nvid.desired.ruleset.account import labels_of
from nvid.desired.ruleset.classify import nvi_label
from nvid.desired.ruleset.words import PROTOCOL_NUMBERS
from nvid.desired.uplinks import UplinkState
from nvid.errors import NvidError
from nvid.flows import Flow, made_by
from nvid.kernel import conntrack

BATCH = 256
"""Flows in one reply: large enough to be quick, small enough to be nothing in memory."""

_NAMES = {number: name for name, number in PROTOCOL_NUMBERS.items()}


@dataclass(frozen=True)
class Endpoints:
    """Where a packet comes from and goes to; ports are 0 for protocols without."""

    source: str
    source_port: int
    destination: str
    destination_port: int


@dataclass(frozen=True)
class Translation:
    """One flow. ``original`` is its first packet as it came, ``translated`` as it left.

    ``uplink`` is the one that it goes out by, or came in by; ``tenant`` the one that began it, or
    that it goes to where none began it; None for neither. ``age`` is in
    seconds; age and bytes are None where the flow began before nvid asked the kernel to keep them.
    """

    protocol: str
    original: Endpoints
    translated: Endpoints
    nvi: str | None
    uplink: str | None
    tenant: str | None
    age: float | None
    bytes: int | None


@dataclass(frozen=True)
class Filter:
    """Which flows are meant; None means any. ``source`` and ``destination`` are addresses or
    prefixes, and match the original or the translated side."""

    nvi: str | None = None
    source: str | None = None
    destination: str | None = None
    protocol: str | None = None
    uplink: str | None = None
    tenant: str | None = None
    translation: str | None = None


class Flows:
    """Reads flows under one configuration, and the state of uplinks and addresses with it."""

    def __init__(
        self,
        configuration: Configuration,
        numbers: Numbers,
        uplinks: tuple[UplinkState, ...] = (),
        own: Iterable[IPAddress] = (),
    ) -> None:
        self._configuration, self._zones, self._own = configuration, numbers.tenants, tuple(own)
        self._states = uplinks
        self._marks = Marks(configuration.daemon.fwmark_mask)
        self._uplinks = {lane: name for name, lane in numbers.uplinks.items()}
        self._tenants = {lane: name for name, lane in numbers.tenants.items()}
        self._nvis = {nvi_label(number): name for name, number in numbers.nvis.items()}
        self._only = configuration.nvis[0].name if len(configuration.nvis) == 1 else None
        self._bound = conntrack.MarkFilter(self._marks.bound, self._marks.state_mask)

    def batches(self, wanted: Filter) -> Iterator[list[Translation]]:
        """The flows that are meant, ``BATCH`` at a time. Raises NvidError for a filter that is
        not understood."""
        chosen = self._chooser(wanted)
        now = time.time()
        shown = (
            self._translation(flow, now) for flow in conntrack.flows(self._bound) if chosen(flow)
        )
        while batch := list(islice(shown, BATCH)):
            yield batch

    def end(self, wanted: Filter) -> int:
        """End the flows that are meant; their number."""
        return conntrack.end(self._bound, self._chooser(wanted))

    def _chooser(self, wanted: Filter) -> Callable[[Flow], bool]:
        source, destination = _network(wanted.source), _network(wanted.destination)
        protocol = None if wanted.protocol is None else _protocol(wanted.protocol)
        by_entry = None if wanted.translation is None else self._made_by(wanted.translation)

        def chosen(flow: Flow) -> bool:
            return (
                (wanted.nvi is None or self._nvi(flow) == wanted.nvi)
                and (wanted.uplink is None or wanted.uplink in self._both_uplinks(flow))
                and (wanted.tenant is None or wanted.tenant in self._both_tenants(flow))
                and (protocol is None or flow.protocol == protocol)
                and (by_entry is None or by_entry(flow))
                and (source is None or flow.source in source or flow.reply_destination in source)
                and (
                    destination is None
                    or flow.destination in destination
                    or flow.reply_source in destination
                )
            )

        return chosen

    def _made_by(self, label: str) -> Callable[[Flow], bool]:
        bits = labels_of(self._configuration.nvis, self._states)
        made = made_by(label, self._configuration, self._own, bits, self._zones)
        if made is None:
            raise NvidError(f"there is no translation {label}; 'nvid statistics' names them")
        return made

    def _translation(self, flow: Flow, now: float) -> Translation:
        return Translation(
            protocol=_NAMES.get(flow.protocol, str(flow.protocol)),
            original=Endpoints(
                str(flow.source), flow.source_port, str(flow.destination), flow.destination_port
            ),
            translated=Endpoints(
                str(flow.reply_destination),
                flow.reply_destination_port,
                str(flow.reply_source),
                flow.reply_source_port,
            ),
            nvi=self._nvi(flow),
            uplink=next(iter(self._both_uplinks(flow)), None),
            tenant=next(iter(self._both_tenants(flow)), None),
            age=None if flow.started is None else round(max(0.0, now - flow.started), 3),
            bytes=flow.octets,
        )

    def _nvi(self, flow: Flow) -> str | None:
        if self._only is not None:
            return self._only
        return next((name for bit, name in self._nvis.items() if flow.label >> bit & 1), None)

    def _both_uplinks(self, flow: Flow) -> tuple[str, ...]:
        """The uplink that the flow leaves by, then the one that it came by, where they are."""
        lanes = (self._marks.forward_lane_of(flow.mark), self._marks.return_lane_of(flow.mark))
        return tuple(self._uplinks[lane] for lane in lanes if lane in self._uplinks)

    def _both_tenants(self, flow: Flow) -> tuple[str, ...]:
        """The tenant that began the flow, then the one that it goes to, where they are."""
        lanes = (flow.zone, self._marks.forward_lane_of(flow.mark))
        return tuple(self._tenants[lane] for lane in lanes if lane in self._tenants)


def _network(text: str | None) -> IPNetwork | None:
    if text is None:
        return None
    try:
        return ip_network(text, strict=False)
    except ValueError as error:
        raise NvidError(f"{text} is no address and no prefix; write 10.1.0.0/16, say") from error


def _protocol(text: str) -> int:
    number = PROTOCOL_NUMBERS.get(text)
    if number is None and not text.isdigit():
        known = ", ".join(PROTOCOL_NUMBERS)
        raise NvidError(f"{text} is no protocol; write one of {known}, or a number")
    return int(text) if number is None else number
