"""The times at which canaries run: their triggers, phases, and first runs after a start."""

from collections import Counter
from datetime import UTC, datetime

import pytest

from streamcanary.canary.scheduling.triggers import AlignedIntervalTrigger, CronTrigger, first_runs, phase_offset
from streamcanary.model.canary import Canary
from streamcanary.model.schedules.cron import Cron


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def test_intervals_do_not_drift() -> None:
    """1000 runs of a canary with an interval of 60 s take 60,000 s, each at its phase."""
    trigger = AlignedIntervalTrigger(60.0, phase=7.5)
    first = previous = trigger.get_next_fire_time(None, at(1_800_000_000.25))
    for _ in range(1000):
        previous = trigger.get_next_fire_time(previous, previous)
    assert (60_000.0, 7.5) == ((previous - first).total_seconds(), previous.timestamp() % 60)


def test_missed_fire_times_are_returned_one_by_one() -> None:
    """The next fire time follows the previous one, also if it is in the past, so that missed runs are counted."""
    trigger = AlignedIntervalTrigger(10.0, phase=0.0)
    assert at(110) == trigger.get_next_fire_time(at(100), at(1000))


@pytest.mark.parametrize("moment", [1e9 + 0.1 * k for k in range(7)])
def test_the_next_fire_time_is_always_later(moment: float) -> None:
    """The next fire time is after the moment and within one interval, with any rounding."""
    following = AlignedIntervalTrigger(0.1, phase=0.03).next_after(moment)
    assert True is (1e-6 < following - moment <= 0.1 + 2e-6)


def test_phases_are_stable_and_spread() -> None:
    """A canary has the same phase after each restart; many canaries or replicas are spread evenly over the interval."""
    assert phase_offset("a", "chat", 60) == phase_offset("a", "chat", 60)
    for phases in (
        [phase_offset("pod", f"canary-{k}", 60.0) for k in range(600)],
        [phase_offset(f"pod-{k}", "canary", 60.0) for k in range(600)],
    ):
        tenths = [sum(1 for p in phases if k * 6 <= p < (k + 1) * 6) for k in range(10)]
        assert True is (min(tenths) > 30 and max(tenths) < 90)


@pytest.mark.parametrize(("interval", "expected"), [(60.0, 480), (1.0, 8), (0.5, 600)])
def test_phases_are_eighths_of_a_second(interval: float, expected: int) -> None:
    """Runs start together at multiples of an eighth of a second, unless the interval is shorter than a second."""
    phases = {phase_offset("pod", f"canary-{k}", interval) for k in range(600 if interval < 60 else 10_000)}
    assert expected == len(phases)
    assert True is (interval < 1 or all(float(8 * phase).is_integer() for phase in phases))


def test_cron_fires_at_its_times() -> None:
    """A cron expression fires in the time zone of the canary, and missed runs are counted by the calendar."""
    trigger = CronTrigger(Cron.parse("0 17 * * 5", "Europe/Berlin"))
    monday = datetime(2026, 3, 23, 12, tzinfo=UTC)
    first = trigger.get_next_fire_time(None, monday)
    second = trigger.get_next_fire_time(first, monday)
    assert (datetime(2026, 3, 27, 16, tzinfo=UTC), datetime(2026, 4, 3, 15, tzinfo=UTC)) == (first, second)
    april = datetime(2026, 4, 17, 15, tzinfo=UTC).timestamp()
    assert [0, 2] == [trigger.missed_between(first.timestamp(), due) for due in (second.timestamp(), april)]
    trigger.not_before = april
    assert datetime(2026, 4, 24, 15, tzinfo=UTC) == trigger.get_next_fire_time(None, monday)


def test_a_large_fleet_starts_at_its_steady_rate() -> None:
    """In the first minutes after a start, no second has more than a third more due runs than the mean of all."""
    canaries = [Canary(name=f"canary-{k}", target="t", provider="p", interval=60.0) for k in range(10_000)]
    start = 1_800_000_000.3
    due: Counter[int] = Counter()
    for run in first_runs(canaries, start, instance="test", min_gap=0.0).values():
        moment = run.due
        while moment < start + 180:
            due[int(moment - start)] += 1
            moment = run.trigger.next_after(moment)
    assert 30_000 == due.total()
    assert True is (max(due.values()) < 4 / 3 * 10_000 / 60), max(due.values())


def start_times(canaries: list[Canary], now: float = 1e9) -> dict[str, float]:
    """Return the seconds from a start at ``now`` to the first run of each canary."""
    return {name: run.due - now for name, run in first_runs(canaries, now, instance="test", min_gap=0.0).items()}


def canary(name: str, interval: float = 60.0, target: str = "t") -> Canary:
    return Canary(name=name, target=target, provider="p", interval=interval)


def test_few_canaries_run_at_once() -> None:
    """A few canaries run within seconds after the start, a quarter of a second apart."""
    times = start_times([canary(f"canary-{k}", 3600.0) for k in range(8)])
    assert [k * 0.25 for k in range(8)] == list(times.values())


def test_many_canaries_are_spread_over_their_interval() -> None:
    """10,000 canaries run first within their interval, in no second many more than in any other."""
    times = start_times([canary(f"canary-{k}") for k in range(10_000)])
    by_second = Counter(int(time) % 60 for time in times.values())
    assert 60.0 >= max(times.values())
    assert 60 == len(by_second)
    assert max(by_second.values()) <= 1.25 * 10_000 / 60 + 4


def test_each_canary_runs_within_its_own_interval() -> None:
    """A canary with a short interval does not wait for the many with a long one."""
    canaries = [canary(f"slow-{k}", 3600.0) for k in range(2000)] + [canary(f"fast-{k}", 10.0) for k in range(10)]
    times = start_times(canaries)
    assert all(0 <= times[one.name] <= one.interval for one in canaries)


def test_second_run_is_at_its_phase_one_interval_or_more_after_the_first() -> None:
    """The second run is one to two intervals after a first one that was early, and one interval after one in phase."""
    runs = first_runs([canary(f"canary-{k}") for k in range(1000)], 1e9, instance="test", min_gap=0.0).values()
    gaps = [run.trigger.next_after(run.due) - run.due for run in runs]
    assert all(60.0 <= round(gap, 6) <= 120.0 for gap in gaps)
    assert {60.0} == {round(gap, 6) for gap in gaps[240:]}
