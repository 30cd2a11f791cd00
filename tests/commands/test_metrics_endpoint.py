"""Metrics of a running daemon, as Prometheus scrapes them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests import samples
from tests.commands.conftest import Router, converged, metric
from tests.lab import METRICS, Lab, Nvid, TwoUplinks, two_uplinks, wait_until

CONTRACT = {
    "nvid_build_info": set(),
    "nvid_nvi_up": {"nvi"},
    "nvid_nvi_packets_total": {"nvi", "direction"},
    "nvid_nvi_bytes_total": {"nvi", "direction"},
    "nvid_translation_packets_total": {"nvi", "kind", "translation"},
    "nvid_translation_bytes_total": {"nvi", "kind", "translation"},
    "nvid_flows": {"nvi"},
    "nvid_pool_addresses": {"nvi", "pool"},
    "nvid_pool_ports_used_ratio": {"nvi", "pool"},
    "nvid_uplink_up": {"uplink"},
    "nvid_reconcile_repairs_total": {"object"},
    "nvid_reconcile_duration_seconds_bucket": {"le"},
    "nvid_netlink_overruns_total": set(),
    "nvid_config_last_reload_successful": set(),
    "nvid_config_last_reload_timestamp_seconds": set(),
    "nvid_conntrack_entries": set(),
    "nvid_conntrack_limit": set(),
}


def labels(text: str) -> dict[str, set[str]]:
    """The label names of every sample, from the first scrape on."""
    found: dict[str, set[str]] = {}
    families: Iterable[Metric] = parse_text(text)
    for family in families:
        for each in family.samples:
            found.setdefault(each.name, set(each.labels))
    return found


class TestNames:
    def test_all_of_the_contract_are_there(self, daemon: Nvid) -> None:
        found = labels(daemon.metrics())
        assert CONTRACT.keys() <= found.keys()
        for name, wanted in CONTRACT.items():
            assert wanted <= found[name], name

    def test_openmetrics_for_who_asks(self, daemon: Nvid) -> None:
        answer = daemon.namespace.run(
            *("curl", "-sSfi", "-H", "Accept: application/openmetrics-text;version=1.0.0"),
            f"http://{METRICS}/metrics",
        ).stdout
        head, _, body = answer.replace("\r\n", "\n").partition("\n\n")
        assert "application/openmetrics-text" in head
        found: Iterable[Metric] = parse_openmetrics(body)  # type: ignore[no-untyped-call]
        assert "nvid_nvi_packets" in {family.name for family in found}

    def test_the_number_of_samples_follows_the_configuration_only(
        self, router: Router, daemon: Nvid
    ) -> None:
        def count() -> int:
            return len([line for line in daemon.metrics().splitlines() if line[0] != "#"])

        before = count()
        for n in range(20):
            router.namespace.ip("route", "add", f"198.18.{n}.0/24", "dev", "lan0")
        router.namespace.run("nft", "flush", "ruleset")
        wait_until(lambda: metric(daemon, 'nvid_reconcile_repairs_total{object="ruleset"}') > 0)
        assert count() == before


def test_a_failed_reload_shows(daemon: Nvid) -> None:
    before = metric(daemon, "nvid_config_last_reload_timestamp_seconds")
    daemon.reload("nonsense = 1")
    assert metric(daemon, "nvid_config_last_reload_successful") == 0
    assert metric(daemon, "nvid_config_last_reload_timestamp_seconds") == before
    daemon.reload(samples.MASQUERADE)
    assert metric(daemon, "nvid_config_last_reload_successful") == 1
    assert metric(daemon, "nvid_config_last_reload_timestamp_seconds") > before


class TestScrapes:
    def test_many_at_once(self, daemon: Nvid) -> None:
        statuses: list[str] = []

        def scrape() -> None:
            statuses.append(daemon.metrics())

        scrapers = [threading.Thread(target=scrape) for _ in range(20)]
        for each in scrapers:
            each.start()
        for each in scrapers:
            each.join(20)
        assert len(statuses) == 20
        assert all("nvid_nvi_up" in each for each in statuses)

    def test_one_during_a_long_reload_is_answered(self, router: Router) -> None:
        """Thousands of translations are loaded meanwhile; the numbers may be those of before."""
        nvid = router.nvid(samples.MASQUERADE).start()
        entries = "".join(
            f'[[nvi.nvi0.static]]\nlocal = "10.{n >> 8}.{n & 255}.1"\n'
            f'global = "198.18.{n >> 8}.{n & 255}"\n'
            for n in range(4000)
        )
        nvid.write(samples.MASQUERADE + entries)
        nvid.hang_up()
        slowest = 0.0
        while nvid.status()["config"]["generation"] == 1:  # type: ignore[index]
            started = time.monotonic()
            assert "nvid_nvi_up" in nvid.metrics()
            slowest = max(slowest, time.monotonic() - started)
        assert slowest < 5

    def test_a_silent_connection_holds_nobody_up(self, router: Router, daemon: Nvid) -> None:
        for _ in range(5):
            router.namespace.popen("socat", "-u", f"TCP:{METRICS}", "OPEN:/dev/null")
        assert "nvid_nvi_up" in daemon.metrics()
        assert daemon.terminate(timeout=10) == 0


@pytest.fixture
def network(lab: Lab) -> TwoUplinks:
    return two_uplinks(lab)


CLIENTS = (
    samples.UPLINKS
    + """
