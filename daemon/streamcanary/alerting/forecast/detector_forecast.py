"""Forecasts detection delay, false pages and time to resolve of a detector for one stream of samples."""

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Final, NamedTuple

from streamcanary.alerting.detectors import BurnRate, Consecutive, Ratio, SampleDetector, SampleStream, Shift, Spike
from streamcanary.alerting.detectors.cusum_run_length import bad_probabilities
from streamcanary.alerting.detectors.ratio import RingRatio
from streamcanary.alerting.detectors.ring import BUCKETS_PER_WINDOW
from streamcanary.alerting.forecast import window_simulation
from streamcanary.alerting.forecast.cusum_forecast import DAY, CusumForecast
from streamcanary.alerting.forecast.window_simulation import WindowScan, WindowThreshold
from streamcanary.model.config_types.fraction import min_count

ERROR_RATES: Final = (0.2, 0.5, 1.0)
"""The error rates for which a forecast has a detection delay."""

STEADY_RATES: Final = (0.05, 0.1, 0.2)
"""The steady error rates for which a forecast has a number of notifications a day."""

_MANY = 20.0  # alerts a day, among which the first one makes no difference
_NEGLIGIBLE = 1e-3  # alerts a day
_NEVER = 1e-14  # pages a run: at one a second, less than one in a million years

MONTH_SECONDS: Final = 30 * 86400.0
"""The month for which false pages are counted: 30 days, in seconds."""


class Forecast(NamedTuple):
    """Forecast of a rule for a stream of samples, if every run is a sample and errors are independent of each other.

    ``detection_delays`` are the mean times in seconds until the rule fires, one for each of :data:`ERROR_RATES`. The
    errors begin at any moment, after a long time without errors. The duration of a run itself is not included.
    ``false_pages`` is the mean number of pages in :data:`MONTH_SECONDS` while only a share ``base_rate`` of the runs
    fails. ``notifications_per_day`` is how often it fires in the first day of a steady error rate, on average, for each
    of :data:`STEADY_RATES`; over 1, it resolves while the errors go on, and fires again.
    After a long full outage the rule resolves at the ``runs_to_resolve``-th good run, on average
    ``seconds_to_resolve`` seconds after the end of the outage.
    """

    base_rate: float
    detection_delays: tuple[float, ...]
    false_pages: float
    notifications_per_day: tuple[float, ...]
    runs_to_resolve: int
    seconds_to_resolve: float


class _ForecastInRuns(NamedTuple):
    """The forecast in numbers of runs."""

    to_fire: Callable[[float], float]
    pages_per_run: Callable[[float], float]
    notifications: Callable[[float, float], float]
    """The mean number of times that it fires in so many runs, the second argument, at a steady error rate."""
    to_resolve: int


def forecast_detector(detector: SampleDetector, stream: SampleStream, base_rate: float) -> Forecast:
    """Return the forecast of ``detector`` for ``stream`` at ``base_rate``, or of a ``spike`` at its own ``normal``.

    If ``normal`` is written, and bursts are learned, that of the ``spike`` is at the rate that was learned with them.

    The result is exact for ``consecutive`` and ``spike``, which are small Markov chains. The other detectors are
    simulated with a fixed seed, to a few per cent. For a canary with a cron expression, delays count from any moment,
    pauses included, and the windows of ``ratio`` and ``burn_rate`` hold as many runs as at its median interval.

    Raises:
        ValueError: if the detector has no threshold for this stream.
    """
    rate = detector.forecast_rate(stream) if isinstance(detector, Spike) else base_rate
    return _forecast(detector, stream._replace(subject=""), rate)


def false_pages(detector: SampleDetector, stream: SampleStream, rate: float) -> float:
    """Return the mean number of pages of ``detector`` for ``stream`` a month at the error ``rate``."""
    return _forecast_in_runs(detector, stream).pages_per_run(rate) * MONTH_SECONDS / stream.interval


