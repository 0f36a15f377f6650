"""Each behaviour shows on the wire what its name claims."""

import json
import re
from email.utils import parsedate_to_datetime

import pytest

from streamcanary.simulator import FAULTS, Simulator
from support.servers.simulator import APIS, FAST_TIMINGS, Api, fetch_raw

SSE, JSON, HTML = "text/event-stream", "application/json", "text/html"
WHOLE, SOME = "Pong! The canary sings.", "Pong! The"
CUT, RST = "RemoteProtocolError", "ReadError"

# What comes before any event, through both APIs: status, content type, the code (or type) of the error, how it ends
OPENINGS = {
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

# Streams, all of status 200: the text in them, finish_reason, whether [DONE] comes, how they end
STREAMS = {
    "ok": (WHOLE, "stop", True, "whole"),
    "slow-first-token": (WHOLE, "stop", True, "whole"),
    "slow-drip": (WHOLE, "stop", True, "whole"),
    "cut": (SOME, None, False, CUT),
    "reset-stream": (SOME, None, False, RST),
    "stall": (SOME, None, False, CUT),
    "keepalive-stall": (SOME, None, False, CUT),
    "pings": ("", None, False, CUT),
    "empty-deltas": ("", None, False, CUT),
    "truncated": (SOME, None, False, "whole"),
    "malformed": (SOME, None, False, "whole"),
    "bad-utf8": ("! The canary sings.", "stop", True, "whole"),
    "inband-error": (SOME, None, True, "whole"),
    "event-error": (SOME, None, False, "whole"),
    "flat-error": (SOME, None, False, "whole"),
    "nested-error": (SOME, None, False, "whole"),
    "failed": (SOME, None, True, "whole"),
    "failed-rate-limit": (SOME, None, True, "whole"),
    "cancelled": (SOME, None, False, "whole"),
    "no-done": (WHOLE, "stop", False, "whole"),
    "null-finish": (WHOLE, None, True, "whole"),
    "length": (SOME, "length", True, "whole"),
    "incomplete-empty": ("", "length", True, "whole"),
    "content-filter": (SOME, "content_filter", True, "whole"),
    "content-filter-empty": ("", "content_filter", True, "whole"),
    "empty": ("", "stop", True, "whole"),
    "reasoning": (WHOLE, "stop", True, "whole"),
    "reasoning-text": (WHOLE, "stop", True, "whole"),
    "refusal": ("", "stop", True, "whole"),
    "tool-call": ("", "tool_calls", True, "whole"),
}
HANGING = ["no-headers", "5xx-stalled-body", "stall", "keepalive-stall", "pings", "empty-deltas"]


def test_every_behaviour_has_a_row_here() -> None:
    """A behaviour that nobody has looked at on the wire is none."""
    assert {*OPENINGS, *STREAMS, "comments"} == set(FAULTS)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("fault", OPENINGS)
async def test_an_opening_fault_shows_before_the_first_event(fault: str, api: Api) -> None:
    """Status, content type, error code and end are those of the row, whichever API is asked."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        seen = await fetch_raw(simulator, f"sim-{fault}", api=api)
    error = (seen.content_type == JSON and seen.ending == "whole" and seen.json.get("error")) or {}
    assert (seen.status, seen.content_type, error.get("code") or error.get("type"), seen.ending) == OPENINGS[fault]


@pytest.mark.parametrize("fault", STREAMS)
async def test_a_stream_fault_shows_in_the_stream(fault: str) -> None:
    """Text, finish_reason, [DONE] and end are those of the row."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        seen = await fetch_raw(simulator, f"sim-{fault}")
    assert (seen.status, seen.content_type) == (200, SSE)
    assert (seen.text, seen.finish_reason, seen.has_done_marker, seen.ending) == STREAMS[fault]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("fault", HANGING)
async def test_a_hanging_fault_lasts_as_long_as_a_hang(fault: str, api: Api) -> None:
    """It ends when the pace says so and not before."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        seen = await fetch_raw(simulator, f"sim-{fault}", api=api)
    assert seen.seconds >= FAST_TIMINGS.hang


async def test_a_good_stream_is_spelled_as_openai_spells_it() -> None:
    """Role first, then the text, then the reason it stopped, all under one id, then [DONE]; an event a chunk."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        seen = await fetch_raw(simulator, "sim-ok")
    first, *middle, last = seen.events
    assert set(first) == {"id", "object", "created", "model", "service_tier", "system_fingerprint", "choices"}
    assert first["object"] == "chat.completion.chunk"
    assert first["model"] == "sim-ok"
    assert re.fullmatch(r"chatcmpl-[0-9a-f]{32}", first["id"])
    assert {(event["id"], event["created"]) for event in seen.events} == {(first["id"], first["created"])}
    delta = {"role": "assistant", "content": "", "refusal": None}
    assert first["choices"] == [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}]
    assert [event["choices"][0]["delta"] for event in middle] == [
        {"content": piece} for piece in ("Pong", "!", " The", " can", "ary", " sings", ".")
    ]
    assert last["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]
    assert seen.body.endswith(b"data: [DONE]\n\n")


async def test_usage_comes_last_and_only_if_asked_for() -> None:
    """With ``include_usage``, each event has the field and all but the last, which has no choices, have null."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        seen = await fetch_raw(simulator, "sim-ok", stream_options={"include_usage": True})
    *others, last = seen.events
    assert {event["usage"] for event in others} == {None}
    assert last["choices"] == []
    tokens = {name: last["usage"][name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    assert tokens == {"prompt_tokens": 8, "completion_tokens": 7, "total_tokens": 15}


@pytest.mark.parametrize(
    ("fault", "message", "finish_reason"),
    [
        ("ok", {"content": WHOLE, "refusal": None}, "stop"),
        ("comments", {"content": WHOLE, "refusal": None}, "stop"),
        ("length", {"content": SOME, "refusal": None}, "length"),
        ("null-finish", {"content": WHOLE, "refusal": None}, None),
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
async def test_asked_for_no_stream_the_answer_is_one_object(
    fault: str, message: dict[str, object], finish_reason: str | None
) -> None:
    """The deltas of the stream, put together."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        seen = await fetch_raw(simulator, f"sim-{fault}", stream=False)
    choice = {
        "index": 0,
        "message": {"role": "assistant", **message},
        "logprobs": None,
        "finish_reason": finish_reason,
    }
    assert (seen.content_type, seen.json["object"], seen.json["choices"]) == (JSON, "chat.completion", [choice])


@pytest.mark.parametrize(
    ("fault", "end"),
    [
        *((fault, CUT) for fault in ("cut", "stall", "keepalive-stall", "pings", "empty-deltas")),
        *((fault, "whole") for fault in ("truncated", "malformed", "bad-utf8")),
        ("reset-stream", RST),
    ],
)
async def test_asked_for_no_stream_a_broken_one_is_a_broken_object(fault: str, end: str) -> None:
    """The same break, in the JSON."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        seen = await fetch_raw(simulator, f"sim-{fault}", stream=False)
    assert (seen.status, seen.content_type, seen.ending) == (200, JSON, end)
    with pytest.raises(ValueError):  # of JSON or of UTF-8
        json.loads(seen.body)


@pytest.mark.parametrize("fault", ["inband-error", "event-error"])
async def test_asked_for_no_stream_an_error_in_it_is_an_error_in_the_body(fault: str) -> None:
    """Still with status 200."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        seen = await fetch_raw(simulator, f"sim-{fault}", stream=False)
    assert (seen.status, seen.json["error"]["type"]) == (200, "server_error")


async def test_a_429_says_when_to_come_back_in_three_ways_or_not_at_all() -> None:
    """Whole seconds, milliseconds, a date; and nothing."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        plain = await fetch_raw(simulator, "sim-429")
        seconds = await fetch_raw(simulator, "sim-429-retry-after")
        milliseconds = await fetch_raw(simulator, "sim-429-retry-after-ms")
        date = await fetch_raw(simulator, "sim-429-retry-after-date")
    assert {"retry-after", "retry-after-ms"} & set(plain.headers) == set()
    assert seconds.headers["retry-after"] == "1"
    assert milliseconds.headers["retry-after-ms"] == "200"
    asked, sent = (parsedate_to_datetime(date.headers[name]) for name in ("retry-after", "date"))
    assert (asked - sent).total_seconds() == 1


async def test_an_error_body_that_never_ends_has_told_all_in_its_head() -> None:
    """Status, Retry-After and request id are there; of the body a half."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        seen = await fetch_raw(simulator, "sim-5xx-cut-body")
    assert (seen.headers["retry-after"], seen.headers["x-request-id"][:4]) == ("1", "req_")
    assert len(seen.body) == int(seen.headers["content-length"]) // 2


async def test_an_error_in_the_stream_comes_with_or_without_an_error_key() -> None:
    """``data: {"error": …}`` has one, ``event: error`` has none."""
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
async def test_what_has_no_word_in_chat_completions_is_the_nearest_that_has(
    fault: str, nearest: str, stream: bool
) -> None:
    """Byte for byte, but for the name of the model."""

    async def body(name: str) -> bytes:
        async with Simulator(timings=FAST_TIMINGS) as simulator:
            seen = await fetch_raw(simulator, f"sim-{name}", stream=stream)
        return re.sub(rb'"(id|created|model)":[^,]*', b"", seen.body)

    if (fault, stream) == ("cancelled", False):  # half an object: cut at half, which the length of the name moves
        assert (await body(fault))[:100] == (await body(nearest))[:100]
        return
    assert await body(fault) == await body(nearest)


async def test_a_rate_limit_in_the_stream_has_its_code() -> None:
    """As a status of 429 would."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        seen = await fetch_raw(simulator, "sim-failed-rate-limit")
    assert seen.events[-1]["error"]["code"] == "rate_limit_exceeded"


async def test_an_error_under_an_error_has_both_types() -> None:
    """Its own, and that of the event."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        seen = await fetch_raw(simulator, "sim-nested-error")
    assert (seen.events[-1]["type"], seen.events[-1]["error"]["type"]) == ("error", "server_error")


@pytest.mark.parametrize(("fault", "sign"), [("keepalive-stall", b": keep-alive\n\n"), ("pings", b": keep-alive\n\n")])
async def test_signs_of_life_carry_no_event(fault: str, sign: bytes) -> None:
    """Comments, again and again."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        seen = await fetch_raw(simulator, f"sim-{fault}")
    assert seen.body.count(sign) > 1


async def test_empty_deltas_say_nothing_again_and_again() -> None:
    """Events that are whole and hold no text."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        seen = await fetch_raw(simulator, "sim-empty-deltas")
    role, *deltas = [event["choices"][0]["delta"] for event in seen.events]
    assert role["role"] == "assistant"
    assert len(deltas) > 1
    assert all(delta == {"content": ""} for delta in deltas)


async def test_odd_events_are_a_good_answer_to_a_correct_parser() -> None:
    """BOM, comments, retry, id, empty data, all three line ends, two data lines, no space after the colon."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        seen = await fetch_raw(simulator, "sim-comments")
    text = seen.body.decode("utf-8-sig")
    events = re.split(r"(?:\r\n|\r(?!\n)|\n){2}", text)
    data = [re.findall(r"(?:^|\r\n|\r|\n)data: ?([^\r\n]*)", event) for event in events]
    payloads = ["\n".join(lines) for lines in data if any(lines)]
    assert payloads.pop() == "[DONE]"
    deltas = [json.loads(payload)["choices"][0]["delta"] for payload in payloads]
    assert "".join(delta.get("content", "") for delta in deltas) == WHOLE
    assert seen.body.startswith(b"\xef\xbb\xbf")
    odd = ("retry: 3000\n\n", "data:\n\n", "id: 1\ndata:", ": a ping", "\r\n\r\n", "\r\r", "\ndata: ,", "data:[DONE]")
    assert [piece for piece in odd if piece not in text] == []


@pytest.mark.parametrize(("fault", "field"), [("reasoning", "reasoning_content"), ("reasoning-text", "reasoning")])
async def test_thoughts_come_before_the_answer(fault: str, field: str) -> None:
    """In ``reasoning_content`` or in ``reasoning``: providers do not agree."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        seen = await fetch_raw(simulator, f"sim-{fault}")
    deltas = [event["choices"][0]["delta"] for event in seen.events]
    thoughts = [delta.get(field) for delta in deltas]
    assert "".join(filter(None, thoughts)) == "The user wants pong."
    assert [("content" in delta) for delta in deltas[1:6]] == [False] * 5


@pytest.mark.parametrize(("fault", "seconds"), [("slow-first-token", 0.1), ("slow-drip", 8 * 0.02)])
async def test_a_slow_fault_is_as_slow_as_the_pace_says(fault: str, seconds: float) -> None:
    """And good in all else."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        seen = await fetch_raw(simulator, f"sim-{fault}")
    assert seen.seconds >= seconds
