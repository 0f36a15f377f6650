"""The hours of a canary in few bytes."""

from streamcanary.canary.status.hour_series import HourSeries
from streamcanary.model.status.canary_status import Percentiles, PeriodStatistics

HOURS = (
    PeriodStatistics(
        started=3600,
        length=3600,
        runs=120,
        failed=7,
        failed_over=3,
        first_attempt_failed=9,
        slow=2,
        first_token=Percentiles(p50=0.5123, p95=1.25, p99=999.9999),
        duration=Percentiles(p50=0.0, p95=0.0001, p99=86_400.0),
    ),
    PeriodStatistics(started=1_800_003_600, length=3600, runs=1, failed=1),
)


def test_hours_are_as_before() -> None:
    """Counts, and percentiles to 0.1 ms, are kept; hours without answers have none."""
    series = HourSeries(HOURS)

    assert HOURS == series.statistics()
    assert (2, 0) == (len(series), len(HourSeries()))
    assert series == HourSeries(HOURS)
    assert series != HourSeries(HOURS[:1])


def test_hours_before_a_time() -> None:
    """After the clock was set back, later hours are left out."""
    assert HOURS == HourSeries(HOURS).before(1_800_007_200.0).statistics()
    assert HOURS[:1] == HourSeries(HOURS).before(1_800_003_600.0).statistics()
    assert () == HourSeries().before(0.0).statistics()


def test_values_that_are_too_high_are_the_highest() -> None:
    """A count or a time that is too high for its bytes is not an error."""
    slow = Percentiles(p50=1e300, p95=float("inf"), p99=-1.0)
    [hour] = HourSeries([PeriodStatistics(started=0, length=3600, runs=10**9, duration=slow)]).statistics()

    assert 65_535 == hour.runs
    assert Percentiles(p50=429_496.7294, p95=429_496.7294, p99=0.0) == hour.duration
