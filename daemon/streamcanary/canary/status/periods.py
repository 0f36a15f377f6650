"""Reads what the store knows of the last day, week and month of each canary, off the event loop."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from msgspec import Struct

from streamcanary.canary.status.hour_series import HourSeries
from streamcanary.model.faults import FAULT_PROPERTIES, FaultKind
from streamcanary.model.statistics.quantile_sketch import QuantileSketch, quantile
from streamcanary.model.statistics.rollup import HOUR, QUARTER_DAY, Rollup, RunCounts, period_start
from streamcanary.model.status.canary_status import HOURS, FaultCount, Percentiles, PeriodStatistics

_DAY = 86_400
_WEEK, _MONTH = 7 * _DAY, 30 * _DAY
_CANARIES_PER_READ = 100  # a longer read would keep others of the store waiting
_NO_HOURS: Final = HourSeries()
_LATE_RUNS: Final = 600.0
"""Seconds after an hour in which it is read again: runs that began in it end later."""


class PeriodHistory(Protocol):
    """The part of the store that has runs summed up by periods; ``canaries`` maps recorded names to present ones."""

    async def sum_counts(
        self, starts: Sequence[float], canaries: Mapping[str, str] | None = None
    ) -> dict[str, tuple[RunCounts, ...]]:
        """Return the counts of each canary in the periods that began at or after each of ``starts``.

        Raises:
            StoreFailing: if they cannot be read.
        """
        ...

    async def read_rollups(self, since: float, canaries: Mapping[str, str]) -> list[Rollup]:
        """Return the periods since ``since``, by canary and start.

        Raises:
            StoreFailing: if they cannot be read.
        """
        ...

    async def first_periods(self, canaries: Mapping[str, str]) -> dict[str, int]:
        """Return the start of the first period of each canary that has one.

        Raises:
            StoreFailing: if they cannot be read.
        """
        ...


class Periods(Struct, frozen=True, kw_only=True):
    """What the store knows of one canary: the full hours of the last day, and the last 1, 7 and 30 days."""

    hours: HourSeries = _NO_HOURS
    day: PeriodStatistics | None = None
    week: PeriodStatistics | None = None
    month: PeriodStatistics | None = None
    known_since: float | None = None


class PeriodReader:
    """Reads the periods of canaries from ``history``. Hours that cannot change any more are read once."""

    def __init__(self, history: PeriodHistory) -> None:
        self._history = history
        self._hours: dict[str, HourSeries] = {}
        self._first: dict[str, int] = {}
        self._read_until: dict[str, float] = {}  # by canary: the start of the first hour that may change

    def forget(self, names: Iterable[str]) -> None:
        """Forget canaries that do not exist any more."""
        for name in names:
            for table in (self._hours, self._first, self._read_until):
                table.pop(name, None)

    async def read(self, canaries: Mapping[str, str], now: float) -> dict[str, Periods]:
        """Return the periods of ``canaries``: recorded names, and present ones.

        Raises:
            StoreFailing: if they cannot be read.
        """
        found = {}
        for some in _parts(canaries):
            found.update(await self._read_some(some, now))
            await asyncio.sleep(0)
        return found

    async def _read_some(self, canaries: Mapping[str, str], now: float) -> dict[str, Periods]:
        hour = period_start(now)
        starts = (hour - _DAY, period_start(now - _WEEK, QUARTER_DAY), period_start(now - _MONTH, QUARTER_DAY))
        sums = await self._history.sum_counts(starts, canaries)
        names = set(canaries.values())
        if unknown := {recorded: name for recorded, name in canaries.items() if name not in self._first}:
            self._first.update(await self._history.first_periods(unknown))
        await self._read_hours(canaries, now)
        spans = [(start, now - start) for start in starts]  # shared by all canaries
        shared: dict[PeriodStatistics | None, PeriodStatistics | None] = {}  # those of many canaries are equal
        found = {}
        for name in names:
            each = (
                _statistics(start, length, counts) for (start, length), counts in zip(spans, sums[name], strict=True)
            )
            day, week, month = (shared.setdefault(statistics, statistics) for statistics in each)
            found[name] = Periods(
                hours=self._hours.get(name, _NO_HOURS).before(hour),
                day=day,
                week=week,
                month=month,
                known_since=self._first.get(name),
            )
        return found

    async def _read_hours(self, canaries: Mapping[str, str], now: float) -> None:
        """Read the full hours of the last day that may have changed."""
        hour = period_start(now)
        oldest = hour - HOURS * HOUR
        due = {recorded: name for recorded, name in canaries.items() if self._read_until.get(name, oldest) < hour}
        if not due:
            return
        since = min(max(oldest, self._read_until.get(name, oldest)) for name in due.values())
        merged: dict[str, dict[int, Rollup]] = {}
        for rollup in await self._history.read_rollups(since, due):
            if rollup.length != HOUR:
                continue
            former = merged.setdefault(rollup.canary, {}).get(rollup.started)
            if former is not None:  # of a renamed canary
                rollup.counts.merge(former.counts)
                rollup.details.merge(former.details)
            merged[rollup.canary][rollup.started] = rollup
        for name in due.values():
            known = self._hours.get(name, _NO_HOURS).statistics()
            hours = {each.started: each for each in known}
            hours |= {start: _hour_statistics(rollup) for start, rollup in merged.get(name, {}).items()}
            self._hours[name] = HourSeries(hours[start] for start in sorted(hours) if oldest <= start < hour)
            self._read_until[name] = hour if now >= hour + _LATE_RUNS else hour - HOUR


async def count_faults(history: PeriodHistory, canaries: Mapping[str, str], now: float) -> tuple[FaultCount, ...]:
    """Return the faults of a canary in the last 7 days, the most frequent first; ``last`` is within an hour.

    Raises:
        StoreFailing: if they cannot be read.
    """
    counts: dict[str, int] = {}
    last: dict[str, float] = {}
    for rollup in await history.read_rollups(period_start(now - _WEEK, QUARTER_DAY), canaries):
        for kind, count in rollup.details.failures.items():
            counts[kind] = counts.get(kind, 0) + count
            last[kind] = max(last.get(kind, 0.0), min(now, float(rollup.started + rollup.length)))
    kinds = sorted(counts, key=lambda kind: (-counts[kind], kind))
    return tuple(FaultCount(kind=kind, blame=_blame_of(kind), count=counts[kind], last=last[kind]) for kind in kinds)


def _blame_of(kind: str) -> str:
    properties = FAULT_PROPERTIES.get(FaultKind(kind)) if kind in FaultKind.__members__.values() else None
    return "" if properties is None else properties.blame.value


def _parts(canaries: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Yield parts of ``canaries``; the former names of a canary are in the same part as its present one."""
    by_name: dict[str, list[str]] = {}
    for recorded, name in canaries.items():
        by_name.setdefault(name, []).append(recorded)
    names = list(by_name)
    for first in range(0, len(names), _CANARIES_PER_READ):
        some = names[first : first + _CANARIES_PER_READ]
        yield {recorded: name for name in some for recorded in by_name[name]}


def _statistics(started: float, length: float, counts: RunCounts) -> PeriodStatistics | None:
    runs = counts.answered + counts.primary_failed
    if not runs:
        return None
    return PeriodStatistics(
        started=started,
        length=length,
        runs=runs,
        failed=counts.primary_failed,
        failed_over=counts.failed_over,
        first_attempt_failed=counts.first_attempts_failed,
        slow=counts.slow,
    )


def _hour_statistics(rollup: Rollup) -> PeriodStatistics:
    counts, details = rollup.counts, rollup.details
    return PeriodStatistics(
        started=rollup.started,
        length=rollup.length,
        runs=counts.answered + counts.primary_failed,
        failed=counts.primary_failed,
        failed_over=counts.failed_over,
        first_attempt_failed=counts.first_attempts_failed,
        slow=counts.slow,
        first_token=_percentiles(details.first_token),
        duration=_percentiles(details.duration),
    )


def _percentiles(sketch: QuantileSketch) -> Percentiles | None:
    p50, p95, p99 = (quantile(sketch, part) for part in (0.5, 0.95, 0.99))
    if p50 is None or p95 is None or p99 is None:
        return None
    return Percentiles(p50=round(p50, 4), p95=round(p95, 4), p99=round(p99, 4))
