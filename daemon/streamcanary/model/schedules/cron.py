"""Cron expressions in a time zone: when they are due, and how often. Pure arithmetic, no I/O.

Times are seconds since the epoch. ``cronsim`` parses the expressions and follows Debian's cron (cron(8)): weekdays 0
and 7 are Sunday. When the clocks are set forward, a time with a fixed hour that falls into the gap is due right after
it; when they are set back, it is due once. Hourly times, and those every few minutes, follow elapsed time.
"""

import difflib
import math
import statistics
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import islice, pairwise, takewhile
from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from cronsim import CronSim

MAX_POINTS: Final = 10_000
"""How many points are computed; beyond them :meth:`Cron.expected_runs` estimates with the mean interval."""

_MAX_EXPRESSION_LENGTH: Final = 120  # characters of an expression
_DAY: Final = 86400.0
_MONDAY: Final = 1_767_571_200.0  # 5 January 2026, 00:00 UTC
_MIN_INTERVALS: Final = 200  # points
_CALENDAR_CYCLE_DAYS: Final = 28 * 365 + 7  # days, after which leap years and weekdays repeat
_FIELDS: Final = {
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day-of-month": "1 to 31, or L for the last",
    "month": "1 to 12, or jan to dec",
    "day-of-week": "0 to 7 (0 and 7 are Sunday), or sun to sat",
}
_EXAMPLE: Final = "0 9-17 * * 1-5"


class Cron(Struct, frozen=True):
    """A cron ``expression`` in a ``timezone`` (IANA name). Use :meth:`parse` to create one; it validates both.

    A point is a time at which the expression is due. There is no phase and no jitter: ``0 9 * * *`` is 09:00:00.
    """

    expression: str
    timezone: str = "UTC"

    def __str__(self) -> str:
        return f"{self.expression} {self.timezone}"

    @classmethod
    def parse(cls, expression: str, timezone: str = "UTC") -> "Cron":
        """Return the validated schedule.

        Raises:
            ValueError: if the time zone is unknown, the expression is invalid, or no date ever matches it.
        """
        check_timezone(timezone)
        check_expression(expression)
        cron = cls(" ".join(expression.split()), timezone)
        try:
            next(_points(cron, 1e9))
        except StopIteration:
            raise ValueError(f"no date ever matches {cron.expression!r}") from None
        return cron

    @property
    def interval(self) -> float:
        """The mean seconds from one point to the next, over the 28 years of the calendar."""
        return _calendar_intervals(self)[0]

    @property
    def min_interval(self) -> float:
        """The minimum seconds from one point to the next, except on days when the clocks change."""
        return _calendar_intervals(self)[1]

    @property
    def max_interval(self) -> float:
        """The maximum seconds from one point to the next, except on days when the clocks change."""
        return _calendar_intervals(self)[2]

    @property
    def median_interval(self) -> float:
        """The median seconds from one point to the next."""
        return statistics.median_low(_intervals(self))

    def max_runs(self, seconds: float) -> int:
        """Return the maximum number of points in a window of ``seconds``."""
        gaps, most, first, span = _intervals(self), 1, 0, 0.0
        for last, gap in enumerate(gaps):
            span += gap
            while span >= seconds - 1e-6:
                span -= gaps[first]
                first += 1
            most = max(most, last - first + 2)
        return most

    def mean_wait(self, number: float) -> float:
        """Return the mean seconds from any moment until the ``number``-th point after it."""
        below = math.floor(number)
        part = number - below
        return (1 - part) * _mean_wait(self, below) + part * (_mean_wait(self, below + 1) if part else 0.0)

    def expected_runs(self, after: float, until: float) -> int:
        """Return the number of points later than ``after`` and not later than ``until``."""
        if until <= after:
            return 0
        count = 0
        for point in _points(self, after):
            if point > until:
                return count
            count += 1
            if count >= MAX_POINTS:
                return count + int((until - point) // self.interval)
        return count

    def nth_run_after(self, moment: float, number: int) -> float:
        """Return the ``number``-th point later than ``moment``, at most the :data:`MAX_POINTS`-th."""
        return _nth_point_after(self, moment, min(number, MAX_POINTS))

    def last_point_until(self, moment: float, within: float) -> float | None:
        """Return the last point not later than ``moment`` in the ``within`` seconds before it; ``None`` without one."""
        return _last_point_until(self, moment, within)


def check_timezone(name: str) -> None:
    """Check that the time zone ``name`` exists.

    Raises:
        ValueError: if not; the message suggests a similar one.
    """
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):  # unknown; not a valid name; a folder of time zones
        zones = {zone.casefold(): zone for zone in zoneinfo.available_timezones()}
        wanted = name[:64].casefold().replace(" ", "_")
        cities = {zone.rpartition("/")[2]: zone for zone in zones}
        near = difflib.get_close_matches(wanted, zones, n=1) or [
            cities[city] for city in difflib.get_close_matches(wanted, cities, n=1)
        ]
        hint = f"did you mean {zones[near[0]]}?" if near else "write an IANA name such as Europe/Berlin, or UTC"
        raise ValueError(f"there is no time zone of this name; {hint}") from None


