"""Faults of the simulator through Chat Completions, as observed by a plain HTTP client."""

import json
import re
from email.utils import parsedate_to_datetime

import pytest

from streamcanary.simulator import FAULTS, Simulator
from support.servers.simulator import APIS, FAST_TIMINGS, Api, fetch_raw

SSE, JSON, HTML = "text/event-stream", "application/json", "text/html"
ANSWER, PARTIAL_ANSWER = "Pong! The canary sings.", "Pong! The"
CUT, RST = "RemoteProtocolError", "ReadError"

# Faults before the stream, through both APIs: status, content type, error code (or type), end of the response
FAULTS_BEFORE_STREAM = {
    "reset": (None, None, None, RST),
    "close": (None, None, None, CUT),
    "garbage": (None, None, None, CUT),
    "no-headers": (None, None, None, CUT),
    "400": (400, JSON, "unsupported_parameter", "whole"),
    "context-length": (400, JSON, "context_length_exceeded", "whole"),
    "content-policy": (400, JSON, "content_policy_violation", "whole"),
    "401": (401, JSON, "invalid_api_key", "whole"),
    "403": (403, JSON, "unsupported_country_region_territory", "whole"),
    "404": (404, JSON, "model_not_found", "whole"),
    "408": (408, JSON, "server_error", "whole"),
    "409": (409, JSON, "server_error", "whole"),
    "413": (413, HTML, None, "whole"),
    "422": (422, JSON, "invalid_request_error", "whole"),
    "429": (429, JSON, "rate_limit_exceeded", "whole"),
    "429-retry-after": (429, JSON, "rate_limit_exceeded", "whole"),
    "429-retry-after-ms": (429, JSON, "rate_limit_exceeded", "whole"),
    "429-retry-after-date": (429, JSON, "rate_limit_exceeded", "whole"),
    "quota": (429, JSON, "insufficient_quota", "whole"),
    "500": (500, JSON, "server_error", "whole"),
    "502": (502, HTML, None, "whole"),
    "503": (503, JSON, "server_error", "whole"),
    "504": (504, HTML, None, "whole"),
    "529": (529, JSON, "overloaded_error", "whole"),
    "5xx-stalled-body": (503, JSON, None, CUT),
    "5xx-cut-body": (503, JSON, None, CUT),
    "redirect": (302, None, None, "whole"),
    "html-200": (200, HTML, None, "whole"),
    "json-200": (200, JSON, None, "whole"),
    "json-error-200": (200, JSON, "server_error", "whole"),
    "204": (204, None, None, "whole"),
    "empty-body": (200, None, None, "whole"),
    "empty-stream": (200, SSE, None, "whole"),
}

# Faults in the stream, all with status 200: text, finish_reason, presence of [DONE], end of the response
FAULTS_IN_STREAM = {
    "ok": (ANSWER, "stop", True, "whole"),
    "slow-first-token": (ANSWER, "stop", True, "whole"),
    "slow-drip": (ANSWER, "stop", True, "whole"),
    "low-quota": (ANSWER, "stop", True, "whole"),
    "other-model": (ANSWER, "stop", True, "whole"),
    "retiring": (ANSWER, "stop", True, "whole"),
    "cut": (PARTIAL_ANSWER, None, False, CUT),
    "reset-stream": (PARTIAL_ANSWER, None, False, RST),
    "stall": (PARTIAL_ANSWER, None, False, CUT),
    "keepalive-stall": (PARTIAL_ANSWER, None, False, CUT),
    "pings": ("", None, False, CUT),
    "empty-deltas": ("", None, False, CUT),
    "truncated": (PARTIAL_ANSWER, None, False, "whole"),
    "malformed": (PARTIAL_ANSWER, None, False, "whole"),
    "bad-utf8": ("! The canary sings.", "stop", True, "whole"),
    "inband-error": (PARTIAL_ANSWER, None, True, "whole"),
    "error-field": (PARTIAL_ANSWER, None, True, "whole"),
    "event-error": (PARTIAL_ANSWER, None, False, "whole"),
    "flat-error": (PARTIAL_ANSWER, None, False, "whole"),
    "nested-error": (PARTIAL_ANSWER, None, False, "whole"),
    "failed": (PARTIAL_ANSWER, None, True, "whole"),
    "failed-rate-limit": (PARTIAL_ANSWER, None, True, "whole"),
    "cancelled": (PARTIAL_ANSWER, None, False, "whole"),
    "no-done": (ANSWER, "stop", False, "whole"),
    "held-open": (ANSWER, "stop", False, CUT),
    "early-finish": (ANSWER, "stop", True, "whole"),
    "null-finish": (ANSWER, None, True, "whole"),
    "length": (PARTIAL_ANSWER, "length", True, "whole"),
    "incomplete-empty": ("", "length", True, "whole"),
    "reasoning-length": ("", "length", True, "whole"),
    "content-filter": (PARTIAL_ANSWER, "content_filter", True, "whole"),
    "content-filter-empty": ("", "content_filter", True, "whole"),
    "empty": ("", "stop", True, "whole"),
    "reasoning": (ANSWER, "stop", True, "whole"),
    "reasoning-text": (ANSWER, "stop", True, "whole"),
    "refusal": ("", "stop", True, "whole"),
    "tool-call": ("", "tool_calls", True, "whole"),
    "malformed-tool-call": ("", "tool_calls", True, "whole"),
}
HANGING = ["no-headers", "5xx-stalled-body", "stall", "keepalive-stall", "pings", "empty-deltas", "held-open"]


