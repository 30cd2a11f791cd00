"""What ``nvid statistics`` shows: counters of NVIs and translations, and how full the pools are.

Annotations are not postponed here: asyncvarlink 0.3 reads them as they are.
"""

from dataclasses import dataclass

from nvid.daemon.metrics import PORTS_PER_ADDRESS, Snapshot


@dataclass(frozen=True)
class NviStatistics:
    """Packets and bytes of an NVI's flows, in one direction of them."""

    name: str
    direction: str
    packets: int
    bytes: int


@dataclass(frozen=True)
class TranslationStatistics:
    """Packets and bytes of one translation, both directions; ``limited`` counts packets that its
    limit refused."""

    nvi: str
    kind: str
    translation: str
    packets: int
    bytes: int
    limited: int


@dataclass(frozen=True)
class PoolStatistics:
    """Use of a pool. ``ports_used_ratio`` is flows over 64512 ports for each address."""

    nvi: str
    pool: str
    addresses: int
    flows: int
    ports_used_ratio: float


@dataclass(frozen=True)
class DropStatistics:
    """Packets that nvid dropped, by reason."""

    reason: str
    packets: int


@dataclass(frozen=True)
class Statistics:
    """All counters."""

    nvis: list[NviStatistics]
    translations: list[TranslationStatistics]
    pools: list[PoolStatistics]
    drops: list[DropStatistics]


def statistics(snapshot: Snapshot) -> Statistics:
    """The snapshot that metrics are made of, for people."""
    counters = snapshot.counters
    refused = {each.counter: counters.get(name, (0, 0))[0] for name, each in snapshot.limited}
    return Statistics(
        nvis=[
            NviStatistics(nvi, direction, *counters.get(counter, (0, 0)))
            for counter, nvi, direction in snapshot.nvi_counters
        ],
        translations=[
            TranslationStatistics(
                each.nvi,
                each.kind,
                each.label,
                *counters.get(each.counter, (0, 0)),
                refused.get(each.counter, 0),
            )
            for each in snapshot.translations
        ],
        pools=[
            PoolStatistics(
                pool.nvi,
                pool.pool,
                pool.addresses,
                pool.flows,
                pool.flows / (pool.addresses * PORTS_PER_ADDRESS),
            )
            for pool in snapshot.pools
        ],
        drops=[
            DropStatistics(reason, counters.get(counter, (0, 0))[0])
            for counter, reason in snapshot.drops
        ],
    )
