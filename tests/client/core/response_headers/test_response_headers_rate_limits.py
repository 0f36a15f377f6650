"""Rate limits are read from the headers of every provider, and hostile values are ignored."""

import json
import math
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcanary.client.core.attempt import AttemptMachine
from streamcanary.client.core.response_head import ResponseHead
from streamcanary.client.core.response_headers.rate_limits import rate_limits_of, rate_limits_of_error
from streamcanary.client.timeouts import Timeouts
from streamcanary.model.faults import FaultKind
from streamcanary.model.rate_limit import Quota, RateLimits

NOW = 1_800_000_000.0
"""2027-01-15 08:00:00 UTC, seconds since the epoch."""


def quota(remaining: int | None, limit: int | None = None, reset_after: float | None = None) -> Quota:
    return Quota(remaining=remaining, limit=limit, reset_after=reset_after)


@pytest.mark.parametrize(
    ("headers", "requests", "tokens"),
    [
        pytest.param(
            {
                "x-ratelimit-limit-requests": "5000",
                "x-ratelimit-remaining-requests": "4999",
                "x-ratelimit-reset-requests": "12ms",
                "x-ratelimit-limit-tokens": "160000",
                "x-ratelimit-remaining-tokens": "159976",
                "x-ratelimit-reset-tokens": "6m0s",
                "x-ratelimit-limit-tokens_usage_based": "160000",
                "x-ratelimit-remaining-tokens_usage_based": "8000",
                "x-ratelimit-reset-tokens_usage_based": "1h2m3.5s",
                "x-ratelimit-remaining-input-images": "0",
            },
            quota(4999, 5000, 0.012),
            quota(8000, 160_000, 3723.5),
            id="openai",
        ),
        pytest.param(
            {
                "x-ratelimit-remaining-requests": "79",
                "x-ratelimit-remaining-tokens": "-1",
                "x-ratelimit-limit-tokens": "-1",
                "x-rate-limit-reset-requests": "55",
            },
            quota(79, None, 55.0),
            None,
            id="azure",
        ),
        pytest.param(
            {
                "anthropic-ratelimit-requests-limit": "50",
                "anthropic-ratelimit-requests-remaining": "49",
                "anthropic-ratelimit-requests-reset": "2027-01-15T08:00:30Z",
                "anthropic-ratelimit-input-tokens-limit": "40000",
                "anthropic-ratelimit-input-tokens-remaining": "39000",
                "anthropic-ratelimit-input-tokens-reset": "2027-01-15T09:01:00+01:00",
                "anthropic-ratelimit-output-tokens-limit": "8000",
                "anthropic-ratelimit-output-tokens-remaining": "2000",
                "anthropic-ratelimit-output-tokens-reset": "2027-01-15T07:59:59Z",
            },
            quota(49, 50, 30.0),
            quota(2000, 8000, 0.0),
            id="anthropic",
        ),
        pytest.param(
            {
                "x-ratelimit-limit-requests": "14400",
                "x-ratelimit-limit-tokens": "18000",
                "x-ratelimit-remaining-requests": "14370",
                "x-ratelimit-remaining-tokens": "17997",
                "x-ratelimit-reset-requests": "2m59.56s",
                "x-ratelimit-reset-tokens": "7.66s",
            },
            quota(14_370, 14_400, 179.56),
            quota(17_997, 18_000, 7.66),
            id="groq",
        ),
        pytest.param(
            {
                "X-RateLimit-Limit": "20",
                "X-RateLimit-Remaining": "0",
                "X-RateLimit-Reset": "1800000060000",
            },
            quota(0, 20, 60.0),
            None,
            id="openrouter",
        ),
        pytest.param(
            {
                "x-ratelimit-limit-requests-day": "1000",
                "x-ratelimit-remaining-requests-day": "10",
                "x-ratelimit-reset-requests-day": "33011.382867",
                "x-ratelimit-limit-req-minute": "60",
                "x-ratelimit-remaining-req-minute": "59",
                "x-ratelimit-limit-tokens-minute": "60000",
            },
            quota(10, 1000, 33_011.382867),
            quota(None, 60_000),
            id="cerebras and mistral",
        ),
        pytest.param(
            {"ratelimit-limit": "100", "ratelimit-remaining": "50", "ratelimit-reset": "1800000030"},
            quota(50, 100, 30.0),
            None,
            id="ietf draft, one header for each value",
        ),
        pytest.param(
            {"ratelimit-limit": "100, 100;w=60, 1000;w=3600", "ratelimit-remaining": "50", "ratelimit-reset": "30"},
            quota(50, 100, 30.0),
            None,
            id="ietf draft, a limit with its windows",
        ),
        pytest.param(
            {"ratelimit": "limit=100, remaining=3, reset=50", "ratelimit-policy": "100;w=60"},
            quota(3, 100, 50.0),
            None,
            id="ietf draft, revision 7",
        ),
        pytest.param(
            {
                "ratelimit": '"burst";r=9;t=1, "daily";r=20;t=3600;pk=:a2V5:, "bytes";r=1',
                "ratelimit-policy": '"burst";q=10;w=1, "daily";q=1000;w=86400, "bytes";q=5;qu="content-bytes"',
            },
            quota(20, 1000, 3600.0),
            None,
            id="ietf draft, structured fields",
        ),
    ],
)
def test_rate_limits_are_read_in_the_spelling_of_each_provider(
    headers: dict[str, str], requests: Quota | None, tokens: Quota | None
) -> None:
    """Counts, limits and resets are read; of several quotas of one type, the one with the least headroom."""
    found = rate_limits_of(headers, NOW)
    assert found is not None
    assert (requests, tokens) == (_rounded(found.requests), _rounded(found.tokens))


