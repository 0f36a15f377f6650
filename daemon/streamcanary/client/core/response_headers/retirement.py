"""Reads from the headers of a response whether the provider will retire what answered.

- ``Deprecation`` (RFC 9745): a structured date, ``@1688169599``; drafts before it had an HTTP date, or ``true``.
- ``Sunset`` (RFC 8594): an HTTP date.

Servers also send other dates: ``2027-01-01``, RFC 3339, seconds or milliseconds since the epoch. A value of another
form is ignored, also one that is too long, sent twice, or before 2000 or after 2100.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from streamcanary.model.outcome import Retirement

_MAX_VALUE_LENGTH: Final = 80
_MIN_TIME: Final = 946_684_800.0  # 2000-01-01, seconds since the epoch
_MAX_TIME: Final = 4_102_444_800.0  # 2100-01-01
_EPOCH = re.compile(r"@?([0-9]{9,13})(?:\.[0-9]{1,9})?")
_MIN_EPOCH_MILLISECONDS: Final = 1e11
_ISO_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt ][0-9:.]{5,15}(?:[Zz]|[+-][0-9:]{4,5})?)?")
_HTTP_DATE = re.compile(r"[A-Za-z]{3,9}, [0-9]{1,2}[ -][A-Za-z]{3}[ -][0-9]{2,4} [0-9:]{8} (?:GMT|UTC|\+0000)")


def retirement_of(headers: Mapping[str, str]) -> Retirement | None:
    """Return what ``headers`` announce, ``None`` if nothing."""
    deprecation, sunset = headers.get("deprecation"), headers.get("sunset")
    if not deprecation and not sunset:
        return None
    deprecation, sunset = _item(deprecation), _item(sunset)
    deprecated_at, sunset_at = _parse_time(deprecation), _parse_time(sunset)
    is_deprecated = deprecated_at is not None or deprecation.lower() in ("true", "?1")
    if not is_deprecated and sunset_at is None:
        return None
    return Retirement(deprecation=deprecated_at, sunset=sunset_at, is_deprecated=is_deprecated)


def _item(value: str | None) -> str:
    """Return a value without space around it and without parameters; ``""`` if it is too long or absent.

    The parameters of a structured item (RFC 9651) begin with a semicolon, which no date has.
    """
    return value.partition(";")[0].strip() if value and len(value) <= _MAX_VALUE_LENGTH else ""


def _parse_time(text: str) -> float | None:
    """Return a time in seconds since the epoch; ``None`` if ``text`` is none. One without a zone is of UTC."""
    try:
        if epoch := _EPOCH.fullmatch(text):
            seconds = float(epoch[1])
            seconds = seconds / 1000 if seconds >= _MIN_EPOCH_MILLISECONDS else seconds
        elif _ISO_DATE.fullmatch(text):
            at = datetime.fromisoformat(text.upper())
            seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        elif _HTTP_DATE.fullmatch(text):
            seconds = parsedate_to_datetime(text).timestamp()
        else:
            return None
    except (ValueError, OverflowError):
        return None
    return seconds if _MIN_TIME <= seconds <= _MAX_TIME else None
