"""The wait before the next attempt: exponential backoff with full jitter, and ``Retry-After``."""

import random as _random
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

from streamcanary.client.retry_policy import RetryPolicy

_LONGEST_WAIT = 366 * 86400.0  # seconds; a longer one is no honest request to wait


def full_jitter(policy: RetryPolicy, retry: int, random: _random.Random) -> float:
    """Return the wait in seconds before retry number ``retry`` (from 0), as :class:`RetryPolicy` defines it."""
    cap = min(policy.max_delay, policy.base_delay * 2.0 ** min(retry, 64))
    return random.uniform(0.0, cap)


def parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that the server asks to wait, or ``None`` if there is no valid header.

    Reads ``retry-after-ms`` (Azure, OpenAI), and ``Retry-After`` in seconds or as a date (RFC 9110, section 10.2.3). A
    date is relative to ``now``, in wall time.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if (value := headers.get(name)) is None:
            continue
        try:
            seconds = float(value) * unit
        except ValueError:
            continue
        if value.isascii() and 0 <= seconds <= _LONGEST_WAIT:
            return seconds
    return _seconds_until(headers.get("retry-after"), now)


def _seconds_until(value: str | None, now: float) -> float | None:
    if value is None or len(value) > 64:
        return None
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    return min(max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now), _LONGEST_WAIT)
