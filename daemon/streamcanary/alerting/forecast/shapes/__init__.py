"""Forecasts how soon rules detect outages of given shapes, such as ``60s of 100% every 5m`` or ``15% on half``."""

from streamcanary.alerting.forecast.shapes.result import RuleDelays, ShapeForecast
from streamcanary.alerting.forecast.shapes.shape import STANDARD_SHAPES, Shape, parse_shape
from streamcanary.alerting.forecast.shapes.simulation import can_simulate, forecast_shapes

__all__ = [
    "STANDARD_SHAPES",
    "RuleDelays",
    "Shape",
    "ShapeForecast",
    "can_simulate",
    "forecast_shapes",
    "parse_shape",
]
