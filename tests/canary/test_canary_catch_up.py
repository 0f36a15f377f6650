"""Runs that were due while a canary had no owner are caught up, once and spread."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest

from streamcanary.canary.scheduling.catch_up import MAX_LOAD, MIN_RATE, catch_up
from streamcanary.canary.scheduling.triggers import MAX_CRON_DELAY, FirstRun, first_runs, phase_offset
from streamcanary.model.canary import Canary
from streamcanary.model.schedules.cron import Cron

INTERVAL = 60.0
PHASE = phase_offset("i", "c", INTERVAL)
DUE = 1_800_000_000 // INTERVAL * INTERVAL + PHASE
"""A due time of the canary ``c``, in seconds since the epoch."""
NINE = datetime(2027, 3, 1, 9, tzinfo=UTC).timestamp()


def a_canary(name: str = "c", interval: float = INTERVAL, cron: Cron | None = None) -> Canary:
    return Canary(name=name, target="t", provider="p", interval=interval, cron=cron)


def take_over(now: float, *canaries: Canary, last_due: dict[str, float], min_gap: float = 0.0) -> dict[str, FirstRun]:
    """Return the first runs of canaries whose shards are gained ``now``."""
    runs = first_runs(canaries, now, instance="i", min_gap=min_gap, at_phase=True)
    return catch_up(runs, canaries, now, last_due=last_due, min_gap=min_gap)


def due_times(run: FirstRun, count: int = 3) -> list[float]:
    """Return the due times of the first ``count`` runs."""
    times = [run.due]
    while len(times) < count:
        times.append(run.trigger.next_after(times[-1]))
    return times


def seconds_after_due(now: float, last: float) -> list[float]:
    """Return the due times of ``c`` after a takeover at ``now`` with a run at ``last``, in seconds after ``DUE``."""
    runs = take_over(DUE + now, a_canary(), last_due={"c": DUE + last})
    return [round(due - DUE, 3) for due in due_times(runs["c"])]


@pytest.mark.parametrize(
    ("now", "last", "expected"),
    [
        pytest.param(2, -60, [2, 60, 120], id="soon, and then at the phase"),
        pytest.param(29, -60, [29, 60, 120], id="in the first half"),
        pytest.param(31, -60, [31, 120, 180], id="in the second half it is also that of the next due time"),
        pytest.param(2, -7 * 60, [2, 60, 120], id="of several only the last"),
        pytest.param(2, 0, [60, 120, 180], id="the last one is recorded"),
        pytest.param(59, 0, [60, 120, 180], id="none was due"),
        pytest.param(29, 2, [60, 120, 180], id="caught up by a former owner"),
        pytest.param(35, 31, [120, 180, 240], id="also that of the next due time"),
        pytest.param(62, 31, [120, 180, 240], id="which passes without an owner"),
        pytest.param(122, 31, [122, 180, 240], id="the one after that is missed"),
        pytest.param(-2, 0, [60, 120, 180], id="made by a clock that is two seconds ahead"),
        pytest.param(2, 3600, [60, 120, 180], id="or an hour"),
    ],
)
def test_a_missed_run_is_caught_up(now: float, last: float, expected: list[float]) -> None:
    """A canary whose last due time has no run makes it soon, and the next one if that is half an interval later."""
    assert expected == seconds_after_due(now, last)


def test_a_canary_that_never_ran_waits_for_its_phase() -> None:
    """A first start catches nothing up."""
    assert [DUE + 60, DUE + 120, DUE + 180] == pytest.approx(
        due_times(take_over(DUE + 2, a_canary(), last_due={})["c"])
    )


def test_a_due_time_that_was_recorded_to_the_microsecond_is_the_same() -> None:
    """Due times are rounded when they are recorded, up or down."""
    for rounding in (-5e-7, 5e-7):
        assert [60, 120, 180] == seconds_after_due(2, rounding)


def test_missed_runs_are_not_counted_for_a_due_time_that_was_skipped() -> None:
    """The due time that a run in the second half of the interval replaces is no missed run."""
    run = take_over(DUE + 31, a_canary(), last_due={"c": DUE - 60})["c"]
    first, second, _ = due_times(run)
    assert 0 == run.trigger.missed_between(first, second)
    cron = a_canary(cron=Cron.parse("*/5 * * * *"))
    run = take_over(NINE + 200, cron, last_due={"c": NINE - 300})["c"]
    first, second, _ = due_times(run)
    assert (NINE + 200, NINE + 600, 0) == (first, second, run.trigger.missed_between(first, second))


def test_the_runs_of_a_large_replica_are_spread() -> None:
    """Of 10,000 canaries a sixth has missed a run: they raise the rate by a quarter at most, the next due first."""
    canaries = [a_canary(f"canary-{number}") for number in range(10_000)]
    last_due = {canary.name: DUE - 60 + phase_offset("i", canary.name, INTERVAL) - PHASE for canary in canaries}
    runs = take_over(DUE + 10, *canaries, last_due=last_due)
    steady = first_runs(canaries, DUE + 10, instance="i", min_gap=0.0, at_phase=True)
    caught_up = sorted(run.due for name, run in runs.items() if run.due != steady[name].due)
    gaps = [later - earlier for earlier, later in pairwise(caught_up)]
    assert (DUE + 10, True) == (caught_up[0], len(caught_up) > 1000)
    assert min(gaps) == pytest.approx(1 / (MAX_LOAD * 10_000 / INTERVAL), rel=1e-3)
    assert True is all(run.due <= steady[name].due for name, run in runs.items())
    phases = [
        steady[name].due
        for name, run in sorted(runs.items(), key=lambda item: item[1].due)
        if run.due in set(caught_up)
    ]
    assert sorted(phases) == phases


def test_past_the_next_due_time_there_is_nothing_to_catch_up() -> None:
    """Canaries that cannot run before it run at their phase, and no others wait for them."""
    canaries = [a_canary(f"canary-{number}", 1.0) for number in range(40)]
    runs = take_over(DUE, *canaries, last_due={canary.name: DUE - 10.0 for canary in canaries})
    steady = first_runs(canaries, DUE, instance="i", min_gap=0.0, at_phase=True)
    caught_up = sorted(run.due for name, run in runs.items() if run.due != steady[name].due)
    assert True is (0 < len(caught_up) < 40)
    assert [DUE + number / MIN_RATE for number in range(len(caught_up))] == pytest.approx(caught_up)


def test_a_budget_spreads_them_further() -> None:
    """The gap that a budget requires is kept."""
    canaries = [a_canary(f"canary-{number}") for number in range(5)]
    runs = take_over(DUE, *canaries, last_due={canary.name: DUE - 600.0 for canary in canaries}, min_gap=3.0)
    assert [DUE + 3.0 * number for number in range(5)] == pytest.approx(sorted(run.due for run in runs.values()))


@pytest.mark.parametrize(
    ("expression", "late", "expected"),
    [
        pytest.param("0 9 * * *", 60, 60, id="daily"),
        pytest.param("0 9 * * *", MAX_CRON_DELAY - 1, MAX_CRON_DELAY - 1, id="daily, late"),
        pytest.param("0 9 * * *", MAX_CRON_DELAY + 1, 86400, id="daily, too late"),
        pytest.param("0 9-17 * * *", 3600 + 60, 3600 + 60, id="hourly, the second one"),
        pytest.param("* * * * *", 45, 45, id="each minute"),
    ],
)
def test_a_cron_canary_is_caught_up_for_some_minutes(expression: str, late: float, expected: float) -> None:
    """Its expression says when it may run: later than that it waits for its next time."""
    canary = a_canary(cron=Cron.parse(expression))
    run = take_over(NINE + late, canary, last_due={"c": NINE - 86400})["c"]
    assert expected == run.due - NINE


def test_cron_canaries_that_are_spread_end_in_time() -> None:
    """Also of many that were due at one time, none runs later than some minutes after it."""
    canaries = [a_canary(f"canary-{number}", 3600.0, Cron.parse("0 * * * *")) for number in range(20)]
    runs = take_over(NINE + 60, *canaries, last_due={canary.name: NINE - 3600 for canary in canaries}, min_gap=30.0)
    late = sorted(run.due - NINE for run in runs.values())
    assert [60.0 + 30.0 * number for number in range(8)] + [3600.0] * 12 == late


def test_two_close_points_of_a_cron_expression_are_both_due() -> None:
    """A run on time replaces no other one, however close they are."""
    canary = a_canary(cron=Cron.parse("0,1 * * * *"))
    run = take_over(NINE + 10, canary, last_due={"c": NINE})["c"]
    assert [NINE + 60, NINE + 3600] == due_times(run, 2)
