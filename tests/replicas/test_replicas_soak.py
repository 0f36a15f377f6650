"""A small soak: two simulated hours of five replicas and a thousand canaries, in which everything fails that can."""

import pytest

from support.soak.scale import SMALL
from support.soak.simulation import Figures, Simulation

pytestmark = pytest.mark.timeout(600)  # it takes ten seconds of CPU


@pytest.fixture(scope="module")
def figures() -> Figures:
    """Return the figures of a small soak, which takes some seconds."""
    return Simulation(SMALL).run()


def test_nothing_happens_that_must_not(figures: Figures) -> None:
    """Runs are made and evaluated once, each outage is paged and resolved once, deposed owners send nothing."""
    assert [] == figures.violations


def test_each_outage_is_paged(figures: Figures) -> None:
    """Of a canary and of a target, while replicas crash and the database fails."""
    assert {"CanaryFails": SMALL.single_outages, "TargetFails": SMALL.target_outages} == {
        rule: len(seconds) for rule, seconds in figures.detection.items()
    }


def test_the_faults_had_effects(figures: Figures) -> None:
    """Otherwise the soak would show nothing: shards and alerts moved, runs were missed, answers were lost."""
    assert figures.sessions > 5 * SMALL.replicas
    assert figures.takeovers_of_alerts > 5
    assert min(figures.runs[name] for name in ("missed", "repeated", "dropped")) > 0
    assert min(figures.repeated_commits, figures.refused, figures.repeated_events) > 0


def test_runs_that_were_due_without_an_owner_are_caught_up(figures: Figures) -> None:
    """Few intervals have no run, however often shards move: those of the longest outages of the database."""
    assert figures.runs["missed"] < figures.runs["started"] / 200


def test_a_soak_is_the_same_each_time() -> None:
    """A violation can be looked into: time is simulated, and all chance comes from one seed."""
    scale = SMALL._replace(canaries=100, hours=0.3, single_outages=0, target_outages=0)
    first, second = Simulation(scale).run(), Simulation(scale).run()

    assert (first.runs, first.turns, first.moves) == (second.runs, second.turns, second.moves)
