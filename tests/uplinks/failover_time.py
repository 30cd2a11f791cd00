"""How long a flow is silent when its uplink dies, measured; not a test.

    python -m tests.uplinks.failover_time [--runs N]

As root. One UDP flow sends every 5 ms; printed are the medians, and the longest, of the gaps
between two of its answers, in seconds, for a lost carrier and for a silent provider.
"""

from __future__ import annotations

import argparse
from statistics import median

from tests.lab import Lab, wait_until
from tests.path.site import IPV4, ISP1_PREFERRED, SNAT_TO_UPLINK, UDP, Site
from tests.uplinks.test_checks import silence

FAST = '{ targets = "198.18.0.10", interval = "100ms", down_after = 3, up_after = 3 }'
USUAL = '{ targets = "198.18.0.10" }'


def gap(site: Site, check: str | None) -> float:
    """The longest silence of one flow, over one failover."""
    flow = site.client.long_flow(IPV4.server, UDP, "udp", interval=0.005)
    flow.wait_for_answers()
    with site.without_carrier(site.isp1) if check is None else silence(site.isp1):
        wait_until(lambda: len(flow.report().sources) == 2, timeout=20, message="failover")
        flow.wait_for_answers()
    report = flow.stop()
    site.wait_for_uplink("isp1", "up")
    return report.longest_gap


def main() -> None:
    """Print one line for each way to notice."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    with Lab() as lab:
        site = Site(lab, None)
        site.observe_everywhere()
        for words, check in (
            ("carrier lost", None),
            ("check every 100 ms, 3 rounds", FAST),
            ("check every second, 3 rounds (the default)", USUAL),
        ):
            extra = "" if check is None else f"\ncheck = {check}"
            uplinks = ISP1_PREFERRED.replace("priority = 10", f"priority = 10{extra}")
            site.use(SNAT_TO_UPLINK, uplinks=uplinks)
            gaps = [gap(site, check) for _ in range(runs)]
            print(f"{words}: median {median(gaps):.2f} s, longest {max(gaps):.2f} s, {runs} runs")


if __name__ == "__main__":
    main()
