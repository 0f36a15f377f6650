"""When something is due: intervals, and cron expressions in time zones whose clocks are set twice a year."""

import time
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from streamcanary.model.canary import Canary
from streamcanary.model.cron import MAX_POINTS, Cron
from streamcanary.model.schedule import Every

BERLIN = "Europe/Berlin"


def at(text: str, zone: str = BERLIN) -> float:
    """Return the seconds since the epoch of a local time; ``+`` before it takes the later one of two."""
    moment = datetime.fromisoformat(text.removeprefix("+")).replace(tzinfo=ZoneInfo(zone), fold=int(text[0] == "+"))
    return moment.timestamp()


def points(cron: Cron, after: str, number: int) -> list[str]:
    """Return the next points as UTC."""
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
def test_weekdays_are_those_of_cron(expression: str, after: str, expected: list[str]) -> None:
    """0 and 7 are Sunday, 5 is Friday, and names will do; the time is that of the zone."""
    assert expected == points(Cron.parse(expression, BERLIN), after, len(expected))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("30 2 * * *", ["03-28 01:30", "03-29 01:00", "03-30 00:30"]),  # it falls into the gap: due right after it
        ("0,30 2 * * *", ["03-28 01:30", "03-29 01:00", "03-30 00:00"]),  # both do: due once
        ("0 2,3 * * *", ["03-28 02:00", "03-29 01:00", "03-30 00:00"]),
        ("0 4 * * *", ["03-28 03:00", "03-29 02:00", "03-30 02:00"]),
    ],
)
def test_the_clocks_set_forward_lose_no_point_and_double_none(expression: str, expected: list[str]) -> None:
    """On 29 March 2026 there is no hour from two to three in Berlin."""
    assert expected == points(Cron.parse(expression, BERLIN), "2026-03-28T02:15", 3)


def test_hourly_points_go_by_real_time() -> None:
    """Whatever the clocks do, an hour is an hour: the spring day has 23, the autumn day 25."""
    hourly = Cron.parse("0 * * * *", BERLIN)
    assert 23 == hourly.expected_runs(at("2026-03-29") - 1, at("2026-03-30") - 1)
    assert 25 == hourly.expected_runs(at("2026-10-25") - 1, at("2026-10-26") - 1)
    gaps = {
        round(hourly.nth_run_after(at("2026-10-25"), k + 1) - hourly.nth_run_after(at("2026-10-25"), k))
        for k in range(1, 9)
    }
    assert {3600} == gaps


@pytest.mark.parametrize("after", ["2026-10-25T02:10", "2026-10-25T02:45", "+2026-10-25T02:10", "+2026-10-25T02:45"])
def test_the_clocks_set_back_double_no_point(after: str) -> None:
    """On 25 October 2026 half past two comes twice in Berlin; it is due at the first, and never again that day."""
    daily = Cron.parse("30 2 * * *", BERLIN)
    first = "10-25 00:30" if after == "2026-10-25T02:10" else "10-26 01:30"
    assert [first] == points(daily, after, 1)


def test_a_point_is_later_than_the_moment_itself() -> None:
    """Asked at a point, the next one is named; fractions of a second do not matter."""
    cron = Cron.parse("0 9 * * *")
    nine = at("2026-02-02T09:00", "UTC")
    assert [nine + 86400, nine, nine + 86400] == [cron.nth_run_after(nine + delta, 1) for delta in (0.0, -0.001, 0.001)]


def test_no_data_waits_for_the_canary_s_own_turns() -> None:
    """Heard of last on Friday at half past four, a canary of office hours is missed on Monday morning, not before."""
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
    """Alerting counts by the mean; a run must end within the shortest."""
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
    """A maintenance window as long as that never closes."""
    assert pytest.approx(longest, rel=0.001) == Cron.parse(expression).max_interval


def test_expected_counts_the_later_end_and_not_the_earlier() -> None:
    """Stretches that follow each other count each run once."""
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


def test_the_cost_is_bounded() -> None:
    """However long the stretch, at most so many points are looked at; the rest is estimated."""
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
def test_a_bad_expression_is_told_with_what_would_be_right(expression: str, message: str) -> None:
    """The field that is wrong is named, and what it takes."""
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
def test_an_unknown_zone_is_told_with_a_similar_one(zone: str, message: str) -> None:
    """Whatever is written there, no file but that of a zone is read."""
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
def test_a_window_holds_what_it_holds_when_it_is_fullest(schedule: Every | Cron, seconds: float, most: int) -> None:
    """Pauses do not count against a canary that runs by cron."""
    assert most == schedule.max_runs(seconds)


def test_the_usual_pace_is_that_between_pauses() -> None:
    """The mean is true of no two runs."""
    assert (600.0, 2240.0) == (OFFICE.median_interval, OFFICE.interval)


@pytest.mark.parametrize("number", [1, 2, 54, 300])
def test_the_wait_is_the_mean_from_any_moment(number: int) -> None:
    """Of moments that are spread over weeks, nights and weekends among them."""
    start, weeks = 1_767_571_200.0, 4 * 7 * 86400.0
    moments = [start + weeks * (part + 0.5) / 2000 for part in range(2000)]
    mean = sum(OFFICE.nth_run_after(moment, number) - moment for moment in moments) / len(moments)
    assert pytest.approx(mean, rel=0.02) == OFFICE.mean_wait(number)


def test_the_wait_for_a_part_of_a_run_lies_between() -> None:
    """Mean numbers of runs are seldom whole."""
    assert pytest.approx((OFFICE.mean_wait(3) + OFFICE.mean_wait(4)) / 2) == OFFICE.mean_wait(3.5)
    assert (15.0, 75.0) == (Every(30.0).mean_wait(1), Every(30.0).mean_wait(3))
