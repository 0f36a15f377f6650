"""Schedules: intervals, and cron expressions in time zones with daylight saving time."""

import time
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from streamcanary.model.canary import Canary
from streamcanary.model.schedules.cron import MAX_POINTS, Cron
from streamcanary.model.schedules.schedule import Every

BERLIN = "Europe/Berlin"


def at(text: str, zone: str = BERLIN) -> float:
    """Return the seconds since the epoch of a local time; a ``+`` prefix selects the later of two."""
    moment = datetime.fromisoformat(text.removeprefix("+")).replace(tzinfo=ZoneInfo(zone), fold=int(text[0] == "+"))
    return moment.timestamp()


def runs_after(cron: Cron, after: str, number: int) -> list[str]:
    """Return the next runs as UTC."""
    moments = [cron.nth_run_after(at(after, cron.timezone), k + 1) for k in range(number)]
    return [datetime.fromtimestamp(moment, ZoneInfo("UTC")).strftime("%m-%d %H:%M") for moment in moments]


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("0 17 * * 5", "2026-02-02", ["02-06 16:00", "02-13 16:00"]),  # Friday
        ("0 17 * * fri", "2026-02-02", ["02-06 16:00", "02-13 16:00"]),
        ("0 12 * * 0", "2026-02-02", ["02-08 11:00", "02-15 11:00"]),  # Sunday
        ("0 12 * * 7", "2026-02-02", ["02-08 11:00", "02-15 11:00"]),
        ("0 9-17 * * 1-5", "2026-02-06T16:30", ["02-06 16:00", "02-09 08:00", "02-09 09:00"]),
        ("30 9 29 2 *", "2026-02-02", ["02-29 08:30"]),
    ],
)
def test_weekdays_follow_cron(expression: str, after: str, expected: list[str]) -> None:
    """0 and 7 are Sunday, 5 is Friday, names are accepted, and times are local to the zone."""
    assert expected == runs_after(Cron.parse(expression, BERLIN), after, len(expected))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (
            "30 2 * * *",
            ["03-28 01:30", "03-29 01:00", "03-30 00:30"],
        ),  # it falls into the gap: the run is right after the gap
        ("0,30 2 * * *", ["03-28 01:30", "03-29 01:00", "03-30 00:00"]),  # both fall into the gap: one run
        ("0 2,3 * * *", ["03-28 02:00", "03-29 01:00", "03-30 00:00"]),
        ("0 4 * * *", ["03-28 03:00", "03-29 02:00", "03-30 02:00"]),
    ],
)
def test_spring_change_neither_loses_nor_repeats_a_run(expression: str, expected: list[str]) -> None:
    """On 29 March 2026 the hour from two to three does not exist in Berlin, and no run is lost or repeated."""
    assert expected == runs_after(Cron.parse(expression, BERLIN), "2026-03-28T02:15", 3)


def test_hourly_runs_follow_elapsed_time() -> None:
    """Hourly runs are an hour apart: 23 on the spring day and 25 on the autumn day."""
    hourly = Cron.parse("0 * * * *", BERLIN)
    assert 23 == hourly.expected_runs(at("2026-03-29") - 1, at("2026-03-30") - 1)
    assert 25 == hourly.expected_runs(at("2026-10-25") - 1, at("2026-10-26") - 1)
    gaps = {
        round(hourly.nth_run_after(at("2026-10-25"), k + 1) - hourly.nth_run_after(at("2026-10-25"), k))
        for k in range(1, 9)
    }
    assert {3600} == gaps


@pytest.mark.parametrize("after", ["2026-10-25T02:10", "2026-10-25T02:45", "+2026-10-25T02:10", "+2026-10-25T02:45"])
def test_autumn_change_repeats_no_run(after: str) -> None:
    """On 25 October 2026 half past two occurs twice in Berlin, and the daily run is only at the first."""
    daily = Cron.parse("30 2 * * *", BERLIN)
    first = "10-25 00:30" if after == "2026-10-25T02:10" else "10-26 01:30"
    assert [first] == runs_after(daily, after, 1)


