"""What has to change, as a value: computed, in order, and in words."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvid.desired.objects import Address, LinkEnd, Neighbour, Pair, Route, Rule, Sysctl
from nvid.difference import Change, difference
from nvid.observed import Observed, differ
from tests import samples

keys = st.sampled_from([f"net/ipv4/conf/if{n}/forwarding" for n in range(6)])
values = st.sampled_from("012")
sysctls = st.dictionaries(keys, values).map(
    lambda found: tuple(Sysctl(path, value) for path, value in found.items())
)


def carried_out(changes: tuple[Change[Sysctl], ...], before: tuple[Sysctl, ...]) -> set[Sysctl]:
    """A small kernel: one object for each key."""
    there = {each.key: each for each in before}
    for change in changes:
        assert there.get(change.object.key) == change.before
        if change.after is None:
            del there[change.object.key]
        else:
            there[change.after.key] = change.after
    return set(there.values())


@given(sysctls, sysctls)
def test_carrying_it_out_gives_what_is_desired(
    desired: tuple[Sysctl, ...], observed: tuple[Sysctl, ...]
) -> None:
    assert carried_out(difference(desired, observed), observed) == set(desired)


@given(sysctls)
def test_nothing_differs_from_itself(found: tuple[Sysctl, ...]) -> None:
    assert difference(found, tuple(reversed(found))) == ()


@given(sysctls, sysctls)
def test_what_is_made_comes_first_in_the_order_of_the_desired(
    desired: tuple[Sysctl, ...], observed: tuple[Sysctl, ...]
) -> None:
    changes = difference(desired, observed)
    actions = ["delete" if change.after is None else "make" for change in changes]
    assert actions == sorted(actions, reverse=True)
    made = [change.after for change in changes if change.after is not None]
    assert made == [each for each in desired if each in made]


def test_a_change_knows_what_it_is() -> None:
    one, other = Sysctl("net/a", "0"), Sysctl("net/a", "1")
    assert [
        (change.action, change.object, str(change)[0])
        for change in (Change(None, one), Change(one, other), Change(other, None))
    ] == [("create", one, "+"), ("change", other, "~"), ("delete", other, "-")]


END = LinkEnd("nvi0", "nvid main nvi0", "02:6e:76:00:01:00", 0x6E764D00)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            Pair("nvi0", END, None),
            "pair nvi0: nvi0 address 02:6e:76:00:01:00 mtu 65535 group 0x6e764d00 up; no peer end",
        ),
        (Address("nvi0p", IPv4Address("169.254.128.2"), 32), "address 169.254.128.2/32 dev nvi0p"),
        (
            Neighbour("nvi0", IPv6Address("fe80::1"), "02:6e:76:00:01:01"),
            "neighbour fe80::1 dev nvi0 lladdr 02:6e:76:00:01:01 permanent",
        ),
        (
            Neighbour("wan0", IPv4Address("203.0.113.10"), None),
            "neighbour 203.0.113.10 dev wan0 proxy",
        ),
        (
            Route(7701, ip_network("0.0.0.0/0"), device="wan0", gateway=IPv4Address("203.0.113.9")),
            "route default ipv4 via 203.0.113.9 dev wan0 table 7701",
        ),
        (
            Route(7716, ip_network("::/0"), kind="unreachable", metric=5),
            "route unreachable default ipv6 table 7716 metric 5",
        ),
        (
            Rule(4, 7790, fwmark=0, fwmask=0xC00000, input_interface="lan0", action="blackhole"),
            "rule ipv4 7790: iif lan0 fwmark 0x0/0xc00000 blackhole",
        ),
        (
            Rule(6, 7700, fwmark=3, fwmask=3, table=254, suppress_prefix_length=0),
            "rule ipv6 7700: fwmark 0x3/0x3 lookup 254 suppress_prefixlength 0",
        ),
        (Sysctl("net/ipv4/conf/lan0/rp_filter", "2"), "sysctl net.ipv4.conf.lan0.rp_filter = 2"),
    ],
)
def test_objects_speak_the_words_of_iproute2(found: object, words: str) -> None:
    assert str(found) == words


@pytest.mark.parametrize("name", samples.SAMPLES)
def test_a_whole_difference_prints_one_line_for_each_change(name: str) -> None:
    found = list(differ(samples.desired(samples.SAMPLES[name]), Observed(), {}).lines())
    assert found
    assert all(text.startswith("+ ") and "\n" not in text for _, text in found)


def test_a_difference_of_nothing_is_false() -> None:
    desired = samples.desired(samples.MASQUERADE)
    same = Observed(
        pairs=desired.pairs,
        addresses=desired.addresses,
        neighbours=desired.neighbours,
        routes=desired.routes,
        rules=desired.rules,
        sysctls=desired.sysctls,
    )
    assert not any(kind != "ruleset" for kind, _ in differ(desired, same, {}).lines())
    assert differ(desired, same, {})
