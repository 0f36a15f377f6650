"""How often ``spike`` notifies a day at a steady error rate: the real detector on random samples."""

from random import Random
from statistics import median

import pytest

from streamcanary.alerting.detectors import Cusum, SampleStream, Spike
from streamcanary.model.schedules.schedule import Every, Pooled, SampleSchedule

DAY = 86400.0
PERCENTAGES = [*range(0, 101, 5), 6, 7, 8, 12]
"""Steady error rates: every one in steps of 5 %, and those at which the alert is least certain."""


def cusum_for(schedule: SampleSchedule) -> Cusum:
    """Return the default ``spike`` for samples of ``schedule``."""
    return Spike(type="spike").for_stream(SampleStream("", schedule))


def notifications_a_day(cusum: Cusum, interval: float, rate: float, seed: int) -> int:
    """Return how often it fires in a day at a steady error ``rate`` that begins after a time without errors."""
    random, state, firing, fired = Random(seed), None, False, 0  # noqa: S311
    for number in range(int(DAY / interval)):
        result = cusum.feed(state, bad=random.random() < rate, at=interval * number, firing=firing)
        fired += result.is_firing and not firing
        state, firing = result.state, result.is_firing
    return fired


@pytest.mark.parametrize(
    ("schedule", "seeds"),
    [(Every(30.0), 7), (Pooled(3.75, 8), 1), (Every(300.0), 20), (Every(3600.0), 20)],
    ids=["30s", "eight-canaries", "5m", "1h"],
)
def test_it_never_flaps_at_a_steady_error_rate(schedule: SampleSchedule, seeds: int) -> None:
    """At any steady rate a canary, slow or not, and a pool notify at most three times a day, with a median of two."""
    cusum = cusum_for(schedule)
    fired = {
        percent: [notifications_a_day(cusum, schedule.interval, percent / 100, seed) for seed in range(seeds)]
        for percent in PERCENTAGES
    }
    assert {} == {percent: some for percent, some in fired.items() if max(some) > 3 or median(some) > 2.5}
    assert 0 == max(fired[0])
    if schedule.interval < 3600:
        assert {1} == {count for percent, some in fired.items() if percent >= 50 for count in some}


def test_it_resolves_once_after_an_outage() -> None:
    """After an hour at 100 % errors, 35 good runs in a row resolve it."""
    cusum, state, firing = cusum_for(Every(30.0)), None, False
    changes = []
    for number in range(400):
        result = cusum.feed(state, bad=number < 120, at=30.0 * number, firing=firing)
        if result.is_firing != firing:
            changes.append(number + 1)
        state, firing = result.state, result.is_firing
    assert [5, 120 + 35] == changes
