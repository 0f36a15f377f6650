"""What a rule will do: how soon it sees an outage, how often it pages for nothing, when it resolves."""

from streamcanary.alerting.forecast.baseline import Baseline, contradictions
from streamcanary.alerting.forecast.consequences import Consequence, consequences, doubts
from streamcanary.alerting.forecast.forecast import MONTH, RATES, Forecast, forecast, format_pages

__all__ = [
    "MONTH",
    "RATES",
    "Baseline",
    "Consequence",
    "Forecast",
    "consequences",
    "contradictions",
    "doubts",
    "forecast",
    "format_pages",
]
