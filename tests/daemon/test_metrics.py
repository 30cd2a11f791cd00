"""Metrics: every name of the contract, right units, parsed by prometheus-client's own parsers."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import TypeAlias

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from nvid.configuration.values import Listen
from nvid.daemon.metrics import MetricsServer, Pool, Snapshot
from nvid.daemon.status import (
    ConfigStatus,
    NviStatus,
    ReconcileStatus,
    Status,
    UplinkStatus,
)
from nvid.desired.ruleset.identity import Counted
from nvid.errors import NvidError
from nvid.kernel.conntrack import FlowTable

LABEL = '10.1.0.2=198.51.100.10 "quoted" \\ back\nline'
SNAPSHOT = Snapshot(
    status=Status(
        state="degraded",
        version="1",
        pid=7,
        config=ConfigStatus("/etc/nvid/nvid.toml", 1.0, 3),
        reconcile=ReconcileStatus(2, 1.0, [], 0.1, 5, []),
        nvis=[NviStatus("nvi0", "veth", "first-packet", "up", [], ["lan0"], 1, 42)],
        uplinks=[
            UplinkStatus("isp1", "wan0", "up", ["203.0.113.254"], ""),
            UplinkStatus("isp2", "wan1", "down", ["192.0.2.254"], "interface wan1 is down"),
        ],
    ),
    counters={"nvi_1_original": (10, 1000), "static_0": (3, 300), "dropped_stray": (4, 400)},
    nvi_counters=(("nvi_1_original", "nvi0", "original"), ("nvi_1_reply", "nvi0", "reply")),
    translations=(Counted("static_0", "nvi0", "static", LABEL),),
    drops=(("dropped_stray", "stray"),),
    pools=(Pool("nvi0", "198.51.100.8/29", 8, 64512),),
    repairs={"route": 2, "rule": 0},
    reload_successful=False,
    reload_at=1234.5,
    conntrack=FlowTable(17, 1000, refused=4, displaced=5, clashed=6),
    log_records_lost=6,
)


Scraped: TypeAlias = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""Values by the name and the sorted labels of their samples."""


