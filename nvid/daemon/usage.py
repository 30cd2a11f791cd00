"""Numbers that cost something to get: flows of NVIs and pools, packets of translations.

They are read when somebody asks, and not again before a multiple of what it cost: a scraper every
second makes the daemon no busier than one every minute where the tables are large.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace

from nvid.configuration.translations import Snat
from nvid.configuration.types import Configuration, Nvi
from nvid.configuration.values import Pools
from nvid.desired.marks import Marks
from nvid.desired.numbers import Numbers
from nvid.desired.ruleset.classify import nvi_label
from nvid.errors import NvidError, in_words
from nvid.kernel import conntrack
from nvid.reconcile import Reconciler

SHORTEST_AGE = 0.5
"""Seconds for which numbers are fresh in any case."""
REST = 20
"""Numbers stay for this many times the time that it took to get them."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The last numbers. ``flows`` by NVI, ``tenants`` by tenant, ``pools`` by snat key path; None:
    not counted yet. ``problem`` says why they could not be read anew, if so."""

    flows: Mapping[str, int] | None = None
    pools: Mapping[str, int] = field(default_factory=dict)
    counters: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    conntrack: conntrack.FlowTable | None = None
    numbers: Numbers = field(default_factory=Numbers)
    tenants: Mapping[str, int] | None = None
    problem: str | None = None


class UsageReader:
    """Keeps the last numbers, and one reading at a time."""

    def __init__(self) -> None:
        self.latest = Usage()
        self._read_at = float("-inf")
        self._cost = 0.0
        self._reading: asyncio.Task[None] | None = None

    async def refresh(
        self,
        configuration: Configuration,
        reconciler: Reconciler,
        worker: Executor,
        patience: float,
    ) -> None:
        """Read again unless the numbers are fresh; wait no longer than ``patience`` seconds: the
        reading then goes on, and the next one who asks gets it."""
        age = time.monotonic() - self._read_at
        if self._reading is None and age >= max(SHORTEST_AGE, REST * self._cost):
            self._reading = asyncio.get_running_loop().create_task(
                self._read(configuration, reconciler, worker)
            )
        if self._reading is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._reading), patience)

    async def _read(
        self, configuration: Configuration, reconciler: Reconciler, worker: Executor
    ) -> None:
        started = time.monotonic()
        loop = asyncio.get_running_loop()
        try:
            counters = await loop.run_in_executor(worker, reconciler.read_counters)
            self.latest = await loop.run_in_executor(
                None, _count, configuration, reconciler.numbers, counters
            )
        except (NvidError, OSError) as error:
            words = f"flows and counters cannot be read: {in_words(error)}"
            self.latest = replace(self.latest, problem=words)
        finally:
            first = self._read_at == float("-inf")
            self._read_at = time.monotonic()
            # The first reading pays for loading code as well.
            self._cost = 0.0 if first else self._read_at - started
            self._reading = None


def pools_of(configuration: Configuration) -> list[tuple[Nvi, Snat, Pools]]:
    """Every snat entry that has a pool."""
    return [
        (nvi, snat, snat.to)
        for nvi in configuration.nvis
        for snat in nvi.snats
        if isinstance(snat.to, Pools)
    ]


def _count(
    configuration: Configuration, numbers: Numbers, counters: Mapping[str, tuple[int, int]]
) -> Usage:
    marks = Marks(configuration.daemon.fwmark_mask)
    bound = conntrack.MarkFilter(marks.bound, marks.state_mask)
    pools = pools_of(configuration)
    # A single NVI has all the flows there are; several are told apart by a label bit.
    bits = {nvi.name: nvi_label(numbers.nvis.get(nvi.name, 0)) for nvi in configuration.nvis}
    several = len(bits) > 1
    lanes = {tenant.name: numbers.tenants.get(tenant.name, 0) for tenant in configuration.tenants}
    found = conntrack.usage(
        bound,
        bits.values() if several else (),
        (pool for _, _, pool in pools),
        lanes.values(),
        marks.forward_lane_of,
    )
    return Usage(
        {name: found.by_label[bit] if several else found.flows for name, bit in bits.items()},
        {snat.key_path: n for (_, snat, _), n in zip(pools, found.by_pool, strict=True)},
        counters,
        conntrack.flow_table(),
        numbers,
        {name: found.by_lane[lane] for name, lane in lanes.items()},
    )
