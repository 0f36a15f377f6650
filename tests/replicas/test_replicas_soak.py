"""A small soak: two simulated hours of five replicas and a thousand canaries, in which everything fails that can."""

from collections.abc import Mapping

import pytest

from support.soak.scale import SMALL
from support.soak.simulation import Simulation

pytestmark = pytest.mark.timeout(600)  # it takes ten seconds of CPU


def test_nothing_happens_that_must_not_while_everything_fails() -> None:
    """Runs are made and evaluated once, each outage is paged and resolved once, deposed owners send nothing.

    Few intervals have no run, however often shards move: those of the longest outages of the database.
    """
    figures = Simulation(SMALL).run()
    assert [] == figures.violations
    assert {"CanaryFails": SMALL.single_outages, "TargetFails": SMALL.target_outages} == _counts(figures.detection)
    assert figures.runs["missed"] < figures.runs["started"] / 200

    # The faults had effects, without which this would show nothing: shards and alerts moved, answers were lost.
    assert figures.sessions > 5 * SMALL.replicas
    assert figures.takeovers_of_alerts > 5
    assert min(figures.runs[name] for name in ("missed", "repeated", "dropped")) > 0
    assert min(figures.repeated_commits, figures.refused, figures.repeated_events) > 0


def _counts(detection: Mapping[str, list[float]]) -> dict[str, int]:
    return {rule: len(seconds) for rule, seconds in detection.items()}


def test_a_soak_is_the_same_each_time() -> None:
    """A violation can be looked into: time is simulated, and all chance comes from one seed."""
    scale = SMALL._replace(canaries=100, hours=0.3, single_outages=0, target_outages=0)
    first, second = Simulation(scale).run(), Simulation(scale).run()

    assert (first.runs, first.turns, first.moves) == (second.runs, second.turns, second.moves)
