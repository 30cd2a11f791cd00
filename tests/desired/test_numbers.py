"""Lane and NVI numbers stay what they are while everything around them comes and goes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nvid.configuration.types import Configuration, Daemon, Nvi, Route, Uplink
from nvid.configuration.values import TableRange
from nvid.desired.marks import Marks
from nvid.desired.numbers import Numbers, allocate, largest_uplink, nvi_table
from nvid.names import PAIR_NUMBERS, UPLINK_LANES

_uplinks = st.lists(st.sampled_from([f"isp{n}" for n in range(20)]), max_size=15, unique=True)
_nvis = st.lists(st.sampled_from([f"nvi{n}" for n in range(30)]), max_size=20, unique=True)
histories = st.lists(st.tuples(_uplinks, _nvis), min_size=1, max_size=8)
"""What the configurations of one machine name, one after the other."""


def named(uplinks: list[str], nvis: list[str], daemon: Daemon | None = None) -> Configuration:
    return Configuration(
        daemon=daemon or Daemon(),
        uplinks=tuple(Uplink(name, interface="wan0", gateways=()) for name in uplinks),
        nvis=tuple(Nvi(name, interfaces=()) for name in nvis),
    )


@given(histories)
def test_a_name_that_stays_keeps_its_number(history: list[tuple[list[str], list[str]]]) -> None:
    before = Numbers()
    for uplinks, nvis in history:
        now = allocate(named(uplinks, nvis), before)
        for then, wanted, found in (
            (before.uplinks, uplinks, now.uplinks),
            (before.nvis, nvis, now.nvis),
        ):
            assert list(found) == wanted
            assert {name: found[name] for name in wanted if name in then} == {
                name: then[name] for name in wanted if name in then
            }
        before = now


@given(histories)
def test_numbers_are_unique_and_in_range(history: list[tuple[list[str], list[str]]]) -> None:
    numbers = Numbers()
    for uplinks, nvis in history:
        numbers = allocate(named(uplinks, nvis), numbers)
        for found, largest in ((numbers.uplinks, UPLINK_LANES), (numbers.nvis, PAIR_NUMBERS)):
            values = list(found.values())
            assert len(set(values)) == len(values)
            assert all(1 <= value <= largest for value in values)


def test_a_number_that_was_used_a_moment_ago_is_avoided() -> None:
    """Flows may still carry it in their marks."""
    before = allocate(named(["isp1", "isp2"], ["nvi0"]), Numbers())
    now = allocate(named(["isp2", "isp3"], ["nvi1"]), before)
    assert now.uplinks["isp3"] not in before.uplinks.values()
    assert now.nvis["nvi1"] not in before.nvis.values()


def test_a_recent_number_is_used_when_no_other_is_left() -> None:
    all_of_them = [f"isp{n}" for n in range(UPLINK_LANES)]
    before = allocate(named(all_of_them, []), Numbers())
    now = allocate(named([*all_of_them[1:], "fresh"], []), before)
    assert now.uplinks["fresh"] == before.uplinks["isp0"]


def test_a_damaged_state_gives_nobody_a_number_twice() -> None:
    damaged = Numbers({"isp1": 1, "isp2": 1, "isp3": 0, "isp4": 99}, {"nvi0": -5, "nvi1": 10**9})
    now = allocate(named(["isp1", "isp2", "isp3", "isp4"], ["nvi0", "nvi1"]), damaged)
    assert now.uplinks["isp1"] == 1
    assert sorted(now.uplinks.values()) == [1, 2, 3, 4]
    assert sorted(now.nvis.values()) == [1, 2]


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=2, unique=True)))
def test_nvis_stay_inside_the_configured_tables(history: list[list[str]]) -> None:
    """The narrowest window that the checks accept for two NVIs, and names that come and go."""
    daemon = Daemon(tables=TableRange(7700, 7717))
    numbers = Numbers()
    for nvis in history:
        numbers = allocate(named([], nvis, daemon), numbers)
        used = {nvi_table(daemon, number) for number in numbers.nvis.values()}
        assert all(table in daemon.tables for table in used)


def test_nvis_fit_into_the_narrowest_mark() -> None:
    daemon = Daemon(fwmark_mask=0x3FF, tables=TableRange(1000, 9000))
    first = [f"a{n}" for n in range(200)]
    second = [f"b{n}" for n in range(200)]
    numbers = allocate(named([], second, daemon), allocate(named([], first, daemon), Numbers()))
    marks = Marks(daemon.fwmark_mask)
    assert all(marks.nvi_of(marks.enter(each)) == each for each in numbers.nvis.values())


def test_tables_of_routes_have_numbers_of_their_own() -> None:
    """Main has its lane already; a table keeps its number while others come and go."""

    def naming(*tables: int) -> Configuration:
        nvi = Nvi("nvi0", interfaces=(), routes=tuple(Route(table=table) for table in tables))
        return Configuration(nvis=(nvi,))

    first = allocate(naming(100, 254, 200, 100), Numbers())
    assert sorted(first.tables) == [100, 200]
    second = allocate(naming(300, 200), first)
    assert second.tables[200] == first.tables[200]
    assert second.tables[300] not in first.tables.values()


@given(st.integers(10, 32), st.integers(0, 16))
def test_lanes_of_uplinks_and_of_routes_do_not_meet(width: int, tables: int) -> None:
    marks = Marks((1 << width) - 1)
    routes = tuple(Route(table=1000 + number) for number in range(tables))
    wanted = Configuration(
        daemon=Daemon(fwmark_mask=marks.mask), nvis=(Nvi("nvi0", interfaces=(), routes=routes),)
    )
    said = {marks.table(number) for number in allocate(wanted, Numbers()).tables.values()}
    said |= {marks.action(each) for each in ("unreachable", "prohibit", "blackhole")}
    assert len(said) == tables + 3
    assert min(said) > largest_uplink(wanted)
    assert max(said) < marks.refused < marks.nobody


@given(st.lists(st.sets(st.integers(1000, 1020), max_size=6), max_size=5), st.integers(10, 12))
def test_tables_stay_above_uplinks_while_they_change(named: list[set[int]], width: int) -> None:
    """A narrow mask has no room to avoid the numbers of a moment ago."""
    marks, numbers = Marks((1 << width) - 1), Numbers()
    daemon = Daemon(fwmark_mask=marks.mask)
    for tables in named:
        routes = tuple(Route(table=table) for table in tables)
        nvi = Nvi("nvi0", interfaces=(), routes=routes)
        wanted = Configuration(
            daemon=daemon,
            uplinks=tuple(Uplink(f"u{n}", interface="w", gateways=()) for n in range(3)),
            nvis=(nvi,),
        )
        numbers = allocate(wanted, numbers)
        lanes = {marks.table(number) for number in numbers.tables.values()}
        assert len(lanes) == len(tables)
        assert min(lanes, default=99) > max(numbers.uplinks.values())
