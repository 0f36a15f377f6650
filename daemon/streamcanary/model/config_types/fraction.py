"""Parses and formats fractions: percentages (``50%``) and numbers (0.5)."""

import math
import re
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

_PERCENT = re.compile(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*%\s*")
_NUMBER = re.compile(r"\s*\d{0,9}\.?\d{1,12}\s*")
# As ECMA 262 and RE2 read it: percentages over 0 up to 100, and numbers over 0 up to 1.
_SCHEMA_PATTERN = (
    r"^\s*(0*([1-9]\d?(\.\d{1,9})?|100(\.0{1,9})?|0\.\d*[1-9]\d*)\s*%|0*1(\.0{1,12})?|0*\.\d*[1-9]\d*)\s*$"
)
_ERROR = "not a fraction: write a percentage such as 50%, or a number such as 0.5"


def parse_fraction(value: object) -> float:
    """Return ``"50%"`` or ``0.5`` as 0.5.

    Raises:
        ValueError: if it is neither, not more than 0, or more than 1.
    """
    if isinstance(value, str) and (percent := _PERCENT.fullmatch(value)):
        fraction = float(percent.group(1)) / 100
    elif (isinstance(value, str) and _NUMBER.fullmatch(value)) or type(value) in (int, float):
        fraction = float(value)  # type: ignore[arg-type] # str, int or float
    else:
        raise ValueError(_ERROR)
    if not 0 < fraction <= 1:
        if 1 < fraction <= 100 and "%" not in str(value):
            raise ValueError(f"must be more than 0% and at most 100%; did you mean {fraction:g}%?")
        raise ValueError("must be more than 0% and at most 100%")
    return fraction


def format_fraction(fraction: float) -> str:
    """Return ``fraction`` as a percentage of at most three digits: ``2%``, ``14.4%``, ``0.05%``."""
    return f"{fraction * 100:.3g}%"


def min_count(fraction: float, total: int) -> int:
    """Return the smallest positive integer that is at least ``fraction`` of ``total``.

    Tolerates rounding errors: 10 % of 30 is 3, although 0.1 * 30 > 3 in floating point.
    """
    return max(1, math.ceil(fraction * total - 1e-9))


Fraction = Annotated[
    float,
    BeforeValidator(parse_fraction),
    WithJsonSchema(
        {
            "type": ["string", "number"],
            "pattern": _SCHEMA_PATTERN,
            "exclusiveMinimum": 0,
            "maximum": 1,
        }
    ),
]
"""A pydantic field over 0 and up to 1 that also accepts ``"50%"``."""