def check_expression(expression: str) -> None:
    """Check that ``expression`` is a valid cron expression of five fields.

    Raises:
        ValueError: if not; the message names the invalid field, and its valid values.
    """
    from cronsim import CronSim, CronSimError

    parts = expression.split()
    if len(expression) > _MAX_EXPRESSION_LENGTH:
        raise ValueError(f"a cron expression has at most {_MAX_EXPRESSION_LENGTH} characters")
    if len(parts) != len(_FIELDS):
        raise ValueError(
            f"a cron expression has five fields ({' '.join(_FIELDS)}), such as {_EXAMPLE!r}; this has {len(parts)}"
        )
    for index, (field, takes) in enumerate(_FIELDS.items()):
        other_fields = ["*"] * len(_FIELDS)
        other_fields[index] = parts[index]
        try:
            CronSim(" ".join(other_fields), datetime(2000, 1, 1, tzinfo=UTC))
        except (CronSimError, AssertionError, ValueError):
            raise ValueError(
                f"the field {field} takes {takes}, lists (1,2), ranges (1-5, the lower first) and steps (*/5)"
            ) from None
    try:
        CronSim(expression, datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError:
        raise ValueError("no date ever matches this: the month does not have that day") from None


def _points(cron: Cron, moment: float) -> Iterator[float]:
    """Yield the points later than ``moment``, strictly ascending; none if there is none within 50 years."""
    from cronsim import CronSim

    zone = zoneinfo.ZoneInfo(cron.timezone)
    last = moment
    for point in CronSim(cron.expression, datetime.fromtimestamp(moment, zone)):
        # When the clocks change, cronsim can return a moment twice, or start with one in the past.
        if (seconds := point.timestamp()) > last:
            last = seconds
            yield seconds


@lru_cache(maxsize=4096)
def _nth_point_after(cron: Cron, moment: float, number: int) -> float:
    point = moment
    for point in islice(_points(cron, moment), number):  # noqa: B007 - only the last one is needed
        pass
    return point


@lru_cache(maxsize=4096)
def _last_point_until(cron: Cron, moment: float, within: float) -> float | None:
    last = None
    for point in _points(cron, moment - within):
        if point > moment:
            break
        last = point
    return last


@lru_cache(maxsize=256)
def _intervals(cron: Cron) -> tuple[float, ...]:
    """Return the seconds between points of one week, or of a longer period if a week has fewer than 200 points.

    The period is treated as cyclic: the last interval goes from the last point to the first point of the next period.
    """
    points: list[float] = []
    for weeks in (1, 4, 208):
        points = list(takewhile(lambda point: point <= _MONDAY + weeks * 7 * _DAY, _points(cron, _MONDAY)))  # noqa: B023
        if len(points) >= _MIN_INTERVALS:
            break
    if len(points) < 2:
        return (cron.interval,)
    return (*(later - earlier for earlier, later in pairwise(points)), points[0] + weeks * 7 * _DAY - points[-1])


@lru_cache(maxsize=4096)
def _mean_wait(cron: Cron, number: int) -> float:
    """Return the mean seconds until the ``number``-th point, over all moments of one period."""
    gaps = _intervals(cron)
    whole = sum(gaps)
    rounds, rest = divmod(max(0, number - 1), len(gaps))
    following = sum(gaps[(1 + offset) % len(gaps)] for offset in range(rest))
    total = 0.0
    for index, gap in enumerate(gaps):
        total += gap * (gap / 2 + following)
        following += gaps[(index + 1 + rest) % len(gaps)] - gaps[(index + 1) % len(gaps)]
    return total / whole + rounds * whole


@lru_cache(maxsize=4096)
def _calendar_intervals(cron: Cron) -> tuple[float, float, float]:
    """Return the mean, minimum and maximum seconds from one point to the next, without changes of the clocks."""
    from cronsim import CronSim

    sim = CronSim(cron.expression, datetime(2001, 1, 1, tzinfo=UTC))
    times = [hour * 60 + minute for hour in sorted(sim.hours) for minute in sorted(sim.minutes)]
    start = date(2001, 1, 1)
    days = [number for number in range(_CALENDAR_CYCLE_DAYS) if _matches_day(sim, start + timedelta(days=number))]
    if len(days) < 2:  # 29 February on a Monday
        first, second = (_nth_point_after(cron, 1e9, number) for number in (1, 2))
        days = [0, round((second - first) / _DAY)]
        mean = (second - first) / len(times)
    else:
        mean = _CALENDAR_CYCLE_DAYS * _DAY / (len(days) * len(times))
    within = [(later - earlier) * 60.0 for earlier, later in pairwise(times)]
    apart = [later - earlier for earlier, later in pairwise(days)]
    shortest, longest = (count * _DAY - (times[-1] - times[0]) * 60.0 for count in (min(apart), max(apart)))
    return mean, min([*within, shortest]), max([*within, longest])


def _matches_day(sim: "CronSim", day: date) -> bool:
    return day.month in sim.months and sim.match_day(day)
