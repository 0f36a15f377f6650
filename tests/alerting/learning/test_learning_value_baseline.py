"""The usual values of a measure are learned from a day or more, outside incidents, by quarter of the day."""

import pytest

from streamcanary.alerting.detectors import SampleStream, Spike
from streamcanary.alerting.learning.baseline import LearnedValues, fraction_above, season_of
from streamcanary.alerting.learning.value_baseline import SmallestChange, ValueSeries, estimate_values
from streamcanary.model.schedules.schedule import Every
from support.alerting.histories import DAY, answer_times

USUAL_LIMIT = 0.5 * 2.7183 ** (0.3 * 1.2816)  # the 90 % quantile of the synthetic answers


def cusum(rate: float, autocorrelation: float) -> tuple[int, int]:
    """Return the steps of a CUSUM from ``rate`` to 60 %."""
    found = Spike(type="spike", normal=max(rate, 0.1), spike=0.6).for_stream(SampleStream("", Every(60.0)))
    return found.step, round(found.threshold * (1 + 2 * autocorrelation))


def learn(days: float, *, busy: float = 1.0, slow: tuple[float, float] = (0.0, 0.0)) -> LearnedValues | None:
    """Return what is learned from ``days`` days; between the days ``slow``, answers take three times as long."""
    series = ValueSeries()
    for at, value in answer_times(days, busy=busy):
        series.append("chat", at, 3 * value if slow[0] <= at / DAY < slow[1] else value)
    return estimate_values(series, cusum)


def limit_of(median: float, spread: float, change: SmallestChange) -> float:
    """Return the limit of answers with this ``median`` and ``spread`` (of the logarithm) that ``change`` gives."""
    series = ValueSeries()
    for at, value in answer_times(2, spread=spread):
        series.append("chat", at, 2 * median * value)
    learned = estimate_values(series, cusum, change)
    assert learned is not None
    [limit] = learned.limits["chat"]
    return limit


@pytest.mark.parametrize(("days", "slow"), [(1.0, (0.0, 0.0)), (3.0, (1.0, 1.5)), (7.0, (2.0, 5.0))])
def test_slow_days_are_not_normal(days: float, slow: tuple[float, float]) -> None:
    """The limit is the 90 % quantile of the usual values, with an incident of up to three days of a week."""
    learned = learn(days, slow=slow)

    assert learned is not None
    assert learned.limits == {"chat": (pytest.approx(USUAL_LIMIT, rel=0.06),)}
    assert learned.quantiles[10] == pytest.approx(0.5 / USUAL_LIMIT, rel=0.08)
    assert learned.above.rate == pytest.approx(0.1, abs=0.025)


def test_less_than_a_day_teaches_nothing() -> None:
    """The values of a night say nothing about the day."""
    assert learn(0.9) is None


def test_too_few_values_teach_nothing() -> None:
    """Three values a day are too few for a quantile."""
    series = ValueSeries()
    for at, value in answer_times(7, every=DAY / 3):
        series.append("chat", at, value)

    assert estimate_values(series, cusum) is None


def test_a_slow_hour_of_the_first_day_is_not_normal() -> None:
    """In a history of one day, an incident of two hours hardly raises the limit."""
    learned = learn(1.0, slow=(0.5, 0.6))

    assert learned is not None
    assert learned.limits == {"chat": (pytest.approx(USUAL_LIMIT, rel=0.15),)}


@pytest.mark.parametrize("outages", [[(0.0, 0.02)], [(0.0, 0.08)], [(0.1, 0.12), (0.4, 0.43), (0.8, 0.84)]])
@pytest.mark.parametrize("days", [1.0, 1.5, 7.0])
def test_a_few_long_outages_are_not_bursts(days: float, outages: list[tuple[float, float]]) -> None:
    """Up to three outages in a young history do not make it usual that slow answers cluster."""
    series = ValueSeries()
    for at, value in answer_times(days):
        series.append("chat", at, 9.0 if any(start <= at / DAY < end for start, end in outages) else value)

    learned = estimate_values(series, cusum)

    assert learned is not None
    assert learned.above.autocorrelation == 0
    assert learned.above.in_incidents > 0


