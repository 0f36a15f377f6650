"""Lines and columns over time: a sparkline, and the charts of 24 hours."""

import math
from collections.abc import Sequence

from msgspec import Struct

from streamcanary.model.status.canary_status import HOURS, PeriodStatistics

CHART_WIDTH, CHART_HEIGHT = 480, 120
SPARK_WIDTH, SPARK_HEIGHT = 92, 20
_HOUR = 3600.0

Point = tuple[int, float]
"""The index of an hour, and a value."""


class Sparkline(Struct, frozen=True):
    """The median as a line, and the band from there to the 95th percentile; attributes ``d`` of SVG paths."""

    line: str
    band: str


class Column(Struct, frozen=True, kw_only=True):
    """A column of a chart: what failed at the first attempt, of which after retries; heights from the bottom."""

    x: float
    width: float
    before: float
    after: float
    title: str


class Chart(Struct, frozen=True, kw_only=True):
    """A chart with labels: ``ticks`` of the value from top to bottom, ``hours`` of the time from left to right."""

    lines: tuple[tuple[str, str], ...] = ()
    band: str = ""
    columns: tuple[Column, ...] = ()
    ticks: tuple[float, ...]
    hours: tuple[float, ...]


def sparkline(hours: Sequence[PeriodStatistics]) -> Sparkline | None:
    """Return the first-token times of 24 hours; ``None`` with less than two hours of them."""
    measured = [hour for hour in hours if hour.first_token is not None]
    if len(measured) < 2:
        return None
    start = _first_start(hours)
    low = [(_index(hour, start), hour.first_token.p50) for hour in measured if hour.first_token]
    high = [(_index(hour, start), hour.first_token.p95) for hour in measured if hour.first_token]
    top = max(value for _, value in high) or 1.0
    scale = _Scale(SPARK_WIDTH, SPARK_HEIGHT, top, margin=1.5)
    return Sparkline(scale.line(low), scale.band(low, high))


def latency_chart(hours: Sequence[PeriodStatistics], now: float) -> Chart | None:
    """Return first token (p50, p95 as a band) and total time (p50, p95) of 24 hours; ``None`` without measurements."""
    start = _first_start(hours)
    first = [(_index(hour, start), hour.first_token) for hour in hours if hour.first_token]
    total = [(_index(hour, start), hour.duration) for hour in hours if hour.duration]
    if not first and not total:
        return None
    top = nice_maximum(max(pair.p95 for _, pair in (*first, *total)))
    scale = _Scale(CHART_WIDTH, CHART_HEIGHT, top)
    series = {
        "total-p95": [(index, value.p95) for index, value in total],
        "total-p50": [(index, value.p50) for index, value in total],
        "first-p50": [(index, value.p50) for index, value in first],
    }
    return Chart(
        lines=tuple((name, scale.line(points)) for name, points in series.items() if points),
        band=scale.band([(i, v.p50) for i, v in first], [(i, v.p95) for i, v in first]) if first else "",
        ticks=(top, top / 2, 0.0),
        hours=_hour_labels(start, now),
    )


def error_chart(hours: Sequence[PeriodStatistics], now: float) -> Chart | None:
    """Return the error rate of each of 24 hours, before and after retries; ``None`` without runs."""
    counted = [hour for hour in hours if hour.runs]
    if not counted:
        return None
    start = _first_start(hours)
    worst = max(max(hour.first_attempt_failed, hour.failed) / hour.runs for hour in counted)
    top = next(limit for limit in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if worst <= limit or limit == 1.0)
    width = CHART_WIDTH / HOURS
    columns = tuple(
        Column(
            x=round(_index(hour, start) * width + 1, 1),
            width=round(width - 2, 1),
            before=_height(max(hour.first_attempt_failed, hour.failed) / hour.runs, top),
            after=_height(hour.failed / hour.runs, top),
            title=f"{hour.failed} of {hour.runs} failed, {hour.first_attempt_failed} before retries",
        )
        for hour in counted
    )
    return Chart(columns=columns, ticks=(top, top / 2, 0.0), hours=_hour_labels(start, now))


def nice_maximum(value: float) -> float:
    """Return 1, 2, 2.5 or 5 times a power of ten, at least ``value``."""
    if not math.isfinite(value) or value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if value <= factor * power * 1.0001)


class _Scale:
    """Maps hours and values to coordinates, one decimal each."""

    def __init__(self, width: float, height: float, top: float, margin: float = 0.0) -> None:
        self._step = width / (HOURS - 1)
        self._height, self._top, self._margin = height, top, margin

    def _point(self, point: Point) -> str:
        index, value = point
        usable = self._height - 2 * self._margin
        y = self._margin + usable * (1 - min(max(value / self._top, 0.0), 1.0))
        return f"{round(index * self._step, 1):g} {round(y, 1):g}"

    def line(self, points: Sequence[Point]) -> str:
        """Return a line that is interrupted where an hour is missing."""
        parts, last = [], None
        for point in points:
            parts.append(("L" if last is not None and point[0] == last + 1 else "M") + self._point(point))
            last = point[0]
        return "".join(parts)

    def band(self, low: Sequence[Point], high: Sequence[Point]) -> str:
        """Return the area between two lines over the same hours."""
        there = "L".join(self._point(point) for point in high)
        back = "L".join(self._point(point) for point in reversed(low))
        return f"M{there}L{back}Z"


def _first_start(hours: Sequence[PeriodStatistics]) -> float:
    """Return the start of the 24 hours that end with the last of ``hours``."""
    return max((hour.started for hour in hours), default=0.0) - (HOURS - 1) * _HOUR


def _index(hour: PeriodStatistics, start: float) -> int:
    return min(max(round((hour.started - start) / _HOUR), 0), HOURS - 1)


def _height(rate: float, top: float) -> float:
    return round(CHART_HEIGHT * min(rate / top, 1.0), 1)


def _hour_labels(start: float, now: float) -> tuple[float, ...]:
    end = min(start + HOURS * _HOUR, now) if now > start else start + HOURS * _HOUR
    return tuple(start + (end - start) * part / 4 for part in range(5))
