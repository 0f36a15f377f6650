"""Errors as providers, inference servers and proxies send them, through both APIs and both drivers."""

import json
from typing import Any, Final, NamedTuple

import pytest

from streamcanary import StreamFailed
from streamcanary.model.faults import Blame, FaultKind
from support.client.fault_matrix import CLIENT_VARIANTS, ClientVariant
from support.client.fault_scenarios import http_server
from support.servers.tcp import http_response

K, B = FaultKind, Blame
CONTEXT_MESSAGE = "the request exceeds the available context size, try increasing it"
LLAMA = {"code": 400, "message": CONTEXT_MESSAGE, "type": "exceed_context_size_error"}
QUOTA_MESSAGE = "You exceeded your current quota, please check your plan and billing details."
GOOGLE = [
    {
        "error": {
            "code": 429,
            "message": "Quota exceeded for requests per minute",
            "status": "RESOURCE_EXHAUSTED",
            "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.002s"}],
        }
    }
]
FLAGGED = {"code": "invalid_prompt", "message": "Invalid prompt: your prompt was flagged."}


def events(*data: Any, event: str = "") -> str:
    """Return an event stream."""
    name = f"event: {event}\n" if event else ""
    return "".join(f"{name}data: {json.dumps(item)}\n\n" for item in data)


class Row(NamedTuple):
    """A response, and the fault that it is."""

    status: int
    body: Any
    kind: FaultKind
    blame: Blame
    message: str
    is_retried: bool = False
    content_type: str = "application/json"


