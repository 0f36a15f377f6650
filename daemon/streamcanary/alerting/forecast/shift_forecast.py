"""Forecasts the ``shift`` detector: how long it takes when all values are worse by a factor."""

import math
from collections.abc import Iterable
from typing import Final, NamedTuple

from streamcanary.alerting.detectors import Shift
from streamcanary.alerting.detectors.cusum_run_length import runs_to_fire
from streamcanary.alerting.forecast.baseline import RuleBaseline
from streamcanary.alerting.forecast.cusum_forecast import CusumForecast
from streamcanary.alerting.forecast.detector_forecast import MONTH_SECONDS
from streamcanary.alerting.learning.baseline import LearnedValues, fraction_above

SHIFT_FACTORS: Final = (1.5, 2.0, 4.0)
"""The factors for which a forecast has a detection delay."""


class ShiftForecast(NamedTuple):
    """The forecast of a ``shift`` rule for one scope value, from what was learned about it.

    ``detection_delays`` are the mean times in seconds until the rule fires after all values become worse by each of
    :data:`SHIFT_FACTORS`; infinite if that is hardly ever. ``false_pages`` is the mean number of pages in
    :data:`MONTH_SECONDS` while the values are as usual. ``runs_to_resolve`` is the number of good runs in a row.
    """

    baseline: RuleBaseline
    detection_delays: tuple[float, ...]
    false_pages: float
    runs_to_resolve: int


def shift_forecasts(baselines: Iterable[RuleBaseline]) -> list[ShiftForecast]:
    """Return the forecasts of the ``shift`` rules among ``baselines`` that have learned something."""
    found = []
    for one in baselines:
        detector, learned = one.rule.detector, one.baseline
        if isinstance(detector, Shift) and isinstance(learned, LearnedValues):
            found.append(_forecast(one, detector, learned))
    return found


def _forecast(baseline: RuleBaseline, detector: Shift, learned: LearnedValues) -> ShiftForecast:
    stream = baseline.value.stream(learned)
    cusum, autocorrelation = detector.for_stream(stream), detector.autocorrelation_of(stream)
    normal, _ = detector.parts(stream)

    def delay(factor: float) -> float:
        rate = max(fraction_above(learned.quantiles, factor), normal)
        runs = runs_to_fire(cusum.step, cusum.threshold, rate, autocorrelation if rate < 1 else 0.0)
        return baseline.value.schedule.mean_wait(math.ceil(runs)) if runs < 1e9 else math.inf

    pages = CusumForecast(cusum, stream.interval, autocorrelation).pages_per_run(normal)
    return ShiftForecast(
        baseline,
        tuple(delay(factor) for factor in SHIFT_FACTORS),
        pages * MONTH_SECONDS / stream.interval,
        cusum.good_runs[0],
    )
