"""The consequences of a detector for one canary."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

from streamcanary.alerting.detectors import BurnRate, Consecutive, Cusum, Ratio, Sampling, Spike
from streamcanary.alerting.detectors.burn_rate import BUCKETS
from streamcanary.alerting.detectors.cusum_run_length import runs_to_fire, runs_to_resolve
from streamcanary.alerting.forecast import window_simulation
from streamcanary.alerting.forecast.window_simulation import Count, Scan
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.fraction import least
from streamcanary.model.schedule import Schedule

RATES: Final = (0.2, 0.5, 1.0)
"""The error rates of which the delay is told."""

MONTH: Final = 30 * 86400.0
"""Seconds."""


class Forecast(NamedTuple):
    """What one rule does for one canary; every run is a sample, and errors are independent of each other.

    ``delays`` are the mean times in seconds until it fires after errors have begun at each of :data:`RATES`, at any
    moment, after a long time without any; the time that a run itself takes comes on top.
    ``false_pages`` is the mean number of pages in a :data:`MONTH` while nothing is wrong but that ``normal`` of the
    runs fail. After a long full outage it resolves at the ``good_runs``-th good run, on average ``resolves`` seconds
    after the end of the outage.
    """

    normal: float
    delays: tuple[float, ...]
    false_pages: float
    good_runs: int
    resolves: float


class _Runs(NamedTuple):
    """The same, counted in runs."""

    to_fire: Callable[[float], float]
    pages_per_run: Callable[[float], float]
    to_resolve: int


def forecast(detector: Sampling, canary: Canary, normal: float) -> Forecast:
    """Return what ``detector`` does for ``canary`` where ``normal`` of the runs fail; a ``spike`` has its own.

    Exact for ``consecutive`` and ``spike``, which are small Markov chains; for the others simulated, always with the
    same seed, to a few per cent. A canary with a cron expression has its pauses: delays are from any moment on, in them
    or not. The windows of ``ratio`` and ``burn_rate`` are taken to be as full as they are at its usual pace.

    Raises:
        ValueError: if the detector has no threshold for this canary.
    """
    return _forecast(detector, canary.schedule, detector.normal if isinstance(detector, Spike) else normal)


def false_pages(detector: Sampling, canary: Canary, rate: float) -> float:
    """Return how often ``detector`` pages for ``canary`` in a :data:`MONTH` in which ``rate`` of the runs fail."""
    return _in_runs(detector, canary.schedule).pages_per_run(rate) * MONTH / canary.interval


def format_pages(pages: float) -> str:
    """Return a number of pages to two digits, and what is next to none as such."""
    if pages < 0.001:
        return "<0.001"
    return f"{pages:.2g}" if pages < 10 else f"{pages:.0f}"


@lru_cache(maxsize=4096)
def _forecast(detector: Sampling, schedule: Schedule, normal: float) -> Forecast:
    runs = _in_runs(detector, schedule)
    fires = [runs.to_fire(rate) for rate in RATES]
    return Forecast(
        normal=normal,
        delays=tuple(schedule.wait(number) if number < math.inf else math.inf for number in fires),
        false_pages=runs.pages_per_run(normal) * MONTH / schedule.interval,
        good_runs=runs.to_resolve,
        resolves=schedule.wait(runs.to_resolve),
    )


def _in_runs(detector: Sampling, schedule: Schedule) -> _Runs:
    match detector:
        case Consecutive():
            return _of_consecutive(detector)
        case Spike():
            return _of_cusum(detector.for_interval(schedule.interval))
        case Ratio():
            return _of_scan(_scan_of_ratio(detector, schedule.pace))
        case BurnRate():
            return _of_scan(_scan_of_burn_rate(detector, schedule.pace))


def _of_consecutive(detector: Consecutive) -> _Runs:
    def in_a_row(rate: float, count: int) -> float:
        """Return the mean number of runs until ``count`` in a row are of a sort that ``rate`` of them are."""
        with_luck = math.exp(count * math.log(rate))
        return float(count) if rate >= 1 else ((1 / with_luck if with_luck else math.inf) - 1) / (1 - rate)

    return _Runs(
        to_fire=lambda rate: in_a_row(rate, detector.failures),
        pages_per_run=lambda rate: 1 / (in_a_row(rate, detector.failures) + in_a_row(1 - rate, detector.needed)),
        to_resolve=detector.needed,
    )


def _of_cusum(cusum: Cusum) -> _Runs:
    def pages_per_run(rate: float) -> float:
        return 1 / (runs_to_fire(*cusum, rate) + runs_to_resolve(*cusum, rate))

    return _Runs(lambda rate: runs_to_fire(*cusum, rate), pages_per_run, cusum.threshold)


def _of_scan(windows: Scan) -> _Runs:
    return _Runs(
        to_fire=lambda rate: window_simulation.runs_to_fire(windows, rate),
        pages_per_run=lambda rate: window_simulation.pages_per_run(windows, rate),
        to_resolve=windows.resolves_after(),
    )


def _scan_of_ratio(detector: Ratio, interval: float) -> Scan:
    runs = detector.runs(interval)
    return Scan(
        alarms=((Count(runs, least(detector.threshold, runs)),),),
        calm=(Count(runs, least(detector.threshold / 2, runs)),),
        hold=math.ceil(detector.hold / interval - 1e-9),
    )


def _scan_of_burn_rate(detector: BurnRate, interval: float) -> Scan:
    def count(seconds: float, part: float) -> Count:
        # the oldest bucket leaves as a whole: on average half of one is missing
        runs = _in_window(seconds * (1 - 0.5 / BUCKETS), interval)
        return Count(runs, least(min(part, 1.0), runs))

    burns = [(window, window.rate * detector.budget) for window in detector.windows]
    able = [one for one in burns if _in_window(one[0].long, interval) >= detector.min_samples] or burns
    return Scan(
        alarms=tuple((count(window.long, part), count(window.short, part)) for window, part in able),
        calm=tuple(count(window.short, part / 2) for window, part in burns),
    )


def _in_window(seconds: float, interval: float) -> int:
    """Return how many runs a window holds: the last one, and those that are less than ``seconds`` older."""
    return max(1, math.ceil(seconds / interval - 1e-9))