def test_next_run_is_strictly_later() -> None:
    """At the time of a run, the next run is the following one, also with fractions of a second."""
    cron = Cron.parse("0 9 * * *")
    nine = at("2026-02-02T09:00", "UTC")
    assert [nine + 86400, nine, nine + 86400] == [cron.nth_run_after(nine + delta, 1) for delta in (0.0, -0.001, 0.001)]


def test_nth_run_follows_the_cron_schedule() -> None:
    """Last seen on Friday at 16:30, a canary of office hours misses its third run on Monday morning."""
    canary = Canary(name="c", target="t", provider="p", interval=1.0, cron=Cron.parse("0 9-17 * * 1-5", BERLIN))
    friday = at("2026-02-06T16:30")
    assert at("2026-02-09T10:00") == canary.nth_run_after(friday, 3) == canary.schedule.nth_run_after(friday, 3)
    assert Every(1.0) == Canary(name="c", target="t", provider="p", interval=1.0).schedule


@pytest.mark.parametrize(
    ("schedule", "interval", "shortest"),
    [
        (Every(30.0), 30.0, 30.0),
        (Cron.parse("*/5 * * * *"), 300.0, 300.0),
        (Cron.parse("0 17 * * 5"), 7 * 86400.0, 7 * 86400.0),
        (Cron.parse("0 9-17 * * 1-5"), 7 * 86400 / 45, 3600.0),
        (Cron.parse("0,50 * * * *"), 1800.0, 600.0),
        (Cron.parse("59 23 28-31 1 *"), 366 * 86400 / 4, 86400.0),
        (Cron.parse("0 0 29 2 *"), 4 * 366 * 86400.0, 4 * 365 * 86400.0),
    ],
)
def test_mean_and_shortest_interval(schedule: Every | Cron, interval: float, shortest: float) -> None:
    """A schedule has a mean interval, used by alerting, and a minimum interval, the limit for a run."""
    assert (pytest.approx(interval, rel=0.005), pytest.approx(shortest, rel=0.005)) == (
        schedule.interval,
        schedule.min_interval,
    )


@pytest.mark.parametrize(
    ("expression", "longest"),
    [
        ("* * * * *", 60.0),
        ("*/5 * * * *", 300.0),
        ("0 17 * * 5", 7 * 86400.0),
        ("0 9-17 * * 1-5", 2 * 86400.0 + 16 * 3600),
        ("0,50 * * * *", 3000.0),
        ("* 0-22 * * *", 3660.0),
        ("0 0 29 2 *", 4 * 365.25 * 86400),
    ],
)
def test_longest_interval(expression: str, longest: float) -> None:
    """The maximum interval is the longest gap between two runs."""
    assert pytest.approx(longest, rel=0.001) == Cron.parse(expression).max_interval


def test_expected_runs_exclude_the_start_and_include_the_end() -> None:
    """Adjacent periods count each run once."""
    cron = Cron.parse("*/10 * * * *")
    start = at("2026-02-02", "UTC")
    assert [6, 1, 0, 0, 0] == [
        cron.expected_runs(start, start + 3600),
        cron.expected_runs(start - 1, start),
        cron.expected_runs(start, start),
        cron.expected_runs(start, start + 599),
        cron.expected_runs(start + 9, start),
    ]
    assert [3, 3, 0, 0] == [Every(30.0).expected_runs(0.0, until) for until in (90.0, 119.0, 29.0, -5.0)]


