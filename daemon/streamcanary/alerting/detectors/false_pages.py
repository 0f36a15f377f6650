"""``false_pages``: the rate of false alerts that a rule accepts, as configuration text such as ``1 per 365d``."""

import re
from typing import Annotated, NamedTuple

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from streamcanary.model.config_types.duration import format_duration, parse_duration

_RATE = re.compile(r"\s*(\d{1,6})\s+per\s+(\S+)\s*")
_UNITS = {"day": 86400.0, "week": 7 * 86400.0, "month": 30 * 86400.0, "year": 365 * 86400.0}
_MIN_INTERVAL = 3600.0  # seconds between two false alerts; more frequent ones would make the alert useless


class FalsePages(NamedTuple):
    """The accepted rate of false alerts: ``pages`` in ``per`` seconds."""

    pages: int
    per: float

    @property
    def mean_interval(self) -> float:
        """The mean time between two false alerts, in seconds."""
        return self.per / self.pages

    def __str__(self) -> str:
        return f"{self.pages} per {format_duration(self.per)}"


def _parse_false_pages(value: object) -> FalsePages:
    """Parse a text such as ``1 per 365d``; the time may also be ``day``, ``week``, ``month`` or ``year``."""
    if isinstance(value, FalsePages):
        return value
    written = _RATE.fullmatch(value) if isinstance(value, str) else None
    if written is None:
        raise ValueError("not a rate: write a number and a time, such as 1 per 365d or 2 per month")
    pages, unit = int(written.group(1)), written.group(2)
    try:
        per = _UNITS[unit] if unit in _UNITS else parse_duration(unit)
    except ValueError:
        raise ValueError(
            f"{unit!r} is not a duration: write one such as 365d, 12h, or day, week, month (30d), year (365d)"
        ) from None
    if pages < 1:
        raise ValueError("must be at least 1 false page: for fewer write a longer time, such as 1 per 3650d")
    if per / pages < _MIN_INTERVAL:
        raise ValueError("more than one false page per hour: write fewer, such as 1 per 30d")
    return FalsePages(pages, per)


FalsePagesText = Annotated[
    FalsePages,
    PlainValidator(_parse_false_pages),
    PlainSerializer(str),
    WithJsonSchema(
        {"type": "string", "pattern": r"^\s*\d{1,6}\s+per\s+\S+\s*$", "examples": ["1 per 365d", "2 per month"]}
    ),
]
"""A pydantic field with :class:`FalsePages`, written ``1 per 365d``."""
