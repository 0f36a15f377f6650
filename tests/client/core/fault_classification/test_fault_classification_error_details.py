"""What is extracted from the error bodies of providers and servers, whatever their shape."""

import json
from typing import Any

import pytest

from streamcanary.client.core.fault_classification.error_details import ErrorDetails, parse_error_details

OPENAI = {"error": {"message": "no", "type": "invalid_request_error", "param": "n", "code": "invalid_value"}}
GOOGLE = {
    "error": {
        "code": 429,
        "message": "Quota exceeded.",
        "errors": [{"message": "Quota exceeded.", "domain": "global", "reason": "rateLimitExceeded"}],
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [{"quotaId": "RequestsPerMinute"}, {"quotaId": "TokensPerMinute"}, "?"],
            },
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "36.5s"},
            None,
        ],
    }
}
NESTED = {"error": {"message": json.dumps({"error": {"code": 429, "message": "exhausted"}}), "code": 429}}
OPENROUTER = {
    "error": {
        "message": "Provider returned error",
        "code": 400,
        "metadata": {
            "raw": json.dumps({"error": {"message": "too long", "type": "Bad Request"}}),
            "provider_name": "x",
        },
    }
}


@pytest.mark.parametrize(
    ("body", "details"),
    [
        (OPENAI, ErrorDetails(codes=("invalid_value", "invalid_request_error"), message="no", param="n")),
        (OPENAI["error"], ErrorDetails(codes=("invalid_value", "invalid_request_error"), message="no", param="n")),
        ({"error": "no such model"}, ErrorDetails(message="no such model")),
        ("no such model", ErrorDetails(message="no such model")),
        (
            {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "r"},
            ErrorDetails(codes=("overloaded_error",), message="Overloaded"),
        ),
        ({"code": "denied", "error": "no credits"}, ErrorDetails(codes=("denied",), message="no credits")),
        (
            {"object": "error", "message": "slow", "type": "rate_limited", "param": None, "code": "1300"},
            ErrorDetails(codes=("1300", "rate_limited"), message="slow"),
        ),
        (
            {"type": "about:blank", "title": "Gone", "status": 410, "detail": "end of life"},
            ErrorDetails(codes=(410,), message="end of life"),
        ),
        ({"title": "Gone"}, ErrorDetails(message="Gone")),
        (
            {"detail": [{"loc": ["body", "messages", 0, "role"], "msg": "field required", "type": "missing"}]},
            ErrorDetails(codes=("missing",), message="field required", param="messages.0.role"),
        ),
        ({"code": 400, "details": "logprobs of 21"}, ErrorDetails(codes=(400,), message="logprobs of 21")),
        ({"details": ["a", "b"]}, ErrorDetails(message="a; b")),
        ({"errors": [{"message": "a"}, {"message": "b"}]}, ErrorDetails(message="a; b")),
        ({"errors": ["a", "b", "c", "d"]}, ErrorDetails(message="a; b; c")),
        ({"error_type": "Overload", "error_message": "m"}, ErrorDetails(codes=("Overload",), message="m")),
        ({"error_code": 17, "error_msg": "m"}, ErrorDetails(codes=(17,), message="m")),
        (
            {"id": "c", "base_resp": {"status_code": 1008, "status_msg": "m"}},
            ErrorDetails(codes=("base_resp 1008",), message="m"),
        ),
        ({"base_resp": {"status_code": 0, "status_msg": "success"}}, ErrorDetails(message="success")),
        ({"status_code": 503, "message": "m"}, ErrorDetails(codes=(503,), message="m")),
        (
            {"detail": [{"loc": ["body", "a"], "msg": "field required"}, {"loc": ["body", "b"], "msg": "must be int"}]},
            ErrorDetails(message="a: field required; b: must be int", param="a"),
        ),
        (
            {"detail": [{"loc": ["body", name], "msg": "field required"} for name in "ab"]},
            ErrorDetails(message="a: field required; b: field required", param="a"),
        ),
        (
            {"errors": [{"message": "too long", "param": "a"}, {"message": "sent by x"}]},
            ErrorDetails(message="a: too long; sent by x", param="a"),
        ),
        ({"msg": "m", "reason": "r"}, ErrorDetails(message="m")),
        ({"reason": "r"}, ErrorDetails(message="r")),
        ({"error": {"msg": ["a", {"message": "b"}]}}, ErrorDetails(message="a; b")),
        (
            [GOOGLE],
            ErrorDetails(
                codes=(429, "RESOURCE_EXHAUSTED"),
                message="Quota exceeded.",
                retry_delay=36.5,
                quota_ids="RequestsPerMinute TokensPerMinute",
            ),
        ),
        (NESTED, ErrorDetails(codes=(429, 429), message="exhausted")),
        (OPENROUTER, ErrorDetails(codes=(400, "Bad Request"), message="Provider returned error; too long")),
        (json.dumps(OPENROUTER), ErrorDetails(codes=(400, "Bad Request"), message="Provider returned error; too long")),
        ("error: " + json.dumps(OPENAI["error"]), parse_error_details(OPENAI)),
        ("event: error\ndata: " + json.dumps(OPENAI) + "\n\ndata: [DONE]\n\n", parse_error_details(OPENAI)),
        (" <html><head><title> 502 Bad Gateway </title>", ErrorDetails(message="502 Bad Gateway")),
        ("<h1>Down</h1>", ErrorDetails(message="<h1>Down</h1>")),
        ("{not JSON", ErrorDetails(message="{not JSON")),
        ({"failure": {"text": "m"}}, ErrorDetails(message='{"failure":{"text":"m"}}')),
        (' {"failure": "m"}', ErrorDetails(message='{"failure": "m"}')),
        ({"error": {"code": "x"}}, ErrorDetails(codes=("x",), message='{"error":{"code":"x"}}')),
        ({"error": {"code": 402.0, "message": "m"}}, ErrorDetails(codes=(402,), message="m")),
        ({"code": True, "message": "m"}, ErrorDetails(message="m")),
        *[(empty, ErrorDetails()) for empty in (None, "", {}, [], 7, " ", "{}", "[]")],
    ],
)
def test_details_are_extracted_from_every_shape(body: object, details: ErrorDetails) -> None:
    """Codes, message, parameter, retry delay and quota names are found in every known shape of an error body."""
    assert details == parse_error_details(body)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2s", 2.0),
        ("0.25s", 0.25),
        (3, 3.0),
        ("4", 4.0),
        (10**9, 86_400.0),
        *[(value, None) for value in ("soon", "-1s", -1, "nan", "infs", "1e400s", True, None, [], "9" * 1000)],
    ],
)
@pytest.mark.parametrize("key", ["retryDelay", "retry_after"])
def test_retry_delay_is_bounded(key: str, value: Any, seconds: float | None) -> None:
    """A retry delay is read as a number or a duration, is at most a day, and is ignored if it is not valid."""
    assert seconds == parse_error_details({"error": {"message": "m", key: value}}).retry_delay


def nested(depth: int) -> Any:
    """Return an error inside ``depth`` objects."""
    error: Any = {"message": "m"}
    for _ in range(depth):
        error = {"error": error}
    return error


HOSTILE = {
    "deep object": nested(500),
    "deep text": json.dumps({"error": json.dumps({"error": json.dumps({"error": "x" * 100_000})})}),
    "long list": [{"message": f"{number}" * 1000} for number in range(100_000)],
    "wide object": {"details": [{"details": [{"message": "x" * 100_000}] * 100}] * 100},
    "many brackets": "[" * 60_000,
    "unclosed title": "<title>" * 60_000,
    "long code": {"code": "c" * 1_000_000, "message": "m" * 1_000_000, "param": "p" * 1_000_000},
    "half a surrogate pair": {"message": "\ud83d", "code": "\ud83d"},
    "keys that are no text": {1: 2, None: "x"},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_body_is_bounded(name: str) -> None:
    """Whatever a server sends, the extracted text is bounded."""
    details = parse_error_details(HOSTILE[name])
    assert True is (len(details.message) <= 30_000 and len(details.param) <= 10_000)
    assert True is all(len(str(code)) <= 5_000 for code in details.codes)
