"""Forecasts the detection delay, the false pages and the time to resolve of a rule."""

from streamcanary.alerting.forecast.baseline import (
    RuleBaseline,
    baseline_warnings,
    learn_baselines,
)
from streamcanary.alerting.forecast.detector_forecast import (
    ERROR_RATES,
    MONTH_SECONDS,
    STEADY_RATES,
    Forecast,
    forecast_detector,
    format_pages,
)
from streamcanary.alerting.forecast.rule_forecasts import (
    NoDataDelay,
    RuleForecast,
    always_firing_warnings,
    detector_warnings,
    model_change_canaries,
    no_data_delays,
    rule_forecasts,
)

__all__ = [
    "ERROR_RATES",
    "MONTH_SECONDS",
    "STEADY_RATES",
    "Forecast",
    "NoDataDelay",
    "RuleBaseline",
    "RuleForecast",
    "always_firing_warnings",
    "baseline_warnings",
    "detector_warnings",
    "forecast_detector",
    "format_pages",
    "learn_baselines",
    "model_change_canaries",
    "no_data_delays",
    "rule_forecasts",
]
