"""One structured record for each translation made and ended, for snat entries with ``log = true``.

Conntrack tells (linux/netfilter/nfnetlink_conntrack.h, groups NEW and DESTROY); a thread of its
own listens, so that a storm of flows delays nobody. When the kernel had to drop events, a record
says how often that has happened: what was lost then cannot be known.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping

from nvid.configuration.translations import Snat
from nvid.configuration.types import Configuration
from nvid.configuration.values import IPAddress
from nvid.desired.marks import Marks
from nvid.flows import Flow, Spaces, maker_of
from nvid.kernel.events import FlowEvent, FlowWatch

Write = Callable[..., object]


class TranslationRecords:
    """Listens while there is an entry to be logged. ``write`` takes a text and fields."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._entries: dict[int, Snat] = {}
        self._nvis: dict[str, str] = {}
        self._snats: tuple[Snat, ...] = ()
        self._own: frozenset[IPAddress] = frozenset()
        self._spaces = Spaces({})
        self._marks = Marks(0)
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
        self._spaces = Spaces(zones)
        self._marks = Marks(configuration.daemon.fwmark_mask)
        entries = [(nvi.name, snat) for nvi in configuration.nvis for snat in nvi.snats]
        self._nvis = {snat.key_path: nvi for nvi, snat in entries}
        self._snats = tuple(snat for _, snat in entries)
        self._own = frozenset(own)
        self._entries = {
            bits[snat.key_path]: snat for _, snat in entries if snat.log and snat.key_path in bits
        }
        if self._entries and self._thread is None:
            self._watch = FlowWatch()
            self._thread = threading.Thread(target=self._listen, name="nvid-records", daemon=True)
            self._thread.start()
        elif not self._entries:
            self.close()

    def close(self) -> None:
        """Stop listening."""
        if self._watch is not None and self._thread is not None:
            self._watch.stop()
            self._thread.join()
            self._watch = self._thread = None

    def _listen(self) -> None:
        assert self._watch is not None
        for event in self._watch.events():
            if event.flow is None:
                self.lost += 1
                self._write("records of translations were lost", times=self.lost)
            elif event.flow.mark & self._marks.state_mask == self._marks.bound:
                self._record(event, event.flow)

    def _record(self, event: FlowEvent, flow: Flow) -> None:
        snat = self._entry(event, flow)
        if snat is None:
            return
        self._write(
            f"translation {event.what}",
            nvi=self._nvis.get(snat.key_path),
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

    def _entry(self, event: FlowEvent, flow: Flow) -> Snat | None:
        """The logged entry that made the flow. The event of a flow's end carries no label
        (nf_conntrack_netlink.c), so there the flow itself must tell."""
        if event.what == "made":
            return next((s for bit, s in self._entries.items() if flow.label >> bit & 1), None)
        maker = maker_of(flow, self._snats, self._own, spaces=self._spaces)
        return maker if maker is not None and maker.log else None
