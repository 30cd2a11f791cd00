"""The search for overlapping claims, compared with looking at every pair."""

from ipaddress import ip_network
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from nvid.configuration.checks.claims import Claim, clashes
from nvid.configuration.types import IPNetwork, PortRange, Static

NOBODY = Static(ip_network("10.0.0.1"), ip_network("198.51.100.1"))


def network(version: int, length: int, bits: int) -> IPNetwork:
    """A network of at most four bits, so that overlaps are frequent."""
    full = 32 if version == 4 else 128
    base = int(ip_network("198.51.100.0/28" if version == 4 else "2001:db8::/124")[0])
    address = base + ((bits >> (4 - length)) << (4 - length))
    return ip_network((address, full - 4 + length))


claims = st.builds(
    lambda net, protocols, ports: Claim(
        NOBODY,
        "nvi.nvi0",
        net,
        tuple(sorted(protocols)),
        PortRange(min(ports), max(ports)) if ports and protocols else None,
    ),
    st.builds(network, st.sampled_from([4, 6]), st.integers(0, 4), st.integers(0, 15)),
    st.sets(st.sampled_from(["tcp", "udp", "sctp"]), max_size=2),
    st.none() | st.tuples(st.integers(1, 9), st.integers(1, 9)),
)


def overlap(one: Claim, other: Claim) -> bool:
    same_family = one.network.version == other.network.version
    protocols = (
        not one.protocols or not other.protocols or set(one.protocols) & set(other.protocols)
    )
    ports = one.ports is None or other.ports is None or one.ports.overlaps(other.ports)
    return bool(same_family and one.network.overlaps(other.network) and protocols and ports)


@given(st.lists(claims, max_size=8))
def test_clashes_are_found_as_by_looking_at_every_pair(several: list[Claim]) -> None:
    expected = any(overlap(one, other) for one, other in combinations(several, 2))
    found = list(clashes(several, lambda _one, _other: False))
    assert bool(found) == expected
    for later, earlier in found:
        assert overlap(later, earlier)
        places = [index for index, one in enumerate(several) if one is later]
        assert min(i for i, one in enumerate(several) if one is earlier) < max(places)


@given(st.lists(claims, max_size=8))
def test_claims_that_are_kept_apart_do_not_clash(several: list[Claim]) -> None:
    assert not list(clashes(several, lambda _one, _other: True))
