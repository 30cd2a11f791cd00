"""The gate: changes that could let a new flow by untranslated happen while new flows wait."""

from __future__ import annotations

import pytest

from nvid.desired.ruleset.model import Chain, CtHelper, Dynamic, Map, Ruleset
from nvid.transaction import Transaction, as_observed, transaction

GATE = Chain("gate")
SHUT = 'add rule inet nvid gate counter name "dropped_changing" drop\n'
OPENED = "flush chain inet nvid gate\n"


def with_map(*elements: str, chains: tuple[Chain, ...] = (GATE,)) -> Ruleset:
    return Ruleset(chains, (Map("m", "ipv4_addr", "ipv4_addr", dict.fromkeys(elements, "x")),))


def change(before: Ruleset | None, after: Ruleset | None) -> Transaction:
    return transaction(after, None if before is None else as_observed(before), {})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (with_map("a", "b"), with_map("a")),
        (with_map("a"), Ruleset((GATE,))),
        (Ruleset((GATE,)), with_map("a")),
        (with_map(), with_map(chains=(GATE, Chain("fresh")))),
        (
            with_map("a"),
            Ruleset((GATE,), (Map("m", "ipv4_addr", "verdict", {"a": "drop"}),)),
        ),
    ],
    ids=["an element less", "a map less", "a map more", "a chain more", "a map made anew"],
)
def test_taking_away_happens_behind_the_closed_gate(before: Ruleset, after: Ruleset) -> None:
    found = change(before, after)
    assert found.text_behind_gate == (SHUT, found.text, OPENED)


def test_rules_that_are_a_second_step_come_behind_the_closed_gate() -> None:
    rule = "meta l4proto 6 snat ip6 interval to ip6 saddr map @m"
    before = with_map("a", chains=(GATE, Chain("c")))
    found = change(before, with_map("a", chains=(GATE, Chain("c", (rule,)))))
    assert found.text_behind_gate == (SHUT, found.text, OPENED)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (with_map("a"), with_map("a", "b")),
        (
            with_map("a", chains=(GATE, Chain("c"))),
            with_map("a", chains=(GATE, Chain("c", ("accept",)))),
        ),
        (Ruleset((GATE,)), Ruleset((GATE,), counters=("c",))),
        (Ruleset((GATE,)), Ruleset((GATE,), helpers=(CtHelper("h", "ftp", "tcp"),))),
    ],
    ids=["an element more", "other rules", "a counter", "a helper"],
)
def test_adding_is_one_text_and_nobody_waits(before: Ruleset, after: Ruleset) -> None:
    found = change(before, after)
    assert found
    assert found.text_behind_gate == (found.text,)


def test_a_new_table_is_shut_from_its_first_moment() -> None:
    """The gate does not exist yet, so it is made, and shut, with the table."""
    found = change(None, with_map("a"))
    assert found.text_behind_gate == (found.text + SHUT, OPENED)
    assert found.text.startswith("add table inet nvid\n")


def test_so_is_a_gate_that_somebody_removed() -> None:
    found = change(Ruleset(), with_map("a"))
    assert found.text_behind_gate == (found.text + SHUT, OPENED)


def test_a_gate_that_was_left_shut_is_opened() -> None:
    """The daemon was killed between two texts."""
    shut = Chain("gate", ('counter name "dropped_changing" drop',))
    (only,) = change(Ruleset((shut,)), Ruleset((GATE,))).text_behind_gate
    assert only == OPENED


def test_nothing_to_do_is_no_text_and_no_gate() -> None:
    assert change(with_map("a"), with_map("a")).text_behind_gate == ()
    assert change(None, None).text_behind_gate == ()


def test_removing_the_table_needs_no_gate() -> None:
    assert change(with_map("a"), None).text_behind_gate == ("delete table inet nvid\n",)


def test_what_rules_fill_is_declared_and_its_elements_left_alone() -> None:
    held = Dynamic("held", "ipv4_addr . inet_service", "ipv4_addr . inet_service", 65536, 300)
    before, after = Ruleset((GATE,)), Ruleset((GATE,), dynamics=(held,))
    assert change(before, after).lines == (
        "add map inet nvid held { type ipv4_addr . inet_service : ipv4_addr . inet_service; "
        "flags dynamic,timeout; size 65536; timeout 300s; }",
    )
    assert not change(after, after)
    assert "delete map inet nvid held" in change(after, before).lines
