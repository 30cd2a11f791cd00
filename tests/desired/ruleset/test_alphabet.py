"""nft text is made of typed values only: nothing of a configuration can leave its place in it."""

from __future__ import annotations

import re

from hypothesis import HealthCheck, given, settings

from nvid.configuration.types import Configuration
from nvid.desired import desired_state
from nvid.desired.numbers import Numbers, allocate
from nvid.desired.ruleset.model import Ruleset
from nvid.transaction import transaction
from tests import samples
from tests.effort import examples
from tests.random_configurations import accepted

NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
KEY = re.compile(r'"?[A-Za-z0-9_.:/*-]+"?( \. [A-Za-z0-9_.:/-]+){0,2}')
"""An address, number, range or interface, perhaps in a concatenation."""
VALUE = re.compile(r"[a-z0-9_.:/-]+( \. [0-9-]+)?|(goto|jump) [a-z0-9_]+")
QUOTED = re.compile(r"[A-Za-z0-9_.:*-]+")
RULE = re.compile(r"""[][A-Za-z0-9_.:/*@!=&|{}(),"\- <>]+""")

MANY = settings(
    max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.filter_too_much]
)


@MANY
@given(accepted())
def test_nothing_of_a_configuration_gets_out_of_its_place(wanted: Configuration) -> None:
    found = desired_state(wanted, samples.MACHINE, allocate(wanted, Numbers())).ruleset
    assert found is not None
    check_names(found)
    check_elements(found)
    check_rules(found)
    check_commands(transaction(found, None, {}).text)


def check_names(found: Ruleset) -> None:
    names = [*(each.name for each in found.chains), *(each.name for each in found.maps)]
    assert all(NAME.fullmatch(name) for name in (*names, *found.counters))


def check_elements(found: Ruleset) -> None:
    for each in found.maps:
        for key, value in each.elements.items():
            assert KEY.fullmatch(key), key
            assert VALUE.fullmatch(value), value


def check_rules(found: Ruleset) -> None:
    """One line each, balanced, and what is quoted is the name of an interface or a counter."""
    for rule in (rule for chain in found.chains for rule in chain.rules):
        assert RULE.fullmatch(rule), rule
        assert rule.count("{") == rule.count("}")
        assert rule.count('"') % 2 == 0
        assert all(QUOTED.fullmatch(each) for each in re.findall(r'"([^"]*)"', rule)), rule


def check_commands(text: str) -> None:
    for line in text.splitlines():
        assert re.match(
            r"add (table|chain|map|set|rule|element|counter|ct helper) inet nvid\b", line
        ), line
