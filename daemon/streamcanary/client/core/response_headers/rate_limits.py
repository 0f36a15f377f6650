"""Reads rate limits from the headers of a response, in the spellings of the providers.

| who | quota | reset |
|---|---|---|
| OpenAI, Groq, Anthropic's OpenAI API | `x-ratelimit-remaining-requests`, `-limit-tokens`, … | `6m0s`, `12ms` |
| OpenAI | the same with a qualifier: `-tokens_usage_based`, `-project-tokens` | the same |
| Azure | the same, often without a limit; `-1` for unknown; also `x-rate-limit-reset-tokens` | seconds |
| Anthropic | `anthropic-ratelimit-requests-remaining`, `-input-tokens-limit`, … | RFC 3339 |
| Cerebras, Mistral, Fireworks | a window or a part: `-requests-day`, `-req-minute`, `-tokens-prompt` | seconds |
| OpenRouter, Together and others | `X-RateLimit-Remaining`, without a type: requests | ms or s since the epoch |
| IETF draft, revisions 0 to 6 | `RateLimit-Remaining`, the same; `RateLimit-Limit: 100, 100;w=60` | seconds |
| IETF draft, revision 7 | `RateLimit: limit=100, remaining=50, reset=30` | seconds |
| IETF draft, later revisions | `RateLimit: "default";r=50;t=30`, `RateLimit-Policy: "default";q=100` | seconds |

https://developers.openai.com/api/docs/guides/rate-limits, https://platform.claude.com/docs/en/api/rate-limits,
https://console.groq.com/docs/rate-limits, https://openrouter.ai/docs/api_reference/limits,
https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/

OpenRouter has them in the body of an error: ``{"error": {…, "metadata": {"headers": {"X-RateLimit-Limit": "20"}}}}``.

A header that is not exactly one number, time or duration is ignored: negative, too large, not a number, too long, or
sent twice with different meanings (a list). What a provider sends is hostile: work and result are bounded.
"""

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from streamcanary.model.rate_limit import Quota, QuotaType, RateLimits

_MAX_HEADERS: Final = 64  # that are looked at, of those that may be about rate limits
_MAX_NAME_LENGTH: Final = 64
_MAX_VALUE_LENGTH: Final = 40
_MAX_LIST_LENGTH: Final = 1000  # characters of a structured field
_MAX_COUNT: Final = 10**12  # providers that have no limit send numbers such as 2**63 - 1
_MAX_NUMBER: Final = 10**15  # in JSON
_MAX_RESET: Final = 366 * 86_400.0  # seconds

_MIN_EPOCH_SECONDS: Final = 1e9  # a larger number is a time (2001 or later), not a duration
_MIN_EPOCH_MILLISECONDS: Final = 1e11

_LIMIT_WITH_WINDOWS = re.compile(r"([0-9]{1,15})(?:, ?[0-9]{1,15};[^,]{1,20}){1,4}")
_COUNT = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?")
_DURATION_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|us|µs|ns|d|h|m|s)")
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern}){{1,8}}")
_UNITS: Final = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_IS_ABOUT_RATES: Final = re.compile("rate-?limit", re.IGNORECASE).search
_PREFIX = re.compile(r"(?:x-|anthropic-)?rate-?limit-")
_FIELDS: Final = frozenset({"remaining", "limit", "reset"})
_FIELD_NAMES: Final = tuple(f"{field}=" for field in sorted(_FIELDS))
_TYPES: Final[dict[str, QuotaType]] = {
    "requests": "requests",
    "request": "requests",
    "req": "requests",
    "tokens": "tokens",
    "token": "tokens",
}
_MAX_ITEMS: Final = 16  # of a structured list


def rate_limits_of(headers: Mapping[str, str], now: float) -> RateLimits | None:
    """Return the rate limits in ``headers``; ``None`` if there are none. ``now`` is wall time, seconds since the epoch.

    Of several quotas of one type, such as one a minute and one a day, the one with the least headroom is returned.
    """
    if not any(map(_IS_ABOUT_RATES, headers)):
        return None
    quotas: dict[QuotaType, list[Quota]] = {"requests": [], "tokens": []}
    for kind, quota in (*_simple_quotas(headers, now), *_structured_quotas(headers)):
        quotas[kind].append(quota)
    if not any(quotas.values()):
        return None
    return RateLimits(
        requests=min(quotas["requests"], key=_scarcity, default=None),
        tokens=min(quotas["tokens"], key=_scarcity, default=None),
    )


def rate_limits_of_error(body: object, now: float) -> RateLimits | None:
    """Return the rate limits in the decoded body of an error, which repeats the headers of another server."""
    for key in ("error", "metadata", "headers"):
        inner = body.get(key) if isinstance(body, Mapping) else None
        body = body if inner is None and key == "error" else inner  # the error itself, or an object that contains it
    if not isinstance(body, Mapping):
        return None
    headers = {}
    for name, value in islice(body.items(), _MAX_HEADERS):
        if isinstance(name, str) and isinstance(value, str):
            headers[name[: _MAX_NAME_LENGTH + 1].lower()] = value
        elif isinstance(name, str) and type(value) is int and 0 <= value < _MAX_NUMBER:
            headers[name[: _MAX_NAME_LENGTH + 1].lower()] = str(value)
    return rate_limits_of(headers, now)


