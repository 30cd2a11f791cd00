"""Observe after apply equals desired, for every kind of object and both families."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from nvid.configuration.types import Configuration
from nvid.desired.ruleset.model import LEAST_ROOM
from nvid.transaction import as_observed
from tests import samples
from tests.effort import examples
from tests.kernel.conftest import Router
from tests.lab import machine_state
from tests.random_configurations import accepted


def lines(found: Iterator[tuple[str, str]]) -> list[str]:
    return [text for _, text in found]


@pytest.mark.parametrize("name", samples.SAMPLES)
def test_after_one_round_nothing_is_missing(router: Router, name: str) -> None:
    text = samples.SAMPLES[name]
    assert router.converge(text).changes
    assert lines(router.missing(text).lines()) == []


@pytest.mark.parametrize("name", samples.SAMPLES)
def test_down_leaves_the_machine_as_it_was(router: Router, name: str) -> None:
    before = machine_state(router.namespace)
    router.converge(samples.SAMPLES[name])
    router.remove(samples.SAMPLES[name])
    assert before.difference(machine_state(router.namespace)) == ""


def test_every_kind_of_object_is_made(router: Router) -> None:
    made = {kind for kind, _ in router.converge(samples.EVERY_KIND).changes}
    assert made == {"link", "address", "neighbour", "route", "rule", "sysctl", "ruleset"}


def test_the_kernel_shows_the_desired_objects_themselves(router: Router) -> None:
    done = router.converge(samples.EVERY_KIND)
    prepared = router.call(
        router.reconciler.prepare, samples.configuration(samples.EVERY_KIND), look_at_table=True
    )
    wanted, found = done.desired, prepared.observed
    for kind in ("pairs", "addresses", "neighbours", "routes", "rules", "sysctls"):
        assert set(getattr(found, kind)) == set(getattr(wanted, kind)), kind
    assert wanted.ruleset is not None
    assert found.table == as_observed(wanted.ruleset)


@pytest.mark.parametrize("before", ["every kind of translation", "two NVIs", "nothing"])
@pytest.mark.parametrize("after", ["masquerade", "two NVIs", "fails open", "nothing"])
def test_a_reload_ends_where_a_start_would(router: Router, before: str, after: str) -> None:
    router.converge(samples.SAMPLES[before])
    router.converge(samples.SAMPLES[after])
    assert lines(router.missing(samples.SAMPLES[after]).lines()) == []


def test_a_map_that_is_outgrown_is_made_anew(router: Router) -> None:
    """The kernel refuses elements that a map has no room for."""
    for count in (10, LEAST_ROOM + 1, LEAST_ROOM - 1):
        text = f'{samples.UPLINKS}[nvi.nvi0]\ninterfaces = ["lan0", "wan0"]\n' + "".join(
            f'[[nvi.nvi0.static]]\nlocal = "10.9.{n >> 8}.{n & 255}"\n'
            f'global = "100.64.{n >> 8}.{n & 255}"\n'
            for n in range(count)
        )
        router.converge(text)
        assert lines(router.missing(text).lines()) == []


@settings(
    max_examples=examples(40),
    deadline=None,
    # Shrinking a failure takes minutes here; tests without a kernel find small examples.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    # One namespace serves all examples: each one begins where the last one ended.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
@given(wanted=accepted())
def test_any_accepted_configuration_loads_and_is_seen_as_it_is(
    router: Router, wanted: Configuration
) -> None:
    """One after the other, so that every example is also a reload of the one before."""
    fresh = router.call(type(router.reconciler), router.state_dir + "-random")
    router.call(fresh.remove_everything, wanted.daemon)
    done = router.call(fresh.converge, wanted)
    assert done.error is None
    again = router.call(fresh.prepare, wanted, look_at_table=True)
    assert lines(again.difference.lines()) == []
    router.call(fresh.remove_everything, wanted.daemon)