def _rounded(found: Quota | None) -> Quota | None:
    if found is None or found.reset_after is None:
        return found
    return quota(found.remaining, found.limit, round(found.reset_after, 6))


@pytest.mark.parametrize(
    "value",
    [
        "",
        "-1",
        "+5",
        "1e3",
        "NaN",
        "inf",
        "0x10",
        "5 ",
        "١٢",
        "9223372036854775807",
        "1000000000000001",
        "9" * 1_000_000,
        "100, 100",
        "5;w=60",
        "unlimited",
        "\x00",
    ],
)
def test_a_count_that_is_not_one_sensible_number_is_ignored(value: str) -> None:
    """Negative, huge, repeated and other values are as if they were not sent; surrounding space is not part of one."""
    expected = RateLimits(requests=quota(5)) if value == "5 " else None
    assert expected == rate_limits_of({"x-ratelimit-remaining-requests": value}, NOW)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1ms", 0.001),
        ("6m0s", 360.0),
        ("1d2h", 93_600.0),
        ("250us", 0.00025),
        ("0", 0.0),
        ("0s", 0.0),
        ("60", 60.0),
        ("1800000060", 60.0),
        ("1800000060000", 60.0),
        ("1799999000", 0.0),
        ("2027-01-15T08:01:00", 60.0),
        ("-5s", None),
        ("5 s", None),
        ("1s" * 9, None),
        ("soon", None),
        ("999999999d", None),
        ("9999-12-31T23:59:59Z", None),
        ("0001-01-01T00:00:00Z", None),
        ("20270115", 20_270_115.0),
        ("1s, 1s", None),
    ],
)
def test_a_reset_is_a_duration_or_a_time(value: str, seconds: float | None) -> None:
    """A reset is read as seconds from now; a time in the past is now, and one a year away or more is ignored."""
    found = rate_limits_of({"x-ratelimit-remaining": "1", "x-ratelimit-reset": value}, NOW)
    assert found is not None
    assert found.requests is not None
    actual = found.requests.reset_after
    assert seconds == (actual if actual is None else round(actual, 6))


@pytest.mark.parametrize(
    ("remaining", "limit", "headroom"),
    [(10, 100, 0.1), (0, 100, 0.0), (0, None, 0.0), (200, 100, 1.0), (5, None, None), (None, 100, None)],
)
def test_headroom_is_the_part_that_remains(remaining: int | None, limit: int | None, headroom: float | None) -> None:
    """Headroom is between 0 and 1; nothing remaining is 0 without a limit, too; else it needs both numbers."""
    assert headroom == quota(remaining, limit).headroom


def test_the_lowest_headroom_decides() -> None:
    """Of requests and tokens, the one with less headroom is the lowest; one without a headroom is left out."""
    tokens, requests = quota(10, 100), quota(50, 100)
    assert ("tokens", tokens, 0.1) == RateLimits(requests=requests, tokens=tokens).lowest
    assert ("requests", requests, 0.5) == RateLimits(requests=requests, tokens=quota(1)).lowest
    assert None is RateLimits(tokens=quota(1)).lowest