STREAM: Final = "text/event-stream"
ROWS: Final[dict[str, Row]] = {
    "llama.cpp, in the stream": Row(
        200, events({"error": LLAMA}), K.CONTEXT_LENGTH_EXCEEDED, B.CONFIG, CONTEXT_MESSAGE, content_type=STREAM
    ),
    "llama.cpp, as a status": Row(400, {"error": LLAMA}, K.CONTEXT_LENGTH_EXCEEDED, B.CONFIG, CONTEXT_MESSAGE),
    "llama.cpp, 200 and JSON": Row(200, {"error": LLAMA}, K.CONTEXT_LENGTH_EXCEEDED, B.CONFIG, CONTEXT_MESSAGE),
    "event error with details": Row(
        200,
        events({"code": 400, "details": "Requested sample logprobs of 21"}, event="error"),
        K.BAD_REQUEST,
        B.CONFIG,
        "Requested sample logprobs of 21",
        content_type=STREAM,
    ),
    "no credit": Row(
        402, {"error": {"message": "Insufficient credits"}}, K.QUOTA_EXHAUSTED, B.QUOTA, "Insufficient credits"
    ),
    "no credit, in the stream": Row(
        200,
        events({"error": {"code": 402, "message": "Insufficient credits"}}),
        K.QUOTA_EXHAUSTED,
        B.QUOTA,
        "Insufficient credits",
        content_type=STREAM,
    ),
    "Groq's flex tier": Row(
        498,
        {"error": {"code": "capacity_exceeded", "message": "no capacity"}},
        K.OVERLOADED,
        B.PROVIDER,
        "no capacity",
        True,
    ),
    "Ollama, 200 and JSON": Row(
        200,
        {"error": "model 'x' not found, try pulling it first"},
        K.NOT_FOUND,
        B.CONFIG,
        "model 'x' not found, try pulling it first",
    ),
    "LiteLLM, quota": Row(
        429,
        {
            "error": {
                "message": f"RateLimitError: {QUOTA_MESSAGE}",
                "type": "throttling_error",
                "param": None,
                "code": "429",
            }
        },
        K.QUOTA_EXHAUSTED,
        B.QUOTA,
        f"RateLimitError: {QUOTA_MESSAGE}",
    ),
    "LiteLLM, context": Row(
        400,
        {"error": {"message": "ContextWindowExceededError: too long", "type": None, "param": None, "code": "400"}},
        K.CONTEXT_LENGTH_EXCEEDED,
        B.CONFIG,
        "ContextWindowExceededError: too long",
    ),
    "retired model": Row(
        410, {"detail": "model has been deprecated"}, K.NOT_FOUND, B.CONFIG, "model has been deprecated"
    ),
    "decommissioned model": Row(
        400, {"error": {"code": "model_decommissioned", "message": "gone"}}, K.NOT_FOUND, B.CONFIG, "gone"
    ),
    "legal reasons": Row(451, {"error": {"message": "not here"}}, K.PERMISSION_DENIED, B.CONFIG, "not here"),
    "FastAPI": Row(
        422,
        {"detail": [{"loc": ["body", "messages"], "msg": "field required", "type": "missing"}]},
        K.BAD_REQUEST,
        B.CONFIG,
        "messages: field required",
    ),
    "flagged prompt": Row(400, {"error": FLAGGED}, K.CONTENT_POLICY, B.CONTENT, FLAGGED["message"]),
    "Moonshot, quota": Row(
        429,
        {"error": {"type": "exceeded_current_quota_error", "message": "suspended"}},
        K.QUOTA_EXHAUSTED,
        B.QUOTA,
        "suspended",
    ),
    "Zhipu, arrears": Row(429, {"error": {"code": "1113", "message": "no"}}, K.QUOTA_EXHAUSTED, B.QUOTA, "no"),
    "Google, as a status": Row(429, GOOGLE, K.RATE_LIMITED, B.QUOTA, GOOGLE[0]["error"]["message"], True),
    "Google, in the stream": Row(
        200, events(GOOGLE), K.RATE_LIMITED, B.QUOTA, GOOGLE[0]["error"]["message"], True, STREAM
    ),
    "Google, 200 and JSON": Row(200, GOOGLE, K.RATE_LIMITED, B.QUOTA, GOOGLE[0]["error"]["message"], True),
    "problem details": Row(
        200,
        {"title": "Gone", "status": 410, "detail": "The model has been retired"},
        K.NOT_FOUND,
        B.CONFIG,
        "The model has been retired",
        content_type="application/problem+json; charset=utf-8",
    ),
    "list of errors": Row(200, {"errors": [{"message": "Overloaded"}]}, K.OVERLOADED, B.PROVIDER, "Overloaded", True),
    "list of errors, in the stream": Row(
        200, events({"errors": [{"message": "no"}]}), K.STREAM_ERROR, B.PROVIDER, "no", True, STREAM
    ),
    "error type and message": Row(
        200,
        events({"error_type": "overloaded_error", "error_message": "later"}),
        K.OVERLOADED,
        B.PROVIDER,
        "later",
        True,
        STREAM,
    ),
    "xAI, in the stream": Row(
        200,
        events({"code": "permission-denied", "error": "no access"}),
        K.PERMISSION_DENIED,
        B.CONFIG,
        "no access",
        content_type=STREAM,
    ),
    "OpenRouter": Row(
        200,
        {"error": {"code": 502, "message": "Provider returned error", "metadata": {"raw": CONTEXT_MESSAGE}}},
        K.CONTEXT_LENGTH_EXCEEDED,
        B.CONFIG,
        f"Provider returned error; {CONTEXT_MESSAGE}",
    ),
    "Zhipu, 200 and JSON": Row(
        200, {"code": 500, "msg": "404 NOT_FOUND", "success": False}, K.SERVER_ERROR, B.PROVIDER, "404 NOT_FOUND", True
    ),
    "words alone, 200 and JSON": Row(200, {"message": QUOTA_MESSAGE}, K.QUOTA_EXHAUSTED, B.QUOTA, QUOTA_MESSAGE),
    "text in a field, in the stream": Row(
        200, f"error: {CONTEXT_MESSAGE}\n\n", K.CONTEXT_LENGTH_EXCEEDED, B.CONFIG, CONTEXT_MESSAGE, content_type=STREAM
    ),
    "several lines, in the stream": Row(
        200, json.dumps({"error": LLAMA}, indent=2), K.CONTEXT_LENGTH_EXCEEDED, B.CONFIG, CONTEXT_MESSAGE, False, STREAM
    ),
    "text, in the stream": Row(
        200, "data: [ERROR] out of memory\n\n", K.STREAM_ERROR, B.PROVIDER, "[ERROR] out of memory", True, STREAM
    ),
    "message, in the stream": Row(
        200,
        events({"message": "Internal server error"}),
        K.SERVER_ERROR,
        B.PROVIDER,
        "Internal server error",
        True,
        STREAM,
    ),
    "MiniMax, 200 and JSON": Row(
        200, {"base_resp": {"status_code": 1004, "status_msg": "no"}}, K.AUTH_FAILED, B.CONFIG, "no"
    ),
    "FastAPI, 200 and JSON": Row(200, {"detail": "Not authenticated"}, K.AUTH_FAILED, B.CONFIG, "Not authenticated"),
    "JSON error as text": Row(
        200, {"error": LLAMA}, K.CONTEXT_LENGTH_EXCEEDED, B.CONFIG, CONTEXT_MESSAGE, content_type="text/plain"
    ),
    "the model failed": Row(424, {"message": "no"}, K.SERVER_ERROR, B.PROVIDER, "no", True),
    "unknown shape": Row(500, {"failure": "x"}, K.SERVER_ERROR, B.PROVIDER, '{"failure":"x"}', True),
    "page of a proxy": Row(
        502,
        "<html><head><title>502 Bad Gateway</title></head></html>",
        K.SERVER_ERROR,
        B.PROVIDER,
        "502 Bad Gateway",
        True,
        "text/html",
    ),
    "greeting": Row(
        200,
        {"message": "Welcome"},
        K.NOT_A_STREAM,
        B.CONFIG,
        "the server answered with JSON that is neither an answer nor an error: Welcome",
    ),
}


@pytest.mark.parametrize("variant", CLIENT_VARIANTS, ids=str)
@pytest.mark.parametrize("name", ROWS)
async def test_error_is_classified(name: str, variant: ClientVariant) -> None:
    """Kind, blame and message are those of the row, and only what can pass is retried."""
    row = ROWS[name]
    response = http_response(row.status, row.body, row.content_type)
    async with http_server(lambda head: response) as server:
        failure = await variant.call(server.base_url, "x")
    assert isinstance(failure, StreamFailed)
    fault = failure.fault
    assert (row.kind, row.blame, row.message) == (fault.kind, fault.blame, fault.message)
    assert (2 if row.is_retried else 1) == len(failure.attempts)


@pytest.mark.parametrize("variant", CLIENT_VARIANTS, ids=str)
@pytest.mark.parametrize("name", ["Google, as a status", "Google, in the stream", "Google, 200 and JSON"])
async def test_retry_delay_of_the_body_is_waited_for(name: str, variant: ClientVariant) -> None:
    """The delay that the body asks for is the lower bound of the wait, although there is no ``Retry-After``."""
    row = ROWS[name]
    response = http_response(row.status, row.body, row.content_type)
    async with http_server(lambda head: response) as server:
        failure = await variant.call(server.base_url, "x")
    assert isinstance(failure, StreamFailed)
    assert [0.0, 0.002] == [attempt.delay for attempt in failure.attempts]
