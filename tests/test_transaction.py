"""The difference of the table: minimal, complete, and in an order that the kernel accepts.

The kernel is a small model here (``tests.model_of_nft``); ``tests/kernel`` asks the real one.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nvid.configuration.types import Configuration
from nvid.desired import desired_state
from nvid.desired.numbers import Numbers, allocate
from nvid.desired.ruleset.model import Chain, Hook, Map, Ruleset
from nvid.transaction import Transaction, as_observed, transaction
from tests import samples
from tests.effort import examples
from tests.model_of_nft import Table
from tests.random_configurations import accepted

FEW = settings(
    max_examples=examples(20), deadline=None, suppress_health_check=[HealthCheck.filter_too_much]
)


def ruleset(wanted: Configuration | str) -> Ruleset:
    if isinstance(wanted, str):
        wanted = samples.configuration(wanted)
    found = desired_state(wanted, samples.MACHINE, allocate(wanted, Numbers())).ruleset
    assert found is not None
    return found


def carried_out(*wanted: Ruleset) -> Table:
    table = Table()
    for each in wanted:
        table.run(transaction(each, table.observed(), {}).text)
    return table


def shape(found: Ruleset) -> tuple[object, ...]:
    """A ruleset without the order of its parts, which nftables does not keep."""
    return (
        {each.name: (each.hook, each.digests) for each in found.chains},
        {each.name: (each.declaration, dict(each.elements)) for each in found.maps},
        set(found.counters),
    )


def shape_of_table(table: Table) -> tuple[object, ...]:
    found = table.observed()
    assert found is not None
    return (
        {each.name: (each.hook, each.digests) for each in found.chains.values()},
        {each.name: (each.declaration, dict(each.elements)) for each in found.maps.values()},
        set(found.counters),
    )


class TestResult:
    @FEW
    @given(accepted())
    def test_from_nothing_and_then_there_is_nothing_to_do(self, wanted: Configuration) -> None:
        table = carried_out(ruleset(wanted))
        assert shape_of_table(table) == shape(ruleset(wanted))
        assert transaction(ruleset(wanted), table.observed(), {}) == Transaction()
        assert transaction(ruleset(wanted), as_observed(ruleset(wanted)), {}) == Transaction()

    @FEW
    @given(accepted(), accepted())
    def test_from_any_other_configuration(
        self, before: Configuration, after: Configuration
    ) -> None:
        table = carried_out(ruleset(before), ruleset(after))
        assert shape_of_table(table) == shape(ruleset(after))

    def test_away_with_it(self) -> None:
        table = carried_out(ruleset(samples.EVERY_KIND))
        table.run(transaction(None, table.observed(), {}).text)
        assert table.observed() is None
        assert not transaction(None, None, {})

    @given(st.data())
    @settings(max_examples=examples(100), deadline=None)
    def test_whatever_somebody_did_to_the_table_is_mended(self, data: st.DataObject) -> None:
        wanted = ruleset(samples.EVERY_KIND)
        table = carried_out(wanted)
        for _ in range(data.draw(st.integers(1, 4))):
            disturb(table, data)
        table.run(transaction(wanted, table.observed(), {}).text)
        assert shape_of_table(table) == shape(wanted)


def disturb(table: Table, data: st.DataObject) -> None:
    chain = table.chains[data.draw(st.sampled_from(sorted(table.chains)))]
    found = table.maps[data.draw(st.sampled_from(sorted(table.maps)))]
    match data.draw(st.integers(0, 8)):
        case 0:
            chain.rules.insert(0, "drop")
        case 1:
            chain.rules.reverse()
        case 2:
            chain.rules.clear()
        case 3:
            found.elements.clear()
        case 4:
            found.elements["192.0.2.1"] = "192.0.2.2"
        case 5:
            found.elements.update(dict.fromkeys(list(found.elements)[:1], "drop"))
        case 6:
            table.chains.setdefault("somebodys", chain.__class__(None, ["drop"]))
        case 7:
            chain.hook = Hook("filter", "input", 0) if chain.hook else None
        case _:
            if "set inet nvid other" not in table.strange:
                table.strange.append("set inet nvid other")


class TestSize:
    """A change of one translation costs the same whatever the number of all of them."""

    def statics(self, count: int, changed: int | None = None) -> Ruleset:
        entries = "".join(
            f'[[nvi.nvi0.static]]\nlocal = "10.{n >> 8}.{n & 255}.1"\n'
            f'global = "198.18.{n >> 8 | (128 if n == changed else 0)}.{n & 255}"\n'
            for n in range(count)
        )
        return ruleset(f'[nvi.nvi0]\ninterfaces = ["lan0"]\n{entries}')

    def change(self, before: Ruleset, after: Ruleset) -> list[str]:
        return list(transaction(after, as_observed(before), {}).lines)

    @pytest.mark.parametrize(
        ("after", "commands"),
        [
            (
                lambda self, count: self.statics(count, changed=7),
                {"add counter", "add element", "delete counter", "delete element"},
            ),
            (lambda self, count: self.statics(count + 1), {"add counter", "add element"}),
            (lambda self, count: self.statics(count - 1), {"delete counter", "delete element"}),
        ],
        ids=["changed", "one more", "one less"],
    )
    def test_elements_and_a_counter(
        self, after: Callable[[TestSize, int], Ruleset], commands: set[str]
    ) -> None:
        few = self.change(self.statics(10), after(self, 10))
        many = self.change(self.statics(1000), after(self, 1000))
        assert commands <= {" ".join(line.split()[:2]) for line in many}
        assert len(many) == len(few) < 15
        # Where neighbouring addresses are joined to prefixes, one may split into one for each bit.
        assert sum(line.count(",") for line in many) <= 32

    def test_no_chain_is_written_again(self) -> None:
        lines = self.change(self.statics(1000), self.statics(1000, changed=500))
        assert not any("chain" in line or "rule" in line for line in lines)

    def test_a_source_among_others(self) -> None:
        def entries(last: str) -> Ruleset:
            text = '[nvi.nvi0]\ninterfaces = ["lan0"]\n'
            for n in range(200):
                to = last if n == 150 else "198.18.0.1"
                text += f'[[nvi.nvi0.snat]]\nsource = "10.0.{n}.0/24"\nto = "{to}"\nname = "n{n}"\n'
            return ruleset(text)

        lines = self.change(entries("198.18.9.1"), entries("198.18.9.2"))
        chains = {line.split()[4] for line in lines if line.startswith("add rule")}
        assert len(chains) == 1
        assert not any("add map" in line for line in lines)


class TestRoom:
    """A map has a size, which the kernel lets nobody change."""

    def with_elements(self, count: int) -> Ruleset:
        elements = {str(number): "drop" for number in range(count)}
        return Ruleset(
            (Chain("c", ("meta mark vmap @m",)),), (Map("m", "mark", "verdict", elements),)
        )

    def test_a_map_that_is_outgrown_is_made_anew(self) -> None:
        table = carried_out(self.with_elements(10), self.with_elements(5000))
        assert shape_of_table(table) == shape(self.with_elements(5000))

    def test_one_with_room_only_gets_elements(self) -> None:
        table = carried_out(self.with_elements(10))
        change = transaction(self.with_elements(1000), table.observed(), {})
        assert all(line.startswith("add element") for line in change.lines)

    def test_one_without_a_size_is_left_alone(self) -> None:
        observed = as_observed(self.with_elements(10))
        change = transaction(self.with_elements(5000), observed, {})
        assert all(line.startswith("add element") for line in change.lines)


class TestCounters:
    def test_they_go_on_where_the_table_was_lost(self) -> None:
        wanted = Ruleset((Chain("c", ('counter name "a"',)),), (), ("a", "b"))
        table = Table()
        table.run(transaction(wanted, None, {"a": (12, 3456)}).text)
        assert table.counters == {"a": (12, 3456), "b": (0, 0)}

    def test_they_are_not_touched_by_a_change_of_chains_and_maps(self) -> None:
        chain, mapped = Chain("c", ('counter name "a"',)), Map("m", "mark", "verdict")
        wanted = Ruleset((chain,), (mapped,), ("a",))
        table = carried_out(wanted)
        table.counters["a"] = 7, 700
        other = Ruleset((Chain("c", ("accept", 'counter name "a"')),), (), ("a",))
        table.run(transaction(other, table.observed(), {"a": (1, 1)}).text)
        assert table.counters == {"a": (7, 700)}


class TestWords:
    """What ``nvid plan`` and the log say."""

    def words(self, before: Ruleset | None, after: Ruleset | None) -> tuple[str, ...]:
        observed = None if before is None else as_observed(before)
        return transaction(after, observed, {}).changes

    def test_a_new_table_is_one_line(self) -> None:
        (line,) = self.words(None, ruleset(samples.MASQUERADE))
        assert line.startswith("+ table inet nvid: ")

    def test_a_lost_table_is_one_line(self) -> None:
        assert self.words(ruleset(""), None) == ("- table inet nvid",)

    def test_each_part_is_named(self) -> None:
        before = Ruleset(
            (Chain("gone"), Chain("same"), Chain("other", ("drop",))),
            (Map("old", "mark", "verdict"), Map("m", "mark", "verdict", {"1": "drop"})),
            ("a",),
        )
        after = Ruleset(
            (Chain("fresh"), Chain("same"), Chain("other", ("accept",))),
            (Map("m", "mark", "verdict", {"2": "drop", "3": "drop"}),),
            ("b",),
        )
        assert set(self.words(before, after)) == {
            *("+ chain fresh", "- chain gone", "~ chain other"),
            *("- map old", "~ map m: 2 elements added, 1 deleted"),
            *("+ counter b", "- counter a"),
        }

    @FEW
    @given(accepted(), accepted())
    def test_there_are_words_exactly_when_there_is_something_to_do(
        self, before: Configuration, after: Configuration
    ) -> None:
        found = transaction(ruleset(after), as_observed(ruleset(before)), {})
        assert bool(found.lines) == bool(found.changes) == bool(found)
