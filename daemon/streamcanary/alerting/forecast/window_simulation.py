"""Simulates detectors that count bad samples in windows, with a fixed seed.

Only bad samples cost time: the gaps between bad samples are drawn, not the good samples in the gaps. Frequent pages are
counted in one long sequence of samples. For rare pages the simulation uses importance sampling of clumps, after Naiman
and Priebe, *Computing scan statistic p-values using importance sampling*, Journal of Computational and Graphical
Statistics 10 (2001): put a full window at time zero, draw the samples around it, and divide by the number of times at
which the window of the same clump can be put there. The relative error does not grow with the rarity: one false page in
a thousand years is estimated as precisely as one a day.
"""

import math
from functools import lru_cache
from random import Random
from typing import NamedTuple

from streamcanary.alerting.forecast.error_process import ErrorProcess, FullWindow, full_window

_TARGET_ERROR = 0.025  # relative standard error of a mean at which a simulation ends
_MAX_ERROR = 0.05  # largest relative standard error that a result may have
_MIN_REPETITIONS = 5  # fewer give no result
_ENOUGH_REPETITIONS = 100  # from here on a simulation may end
_MAX_BAD_SAMPLES = 50_000  # bad samples that a simulation draws; some tens of milliseconds
_MIN_PAGES, _COMMON_SHARE = 400, 0.05  # pages are counted directly from this number or this share of full windows on
_ENOUGH_PAGES = 1_600  # at which counting ends; a relative error of 2.5 % at most
_MAX_CLUMPS = 1_500
_MAX_CLUMP_LENGTH = 2_000  # bad samples
_NEVER = -(1 << 62)


class WindowThreshold(NamedTuple):
    """A threshold of ``bad`` samples in a window of ``runs`` runs."""

    runs: int
    bad: int


class WindowScan(NamedTuple):
    """A detector: fires when every threshold of any of ``alarms`` is reached and stays so for ``hold`` further runs.

    It resolves on a good sample at which none of the thresholds ``keep_firing`` is reached.
    """

    alarms: tuple[tuple[WindowThreshold, ...], ...]
    keep_firing: tuple[WindowThreshold, ...]
    hold: int = 0

    @property
    def longest_window(self) -> int:
        """The number of runs of the longest window."""
        return max(count.runs for count in (*self.keep_firing, *(count for alarm in self.alarms for count in alarm)))

    def resolves_from(self, bads: list[int], last: int) -> int:
        """Return the first run at which the detector resolves if only good runs follow ``bads[last]``."""
        latest = bads[last]
        for runs, bad in self.keep_firing:
            if last >= bad - 1 and (reached := bads[last - bad + 1] + runs - 1) > latest:
                latest = reached
        return latest + 1

    def runs_to_resolve(self) -> int:
        """Return the number of good runs until the detector resolves after a long time of only bad runs."""
        return max(count.runs - count.bad + 1 for count in self.keep_firing)


@lru_cache(maxsize=1024)
def runs_to_fire(scan: WindowScan, rate: float, autocorrelation: float = 0.0) -> float:
    """Return the mean number of runs until ``scan`` fires at an error ``rate`` (0 < rate <= 1) after no errors."""
    if rate >= 1:
        return min(max(count.bad for count in alarm) for alarm in scan.alarms) + scan.hold
    process, random = ErrorProcess(rate, autocorrelation), Random(1)  # noqa: S311 - the same each time, on purpose
    gap = process.gaps(random)
    waits: list[int] = []
    drawn = simulated_runs = 0
    max_drawn = _MAX_BAD_SAMPLES if _max_firing_share(scan, process) * _MAX_BAD_SAMPLES >= _ENOUGH_REPETITIONS else 0
    while drawn < max_drawn and not (
        len(waits) >= _ENOUGH_REPETITIONS and len(waits) % 50 == 0 and _relative_error(waits) <= _TARGET_ERROR
    ):
        bads: list[int] = []
        tracker, fired, at = _AlarmTracker(scan), None, 0
        while fired is None and drawn < max_drawn:
            at += next(gap) if bads else process.first_gap(random)
            bads.append(at)
            fired = tracker.observe(bads, len(bads) - 1)
            drawn += 1
        simulated_runs += at if fired is None else fired
        if fired is not None:
            waits.append(fired)
    if len(waits) >= _MIN_REPETITIONS and _relative_error(waits) <= _MAX_ERROR:
        return simulated_runs / len(waits)
    # Rare: the window is empty of the last excursion before the next, so the mean wait is the mean gap between them.
    mean = tuple(WindowThreshold(alarm[0].runs, int(rate * alarm[0].runs) + 1) for alarm in scan.alarms)
    share = _clumps(scan._replace(keep_firing=mean), process, random)
    return max(simulated_runs / (len(waits) + 1), 1 / share if share else math.inf)


@lru_cache(maxsize=1024)
def pages_per_run(scan: WindowScan, rate: float, autocorrelation: float = 0.0) -> float:
    """Return the mean number of pages a run at a constant error ``rate`` (0 < rate < 1)."""
    process, random = ErrorProcess(rate, autocorrelation), Random(2)  # noqa: S311 - the same each time, on purpose
    share, gap = _max_firing_share(scan, process), process.gaps(random)
    bads: list[int] = []
    tracker, fired, pages, at = _AlarmTracker(scan), None, 0, 0
    for last in range(_MAX_BAD_SAMPLES if share * _MAX_BAD_SAMPLES >= _MIN_PAGES else 0):
        at += next(gap)
        if fired is not None and max(scan.resolves_from(bads, last - 1), fired + 1) < at:
            pages, fired = pages + 1, None
            if pages == _ENOUGH_PAGES:
                break
        bads.append(at)
        if fired is None:
            fired = tracker.observe(bads, last)
    return pages / at if pages >= _MIN_PAGES or share > _COMMON_SHARE else _clumps(scan, process, random)