def _scarcity(quota: Quota) -> tuple[bool, float, bool, int]:
    """Return a key that is smaller for less headroom, then for fewer remaining; unknown values come last."""
    headroom, remaining = quota.headroom, quota.remaining
    return headroom is None, headroom or 0.0, remaining is None, remaining or 0


# ---- a header for each value


def _simple_quotas(headers: Mapping[str, str], now: float) -> Iterator[tuple[QuotaType, Quota]]:
    """Yield the quotas whose values have a header each; those of one type and qualifier belong together."""
    values: dict[tuple[QuotaType, str], dict[str, str]] = {}
    looked_at = 0
    for key in headers:  # not items(): decoding all values would cost more than the rest
        if len(key) > _MAX_NAME_LENGTH or (prefix := _PREFIX.match(name := key.lower())) is None:
            continue
        if (looked_at := looked_at + 1) > _MAX_HEADERS:
            break
        value = headers[key]
        if ";" in value and (windows := _LIMIT_WITH_WINDOWS.fullmatch(value[:_MAX_LIST_LENGTH])):
            value = windows[1]
        if len(value) <= _MAX_VALUE_LENGTH and (parsed := _parse_name(name[prefix.end() :])) is not None:
            kind, qualifier, field = parsed
            values.setdefault((kind, qualifier), {})[field] = value.strip()
    for (kind, _), found in values.items():
        quota = Quota(
            remaining=_parse_count(found.get("remaining", "")),
            limit=_parse_count(found.get("limit", "")),
            reset_after=_parse_reset(found.get("reset", ""), now),
        )
        if not _is_empty(quota):
            yield kind, quota


def _is_empty(quota: Quota) -> bool:
    """Return whether nothing is known of ``quota``; one of nothing, with a limit of 0, is none."""
    return quota.limit == 0 or (quota.remaining is None and quota.limit is None)


def _parse_name(rest: str) -> tuple[QuotaType, str, str] | None:
    """Return type, qualifier and field of a header from the rest of its name: ``limit-requests-day``.

    Without a type and a qualifier, it is about requests.
    """
    words = re.split("[-_]", rest)
    fields = [word for word in words if word in _FIELDS]
    types = [word for word in words if word in _TYPES]
    qualifier = " ".join(word for word in words if word not in _FIELDS and word not in _TYPES)
    if len(fields) != 1 or len(types) > 1 or (qualifier and not types):
        return None
    return _TYPES[types[0]] if types else "requests", qualifier, fields[0]


def _parse_count(text: str) -> int | None:
    """Return a number that is not negative and not absurdly large, rounded up; ``None`` for anything else."""
    if _COUNT.fullmatch(text) is None:
        return None
    count = math.ceil(float(text))  # not down: 0.9 of 1 is not nothing
    return count if count <= _MAX_COUNT else None


def _parse_reset(text: str, now: float) -> float | None:
    """Return the seconds until a reset: ``text`` is a duration, a number of seconds, or a time in three forms."""
    if _COUNT.fullmatch(text):
        seconds = float(text)
        if seconds >= _MIN_EPOCH_MILLISECONDS:
            seconds = seconds / 1000 - now
        elif seconds >= _MIN_EPOCH_SECONDS:
            seconds -= now
    elif _DURATION.fullmatch(text):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(text))
    else:
        try:
            at = datetime.fromisoformat(text)
            seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if -_MAX_RESET <= seconds <= _MAX_RESET else None


# ---- structured fields of the IETF draft


def _structured_quotas(headers: Mapping[str, str]) -> Iterator[tuple[QuotaType, Quota]]:
    """Yield the quotas of ``RateLimit``, with the limits that ``RateLimit-Policy`` has for the policies of their names.

    The unit of a policy (``qu``) is requests by default; policies about bytes or concurrent requests are left out.
    """
    state = headers.get("ratelimit")
    if not state:
        return
    if state[:_MAX_VALUE_LENGTH].lstrip().startswith(_FIELD_NAMES):  # revision 7: a dictionary
        values = {name.partition("=")[0]: name.partition("=")[2] for name, _ in _parse_list(state)}
        quota = Quota(
            remaining=_parse_count(values.get("remaining", "")),
            limit=_parse_count(values.get("limit", "")),
            reset_after=_parse_reset(values.get("reset", ""), 0.0),
        )
        if not _is_empty(quota):
            yield "requests", quota
        return
    policies = dict(_parse_list(headers.get("ratelimit-policy") or ""))
    for name, parameters in _parse_list(state):
        policy = policies.get(name, {})
        unit, remaining = policy.get("qu", "requests"), _parse_count(parameters.get("r", ""))
        quota = Quota(
            remaining=remaining,
            limit=_parse_count(policy.get("q", "")),
            reset_after=_parse_reset(parameters.get("t", ""), 0.0),
        )
        if unit in _TYPES and remaining is not None and not _is_empty(quota):
            yield _TYPES[unit], quota


def _parse_list(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the items of a structured list (RFC 9651) with their parameters, all as text without quotes.

    Only what the draft needs: a comma or a semicolon within a quoted string ends it.
    """
    if len(text) > _MAX_LIST_LENGTH:
        return
    for item in text.split(",")[:_MAX_ITEMS]:
        name, *parameters = (part.strip() for part in item.split(";"))
        pairs = (parameter.partition("=") for parameter in parameters)
        yield name.strip('"'), {key: value.strip('"')[:_MAX_VALUE_LENGTH] for key, _, value in pairs}
