"""Rules that nvid encodes itself: libnftables reads them back as the words that they were, and a
refusal is as plain as one of nft's own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from nvid.desired.ruleset.model import Chain, needs_encoding
from nvid.errors import KernelRefused
from nvid.kernel import encoded
from nvid.kernel.nft import Nft
from tests import samples
from tests.kernel.conftest import Router

ROOT = Path(__file__).parents[2]

OBJECTS = """
add table inet a
add chain inet a c
add map inet a m { type ipv6_addr . inet_service : ipv6_addr . inet_service; \
flags dynamic,timeout; size 10; timeout 300s; }
add map inet a blocks { type ipv6_addr : interval ipv6_addr . inet_service; }
"""
UPDATE = (
    "update @m { ct original ip6 saddr . ct original proto-src : "
    "ct reply ip6 daddr . ct reply proto-dst }"
)
UPDATE_BACK = (
    "update @m { ct reply ip6 daddr . ct reply proto-dst : "
    "ct original ip6 saddr . ct original proto-src }"
)
TO_BLOCK = "snat ip6 interval to ip6 saddr map @blocks"


def line(statement: str, chain: str = "c", protocol: int = 17) -> str:
    rule = f"add rule inet a {chain} meta l4proto {protocol} {statement}"
    return f'{rule} comment "00112233"\n'


@pytest.fixture
def nft(router: Router) -> Nft:
    return router.call(Nft)


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        (UPDATE, UPDATE),
        (UPDATE_BACK, UPDATE_BACK),
        (TO_BLOCK, "snat ip6 to ip6 saddr map @blocks"),
    ],
    ids=["update", "update back", "block"],
)
def test_libnftables_reads_what_was_written(
    router: Router, nft: Nft, statement: str, shown: str
) -> None:
    router.call(nft.run, OBJECTS + line(statement))
    listed = router.namespace.run("nft", "-n", "list", "chain", "inet", "a", "c").stdout
    (rule,) = (each.strip() for each in listed.splitlines() if "comment" in each)
    assert rule == f'meta l4proto 17 {shown} comment "00112233"'
    (found,) = (
        each["rule"]
        for each in router.call(nft.show, "list chain inet a c") or []
        if "rule" in each
    )
    assert found["comment"] == "00112233"


def test_they_come_behind_the_others_in_their_order(router: Router, nft: Nft) -> None:
    text = OBJECTS + line(UPDATE) + 'add rule inet a c accept comment "first"\n' + line(TO_BLOCK)
    router.call(nft.run, text)
    rules = router.call(nft.show, "list chain inet a c") or []
    kinds = [each["rule"]["comment"] for each in rules if "rule" in each]
    assert kinds == ["first", "00112233", "00112233"]


def test_a_chain_with_other_rules_behind_them_cannot_be_written_down() -> None:
    rule = f"meta l4proto 17 {UPDATE}"
    assert Chain("c", ("accept", rule)).rules
    with pytest.raises(AssertionError, match="in c rules follow"):
        Chain("c", (rule, "accept"))


def test_a_refusal_names_the_rule_and_nothing_of_the_step_is_done(router: Router, nft: Nft) -> None:
    router.call(nft.run, OBJECTS)
    with pytest.raises(KernelRefused, match=r"inet a missing .*: No such file or directory"):
        router.call(nft.run, line(UPDATE) + line(UPDATE, chain="missing"))
    found = router.call(nft.show, "list chain inet a c") or []
    assert not [each for each in found if "rule" in each]


def test_other_maps_are_left_to_libnftables() -> None:
    """An IPv4 endpoint fits into its registers, and sets may have keys of any length."""
    for statement in (
        "update @m { ct original ip saddr . ct original proto-src : ct reply ip daddr . x }",
        "update @s { ct reply ip6 daddr . ct reply proto-dst }",
        "snat ip6 to ip6 saddr map @addresses",
        "snat ip to ip saddr map @blocks",
    ):
        assert not needs_encoding(statement)
        assert encoded.divide(line(statement)) == (line(statement), ())


@pytest.mark.parametrize(
    "text",
    [
        line("update @m { ip6 saddr . udp sport : ct reply ip6 daddr }"),
        f'add rule ip6 a c meta l4proto 17 {UPDATE} comment "0"\n',
        f"add rule inet a c meta l4proto 17 {UPDATE}\n",
    ],
    ids=["other fields", "another family", "no comment"],
)
def test_what_it_does_not_know_it_does_not_write(text: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        encoded.divide(text)


def test_an_ordinary_user_is_told_so(router: Router) -> None:
    program = textwrap.dedent(f"""
        import os
        from nvid.errors import NotPermitted
        from nvid.kernel import encoded
        os.setuid(65534)
        _, rules = encoded.divide({line(UPDATE)!r})
        try:
            encoded.append(rules)
        except NotPermitted as error:
            print(error)
    """)
    done = subprocess.run(
        ["ip", "netns", "exec", router.namespace.name, sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout.count("CAP_NET_ADMIN") == 1


@pytest.mark.parametrize("ending", ["_block", "_mapping"])
def test_a_chain_that_lost_them_is_made_whole(router: Router, ending: str) -> None:
    """So it is, too, where the daemon was killed between the two steps."""
    text = samples.ENDPOINTS_AND_BLOCKS
    done = router.converge(text)
    assert done.desired.ruleset is not None
    (chain,) = (
        each.name for each in done.desired.ruleset.chains if each.name.endswith(f"ip6{ending}")
    )
    router.nft(f"flush chain inet nvid {chain}")
    assert [words for _, words in router.missing(text).lines()] == [f"~ chain {chain}"]
    router.converge(text)
    assert list(router.missing(text).lines()) == []