@pytest.mark.parametrize("remaining", ["0", "7"])
def test_a_limit_of_nothing_is_none(remaining: str) -> None:
    """A provider that reports a limit of 0 has none: it is not exhausted."""
    assert None is rate_limits_of({"x-ratelimit-limit-tokens": "0", "x-ratelimit-remaining-tokens": remaining}, NOW)
    structured = {"ratelimit": f'"a";r={remaining}', "ratelimit-policy": '"a";q=0'}
    assert None is rate_limits_of(structured, NOW)


def test_a_part_of_a_request_is_not_nothing() -> None:
    """Fractions are rounded up: 0.9 of 1 is not exhausted."""
    found = rate_limits_of({"x-ratelimit-limit": "1.0", "x-ratelimit-remaining": "0.9"}, NOW)
    assert RateLimits(requests=quota(1, 1)) == found


@pytest.mark.parametrize(("reset", "headroom"), [("1", 1.0), ("12ms", 1.0), ("2", 0.0), ("0", 0.0), ("", 0.0)])
def test_a_limit_that_is_reset_within_a_second_is_not_scarce(reset: str, headroom: float) -> None:
    """One request a second is used up by each request; a reset of 0 may be due to a clock that differs."""
    headers = {"x-ratelimit-limit": "1", "x-ratelimit-remaining": "0", "x-ratelimit-reset": reset}
    found = rate_limits_of(headers, NOW)
    assert found is not None
    assert ("requests", found.requests, headroom) == found.lowest


OPENROUTER = {"X-RateLimit-Limit": "20", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1800000060000"}


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "Rate limit exceeded", "code": 429, "metadata": {"headers": OPENROUTER}}},
        {"code": 429, "metadata": {"headers": {**OPENROUTER, "X-RateLimit-Limit": 20, "other": None, "more": True}}},
    ],
)
def test_rate_limits_in_the_body_of_an_error(body: object) -> None:
    """OpenRouter repeats the headers of a 429 in its body, as text or as numbers."""
    assert RateLimits(requests=quota(0, 20, 60.0)) == rate_limits_of_error(body, NOW)


@pytest.mark.parametrize(
    "body",
    [
        None,
        "text",
        [],
        {"error": "text"},
        {"error": {"metadata": None}},
        {"error": {"metadata": {"headers": "x"}}},
        {"error": {"metadata": {"headers": {"X-RateLimit-Remaining": 10**400, "x" * 10**6: "1"}}}},
    ],
)
def test_another_body_has_no_rate_limits(body: object) -> None:
    """A body of another shape, or with absurd values, is ignored."""
    assert None is rate_limits_of_error(body, NOW)


@pytest.mark.parametrize("status", [429, 200])
def test_an_attempt_has_the_rate_limits_of_its_error(status: int) -> None:
    """Those in the body of a 429, or of an error in JSON with status 200, are those of the attempt."""
    machine = AttemptMachine(Timeouts(), started=0.0)
    error = {"error": {"message": "slow down", "code": 429, "metadata": {"headers": OPENROUTER}}}
    headers = {"content-type": "application/json", "x-ratelimit-remaining": "7"}
    error_body = error if status == 429 else None
    machine.headers_received(ResponseHead(status, headers, error_body=error_body), wall_time=NOW)
    machine.feed(json.dumps(error).encode(), 1.0)
    machine.feed_eof(1.0)
    assert (FaultKind.RATE_LIMITED, RateLimits(requests=quota(0, 20, 60.0))) == (
        machine.fault and machine.fault.kind,
        machine.rate_limits,
    )


def test_the_number_of_headers_is_bounded() -> None:
    """A response with thousands of quotas is read up to a bound."""
    many = {f"x-ratelimit-remaining-tokens-{number}": str(10_000 - number) for number in range(10_000)}
    found = rate_limits_of(many, NOW)
    assert found is not None
    assert quota(10_000 - 63) == found.tokens


_names = st.sampled_from(
    ["x-ratelimit-remaining-requests", "x-ratelimit-limit-tokens", "x-ratelimit-reset", "ratelimit", "ratelimit-policy"]
) | st.text(string.ascii_lowercase + "-_", max_size=30).map(lambda rest: f"x-ratelimit-{rest}")


@given(st.dictionaries(_names, st.text(max_size=60), max_size=8))
def test_any_headers_are_read_without_an_error(headers: dict[str, Any]) -> None:
    """Whatever the values are, counts are not negative, and times are finite."""
    found = rate_limits_of(headers, NOW)
    for _, each in found.by_type() if found is not None else ():
        assert True is ((each.remaining or 0) >= 0 and (each.limit is None or each.limit > 0))
        assert True is (each.reset_after is None or (math.isfinite(each.reset_after) and each.reset_after >= 0))
