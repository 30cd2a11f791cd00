"""One structured record for each translation made and ended, for snat entries with ``log = true``.

Conntrack tells (linux/netfilter/nfnetlink_conntrack.h, groups NEW and DESTROY); a thread of its
own listens, so that a storm of flows delays nobody. When the kernel had to drop events, a record
says how often that has happened: what was lost then cannot be known.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from nvid.configuration.translations import Snat
from nvid.configuration.types import Configuration
from nvid.configuration.values import IPAddress
from nvid.desired.marks import Marks
from nvid.flows import Flow, Spaces, maker_of
from nvid.kernel.events import FlowWatch

Write = Callable[..., object]


@dataclass(frozen=True, slots=True)
class _Followed:
    """What the listening thread needs of one configuration; replaced as a whole.

    ``entries`` are the logged ones by conntrack label bit, ``nvis`` names of NVIs by key path,
    ``own`` the addresses that uplinks translate to.
    """

    entries: Mapping[int, Snat]
    nvis: Mapping[str, str]
    snats: tuple[Snat, ...]
    own: frozenset[IPAddress]
    spaces: Spaces
    marks: Marks


class TranslationRecords:
    """Listens while there is an entry to be logged. ``write`` takes a text and fields."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._followed = _Followed({}, {}, (), frozenset(), Spaces({}), Marks(0))
        self._watch: FlowWatch | None = None
        self._thread: threading.Thread | None = None
        self.lost = 0

    def follow(
        self,
        configuration: Configuration,
        bits: dict[str, int],
        own: Iterable[IPAddress],
        zones: Mapping[str, int],
    ) -> None:
        """Log the entries of this configuration from now on; ``bits`` are the conntrack label
        bits of entries by key path, ``own`` the addresses that uplinks translate to, ``zones``
        the conntrack zones of tenants."""
        entries = [(nvi.name, snat) for nvi in configuration.nvis for snat in nvi.snats]
        self._followed = _Followed(
            entries={
                bits[snat.key_path]: snat
                for _, snat in entries
                if snat.log and snat.key_path in bits
            },
            nvis={snat.key_path: nvi for nvi, snat in entries},
            snats=tuple(snat for _, snat in entries),
            own=frozenset(own),
            spaces=Spaces(zones),
            marks=Marks(configuration.daemon.fwmark_mask),
        )
        if self._followed.entries and self._thread is None:
            self._watch = watch = FlowWatch()
            self._thread = threading.Thread(
                target=self._listen, args=(watch,), name="nvid-records", daemon=True
            )
            self._thread.start()
        elif not self._followed.entries:
            self.stop()

    def stop(self) -> threading.Thread | None:
        """Stop listening; never waits. The thread that ends soon, if there was one."""
        ending = self._thread
        if self._watch is not None:
            self._watch.stop()
        self._watch = self._thread = None
        return ending

    def close(self) -> None:
        """Stop listening, and wait until what is being written is written: not for the event
        loop, because a log may stall."""
        ending = self.stop()
        if ending is not None:
            ending.join()

    def _listen(self, watch: FlowWatch) -> None:
        for event in watch.events():
            if watch is not self._watch:
                continue  # Stopped; another one may listen already.
            followed = self._followed
            if event.flow is None:
                self.lost += 1
                self._write("records of translations were lost", times=self.lost)
            elif event.flow.mark & followed.marks.state_mask == followed.marks.bound:
                self._record(event.what, event.flow, followed)

    def _record(self, what: str, flow: Flow, followed: _Followed) -> None:
        snat = _entry(what, flow, followed)
        if snat is None:
            return
        self._write(
            f"translation {what}",
            nvi=followed.nvis[snat.key_path],
            translation=snat.label,
            protocol=flow.protocol,
            source=flow.source,
            source_port=flow.source_port,
            destination=flow.destination,
            destination_port=flow.destination_port,
            translated_source=flow.reply_destination,
            translated_source_port=flow.reply_destination_port,
            **({} if snat.tenant is None else {"tenant": snat.tenant}),
            **({} if flow.octets is None else {"bytes": flow.octets}),
        )


def _entry(what: str, flow: Flow, followed: _Followed) -> Snat | None:
    """The logged entry that made the flow. The event of a flow's end carries no label
    (nf_conntrack_netlink.c), so there the flow itself must tell."""
    if what == "made":
        entries = followed.entries.items()
        return next((snat for bit, snat in entries if flow.label >> bit & 1), None)
    maker = maker_of(flow, followed.snats, followed.own, spaces=followed.spaces)
    return maker if maker is not None and maker.log else None