def max_pages_per_run(scan: WindowScan, rate: float, autocorrelation: float = 0.0) -> float:
    """Return an upper bound of the mean number of pages a run, which needs no simulation."""
    return rate * _max_firing_share(scan, ErrorProcess(rate, autocorrelation))


class _AlarmTracker:
    """Tracks since which run an alarm is reached without interruption."""

    def __init__(self, scan: WindowScan) -> None:
        self._alarms, self._hold = scan.alarms, scan.hold
        self._since = self._until = _NEVER

    def observe(self, bads: list[int], last: int) -> int | None:
        """Return the run at which the detector fires if only good runs follow ``bads[last]``, or ``None``.

        The innermost loop of all simulations: it gives up an alarm at the first threshold that is not reached now.
        """
        at, until = bads[last], _NEVER  # the last run at which an alarm is reached
        for alarm in self._alarms:
            alarm_until = -_NEVER
            for runs, bad in alarm:
                first = last - bad + 1
                if first < 0 or (reached := bads[first] + runs - 1) < at or reached <= until:
                    break
                alarm_until = min(alarm_until, reached)
            else:
                until = alarm_until
        if until < at:
            return None
        if self._until < at - 1:
            self._since = at
        self._until = until
        fires = max(self._since + self._hold, at)
        return fires if fires <= until else None


def _clumps(scan: WindowScan, process: ErrorProcess, random: Random) -> float:
    """Return the mean number of pages a run, by importance sampling of clumps; see the module docstring."""
    full = [_rarest_window(alarm, process) for alarm in scan.alarms]
    windows = [WindowThreshold(one.runs, one.min_bad) for one in full]
    shares = [process.rate * one.share for one in full]
    drawn, tries, found = 0, 0, 0.0
    while (
        sum(shares) > 0
        and tries < _MAX_CLUMPS
        and drawn < (_MAX_BAD_SAMPLES if tries >= _ENOUGH_REPETITIONS else 4 * _MAX_BAD_SAMPLES)
    ):
        [one] = random.choices(full, shares)
        bads, first = _clump(scan, one.draw(random), 1 - one.runs, process, random)
        tracker = _AlarmTracker(scan)
        if any(tracker.observe(bads, last) is not None for last in range(first, len(bads))):
            clump = range(first, len(bads))
            found += 1 / sum(_reached_until(bads, last, count) >= bads[last] for last in clump for count in windows)
        tries, drawn = tries + 1, drawn + len(bads)
    return sum(shares) * found / max(tries, 1)


def _clump(
    scan: WindowScan, window: list[int], begin: int, process: ErrorProcess, random: Random
) -> tuple[list[int], int]:
    """Return the bad runs around ``window``, which begins at ``begin``, and the index of the first run of its clump.

    The bad runs before that index are those that the windows of the clump reach back to. A clump begins after a run at
    which the detector resolves, and ends before the next such run.
    """
    reach, older, first = scan.longest_window, list[int](), -1
    gap = process.gap if window[0] == begin else process.gap_after_good
    gaps = process.gaps(random)
    bads, before = window, begin - gap(random)
    while first < 0 and len(older) < _MAX_CLUMP_LENGTH:
        begin -= reach
        while before >= begin:
            older.append(before)
            before -= next(gaps)
        bads = [*reversed(older), *window]
        first = _clump_begins(scan, bads, begin)
    first = max(first, 0)
    while len(bads) < 2 * _MAX_CLUMP_LENGTH:
        after = bads[-1] + next(gaps)
        if scan.resolves_from(bads, len(bads) - 1) < after:
            break
        bads.append(after)
    return bads, first


def _clump_begins(scan: WindowScan, bads: list[int], begin: int) -> int:
    """Return the index of the first bad run of the clump of the last bad run, or -1 if it is not known.

    ``bads`` is complete from ``begin`` on.
    """
    reach = scan.longest_window
    for first in range(len(bads) - 1, -1, -1):
        if bads[first] - reach <= begin:
            return -1
        if first == 0 or scan.resolves_from(bads, first - 1) < bads[first]:
            return first
    return -1


def _max_firing_share(scan: WindowScan, process: ErrorProcess) -> float:
    """Return an upper bound of the share of bad runs at which the detector fires."""
    return sum(_rarest_window(alarm, process).share for alarm in scan.alarms)


def _rarest_window(alarm: tuple[WindowThreshold, ...], process: ErrorProcess) -> FullWindow:
    """Return the threshold of ``alarm`` that is reached least often."""
    return min((full_window(*count, process) for count in alarm), key=lambda full: full.share)


def _reached_until(bads: list[int], last: int, count: WindowThreshold) -> int:
    """Return the last run at which ``count`` is reached if only good runs follow ``bads[last]``, or :data:`_NEVER`."""
    runs, bad = count
    return bads[last - bad + 1] + runs - 1 if last >= bad - 1 else _NEVER


def _relative_error(values: list[int]) -> float:
    """Return the relative standard error of the mean of ``values``."""
    number, mean = len(values), sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / number / (number - 1)) / mean