def test_computation_is_bounded() -> None:
    """At most MAX_POINTS runs are enumerated for any period; the rest is estimated."""
    cron = Cron.parse("* * * * *")
    begun = time.process_time()
    assert 365 * 1440 == cron.expected_runs(at("2026-01-01", "UTC"), at("2027-01-01", "UTC"))
    assert cron.nth_run_after(0.0, MAX_POINTS) == cron.nth_run_after(0.0, 10**9)
    assert True is (time.process_time() - begun < 20)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "five fields (minute hour day-of-month month day-of-week), such as '0 9-17 * * 1-5'; this has 0"),
        ("0 9 * *", "this has 4"),
        ("0 0 9 * * 1", "this has 6"),
        ("@daily", "this has 1"),
        ("60 9 * * *", "the field minute takes 0 to 59"),
        ("0 24 * * *", "the field hour takes 0 to 23"),
        ("0 9 0 * *", "the field day-of-month takes 1 to 31, or L for the last"),
        ("0 9 * 13 *", "the field month takes 1 to 12, or jan to dec"),
        ("0 9 * * 8", "the field day-of-week takes 0 to 7 (0 and 7 are Sunday), or sun to sat"),
        ("0 17-9 * * *", "ranges (1-5, the lower first)"),
        ("*/0 * * * *", "the field minute takes"),
        ("0 0 31 2 *", "the month does not have that day"),
        ("0 0 30 2 *", "the month does not have that day"),
        ("\u0663 * * * *", "the field minute takes"),
        ("9" * 5000 + " * * * *", "at most 120 characters"),
    ],
)
def test_invalid_cron_expression_is_rejected(expression: str, message: str) -> None:
    """An invalid expression is rejected with the field and its valid values."""
    with pytest.raises(ValueError) as caught:
        Cron.parse(expression)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("zone", "message"),
    [
        ("Europe/Berln", "did you mean Europe/Berlin?"),
        ("berlin", "did you mean Europe/Berlin?"),
        ("new york", "did you mean America/New_York?"),
        ("../../etc/passwd", "write an IANA name such as Europe/Berlin, or UTC"),
        ("", "write an IANA name such as Europe/Berlin, or UTC"),
        ("\0", "write an IANA name such as Europe/Berlin, or UTC"),
        ("Europe", "there is no time zone of this name"),
    ],
)
def test_unknown_time_zone_is_rejected(zone: str, message: str) -> None:
    """An unknown time zone is rejected with a suggestion, and no file outside the zone database is read."""
    with pytest.raises(ValueError) as caught:
        Cron.parse("* * * * *", zone)
    assert message in str(caught.value)


OFFICE = Cron.parse("*/10 9-17 * * 1-5", "Europe/Berlin")


@pytest.mark.parametrize(
    ("schedule", "seconds", "most"),
    [
        (Every(60.0), 300.0, 5),
        (OFFICE, 7200.0, 12),
        (Cron.parse("* 9-17 * * 1-5"), 300.0, 5),
        (Cron.parse("0,1,2,3,4,5 3 * * *"), 3600.0, 6),
        (Cron.parse("0 9 * * *"), 3600.0, 1),
    ],
    ids=str,
)
def test_max_runs_is_the_densest_window(schedule: Every | Cron, seconds: float, most: int) -> None:
    """The maximum runs of a window ignore the pauses of a cron schedule."""
    assert most == schedule.max_runs(seconds)


def test_median_interval_ignores_pauses() -> None:
    """The median interval ignores the pauses that lengthen the mean."""
    assert (600.0, 2240.0) == (OFFICE.median_interval, OFFICE.interval)


@pytest.mark.parametrize("number", [1, 2, 54, 300])
def test_mean_wait_is_averaged_over_all_moments(number: int) -> None:
    """The mean wait equals the average over moments spread over four weeks."""
    start, weeks = 1_767_571_200.0, 4 * 7 * 86400.0
    moments = [start + weeks * (part + 0.5) / 2000 for part in range(2000)]
    mean = sum(OFFICE.nth_run_after(moment, number) - moment for moment in moments) / len(moments)
    assert pytest.approx(mean, rel=0.02) == OFFICE.mean_wait(number)


def test_mean_wait_interpolates_fractional_runs() -> None:
    """The mean wait for a fractional number of runs is interpolated."""
    assert pytest.approx((OFFICE.mean_wait(3) + OFFICE.mean_wait(4)) / 2) == OFFICE.mean_wait(3.5)
    assert (15.0, 75.0) == (Every(30.0).mean_wait(1), Every(30.0).mean_wait(3))
