"""Which flows a change of translations concerns: pure questions about conntrack entries.

A flow belongs to the translations that made it, and ends with them. A flow that went by
untranslated ends when a new static or dnat covers its destination: a UDP flow would otherwise
live on for ever beside it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from ipaddress import ip_network
from operator import or_
from types import MappingProxyType

from msgspec.structs import replace

from nvid.configuration.translations import Dnat, Snat, Static
from nvid.configuration.types import Configuration
from nvid.configuration.values import (
    AddressRange,
    IPAddress,
    IPNetwork,
    NoTranslation,
    Pools,
    UplinkAddress,
    merged_ranges,
)
from nvid.desired.ruleset.destination import Selector, protocols_of, static_selector
from nvid.desired.ruleset.identity import Translation, translations
from nvid.desired.ruleset.words import protocol
from nvid.matching import Asked, selected, snat_takes, within_limits

NO_BITS: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Flow:
    """One conntrack entry. ``source`` to ``destination`` is the original direction as it came;
    ``reply_source`` is what the destination became, ``reply_destination`` what the source became.

    Ports are 0 for protocols without. ``key`` is the kernel's own name for the entry. ``octets``
    counts both directions, ``started`` is in seconds since the epoch; each is None where the
    kernel was not asked to keep it when the flow began. ``label`` is a number of 128 bits.
    ``zone`` is that of the original direction: the lane of the tenant that began the flow.
    """

    key: tuple[int, bytes, bytes]
    protocol: int
    source: IPAddress
    destination: IPAddress
    reply_source: IPAddress
    reply_destination: IPAddress
    source_port: int = 0
    destination_port: int = 0
    reply_source_port: int = 0
    reply_destination_port: int = 0
    snat: bool = False
    dnat: bool = False
    mark: int = 0
    label: int = 0
    zone: int = 0
    octets: int | None = None
    started: float | None = None

    @property
    def came(self) -> Asked:
        """As static and dnat entries saw its first packet."""
        return Asked(self.protocol, self.source, self.destination, self.destination_port)

    @property
    def led_on(self) -> Asked:
        """As snat entries saw its first packet."""
        return Asked(self.protocol, self.source, self.reply_source, self.reply_source_port)


def concerned(
    before: Configuration,
    after: Configuration,
    own: Iterable[IPAddress],
    bits: Mapping[str, int] = NO_BITS,
    zones: Mapping[str, int] = NO_BITS,
) -> Callable[[Flow], bool] | None:
    """Tells the flows that must end when ``after`` takes the place of ``before``; None when there
    are none. ``own`` are the machine's addresses, which ``to = "uplink"`` translates to; ``bits``
    the conntrack label bits of entries of ``before``, by key path; ``zones`` the conntrack zones
    of the tenants, by name."""
    spaces = Spaces(zones)
    old, new = _entries(before), _entries(after)
    gone = [entry for key, entry in old.items() if key not in new]
    fresh = [entry for key, entry in new.items() if key not in old]
    covered = _Destinations(
        (_destination(entry) for entry in fresh if not isinstance(entry, Snat)), translated=False
    )
    left = _Destinations(
        (_destination(entry, bits) for entry in gone if not isinstance(entry, Snat)),
        translated=True,
        bits=_mask(bits[key] for key in _key_paths(before, Dnat) if key in bits),
    )
    statics = StaticSources((entry for entry in gone if isinstance(entry, Static)), spaces)
    lost = [entry for entry in gone if isinstance(entry, Snat)]
    snats = _Snats(before, lost, frozenset(own), bits, spaces)
    questions = [each for each in (covered, left, statics, snats) if each.matters]
    if not questions:
        return None
    return lambda flow: any(question.concerns(flow) for question in questions)


def made_by(
    label: str,
    configuration: Configuration,
    own: Iterable[IPAddress],
    bits: Mapping[str, int] = NO_BITS,
    zones: Mapping[str, int] = NO_BITS,
) -> Callable[[Flow], bool] | None:
    """Tells the flows of the translations with this name or label, as if these were taken away;
    None when there are none. The rest is as for ``concerned``."""
    without = tuple(
        replace(
            nvi,
            statics=tuple(each for each in nvi.statics if each.label != label),
            dnats=tuple(each for each in nvi.dnats if each.label != label),
            snats=tuple(each for each in nvi.snats if each.label != label),
        )
        for nvi in configuration.nvis
    )
    return concerned(configuration, replace(configuration, nvis=without), own, bits, zones)


class Spaces:
    """Which address space a flow began in, by its zone."""

    def __init__(self, zones: Mapping[str, int]) -> None:
        self._zones = dict(zones)
        self._taken = frozenset(zones.values())

    def holds(self, tenant: str | None, flow: Flow) -> bool:
        """Whether the flow was begun by the tenant, or by none."""
        if tenant is None:
            return flow.zone not in self._taken
        return flow.zone == self._zones.get(tenant)


def _entries(configuration: Configuration) -> dict[object, Translation]:
    """Every translation by its content: where it stands in the file does not matter."""
    return {
        (nvi.name, replace(entry, key_path="", ordinal=1, name=None)): entry
        for nvi in configuration.nvis
        for entry in translations(nvi)
    }


def _key_paths(configuration: Configuration, kind: type[Dnat] | type[Snat]) -> Iterator[str]:
    for nvi in configuration.nvis:
        entries = nvi.dnats if kind is Dnat else nvi.snats
        yield from (entry.key_path for entry in entries)


def _mask(bits: Iterable[int]) -> int:
    """The label with all of these bits."""
    return reduce(or_, (1 << bit for bit in bits), 0)


@dataclass(frozen=True, slots=True)
class _Destination:
    """What a static or dnat takes from outside, and where it sends it. ``label`` has the bit of
    the entry, if it has one."""

    selector: Selector
    targets: tuple[IPNetwork, ...]
    entry: Static | Dnat
    label: int = 0

    def takes(self, flow: Flow) -> bool:
        """Whether the flow was sent to this."""
        asked = flow.came
        return selected(self.selector, asked) and (
            isinstance(self.entry, Static) or within_limits(self.entry, asked)
        )


def _destination(entry: Static | Dnat, bits: Mapping[str, int] = NO_BITS) -> _Destination:
    if isinstance(entry, Static):
        return _Destination(static_selector(entry), (entry.local,), entry)
    targets = tuple(target.network for target in entry.targets)
    network = entry.destination
    if isinstance(network, UplinkAddress):
        # Its address of that time is not known any more; the targets tell.
        network = ip_network("0.0.0.0/0" if targets[0].version == 4 else "::/0")
    selector = Selector(network, protocols_of(entry), entry.ports)
    label = 1 << bits[entry.key_path] if entry.key_path in bits else 0
    return _Destination(selector, targets, entry, label)


class _Destinations:
    """Flows to the destinations of some entries. Hosts are found by address at once."""

    def __init__(self, entries: Iterable[_Destination], *, translated: bool, bits: int = 0) -> None:
        """``bits`` is the label with the bits of all dnat entries that have one."""
        self._translated = translated
        self._bits = bits
        self._hosts: dict[IPAddress, list[_Destination]] = {}
        self._wide: list[_Destination] = []
        for entry in entries:
            network = entry.selector.network
            if network.num_addresses == 1:
                self._hosts.setdefault(network.network_address, []).append(entry)
            else:
                self._wide.append(entry)

    @property
    def matters(self) -> bool:
        """Whether there is any entry."""
        return bool(self._hosts or self._wide)

    def concerns(self, flow: Flow) -> bool:
        """Whether one of the entries takes the flow; and made it, where ``translated``."""
        if flow.dnat != self._translated:
            return False
        for entry in (*self._hosts.get(flow.destination, ()), *self._wide):
            if entry.takes(flow) and (not self._translated or self._made(entry, flow)):
                return True
        return False

    def _made(self, entry: _Destination, flow: Flow) -> bool:
        """Entries that differ by ingress alone are told apart by the label of the flow; one from
        before there was something to tell apart may have none."""
        marked = flow.label & self._bits
        is_of_another = marked and not marked & entry.label
        return not is_of_another and any(flow.reply_source in each for each in entry.targets)


class StaticSources:
    """Flows that statics made outwards; what a question costs does not grow with the number of
    those that are for one address without a port."""

    def __init__(self, entries: Iterable[Static], spaces: Spaces) -> None:
        self._spaces = spaces
        self._hosts: dict[tuple[str | None, IPAddress], Static] = {}
        self._tenants: set[str | None] = set()
        self._wide: list[Static] = []
        for entry in entries:
            if entry.local.num_addresses == 1 and entry.protocol is None:
                self._hosts[entry.tenant, entry.local.network_address] = entry
                self._tenants.add(entry.tenant)
            else:
                self._wide.append(entry)

    @property
    def matters(self) -> bool:
        """Whether there is any entry."""
        return bool(self._hosts or self._wide)

    def concerns(self, flow: Flow) -> bool:
        """Whether the source was translated by one of them."""
        if not flow.snat:
            return False
        space = next((each for each in self._tenants if self._spaces.holds(each, flow)), None)
        host = self._hosts.get((space, flow.source))
        return any(
            flow.source in entry.local
            and self._spaces.holds(entry.tenant, flow)
            and flow.reply_destination in entry.global_
            and (
                entry.protocol is None
                or (
                    flow.protocol == protocol(entry.protocol)
                    and flow.source_port == entry.local_port
                )
            )
            for entry in (*([host] if host is not None else ()), *self._wide)
        )


class _Snats:
    """Flows that some snat entries made: of all entries, the first that matches made a flow."""

    def __init__(
        self,
        before: Configuration,
        gone: list[Snat],
        own: frozenset[IPAddress],
        bits: Mapping[str, int],
        spaces: Spaces,
    ) -> None:
        self._spaces = spaces
        self._gone = {entry.key_path for entry in gone}
        self._own = own
        self._bits = bits
        self._all = [snat for nvi in before.nvis for snat in nvi.snats]
        self._spans = merged_ranges(_parts(gone))
        self._firsts = [(span.version, int(span.first)) for span in self._spans]
        self._uplinks = any(isinstance(entry.to, UplinkAddress) for entry in gone)
        self._mapping = [
            entry for entry in gone if entry.is_independent and isinstance(entry.to, Pools)
        ]
        self._statics = StaticSources(
            (static for nvi in before.nvis for static in nvi.statics), spaces
        )
        self._destinations = _Destinations(
            (
                _destination(entry)
                for nvi in before.nvis
                for entry in translations(nvi)
                if not isinstance(entry, Snat)
            ),
            translated=True,
        )

    @property
    def matters(self) -> bool:
        """Whether there is any entry."""
        return bool(self._gone)

    def concerns(self, flow: Flow) -> bool:
        """Whether the flow was made by one of them."""
        if self._came_in(flow):
            return True
        if not flow.snat or self._statics.concerns(flow):
            return False
        if not self._could_be(flow.reply_destination):
            return False
        maker = maker_of(flow, self._all, self._own, self._bits, self._spaces)
        return maker is not None and maker.key_path in self._gone

    def _came_in(self, flow: Flow) -> bool:
        """Whether the flow came in through a mapping that an entry of theirs held."""
        if not self._mapping or not flow.dnat or flow.protocol != protocol("udp"):
            return False
        return not self._destinations.concerns(flow) and any(
            any(part.contains(flow.destination) for part in entry.to.ranges)
            and (not entry.sources or any(flow.reply_source in each for each in entry.sources))
            for entry in self._mapping
            if isinstance(entry.to, Pools)
        )

    def _could_be(self, address: IPAddress) -> bool:
        """A cheap first look: is the address in a pool of theirs at all?"""
        if self._uplinks and address in self._own:
            return True
        place = bisect_right(self._firsts, (address.version, int(address))) - 1
        return place >= 0 and self._spans[place].contains(address)


def maker_of(
    flow: Flow,
    entries: Iterable[Snat],
    own: Collection[IPAddress],
    bits: Mapping[str, int] = NO_BITS,
    spaces: Spaces | None = None,
) -> Snat | None:
    """The snat entry that translated a flow: of ``entries`` in their order, the first that could
    have, of those for the ``spaces`` that the flow began in. ``own`` are the addresses that
    ``to = "uplink"`` translates to.

    Conntrack does not show the ingress interface. Where it is all that tells two entries apart,
    they have label bits (``desired.ruleset.account``): the bit of an entry, ``bits`` by key path,
    in the flow's label is its signature.
    """
    spaces = spaces or Spaces({})
    entries = tuple(entry for entry in entries if spaces.holds(entry.tenant, flow))
    signed = (
        entry
        for entry in entries
        if entry.key_path in bits and flow.label >> bits[entry.key_path] & 1
    )
    able = (entry for entry in (*signed, *entries) if _made(entry, flow, own))
    return next(able, None)


def _made(entry: Snat, flow: Flow, own: Collection[IPAddress]) -> bool:
    """Whether an entry could have made a flow."""
    if isinstance(entry.to, NoTranslation):
        translated = not flow.snat
    elif isinstance(entry.to, Pools):
        translated = any(part.contains(flow.reply_destination) for part in entry.to.ranges)
    else:
        translated = flow.reply_destination in own
    return translated and snat_takes(entry, flow.led_on)


def _parts(entries: Iterable[Snat]) -> Iterator[AddressRange]:
    for entry in entries:
        if isinstance(entry.to, Pools):
            yield from entry.to.ranges
