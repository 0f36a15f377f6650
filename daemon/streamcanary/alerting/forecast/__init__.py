"""What a rule will do: how soon it sees an outage, how often it pages for nothing, when it resolves."""

from streamcanary.alerting.forecast.baseline import Baseline, contradictions
from streamcanary.alerting.forecast.detector_forecast import MONTH, RATES, Forecast, forecast, format_pages
from streamcanary.alerting.forecast.rule_forecasts import (
    Absence,
    Consequence,
    absences,
    consequences,
    doubts,
    unceasing,
)

__all__ = [
    "MONTH",
    "RATES",
    "Absence",
    "Baseline",
    "Consequence",
    "Forecast",
    "absences",
    "consequences",
    "contradictions",
    "doubts",
    "forecast",
    "format_pages",
    "unceasing",
]