def test_every_behaviour_is_tested() -> None:
    """Every behaviour of the simulator has a row in one of the tables."""
    assert {*FAULTS_BEFORE_STREAM, *FAULTS_IN_STREAM, "comments"} == set(FAULTS)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("fault", FAULTS_BEFORE_STREAM)
async def test_fault_before_the_stream_matches_its_row(fault: str, api: Api) -> None:
    """Status, content type, error code and end of the response match the row, through both APIs."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        response = await fetch_raw(simulator, f"sim-{fault}", api=api)
    error = (response.content_type == JSON and response.ending == "whole" and response.json.get("error")) or {}
    assert (
        response.status,
        response.content_type,
        error.get("code") or error.get("type"),
        response.ending,
    ) == FAULTS_BEFORE_STREAM[fault]


@pytest.mark.parametrize("fault", FAULTS_IN_STREAM)
async def test_fault_in_the_stream_matches_its_row(fault: str) -> None:
    """Text, finish_reason, [DONE] and end of the response match the row."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        response = await fetch_raw(simulator, f"sim-{fault}")
    assert (response.status, response.content_type) == (200, SSE)
    assert (response.text, response.finish_reason, response.has_done_marker, response.ending) == FAULTS_IN_STREAM[fault]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("fault", HANGING)
async def test_hanging_fault_lasts_for_the_hang_time(fault: str, api: Api) -> None:
    """A hanging fault lasts at least for the configured hang time."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        response = await fetch_raw(simulator, f"sim-{fault}", api=api)
    assert response.seconds >= FAST_TIMINGS.hang


async def test_stream_has_the_format_of_openai() -> None:
    """A stream has a role chunk, text chunks and a finish_reason chunk under one id, and then [DONE]."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        response = await fetch_raw(simulator, "sim-ok")
    first, *middle, last = response.events
    assert set(first) == {"id", "object", "created", "model", "service_tier", "system_fingerprint", "choices"}
    assert first["object"] == "chat.completion.chunk"
    assert first["model"] == "sim-ok"
    assert re.fullmatch(r"chatcmpl-[0-9a-f]{32}", first["id"])
    assert {(event["id"], event["created"]) for event in response.events} == {(first["id"], first["created"])}
    delta = {"role": "assistant", "content": "", "refusal": None}
    assert first["choices"] == [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}]
    assert [event["choices"][0]["delta"] for event in middle] == [
        {"content": piece} for piece in ("Pong", "!", " The", " can", "ary", " sings", ".")
    ]
    assert last["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]
    assert response.body.endswith(b"data: [DONE]\n\n")


async def test_usage_is_in_the_last_chunk_on_request() -> None:
    """With ``include_usage``, the last chunk has the usage and no choices, and the other chunks have null."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        response = await fetch_raw(simulator, "sim-ok", stream_options={"include_usage": True})
    *others, last = response.events
    assert {event["usage"] for event in others} == {None}
    assert last["choices"] == []
    tokens = {name: last["usage"][name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    assert tokens == {"prompt_tokens": 8, "completion_tokens": 7, "total_tokens": 15}


@pytest.mark.parametrize(
    ("fault", "message", "finish_reason"),
    [
        ("ok", {"content": ANSWER, "refusal": None}, "stop"),
        ("comments", {"content": ANSWER, "refusal": None}, "stop"),
        ("length", {"content": PARTIAL_ANSWER, "refusal": None}, "length"),
        ("null-finish", {"content": ANSWER, "refusal": None}, None),
        ("empty", {"content": None, "refusal": None}, "stop"),
        ("refusal", {"content": None, "refusal": "I'm sorry, I cannot sing that."}, "stop"),
        (
            "tool-call",
            {
                "content": None,
                "refusal": None,
                "tool_calls": [
                    {
                        "id": "call_simulator000000000001",
                        "type": "function",
                        "function": {"name": "sing", "arguments": '{"song":"pong"}'},
                    }
                ],
            },
            "tool_calls",
        ),
    ],
)
async def test_non_streaming_answer_is_one_object(
    fault: str, message: dict[str, object], finish_reason: str | None
) -> None:
    """Without streaming the response is one object with the joined deltas."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        response = await fetch_raw(simulator, f"sim-{fault}", stream=False)
    choice = {
        "index": 0,
        "message": {"role": "assistant", **message},
        "logprobs": None,
        "finish_reason": finish_reason,
    }
    assert (response.content_type, response.json["object"], response.json["choices"]) == (
        JSON,
        "chat.completion",
        [choice],
    )


@pytest.mark.parametrize(
    ("fault", "end"),
    [
        *((fault, CUT) for fault in ("cut", "stall", "keepalive-stall", "pings", "empty-deltas")),
        *((fault, "whole") for fault in ("truncated", "malformed", "bad-utf8")),
        ("reset-stream", RST),
    ],
)
async def test_non_streaming_fault_breaks_the_object(fault: str, end: str) -> None:
    """Without streaming the fault breaks the JSON object in the same way."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        response = await fetch_raw(simulator, f"sim-{fault}", stream=False)
    assert (response.status, response.content_type, response.ending) == (200, JSON, end)
    with pytest.raises(ValueError):  # invalid JSON or invalid UTF-8
        json.loads(response.body)


@pytest.mark.parametrize("fault", ["inband-error", "event-error"])
async def test_non_streaming_in_band_error_is_in_the_body(fault: str) -> None:
    """Without streaming an in-band error is an error body with status 200."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        response = await fetch_raw(simulator, f"sim-{fault}", stream=False)
    assert (response.status, response.json["error"]["type"]) == (200, "server_error")


async def test_429_has_retry_after_in_each_format() -> None:
    """A 429 has Retry-After in seconds, in milliseconds, as a date, or not at all."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        plain = await fetch_raw(simulator, "sim-429")
        seconds = await fetch_raw(simulator, "sim-429-retry-after")
        milliseconds = await fetch_raw(simulator, "sim-429-retry-after-ms")
        date = await fetch_raw(simulator, "sim-429-retry-after-date")
    assert {"retry-after", "retry-after-ms"} & set(plain.headers) == set()
    assert seconds.headers["retry-after"] == "1"
    assert milliseconds.headers["retry-after-ms"] == "200"
    retry_at, sent_at = (parsedate_to_datetime(date.headers[name]) for name in ("retry-after", "date"))
    assert (retry_at - sent_at).total_seconds() == 1


async def test_cut_error_body_has_complete_headers() -> None:
    """An error with a cut body has Retry-After and request id, and half of the body."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        response = await fetch_raw(simulator, "sim-5xx-cut-body")
    assert (response.headers["retry-after"], response.headers["x-request-id"][:4]) == ("1", "req_")
    assert len(response.body) == int(response.headers["content-length"]) // 2


async def test_in_band_error_has_two_formats() -> None:
    """``data: {"error": …}`` has an error key, ``event: error`` has none."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        in_band, event = await fetch_raw(simulator, "sim-inband-error"), await fetch_raw(simulator, "sim-event-error")
    assert in_band.events[-1]["error"]["type"] == "server_error"
    assert b'event: error\ndata: {"type":"error","code":"server_error"' in event.body
    assert b'"error":' not in event.body


@pytest.mark.parametrize(
    ("fault", "nearest"),
    [("flat-error", "event-error"), ("failed", "inband-error"), ("cancelled", "truncated")],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_responses_only_fault_falls_back_to_the_nearest(fault: str, nearest: str, stream: bool) -> None:
    """A fault that only Responses can express equals the nearest fault byte for byte, except for the model."""

    async def body(name: str) -> bytes:
        async with Simulator(timings=FAST_TIMINGS) as simulator:
            response = await fetch_raw(simulator, f"sim-{name}", stream=stream)
        return re.sub(rb'"(id|created|model)":[^,]*', b"", response.body)

    if (fault, stream) == ("cancelled", False):  # an object cut at half its length, which depends on the model name
        assert (await body(fault))[:100] == (await body(nearest))[:100]
        return
    assert await body(fault) == await body(nearest)


async def test_rate_limit_in_the_stream_has_its_code() -> None:
    """A rate limit in the stream has the error code of a 429."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        response = await fetch_raw(simulator, "sim-failed-rate-limit")
    assert response.events[-1]["error"]["code"] == "rate_limit_exceeded"


async def test_nested_error_has_both_types() -> None:
    """A nested error has the type of the event and its own type."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        response = await fetch_raw(simulator, "sim-nested-error")
    assert (response.events[-1]["type"], response.events[-1]["error"]["type"]) == ("error", "server_error")


@pytest.mark.parametrize(("fault", "sign"), [("keepalive-stall", b": keep-alive\n\n"), ("pings", b": keep-alive\n\n")])
async def test_keep_alives_are_comments(fault: str, sign: bytes) -> None:
    """Keep-alive comments are repeated comments."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        response = await fetch_raw(simulator, f"sim-{fault}")
    assert response.body.count(sign) > 1


async def test_empty_deltas_are_repeated() -> None:
    """Empty deltas are complete chunks without text, and are repeated."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        response = await fetch_raw(simulator, "sim-empty-deltas")
    role, *deltas = [event["choices"][0]["delta"] for event in response.events]
    assert role["role"] == "assistant"
    assert len(deltas) > 1
    assert all(delta == {"content": ""} for delta in deltas)


async def test_unusual_events_are_valid_for_a_correct_parser() -> None:
    """A BOM, comments, retry, id, empty data, all line ends and multi-line data are parsed to the answer."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        response = await fetch_raw(simulator, "sim-comments")
    text = response.body.decode("utf-8-sig")
    events = re.split(r"(?:\r\n|\r(?!\n)|\n){2}", text)
    data = [re.findall(r"(?:^|\r\n|\r|\n)data: ?([^\r\n]*)", event) for event in events]
    payloads = ["\n".join(lines) for lines in data if any(lines)]
    assert payloads.pop() == "[DONE]"
    deltas = [json.loads(payload)["choices"][0]["delta"] for payload in payloads]
    assert "".join(delta.get("content", "") for delta in deltas) == ANSWER
    assert response.body.startswith(b"\xef\xbb\xbf")
    unusual = (
        "retry: 3000\n\n",
        "data:\n\n",
        "id: 1\ndata:",
        ": a ping",
        "\r\n\r\n",
        "\r\r",
        "\ndata: ,",
        "data:[DONE]",
    )
    assert [piece for piece in unusual if piece not in text] == []


@pytest.mark.parametrize(("fault", "field"), [("reasoning", "reasoning_content"), ("reasoning-text", "reasoning")])
async def test_reasoning_precedes_the_answer(fault: str, field: str) -> None:
    """Reasoning is in ``reasoning_content`` or in ``reasoning``, as providers differ, and precedes the answer."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        response = await fetch_raw(simulator, f"sim-{fault}")
    deltas = [event["choices"][0]["delta"] for event in response.events]
    reasoning = [delta.get(field) for delta in deltas]
    assert "".join(filter(None, reasoning)) == "The user wants pong."
    assert [("content" in delta) for delta in deltas[1:6]] == [False] * 5


@pytest.mark.parametrize(("fault", "seconds"), [("slow-first-token", 0.1), ("slow-drip", 8 * 0.02)])
async def test_slow_fault_takes_the_configured_time(fault: str, seconds: float) -> None:
    """A slow fault takes at least the configured time."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        response = await fetch_raw(simulator, f"sim-{fault}")
    assert response.seconds >= seconds
