"""When something is due by a cron expression in a named time zone. Pure arithmetic.

Times are seconds since the epoch. Cron is read by ``cronsim``, which does as Debian's cron does (cron(8)): weekdays 0
and 7 are Sunday; when the clocks are set forward, a point with a fixed hour that falls into the gap is due right after
it; when they are set back it is due once. Points that come each hour, or each few minutes, go by real time.
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
"""How many points are looked at one by one; beyond them :meth:`Cron.expected` estimates by the mean interval."""

_MAX_EXPRESSION_LENGTH: Final = 120  # characters of an expression
_DAY: Final = 86400.0
_MONDAY: Final = 1_767_571_200.0  # 5 January 2026, 00:00 UTC
_MIN_INTERVALS: Final = 200  # points
_CALENDAR_CYCLE_DAYS: Final = 28 * 365 + 7  # days, after which leap years and weekdays fall together again
_FIELDS: Final = {
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day-of-month": "1 to 31, or L for the last",
    "month": "1 to 12, or jan to dec",
    "day-of-week": "0 to 7 (0 and 7 are Sunday), or sun to sat",
}
_EXAMPLE: Final = "0 9-17 * * 1-5"


class Cron(Struct, frozen=True):
    """The points of a cron ``expression`` in a ``timezone`` (IANA name). Made by :meth:`parse`.

    There is neither phase nor jitter: ``0 9 * * *`` means nine o'clock.
    """

    expression: str
    timezone: str = "UTC"

    def __str__(self) -> str:
        return f"{self.expression} {self.timezone}"

    @classmethod
    def parse(cls, expression: str, timezone: str = "UTC") -> "Cron":
        """Return the schedule, if it is one.

        Raises:
            ValueError: if the time zone is unknown, the expression is none, or no date ever fits it.
        """
        check_timezone(timezone)
        check_expression(expression)
        cron = cls(" ".join(expression.split()), timezone)
        try:
            next(_points(cron, 1e9))
        except StopIteration:
            raise ValueError(f"no date ever fits {cron.expression!r}") from None
        return cron

    @property
    def interval(self) -> float:
        """The mean seconds from one point to the next, over the 28 years of the calendar."""
        return _calendar_intervals(self)[0]

    @property
    def min_interval(self) -> float:
        """The least seconds from one point to the next, but for the days on which the clocks are set."""
        return _calendar_intervals(self)[1]

    @property
    def max_interval(self) -> float:
        """The most seconds from one point to the next, but for the days on which the clocks are set."""
        return _calendar_intervals(self)[2]

    @property
    def median_interval(self) -> float:
        """The usual seconds from one point to the next: the median."""
        return statistics.median_low(_intervals(self))

    def max_runs(self, seconds: float) -> int:
        """Return how many points a window of so many ``seconds`` holds at most."""
        gaps, most, first, span = _intervals(self), 1, 0, 0.0
        for last, gap in enumerate(gaps):
            span += gap
            while span >= seconds - 1e-6:
                span -= gaps[first]
                first += 1
            most = max(most, last - first + 2)
        return most

    def mean_wait(self, number: float) -> float:
        """Return the mean seconds from any moment until the ``number``-th point after it, pauses and all."""
        below = math.floor(number)
        part = number - below
        return (1 - part) * _mean_wait(self, below) + part * (_mean_wait(self, below + 1) if part else 0.0)

    def expected_runs(self, after: float, until: float) -> int:
        """Return how many points are later than ``after`` and not later than ``until``."""
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
        """Return the ``number``-th point later than ``moment``, at most the :data:`MOST_POINTS`-th."""
        return _nth_point_after(self, moment, min(number, MAX_POINTS))


def check_timezone(name: str) -> None:
    """See that there is a time zone ``name``.

    Raises:
        ValueError: if not; the message names a similar one.
    """
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):  # unknown; no name at all; a folder of names
        zones = {zone.casefold(): zone for zone in zoneinfo.available_timezones()}
        wanted = name[:64].casefold().replace(" ", "_")
        cities = {zone.rpartition("/")[2]: zone for zone in zones}
        near = difflib.get_close_matches(wanted, zones, n=1) or [
            cities[city] for city in difflib.get_close_matches(wanted, cities, n=1)
        ]
        hint = f"did you mean {zones[near[0]]}?" if near else "write an IANA name such as Europe/Berlin, or UTC"
        raise ValueError(f"there is no time zone of this name; {hint}") from None


def check_expression(expression: str) -> None:
    """See that ``expression`` is a cron expression of five fields.

    Raises:
        ValueError: if not; the message names the field, and what it takes.
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
        raise ValueError("no date ever fits this: the month does not have that day") from None


def _points(cron: Cron, moment: float) -> Iterator[float]:
    """Yield the points later than ``moment``, each later than the one before; none if there is none in 50 years."""
    from cronsim import CronSim

    zone = zoneinfo.ZoneInfo(cron.timezone)
    last = moment
    for point in CronSim(cron.expression, datetime.fromtimestamp(moment, zone)):
        # Around a change of clocks cronsim may name one moment twice, or begin with one that has passed.
        if (seconds := point.timestamp()) > last:
            last = seconds
            yield seconds


@lru_cache(maxsize=4096)
def _nth_point_after(cron: Cron, moment: float, number: int) -> float:
    point = moment
    for point in islice(_points(cron, moment), number):  # noqa: B007 - the last one counts
        pass
    return point


@lru_cache(maxsize=256)
def _intervals(cron: Cron) -> tuple[float, ...]:
    """Return the seconds between points, over a week, or so much more that there are enough of them to be typical.

    It is a time that is taken to come again and again: what is left of it after its last point belongs to the first.
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
    """Return the mean seconds until the ``number``-th point: of each moment that a gap has, and what follows it."""
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
    """Return the mean, the least and the most seconds from one point to the next, by the calendar alone."""
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
