"""Uplinks of equal priority share new flows by weight."""

from __future__ import annotations

from collections import Counter
from math import sqrt

import pytest

from tests.path.site import ISP1_PREFERRED, SNAT_TO_UPLINK, UDP, Family, Site

EQUAL = ISP1_PREFERRED.replace("priority = 20", "priority = 10")


@pytest.mark.parametrize(
    "weights", [(1, 1), (3, 1), (1, 9)], ids=lambda each: f"{each[0]}:{each[1]}"
)
def test_shares_are_those_of_the_weights(
    site: Site, family: Family, weights: tuple[int, int]
) -> None:
    """Six standard deviations of a binomial distribution: once in 500 million runs."""
    first, second = weights
    uplinks = EQUAL.replace('interface = "wan0"', f'interface = "wan0"\nweight = {first}')
    uplinks = uplinks.replace('interface = "wan1"', f'interface = "wan1"\nweight = {second}')
    site.use(SNAT_TO_UPLINK, uplinks=uplinks)
    # A port that an earlier test has used would stay on the uplink of then.
    site.nvid.command("clear", "--protocol", "udp")
    count, share = 2000, first / (first + second)
    found = Counter(site.probe(site.client, "many", UDP, family.server, "--count", str(count)))
    assert sum(found.values()) == count
    assert set(found) == {family.wan0, family.wan1}
    assert abs(found[family.wan0] - count * share) < 6 * sqrt(count * share * (1 - share))