[nvi.nvi0]
interfaces = ["lan0", "wan0", "wan1"]

[[nvi.nvi0.snat]]
source = ["10.1.0.0/24"]
to     = "198.51.100.8/29"
name   = "clients"

[[nvi.nvi0.snat]]
source = ["fd00:1::/64"]
to     = "2001:db8:100::/64"
name   = "clients6"
"""
)


class TestCounters:
    """They count packets of real flows, and no change of anything sets them back."""

    def packets(self, nvid: Nvid, name: str = "clients") -> float:
        labels = f'kind="snat",nvi="nvi0",translation="{name}"'
        return metric(nvid, f"nvid_translation_packets_total{{{labels}}}")

    def running(self, network: TwoUplinks) -> Nvid:
        directory = network.lab.scratch("files")
        directory.mkdir(parents=True)
        nvid = Nvid(network.router, CLIENTS, directory).start()
        for address, count in (("198.18.0.10", 5), ("2001:db8:f::10", 3)):
            assert network.client.ping(address, count=count)
        wait_until(lambda: self.packets(nvid) >= 10)
        return nvid

    def test_they_count_both_directions_of_both_families(self, network: TwoUplinks) -> None:
        nvid = self.running(network)
        assert self.packets(nvid) == 10
        assert self.packets(nvid, "clients6") == 6
        for direction in ("original", "reply"):
            sample = f'nvid_nvi_packets_total{{direction="{direction}",nvi="nvi0"}}'
            assert metric(nvid, sample) == 8

    def test_flows_and_pools(self, network: TwoUplinks) -> None:
        nvid = self.running(network)
        wait_until(lambda: metric(nvid, 'nvid_flows{nvi="nvi0"}') == 2)
        pool = 'nvi="nvi0",pool="198.51.100.8/29"'
        assert metric(nvid, f"nvid_pool_addresses{{{pool}}}") == 8
        assert 0 < metric(nvid, f"nvid_pool_ports_used_ratio{{{pool}}}") < 0.001
        assert metric(nvid, "nvid_conntrack_entries") >= 2

    def test_a_reload_keeps_them(self, network: TwoUplinks) -> None:
        nvid = self.running(network)
        before = self.packets(nvid)
        more = '[[nvi.nvi0.static]]\nlocal = "10.1.0.3"\nglobal = "198.51.100.40"\n'
        assert nvid.reload(CLIENTS + more).returncode == 0
        assert self.packets(nvid) >= before

    def test_a_restart_keeps_them(self, network: TwoUplinks) -> None:
        nvid = self.running(network)
        before = self.packets(nvid)
        nvid.kill()
        nvid.start()
        wait_until(lambda: self.packets(nvid) >= before)

    @pytest.mark.parametrize("command", ["flush ruleset", "delete table inet nvid"])
    def test_a_lost_table_keeps_them(self, network: TwoUplinks, command: str) -> None:
        nvid = self.running(network)
        before = self.packets(nvid)
        network.router.run("nft", *command.split())
        wait_until(lambda: metric(nvid, 'nvid_reconcile_repairs_total{object="ruleset"}') > 0)
        converged(nvid)
        wait_until(lambda: self.packets(nvid) >= before)
        assert network.client.ping("198.18.0.10", count=2)
        wait_until(lambda: self.packets(nvid) >= before + 4)
