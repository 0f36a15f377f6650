"""The forecasts of ``check`` for the status page: computed in a thread when they are first asked for, and cached."""

import asyncio
import logging
import math
from collections.abc import Iterable

from streamcanary.alerting.detectors import NoData, SampleStream, Shift
from streamcanary.alerting.engine.bindings import MISSED_RUN_GRACE, Binding
from streamcanary.alerting.forecast.baseline import RuleBaseline
from streamcanary.alerting.forecast.detector_forecast import ERROR_RATES, MONTH_SECONDS, forecast_detector
from streamcanary.alerting.forecast.rule_forecasts import without_details
from streamcanary.alerting.forecast.shift_forecast import SHIFT_FACTORS, shift_forecasts
from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.config_types.fraction import format_fraction

BASE_RATE = 0.005
"""The rate of bad runs while nothing is broken, for detectors that do not have it themselves; as that of ``check``."""

_MAX_CACHED = 4096
_log = logging.getLogger(__name__)


class Forecasts:
    """Forecasts by detector and stream. One is computed at a time, so that probing keeps the CPU."""

    def __init__(self) -> None:
        self._texts: dict[object, str] = {}
        self._lock = asyncio.Lock()

    def text(self, binding: Binding) -> str:
        """Return the forecast of ``binding`` in words; empty if it was not computed, or there is none."""
        return self._texts.get(_key(binding), "")

    async def compute(self, bindings: Iterable[Binding]) -> None:
        """Compute the forecasts of ``bindings`` that are not known yet, in a thread."""
        for binding in bindings:
            async with self._lock:
                key = _key(binding)
                if key in self._texts:
                    continue
                try:
                    text = await asyncio.to_thread(_forecast, binding)
                except Exception:  # noqa: BLE001 - a page without a forecast is better than none
                    _log.exception("forecast failed", extra={"alert": binding.rule_name})
                    text = ""
                while len(self._texts) >= _MAX_CACHED:
                    del self._texts[next(iter(self._texts))]
                self._texts[key] = text


def _key(binding: Binding) -> object:
    return binding.rule.detector, binding.rule.measure, without_details(_stream(binding))


def _stream(binding: Binding) -> SampleStream:
    return binding.scope_value.stream(binding.baseline)


def _forecast(binding: Binding) -> str:
    """Return the mean time until the rule fires, by the rate of errors or the factor of a change."""
    detector, value = binding.rule.detector, binding.scope_value
    if isinstance(detector, NoData):
        [canary] = value.canaries
        seconds = detector.runs * canary.interval + canary.timeout + MISSED_RUN_GRACE
        return f"fires {format_duration(seconds)} after the last run"
    if not binding.rule.measure.counts_failures:
        return ""
    if isinstance(detector, Shift):
        baseline = RuleBaseline(binding.rule_name, binding.rule, value, binding.baseline, observed=None)
        for one in shift_forecasts([baseline]):
            delays = zip((f"{factor:g}x" for factor in SHIFT_FACTORS), one.detection_delays, strict=True)
            return _delays(delays, "worse")
        return "learns what is usual"
    forecast = forecast_detector(detector, _stream(binding), BASE_RATE)
    rates = (format_fraction(rate) for rate in ERROR_RATES)
    return _delays(zip(rates, forecast.detection_delays, strict=True), "bad runs")


def _delays(delays: Iterable[tuple[str, float]], what: str) -> str:
    longest = f"more than {format_duration(MONTH_SECONDS)}"
    parts = (
        f"{size} in {format_duration(_rounded(seconds)) if seconds <= MONTH_SECONDS else longest}"
        for size, seconds in delays
    )
    return f"detects {what}: {', '.join(parts)}"


def _rounded(seconds: float) -> float:
    """Return ``seconds`` rounded to what a forecast can promise: seconds below two minutes, minutes below two hours."""
    unit = 1 if seconds < 120 else 60 if seconds < 7200 else 3600
    return math.ceil(seconds / unit - 1e-9) * unit
