"""Prometheus metrics: a collector over the daemon's last snapshot.

A scrape runs in prometheus-client's own thread and reads immutable values; counting flows and
reading counters happens at most every few seconds, however often somebody scrapes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from nvid import __version__
from nvid.configuration.values import Listen
from nvid.daemon.status import Status
from nvid.desired.ruleset.identity import Counted
from nvid.errors import NvidError
from nvid.kernel.conntrack import FlowTable

PORTS_PER_ADDRESS = 64512
"""Ports 1024 to 65535."""


@dataclass(frozen=True, slots=True)
class Pool:
    """One snat entry's pool: how many addresses, how many flows use it now."""

    nvi: str
    pool: str
    addresses: int
    flows: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a scrape shows. ``counters`` hold (packets, bytes) by nft counter name."""

    status: Status
    counters: dict[str, tuple[int, int]] = field(default_factory=dict)
    nvi_counters: tuple[tuple[str, str, str], ...] = ()
    tenant_counters: tuple[tuple[str, str, str], ...] = ()
    translations: tuple[Counted, ...] = ()
    limited: tuple[tuple[str, Counted], ...] = ()
    drops: tuple[tuple[str, str], ...] = ()
    pools: tuple[Pool, ...] = ()
    repairs: dict[str, int] = field(default_factory=dict)
    reload_successful: bool = True
    reload_at: float = 0.0
    conntrack: FlowTable | None = None
    log_records_lost: int = 0


class Exposition(Collector):
    """Turns the current snapshot into metric families."""

    def __init__(self, snapshot: Callable[[], Snapshot | None]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """All families; none before the first round."""
        snapshot = self._snapshot()
        if snapshot is None:
            return
        yield from _build()
        yield from _nvis(snapshot)
        yield from _translations(snapshot)
        yield from _pools(snapshot)
        yield from _uplinks(snapshot)
        yield from _tenants(snapshot)
        yield from _reconcile(snapshot)
        yield from _configuration(snapshot)
        yield from _conntrack(snapshot)


def _gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=labels)


def _counter(name: str, text: str, labels: tuple[str, ...] = ()) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, labels=labels)


def _build() -> Iterator[Metric]:
    family = _gauge("nvid_build_info", "Version of nvid, as a label.", ("version",))
    family.add_metric((__version__,), 1)
    yield family


def _nvis(snapshot: Snapshot) -> Iterator[Metric]:
    up = _gauge("nvid_nvi_up", "Whether the NVI is as it should be.", ("nvi",))
    flows = _gauge("nvid_flows", "Flows that cross the NVI now.", ("nvi",))
    for nvi in snapshot.status.nvis:
        up.add_metric((nvi.name,), float(nvi.state == "up"))
        if nvi.flows is not None:
            flows.add_metric((nvi.name,), nvi.flows)
    yield up
    yield flows
    packets = _counter(
        "nvid_nvi_packets", "Packets of the NVI's flows, by direction.", ("nvi", "direction")
    )
    octets = _counter(
        "nvid_nvi_bytes", "Bytes of the NVI's flows, by direction.", ("nvi", "direction")
    )
    for counter, nvi_name, direction in snapshot.nvi_counters:
        _add(packets, octets, (nvi_name, direction), snapshot.counters.get(counter))
    yield packets
    yield octets
    drops = _counter("nvid_dropped_packets", "Packets that nvid dropped, by reason.", ("reason",))
    for counter, reason in snapshot.drops:
        drops.add_metric((reason,), snapshot.counters.get(counter, (0, 0))[0])
    yield drops


def _add(
    packets: CounterMetricFamily,
    octets: CounterMetricFamily,
    labels: tuple[str, ...],
    values: tuple[int, int] | None,
) -> None:
    if values is not None:
        packets.add_metric(labels, values[0])
        octets.add_metric(labels, values[1])


def _translations(snapshot: Snapshot) -> Iterator[Metric]:
    labels = ("nvi", "kind", "translation")
    packets = _counter("nvid_translation_packets", "Packets, both directions.", labels)
    octets = _counter("nvid_translation_bytes", "Bytes, both directions.", labels)
    for each in snapshot.translations:
        values = snapshot.counters.get(each.counter)
        _add(packets, octets, (each.nvi, each.kind, each.label), values)
    yield packets
    yield octets
    limited = _counter(
        "nvid_translation_limited_packets", "Packets that an entry's limit refused.", labels
    )
    for counter, each in snapshot.limited:
        refused = snapshot.counters.get(counter, (0, 0))[0]
        limited.add_metric((each.nvi, each.kind, each.label), refused)
    yield limited


def _pools(snapshot: Snapshot) -> Iterator[Metric]:
    labels = ("nvi", "pool")
    addresses = _gauge("nvid_pool_addresses", "Addresses in the pool.", labels)
    used = _gauge(
        "nvid_pool_ports_used_ratio",
        "Flows translated to the pool, over 64512 ports for each of its addresses.",
        labels,
    )
    for pool in snapshot.pools:
        addresses.add_metric((pool.nvi, pool.pool), pool.addresses)
        ratio = pool.flows / (pool.addresses * PORTS_PER_ADDRESS)
        used.add_metric((pool.nvi, pool.pool), ratio)
    yield addresses
    yield used


def _uplinks(snapshot: Snapshot) -> Iterator[Metric]:
    family = _gauge("nvid_uplink_up", "Whether new flows can use the uplink.", ("uplink",))
    for uplink in snapshot.status.uplinks:
        family.add_metric((uplink.name,), float(uplink.state == "up"))
    yield family


def _tenants(snapshot: Snapshot) -> Iterator[Metric]:
    up = _gauge("nvid_tenant_up", "Whether packets can reach the tenant.", ("tenant",))
    flows = _gauge("nvid_tenant_flows", "Flows from and to the tenant now.", ("tenant",))
    for tenant in snapshot.status.tenants:
        up.add_metric((tenant.name,), float(tenant.state == "up"))
        if tenant.flows is not None:
            flows.add_metric((tenant.name,), tenant.flows)
    yield up
    yield flows
    labels = ("tenant", "direction")
    packets = _counter("nvid_tenant_packets", "Packets from the tenant, and to it.", labels)
    octets = _counter("nvid_tenant_bytes", "Bytes from the tenant, and to it.", labels)
    for counter, name, direction in snapshot.tenant_counters:
        _add(packets, octets, (name, direction), snapshot.counters.get(counter))
    yield packets
    yield octets


def _reconcile(snapshot: Snapshot) -> Iterator[Metric]:
    repairs = _counter(
        "nvid_reconcile_repairs", "Objects that somebody changed and nvid mended.", ("object",)
    )
    for kind, number in snapshot.repairs.items():
        repairs.add_metric((kind,), number)
    yield repairs
    overruns = _counter("nvid_netlink_overruns", "Times that the kernel had to drop events.")
    overruns.add_metric((), snapshot.status.reconcile.overruns_total)
    yield overruns
    lost = _counter("nvid_log_records_lost", "Records that the journal would not take.")
    lost.add_metric((), snapshot.log_records_lost)
    yield lost


def _configuration(snapshot: Snapshot) -> Iterator[Metric]:
    successful = _gauge(
        "nvid_config_last_reload_successful", "Whether the last configuration was accepted."
    )
    successful.add_metric((), float(snapshot.reload_successful))
    yield successful
    at = _gauge(
        "nvid_config_last_reload_timestamp_seconds", "When a configuration was last accepted."
    )
    at.add_metric((), snapshot.reload_at)
    yield at


def _conntrack(snapshot: Snapshot) -> Iterator[Metric]:
    table = snapshot.conntrack
    if table is None:
        return
    entries = _gauge("nvid_conntrack_entries", "Flows in the kernel's table, anybody's.")
    entries.add_metric((), table.entries)
    yield entries
    limit = _gauge("nvid_conntrack_limit", "The most flows that the table may hold.")
    limit.add_metric((), table.limit)
    yield limit
    for name, text, number in (
        ("refused_packets", "Packets that conntrack dropped: no room, or a clash.", table.refused),
        ("displaced", "Flows without an answer, ended to make room.", table.displaced),
        ("clashed", "Flows that became like another one.", table.clashed),
    ):
        family = _counter(f"nvid_conntrack_{name}", text)
        family.add_metric((), number)
        yield family


class MetricsServer:
    """prometheus-client's server with nvid's registry. ``durations`` is fed by every round."""

    def __init__(self, snapshot: Callable[[], Snapshot | None]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(Exposition(snapshot))
        self.durations = Histogram(
            "nvid_reconcile_duration_seconds",
            "Time for one look at the kernel and what had to be changed.",
            registry=self._registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )
        self._server: Any = None
        self._thread: threading.Thread | None = None

    def open(self, listen: Listen) -> None:
        """Listen. Raises NvidError with the remedy when the address cannot be used."""
        try:
            self._server, self._thread = start_http_server(
                listen.port, listen.host, registry=self._registry
            )
        except OSError as error:
            raise NvidError(
                f"metrics: cannot listen on {listen}: {error.strerror}; choose another address "
                f'in [daemon] metrics, or "off"'
            ) from error

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
