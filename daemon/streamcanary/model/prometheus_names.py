"""Names of metrics and labels in Prometheus.

They are the same at ``/metrics`` and over OTLP (translation strategy ``UnderscoreEscapingWithSuffixes`` of Prometheus).
https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/
"""

import re
from typing import Final

from streamcanary.model import names

_INVALID: Final = re.compile(r"[^a-zA-Z0-9_]+")
_ANNOTATION: Final = re.compile(r"\{[^{}]*\}")
_UNITS: Final = {"s": "seconds", "ms": "milliseconds", "By": "bytes", "%": "percent"}
_PER: Final = {"s": "second", "m": "minute", "h": "hour"}


def metric_name(metric: names.Metric) -> str:
    """Return the name of ``metric`` in Prometheus; that of a histogram is without ``_bucket``."""
    return sample_name(metric.name, metric.unit, metric.kind)


def sample_name(name: str, unit: str, kind: names.Kind) -> str:
    """Return the name in Prometheus of a metric with a unit in UCUM: underscores, the unit, ``_total`` for a counter.

    Annotations in braces, such as ``{run}``, are no unit. A gauge of unit 1 is a ratio.
    """
    parts = [_INVALID.sub("_", name).strip("_")]
    suffix = unit_name(unit, kind)
    if suffix and not parts[0].endswith(f"_{suffix}"):
        parts.append(suffix)
    if kind == "counter" and not parts[-1].endswith("_total"):
        parts.append("total")
    return "_".join(parts)


def unit_name(unit: str, kind: names.Kind) -> str:
    """Return the unit as it is in the name of a metric in Prometheus; empty if it has none."""
    unit = _ANNOTATION.sub("", unit)
    if unit == "1":
        return "ratio" if kind == "gauge" else ""
    top, slash, bottom = unit.partition("/")
    top = _UNITS.get(top, _INVALID.sub("_", top))
    if not slash:
        return top
    per = f"per_{_PER.get(bottom, _INVALID.sub('_', bottom))}"
    return f"{top}_{per}" if top else per


def label_name(attribute: str) -> str:
    """Return the name of the label for an attribute: letters, digits and underscores.

    A name that would begin with a digit, or with the two underscores that Prometheus reserves, begins with ``key``.
    """
    name = _INVALID.sub("_", attribute)
    if name[:1].isdigit() or not name:
        return f"key_{name}"
    return f"key{name}" if name.startswith("__") else name
