"""Parses moments that people type: a date and time, or a duration before now."""

from datetime import UTC, datetime

from streamcanary.model.config_types.duration import parse_duration


def parse_moment(text: str, now: float) -> float:
    """Return the moment ``text`` in seconds since the epoch: ``2027-01-15T08:00:00Z``, or ``24h`` for a day ago.

    A date and time without an offset is UTC.

    Raises:
        ValueError: if it is neither; the message says what would be right.
    """
    try:
        return now - parse_duration(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(
            "is not a time: write one such as 2027-01-15T08:00:00Z (UTC unless it has an offset), or a duration "
            "before now, such as 24h"
        ) from None
