"""Reads from the headers of a response whether the provider will retire what answered.

- ``Deprecation`` (RFC 9745): a structured date, ``@1688169599``; drafts before it had an HTTP date, or ``true``.
- ``Sunset`` (RFC 8594): an HTTP date.

A value of another form is ignored, also one that is too long, sent twice, or before 2000 or after 2100.
"""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

from streamcanary.model.outcome import Retirement

_MAX_VALUE_LENGTH: Final = 40
_MIN_TIME: Final = 946_684_800.0  # 2000-01-01, seconds since the epoch
_MAX_TIME: Final = 4_102_444_800.0  # 2100-01-01
_STRUCTURED_DATE = re.compile(r"@([0-9]{1,12})")
_HTTP_DATE = re.compile(r"[A-Za-z]{3,9}, [0-9]{2}[ -][A-Za-z]{3}[ -][0-9]{2,4} [0-9:]{8} (?:GMT|UTC|\+0000)")


def retirement_of(headers: Mapping[str, str]) -> Retirement | None:
    """Return what ``headers`` announce, ``None`` if nothing."""
    deprecation, sunset = headers.get("deprecation"), headers.get("sunset")
    if not deprecation and not sunset:
        return None
    deprecation, sunset = (deprecation or "").strip(), (sunset or "").strip()
    deprecated_at, sunset_at = _parse_time(deprecation), _parse_time(sunset)
    if deprecated_at is None and sunset_at is None and deprecation.lower() not in ("true", "?1"):
        return None
    return Retirement(deprecation=deprecated_at, sunset=sunset_at)


def _parse_time(text: str) -> float | None:
    """Return a time in seconds since the epoch; ``None`` if ``text`` is none."""
    if len(text) > _MAX_VALUE_LENGTH:
        return None
    if structured := _STRUCTURED_DATE.fullmatch(text):
        seconds = float(structured[1])
    elif _HTTP_DATE.fullmatch(text):
        try:
            seconds = parsedate_to_datetime(text).timestamp()
        except (ValueError, OverflowError):
            return None
    else:
        return None
    return seconds if _MIN_TIME <= seconds <= _MAX_TIME else None