@pytest.mark.parametrize("days", [1.0, 1.5, 2.0, 4.0])
def test_busy_hours_are_not_a_change_from_the_first_day_on(days: float) -> None:
    """After a night and a busy day, the limit is that of the busy hours, though most values are below it."""
    learned = learn(days, busy=2.5)

    assert learned is not None
    assert learned.limits == {"chat": (pytest.approx(2.5 * USUAL_LIMIT, rel=0.08),)}


def test_a_change_smaller_than_the_one_to_detect_is_below_the_limit() -> None:
    """Where times vary by 3 %, the limit is between the usual time and the slower one, not at the 90 % quantile."""
    assert limit_of(0.5, 0.03, SmallestChange(factor=1.41)) == pytest.approx(0.5 * 1.41, rel=0.02)
    assert limit_of(0.5, 0.03, SmallestChange(factor=1.0)) == pytest.approx(0.52, rel=0.02)
    assert limit_of(0.5, 0.5, SmallestChange(factor=1.41)) == pytest.approx(0.5 * 2.7183 ** (0.5 * 1.2816), rel=0.08)


def test_a_few_milliseconds_are_no_change() -> None:
    """Times of a few milliseconds have a limit that is at least 10 ms higher."""
    assert limit_of(0.002, 0.1, SmallestChange(factor=1.41, increase=0.01)) == pytest.approx(0.012, rel=0.02)


def test_the_quarters_of_the_day_have_limits_of_their_own_after_a_week() -> None:
    """Where the afternoon is twice as slow, the limit is that of the afternoon, and after a week each quarter's own."""
    after_days, after_a_week = learn(3, busy=2.0), learn(7, busy=2.0)

    assert after_days is not None and after_a_week is not None
    assert after_days.limits["chat"] == (pytest.approx(2 * USUAL_LIMIT, rel=0.06),)
    assert after_a_week.limits["chat"] == pytest.approx(
        (USUAL_LIMIT, USUAL_LIMIT, 2 * USUAL_LIMIT, 2 * USUAL_LIMIT), rel=0.06
    )
    assert after_a_week.above.rate == pytest.approx(0.1, abs=0.02)


def test_the_part_above_the_limit_when_all_are_slower() -> None:
    """The stored quantiles say which part of the values is above the limit when all are slower by a factor."""
    learned = learn(3)

    assert learned is not None
    assert fraction_above(learned.quantiles, 1.0) == pytest.approx(0.1, abs=0.03)
    assert fraction_above(learned.quantiles, 1.5) == pytest.approx(0.53, abs=0.06)
    assert fraction_above(learned.quantiles, 3.0) == 1.0


def test_values_of_zero_teach_nothing() -> None:
    """A measure that is always zero, such as the longest gap of answers in one piece, cannot be worse by a factor."""
    series = ValueSeries()
    for at, _ in answer_times(2):
        series.append("chat", at, 0.0)

    assert estimate_values(series, cusum) is None


def test_each_canary_has_its_own_limit() -> None:
    """Values of several canaries are compared with the limit of their own canary, and a new canary has none."""
    series = ValueSeries()
    for at, value in answer_times(2):
        series.append("chat", at, value)
        series.append("reasoning", at, 20 * value)
    for number in range(60):
        series.append("new", 2 * DAY + number, 300.0)
    learned = estimate_values(series, cusum)

    assert learned is not None
    assert learned.limits.keys() == {"chat", "reasoning"}
    assert learned.limit("reasoning", 0.0) == pytest.approx(20 * USUAL_LIMIT, rel=0.06)
    assert learned.above.rate == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize(("hour", "season"), [(0, 0), (5.99, 0), (6, 1), (12, 2), (23.9, 3), (24, 0)])
def test_the_quarters_of_the_day(hour: float, season: int) -> None:
    """A quarter of the day is six hours of UTC."""
    assert season_of(hour * 3600.0) == season


def test_a_clock_that_is_set_back() -> None:
    """Values keep their order when the clock is set back."""
    series = ValueSeries()
    series.append("chat", 100.0, 1.0)
    series.append("chat", 50.0, 1.0)

    assert series.by_canary() == {"chat": [(100.0, 1.0), (100.0, 1.0)]}