def format_pages(pages: float) -> str:
    """Return a number of pages with two digits, or ``<0.001``."""
    if pages < 0.001:
        return "<0.001"
    return f"{pages:.2g}" if pages < 10 else f"{pages:.0f}"


@lru_cache(maxsize=4096)
def _forecast(detector: SampleDetector, stream: SampleStream, base_rate: float) -> Forecast:
    runs, schedule = _forecast_in_runs(detector, stream), stream.schedule
    runs_to_fire_by_rate = [runs.to_fire(rate) for rate in ERROR_RATES]
    return Forecast(
        base_rate=base_rate,
        detection_delays=tuple(
            schedule.mean_wait(number) if number < math.inf else math.inf for number in runs_to_fire_by_rate
        ),
        false_pages=runs.pages_per_run(base_rate) * MONTH_SECONDS / schedule.interval,
        notifications_per_day=tuple(runs.notifications(rate, DAY / schedule.interval) for rate in STEADY_RATES),
        runs_to_resolve=runs.to_resolve,
        seconds_to_resolve=schedule.mean_wait(runs.to_resolve),
    )


def _forecast_in_runs(detector: SampleDetector, stream: SampleStream) -> _ForecastInRuns:
    match detector:
        case Consecutive():
            return _for_consecutive(detector, stream.autocorrelation or 0.0)
        case Spike() | Shift():
            autocorrelation = detector.autocorrelation_of(stream)
            return _for_cusum(CusumForecast(detector.for_stream(stream), stream.interval, autocorrelation))
        case Ratio():
            return _for_scan(_ratio_scan(detector, stream), stream.autocorrelation or 0.0)
        case BurnRate():
            return _for_scan(_burn_rate_scan(detector, stream.schedule.median_interval), stream.autocorrelation or 0.0)


def _for_consecutive(detector: Consecutive, autocorrelation: float) -> _ForecastInRuns:
    def to_fire(rate: float) -> float:
        return _runs_in_a_row(rate, detector.failures, autocorrelation)

    def pages_per_run(rate: float) -> float:
        after_good, after_bad = bad_probabilities(rate, autocorrelation)
        if after_bad >= 1:
            return 0.0
        # it fires at a bad run and resolves at a good one
        resolves = _runs_in_a_row_after(1 - after_bad, 1 - after_good, detector.resolve_count)
        return 1 / (_runs_in_a_row_after(after_good, after_bad, detector.failures) + resolves)

    return _ForecastInRuns(
        to_fire=to_fire,
        pages_per_run=pages_per_run,
        notifications=partial(_notifications, to_fire, pages_per_run),
        to_resolve=detector.resolve_count,
    )


def _runs_in_a_row(rate: float, count: int, autocorrelation: float) -> float:
    """Return the mean number of runs until ``count`` bad ones in a row; the run before the first is of the process."""
    after_good, after_bad = bad_probabilities(rate, autocorrelation)
    if after_bad >= 1:
        return float(count)
    later = _runs_in_a_row_after(after_good, after_bad, count)
    completes = after_bad ** (count - 1)  # the first series, if the first run is bad
    tries = (1 - completes) / (1 - after_bad)
    return (1 - rate) * (1 + later) + rate * (1 + tries + (1 - completes) * later)


def _runs_in_a_row_after(first: float, again: float, count: int) -> float:
    """Return the mean number of runs until an event occurs ``count`` times in a row, after a run without it.

    Its probability is ``first`` after a run without it, ``again`` after a run with it.
    """
    completes = again ** (count - 1)
    if not first or not completes:
        return math.inf
    tries = (1 - completes) / (1 - again) if again < 1 else count - 1.0
    return (1 / first + tries) / completes


def _for_cusum(cusum: CusumForecast) -> _ForecastInRuns:
    return _ForecastInRuns(
        to_fire=cusum.runs_to_fire,
        pages_per_run=cusum.pages_per_run,
        notifications=lambda rate, _: cusum.notifications_a_day(rate),
        to_resolve=cusum.cusum.good_runs[0],
    )


