"""Parses and formats durations: text (``30s``, ``1h30m``, ``250ms``) and seconds."""

import math
import re
from datetime import timedelta
from typing import Annotated, Final

from pydantic import BeforeValidator, WithJsonSchema

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")
# As ECMA 262 and RE2 read it; of a positive duration, one part has another digit than 0.
_TEXT_PATTERN = r"^\s*(\d+(\.\d+)?(ms|s|m|h|d|w))+\s*$"
_POSITIVE_PATTERN = (
    r"^\s*(\d+(\.\d+)?(ms|s|m|h|d|w))*(\d*[1-9]\d*(\.\d+)?|\d+\.\d*[1-9]\d*)(ms|s|m|h|d|w)"
    r"(\d+(\.\d+)?(ms|s|m|h|d|w))*\s*$"
)
MAX_SECONDS: Final = 10 * 366 * 86400.0
"""The longest duration: ten years. More is a mistake, and sums stay exact."""


def parse_duration(value: object) -> float:
    """Return ``value`` in seconds.

    Accepts a number of seconds, a ``timedelta``, or text of one or more numbers with a unit each:
    ``ms``, ``s``, ``m``, ``h``, ``d``, ``w``, the format of Prometheus.

    Raises:
        ValueError: if it is none of these, negative, not finite, or longer than ten years.
    """
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))
    else:
        raise ValueError("not a duration: write a number with a unit, such as 500ms, 30s, 5m, 1h30m or 7d")
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError("a duration must be finite and not negative")
    if seconds > MAX_SECONDS:
        raise ValueError("a duration must be at most ten years")
    return seconds


def parse_positive_duration(value: object) -> float:
    """Return ``value`` as :func:`parse_duration` does.

    Raises:
        ValueError: also if it is zero.
    """
    seconds = parse_duration(value)
    if seconds == 0:
        raise ValueError("must be longer than zero")
    return seconds


def format_duration(seconds: float) -> str:
    """Return ``seconds`` as text with at most two units: ``250ms``, ``4.2s``, ``2m5s``, ``3h``, ``7d``."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    if seconds < 60:
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    rest, parts = round(seconds), []
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(rest, int(_UNITS[unit]))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2])


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": ["string", "number"], "pattern": _TEXT_PATTERN, "minimum": 0}),
]
"""A pydantic field in seconds that also accepts ``"30s"``; zero is allowed."""

PositiveDuration = Annotated[
    float,
    BeforeValidator(parse_positive_duration),
    WithJsonSchema({"type": ["string", "number"], "pattern": _POSITIVE_PATTERN, "exclusiveMinimum": 0}),
]
"""A :data:`Duration` longer than zero."""