class Endpoint:
    """A metrics server on a free port of this machine."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = SNAPSHOT
        self.server = MetricsServer(lambda: self.snapshot)
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.server.open(Listen("127.0.0.1", self.port))

    def get(self, accept: str = "*/*", path: str = "/metrics") -> tuple[int, str, str]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)) as connection:
            connection.request("GET", path, headers={"Accept": accept})
            answer = connection.getresponse()
            return answer.status, answer.getheader("Content-Type", ""), answer.read().decode()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    yield made
    made.server.close()


@pytest.fixture(scope="module")
def scraped() -> Scraped:
    """One scrape of SNAPSHOT, for all who only read."""
    made = Endpoint()
    try:
        return samples(made.get()[2])
    finally:
        made.server.close()


def samples(text: str) -> Scraped:
    families: Iterable[Metric] = parse_text(text)
    return {
        (each.name, tuple(sorted(each.labels.items()))): each.value
        for family in families
        for each in family.samples
    }


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("nvid_nvi_up", {"nvi": "nvi0"}, 1),
        ("nvid_nvi_packets_total", {"nvi": "nvi0", "direction": "original"}, 10),
        ("nvid_nvi_bytes_total", {"nvi": "nvi0", "direction": "original"}, 1000),
        (
            "nvid_translation_packets_total",
            {"nvi": "nvi0", "kind": "static", "translation": LABEL},
            3,
        ),
        (
            "nvid_translation_bytes_total",
            {"nvi": "nvi0", "kind": "static", "translation": LABEL},
            300,
        ),
        ("nvid_flows", {"nvi": "nvi0"}, 42),
        ("nvid_pool_addresses", {"nvi": "nvi0", "pool": "198.51.100.8/29"}, 8),
        ("nvid_pool_ports_used_ratio", {"nvi": "nvi0", "pool": "198.51.100.8/29"}, 0.125),
        ("nvid_uplink_up", {"uplink": "isp1"}, 1),
        ("nvid_uplink_up", {"uplink": "isp2"}, 0),
        ("nvid_reconcile_repairs_total", {"object": "route"}, 2),
        ("nvid_reconcile_repairs_total", {"object": "rule"}, 0),
        ("nvid_netlink_overruns_total", {}, 5),
        ("nvid_config_last_reload_successful", {}, 0),
        ("nvid_config_last_reload_timestamp_seconds", {}, 1234.5),
        ("nvid_conntrack_entries", {}, 17),
        ("nvid_conntrack_limit", {}, 1000),
        ("nvid_conntrack_refused_packets_total", {}, 4),
        ("nvid_conntrack_displaced_total", {}, 5),
        ("nvid_conntrack_clashed_total", {}, 6),
        ("nvid_dropped_packets_total", {"reason": "stray"}, 4),
        ("nvid_log_records_lost_total", {}, 6),
    ],
)
def test_a_sample(scraped: Scraped, name: str, labels: dict[str, str], value: float) -> None:
    assert scraped[name, tuple(sorted(labels.items()))] == value


def test_the_time_of_rounds_is_a_histogram(endpoint: Endpoint) -> None:
    endpoint.server.durations.observe(0.03)
    found = samples(endpoint.get()[2])
    assert found["nvid_reconcile_duration_seconds_count", ()] == 1
    assert found["nvid_reconcile_duration_seconds_sum", ()] == 0.03
    assert found["nvid_reconcile_duration_seconds_bucket", (("le", "0.05"),)] == 1
    assert found["nvid_reconcile_duration_seconds_bucket", (("le", "0.025"),)] == 0


def test_openmetrics_for_who_asks(endpoint: Endpoint) -> None:
    status, kind, text = endpoint.get("application/openmetrics-text; version=1.0.0")
    assert status == 200
    assert kind.startswith("application/openmetrics-text")
    found: Iterable[Metric] = parse_openmetrics(text)  # type: ignore[no-untyped-call]
    families = {family.name for family in found}
    assert {"nvid_build_info", "nvid_nvi_packets", "nvid_reconcile_duration_seconds"} <= families


def test_prometheus_text_for_everybody_else(endpoint: Endpoint) -> None:
    status, kind, text = endpoint.get()
    assert (status, kind.partition(";")[0]) == (200, "text/plain")
    assert all(family.documentation for family in parse_text(text))


def test_everything_is_called_nvid(
    scraped: Scraped,
) -> None:
    assert all(name.startswith("nvid_") for name, _ in scraped)


def test_before_the_first_round_there_is_nothing_to_say(endpoint: Endpoint) -> None:
    endpoint.snapshot = None
    status, _, text = endpoint.get()
    assert status == 200
    assert "nvid_nvi_up" not in text


def test_a_port_in_use_is_an_error_with_a_remedy(endpoint: Endpoint) -> None:
    with pytest.raises(NvidError, match=r'metrics: cannot listen on .* or "off"'):
        MetricsServer(lambda: None).open(Listen("127.0.0.1", endpoint.port))


def test_ipv6(endpoint: Endpoint) -> None:
    server = MetricsServer(lambda: SNAPSHOT)
    server.open(Listen("::1", endpoint.port))
    try:
        with closing(http.client.HTTPConnection("::1", endpoint.port, timeout=5)) as connection:
            connection.request("GET", "/metrics")
            assert connection.getresponse().status == 200
    finally:
        server.close()


def test_silent_connections_hold_nobody_up(endpoint: Endpoint) -> None:
    idle = [socket.create_connection(("127.0.0.1", endpoint.port)) for _ in range(20)]
    try:
        assert endpoint.get()[0] == 200
        closing_it = threading.Thread(target=endpoint.server.close)
        closing_it.start()
        closing_it.join(5)
        assert not closing_it.is_alive()
    finally:
        for each in idle:
            each.close()
