"""The consequences of a detector for one canary."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

from streamcanary.alerting.detectors import BurnRate, Consecutive, Cusum, Ratio, SampleDetector, Spike
from streamcanary.alerting.detectors.burn_rate import BUCKETS_PER_WINDOW
from streamcanary.alerting.detectors.cusum_run_length import runs_to_fire, runs_to_resolve
from streamcanary.alerting.forecast import window_simulation
from streamcanary.alerting.forecast.window_simulation import WindowScan, WindowThreshold
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.fraction import min_count
from streamcanary.model.schedule import Schedule

ERROR_RATES: Final = (0.2, 0.5, 1.0)
"""The error rates of which the delay is told."""

MONTH_SECONDS: Final = 30 * 86400.0
"""Seconds."""


class Forecast(NamedTuple):
    """What one rule does for one canary; every run is a sample, and errors are independent of each other.

    ``delays`` are the mean times in seconds until it fires after errors have begun at each of :data:`RATES`, at any
    moment, after a long time without any; the time that a run itself takes comes on top.
    ``false_pages`` is the mean number of pages in a :data:`MONTH` while nothing is wrong but that ``normal`` of the
    runs fail. After a long full outage it resolves at the ``good_runs``-th good run, on average ``resolves`` seconds
    after the end of the outage.
    """

    base_rate: float
    detection_delays: tuple[float, ...]
    false_pages: float
    runs_to_resolve: int
    seconds_to_resolve: float


class _ForecastInRuns(NamedTuple):
    """The same, counted in runs."""

    to_fire: Callable[[float], float]
    pages_per_run: Callable[[float], float]
    to_resolve: int


def forecast_detector(detector: SampleDetector, canary: Canary, base_rate: float) -> Forecast:
    """Return what ``detector`` does for ``canary`` where ``normal`` of the runs fail; a ``spike`` has its own.

    Exact for ``consecutive`` and ``spike``, which are small Markov chains; for the others simulated, always with the
    same seed, to a few per cent. A canary with a cron expression has its pauses: delays are from any moment on, in them
    or not. The windows of ``ratio`` and ``burn_rate`` are taken to be as full as they are at its usual pace.

    Raises:
        ValueError: if the detector has no threshold for this canary.
    """
    return _forecast(detector, canary.schedule, detector.normal if isinstance(detector, Spike) else base_rate)


def false_pages(detector: SampleDetector, canary: Canary, rate: float) -> float:
    """Return how often ``detector`` pages for ``canary`` in a :data:`MONTH` in which ``rate`` of the runs fail."""
    return _forecast_in_runs(detector, canary.schedule).pages_per_run(rate) * MONTH_SECONDS / canary.interval


def format_pages(pages: float) -> str:
    """Return a number of pages to two digits, and what is next to none as such."""
    if pages < 0.001:
        return "<0.001"
    return f"{pages:.2g}" if pages < 10 else f"{pages:.0f}"


@lru_cache(maxsize=4096)
def _forecast(detector: SampleDetector, schedule: Schedule, base_rate: float) -> Forecast:
    runs = _forecast_in_runs(detector, schedule)
    fires = [runs.to_fire(rate) for rate in ERROR_RATES]
    return Forecast(
        base_rate=base_rate,
        detection_delays=tuple(schedule.mean_wait(number) if number < math.inf else math.inf for number in fires),
        false_pages=runs.pages_per_run(base_rate) * MONTH_SECONDS / schedule.interval,
        runs_to_resolve=runs.to_resolve,
        seconds_to_resolve=schedule.mean_wait(runs.to_resolve),
    )


def _forecast_in_runs(detector: SampleDetector, schedule: Schedule) -> _ForecastInRuns:
    match detector:
        case Consecutive():
            return _for_consecutive(detector)
        case Spike():
            return _for_cusum(detector.for_interval(schedule.interval))
        case Ratio():
            return _for_scan(_ratio_scan(detector, schedule.median_interval))
        case BurnRate():
            return _for_scan(_burn_rate_scan(detector, schedule.median_interval))


def _for_consecutive(detector: Consecutive) -> _ForecastInRuns:
    def in_a_row(rate: float, count: int) -> float:
        """Return the mean number of runs until ``count`` in a row are of a sort that ``rate`` of them are."""
        probability = math.exp(count * math.log(rate))
        return float(count) if rate >= 1 else ((1 / probability if probability else math.inf) - 1) / (1 - rate)

    return _ForecastInRuns(
        to_fire=lambda rate: in_a_row(rate, detector.failures),
        pages_per_run=lambda rate: 1 / (in_a_row(rate, detector.failures) + in_a_row(1 - rate, detector.resolve_count)),
        to_resolve=detector.resolve_count,
    )


def _for_cusum(cusum: Cusum) -> _ForecastInRuns:
    def pages_per_run(rate: float) -> float:
        return 1 / (runs_to_fire(*cusum, rate) + runs_to_resolve(*cusum, rate))

    return _ForecastInRuns(lambda rate: runs_to_fire(*cusum, rate), pages_per_run, cusum.threshold)


def _for_scan(windows: WindowScan) -> _ForecastInRuns:
    return _ForecastInRuns(
        to_fire=lambda rate: window_simulation.runs_to_fire(windows, rate),
        pages_per_run=lambda rate: window_simulation.pages_per_run(windows, rate),
        to_resolve=windows.runs_to_resolve(),
    )


def _ratio_scan(detector: Ratio, interval: float) -> WindowScan:
    runs = detector.runs_per_window(interval)
    return WindowScan(
        alarms=((WindowThreshold(runs, min_count(detector.threshold, runs)),),),
        keep_firing=(WindowThreshold(runs, min_count(detector.threshold / 2, runs)),),
        hold=math.ceil(detector.hold / interval - 1e-9),
    )


def _burn_rate_scan(detector: BurnRate, interval: float) -> WindowScan:
    def count(seconds: float, part: float) -> WindowThreshold:
        # the oldest bucket leaves as a whole: on average half of one is missing
        runs = _runs_in_window(seconds * (1 - 0.5 / BUCKETS_PER_WINDOW), interval)
        return WindowThreshold(runs, min_count(min(part, 1.0), runs))

    burns = [(window, window.rate * detector.error_budget) for window in detector.windows]
    reachable = [one for one in burns if _runs_in_window(one[0].long, interval) >= detector.min_samples] or burns
    return WindowScan(
        alarms=tuple((count(window.long, part), count(window.short, part)) for window, part in reachable),
        keep_firing=tuple(count(window.short, part / 2) for window, part in burns),
    )


def _runs_in_window(seconds: float, interval: float) -> int:
    """Return how many runs a window holds: the last one, and those that are less than ``seconds`` older."""
    return max(1, math.ceil(seconds / interval - 1e-9))