def _for_scan(windows: WindowScan, autocorrelation: float) -> _ForecastInRuns:
    # What practically never happens is not simulated: the bound says as much.
    def to_fire(rate: float) -> float:
        most = window_simulation.max_pages_per_run(windows, rate, autocorrelation) if rate < 1 else 1.0
        if most < _NEVER:
            return 1 / most if most else math.inf
        return window_simulation.runs_to_fire(windows, rate, autocorrelation)

    def pages_per_run(rate: float) -> float:
        most = window_simulation.max_pages_per_run(windows, rate, autocorrelation)
        return most if most < _NEVER else window_simulation.pages_per_run(windows, rate, autocorrelation)

    def notifications(rate: float, runs: float) -> float:
        if window_simulation.max_pages_per_run(windows, rate, autocorrelation) * runs < _NEGLIGIBLE:
            return 0.0
        return _notifications(to_fire, pages_per_run, rate, runs)

    return _ForecastInRuns(
        to_fire=to_fire,
        pages_per_run=pages_per_run,
        notifications=notifications,
        to_resolve=windows.runs_to_resolve(),
    )


def _notifications(
    to_fire: Callable[[float], float], pages_per_run: Callable[[float], float], rate: float, runs: float
) -> float:
    """Return how often a detector without memory of former alerts fires in ``runs``, at a steady error rate.

    It is the mean of an alternating renewal process, with exponential distributions of the times to fire and to
    resolve. The first time to fire is longer than the others, as the window of the detector is then without errors.
    """
    pages = pages_per_run(rate)
    if pages * runs > _MANY:
        return pages * runs
    first = to_fire(rate)
    if math.isinf(first):
        return 0.0
    fires = -math.expm1(-runs / first)
    if pages <= 0:
        return fires
    cycles = (runs - first * fires) * pages
    quiet = first * pages if first * pages < 1 else 0.5  # share of a cycle in which it does not fire
    variance = quiet * (1 - quiet)
    return fires + cycles + variance * math.expm1(-cycles / variance)


def _ratio_scan(detector: Ratio, stream: SampleStream) -> WindowScan:
    interval, with_buckets = stream.schedule.median_interval, detector.for_stream(stream)
    runs = detector.runs_per_window(interval)
    if isinstance(with_buckets, RingRatio):  # as for burn_rate, the oldest bucket expires as a whole
        runs = _runs_in_window(with_buckets.seconds * (1 - 0.5 / BUCKETS_PER_WINDOW), interval)
    return WindowScan(
        alarms=((WindowThreshold(runs, min_count(detector.threshold, runs)),),),
        keep_firing=(WindowThreshold(runs, min_count(detector.threshold / 2, runs)),),
        hold=math.ceil(detector.hold / interval - 1e-9),
    )


def _burn_rate_scan(detector: BurnRate, interval: float) -> WindowScan:
    def threshold(seconds: float, part: float) -> WindowThreshold:
        # the oldest bucket expires as a whole: on average half a bucket is missing
        runs = _runs_in_window(seconds * (1 - 0.5 / BUCKETS_PER_WINDOW), interval)
        return WindowThreshold(runs, min_count(min(part, 1.0), runs))

    burns = [(window, window.rate * detector.error_budget) for window in detector.windows]
    reachable = [one for one in burns if _runs_in_window(one[0].long, interval) >= detector.min_samples] or burns
    return WindowScan(
        alarms=tuple((threshold(window.long, part), threshold(window.short, part)) for window, part in reachable),
        keep_firing=tuple(threshold(window.short, part / 2) for window, part in burns),
    )


def _runs_in_window(seconds: float, interval: float) -> int:
    """Return the number of runs in a window: the last run, and those less than ``seconds`` older."""
    return max(1, math.ceil(seconds / interval - 1e-9))
