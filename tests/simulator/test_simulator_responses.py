"""Faults of the simulator through the Responses API, as observed by a plain HTTP client."""

import json
import re
from typing import Any, get_args

import pytest
from openai.types.responses import Response, ResponseStreamEvent

from streamcanary.simulator import FAULTS, Simulator
from streamcanary.simulator.faults.before_stream import FAULTS_BEFORE_STREAM
from support.servers.simulator import FAST_TIMINGS, RawAnswer, fetch_raw

SSE, JSON = "text/event-stream", "application/json"
WHOLE, SOME = "Pong! The canary sings.", "Pong! The"
CUT, RST = "RemoteProtocolError", "ReadError"
DELTA = "response.output_text.delta"

# Faults in the stream, all with status 200: text, last event with its reason or code, end of the response
STREAMS = {
    "ok": (WHOLE, "response.completed", "whole"),
    "slow-first-token": (WHOLE, "response.completed", "whole"),
    "slow-drip": (WHOLE, "response.completed", "whole"),
    "low-quota": (WHOLE, "response.completed", "whole"),
    "other-model": (WHOLE, "response.completed", "whole"),
    "retiring": (WHOLE, "response.completed", "whole"),
    "cut": (SOME, DELTA, CUT),
    "reset-stream": (SOME, DELTA, RST),
    "stall": (SOME, DELTA, CUT),
    "keepalive-stall": (SOME, DELTA, CUT),
    "pings": ("", None, CUT),
    "empty-deltas": ("", DELTA, CUT),
    "truncated": (SOME, DELTA, "whole"),
    "malformed": (SOME, DELTA, "whole"),
    "bad-utf8": ("! The canary sings.", DELTA, "whole"),
    "inband-error": (SOME, "server_error", "whole"),
    "error-field": (SOME, DELTA, "whole"),
    "event-error": (SOME, "error server_error", "whole"),
    "flat-error": (SOME, "error server_error", "whole"),
    "nested-error": (SOME, "error server_error", "whole"),
    "failed": (SOME, "response.failed server_error", "whole"),
    "failed-rate-limit": (SOME, "response.failed rate_limit_exceeded", "whole"),
    "cancelled": (SOME, "response.cancelled", "whole"),
    "no-done": (WHOLE, "response.completed", "whole"),
    "held-open": (WHOLE, "response.completed", CUT),
    "early-finish": (WHOLE, "response.completed", "whole"),
    "null-finish": (WHOLE, "response.output_item.done", "whole"),
    "length": (SOME, "response.incomplete max_output_tokens", "whole"),
    "incomplete-empty": ("", "response.incomplete max_output_tokens", "whole"),
    "reasoning-length": ("", "response.incomplete max_output_tokens", "whole"),
    "content-filter": (SOME, "response.incomplete content_filter", "whole"),
    "content-filter-empty": ("", "response.incomplete content_filter", "whole"),
    "empty": ("", "response.completed", "whole"),
    "reasoning": (WHOLE, "response.completed", "whole"),
    "reasoning-text": (WHOLE, "response.completed", "whole"),
    "refusal": ("", "response.completed", "whole"),
    "tool-call": ("", "response.completed", "whole"),
    "malformed-tool-call": ("", "response.completed", "whole"),
}
WELL_FORMED = [name for name in STREAMS if name not in {"malformed", "bad-utf8"}]
LIFE = ["response.created", "response.in_progress", "response.completed"]
TYPES: dict[str, Any] = {
    get_args(event.model_fields["type"].annotation)[0]: event for event in get_args(get_args(ResponseStreamEvent)[0])
}
"""The SDK type of each event."""


async def fetch_stream(fault: str, **more: Any) -> RawAnswer:
    """Return the stream of ``fault``."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        return await fetch_raw(simulator, f"sim-{fault}", api="responses", **more)


def inner_event_types(seen: RawAnswer) -> list[str]:
    """Return the event types between the start and end of a response, without consecutive repetitions."""
    created, in_progress, *types, completed = [event["type"] for event in seen.events]
    assert [created, in_progress, completed] == LIFE
    return [kind for number, kind in enumerate(types) if types[number - 1 : number] != [kind]]


@pytest.mark.parametrize("fault", STREAMS)
async def test_fault_in_the_stream_matches_its_row(fault: str) -> None:
    """Text, last event and end of the response match the row, and ``[DONE]`` is never sent."""
    seen = await fetch_stream(fault)
    assert (seen.status, seen.content_type, seen.has_done_marker) == (200, SSE, False)
    assert (seen.text, seen.last_event, seen.ending) == STREAMS[fault]


@pytest.mark.parametrize("fault", WELL_FORMED)
async def test_every_event_has_the_type_of_the_sdk(fault: str) -> None:
    """Each event is valid for its SDK type, named by its type, and numbered; only the padding is unknown."""
    seen = await fetch_stream(fault)
    named = [event for event in seen.events if "type" in event]
    assert [event["sequence_number"] for event in named] == list(range(len(named)))
    names = re.findall(r"^event: (.*)\ndata: \{\"type\":\"(.*?)\"", seen.body.decode(), re.MULTILINE)
    assert names[: len(named)] == [(event["type"], event["type"]) for event in named]
    assert len(seen.events) - len(named) == (fault == "inband-error")  # this event has no type, name or number
    for event in named:
        if event["type"] == "response.cancelled" or (event["type"] == "error" and "error" in event):
            continue  # sent by real providers, but unknown to the SDK
        kind = TYPES[event["type"]]
        assert set(event) - set(kind.model_fields) - {"obfuscation"} == set()
        kind.model_validate(event, strict=True)


async def test_stream_has_the_format_of_openai() -> None:
    """A stream opens and closes response, item, part and text as nested events."""
    seen = await fetch_stream("ok")
    assert [event["type"] for event in seen.events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *[DELTA] * 7,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    created, _, item, part, delta, *_, text_done, part_done, item_done, completed = seen.events
    identity = delta["item_id"]
    assert created["response"]["id"].startswith("resp_")
    assert created["response"]["status"] == "in_progress"
    empty = {"id": identity, "type": "message", "status": "in_progress", "content": [], "role": "assistant"}
    assert item["item"] == empty
    assert part["part"] == {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
    assert (delta["delta"], delta["logprobs"], delta["output_index"], delta["content_index"]) == ("Pong", [], 0, 0)
    assert text_done["text"] == part_done["part"]["text"] == WHOLE
    assert item_done["item"] == {**empty, "status": "completed", "content": [part_done["part"]]}
    assert completed["response"]["output"] == [item_done["item"]]
    assert completed["response"]["id"] == created["response"]["id"]


async def test_usage_is_in_the_terminal_event() -> None:
    """Only the terminal event has the usage."""
    seen = await fetch_stream("ok")
    assert [event["response"]["usage"] for event in seen.events[:2]] == [None, None]
    assert seen.events[-1]["response"]["usage"] == {
        "input_tokens": 8,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 15,
    }


async def test_deltas_are_padded_by_default() -> None:
    """Deltas are padded to one length, as OpenAI does against traffic analysis, unless that is disabled."""
    padded, plain = await fetch_stream("ok"), await fetch_stream("ok", stream_options={"include_obfuscation": False})
    lengths = {len(e["delta"]) + len(e["obfuscation"]) for e in padded.events if e["type"] == DELTA}
    assert lengths == {16}
    assert b"obfuscation" not in plain.body


async def test_response_repeats_the_request() -> None:
    """The response repeats the request parameters, and ``store`` defaults to true."""
    echo = {"store": False, "max_output_tokens": 64, "instructions": "Sing."}
    seen, bare = await fetch_stream("ok", **echo), await fetch_stream("ok")
    assert {name: seen.events[-1]["response"][name] for name in echo} == echo
    assert bare.events[-1]["response"]["store"] is True


async def test_input_may_be_a_list() -> None:
    """The input may be a list of messages whose content may be a list."""
    parts = [{"type": "input_text", "text": "ping" * 4}]
    seen = await fetch_stream("ok", input=[{"role": "user", "content": parts}, {"role": "user", "content": "ping"}])
    assert seen.events[-1]["response"]["usage"]["input_tokens"] == 3 + 4 + 4 + 4 + 1


@pytest.mark.parametrize(
    ("fault", "types", "texts"),
    [
        (
            "reasoning",
            [
                "response.reasoning_summary_part.added",
                "response.reasoning_summary_text.delta",
                "response.reasoning_summary_text.done",
                "response.reasoning_summary_part.done",
            ],
            "The user wants pong.",
        ),
        (
            "reasoning-text",
            [
                "response.content_part.added",
                "response.reasoning_text.delta",
                "response.reasoning_text.done",
                "response.content_part.done",
            ],
            "The user wants pong.",
        ),
        (
            "refusal",
            [
                "response.content_part.added",
                "response.refusal.delta",
                "response.refusal.done",
                "response.content_part.done",
            ],
            "I'm sorry, I cannot sing that.",
        ),
        (
            "tool-call",
            ["response.function_call_arguments.delta", "response.function_call_arguments.done"],
            '{"song":"pong"}',
        ),
    ],
)
async def test_other_items_have_their_event_types(fault: str, types: list[str], texts: str) -> None:
    """Reasoning, refusals and tool calls have their event types, in the first output item."""
    seen = await fetch_stream(fault)
    first = [*["response.output_item.added"], *types, "response.output_item.done"]
    assert inner_event_types(seen)[: len(first)] == first
    [delta] = {kind for kind in types if kind.endswith(".delta")}
    assert "".join(event["delta"] for event in seen.events if event["type"] == delta) == texts
    [done] = [event for event in seen.events if event["type"] == delta.removesuffix("delta") + "done"]
    assert texts in done.values()
    assert seen.events[-1]["response"]["output"][0] == next(e["item"] for e in seen.events if e["type"] == first[-1])


async def test_reasoning_tokens_are_counted() -> None:
    """Reasoning tokens are part of the output tokens."""
    usage = (await fetch_stream("reasoning")).events[-1]["response"]["usage"]
    assert (usage["output_tokens"], usage["output_tokens_details"]) == (12, {"reasoning_tokens": 5})


async def test_slow_first_token_follows_the_opening_events() -> None:
    """The delay of a slow first token is between the opening events and the first delta."""
    seen = await fetch_stream("slow-first-token")
    assert seen.seconds >= FAST_TIMINGS.slow_first_token
    seen = await fetch_stream("empty-deltas")
    assert [event["type"] for event in seen.events[:5]][2:] == [
        "response.output_item.added",
        "response.content_part.added",
        DELTA,
    ]
    assert {event["delta"] for event in seen.events[4:]} == {""}


@pytest.mark.parametrize(
    ("fault", "data"),
    [
        ("inband-error", {"error": {"type": "server_error", "code": "server_error", "param": None}}),
        ("flat-error", {"type": "error", "sequence_number": 7, "code": "server_error", "param": None}),
        (
            "nested-error",
            {
                "type": "error",
                "sequence_number": 7,
                "error": {"type": "server_error", "code": "server_error", "param": None},
            },
        ),
    ],
)
async def test_errors_have_three_formats(fault: str, data: dict[str, Any]) -> None:
    """An error event is unnamed, flat or nested."""
    event = (await fetch_stream(fault)).events[-1]
    message = (event.get("error") or event).pop("message")
    assert (event, message) == (data, "The server had an error while processing your request. Sorry about that!")


async def test_failed_response_has_an_error() -> None:
    """A failed response has an error and no output or usage, and a rate limit names the model."""
    response = (await fetch_stream("failed-rate-limit")).events[-1]["response"]
    message = "Rate limit reached for sim-failed-rate-limit on tokens per min (TPM): "
    assert response["error"]["message"].startswith(message)
    assert (response["status"], response["output"], response["usage"]) == ("failed", [], None)


async def test_unusual_events_are_valid_for_a_correct_parser() -> None:
    """Unusual but valid events are parsed to the answer; of two event names the last is valid."""
    seen = await fetch_stream("comments")
    events = re.split(r"(?:\r\n|\r(?!\n)|\n){2}", seen.body.decode("utf-8-sig"))
    data = [re.findall(r"(?:^|\r\n|\r|\n)data: ?([^\r\n]*)", event) for event in events]
    names = [re.findall(r"(?:^|\r\n|\r|\n)event: ?([^\r\n]*)", event)[-1:] for event in events]
    pairs = [(name, json.loads("\n".join(lines))) for name, lines in zip(names, data, strict=True) if any(lines)]
    assert [name for name, _ in pairs] == [[value["type"]] for _, value in pairs]
    assert [value["type"] for _, value in pairs] == [e["type"] for e in (await fetch_stream("ok")).events]
    odd = ("retry: 3000\n\n", "data:\n\n", "id: 1\nevent:", ": a ping", "\r\n\r\n", "\r\r", "\ndata: ,", "data:{")
    assert [piece for piece in odd if piece not in seen.body.decode()] == []


@pytest.mark.parametrize(
    ("fault", "status", "types"),
    [
        ("ok", "completed", ["message"]),
        ("comments", "completed", ["message"]),
        ("no-done", "completed", ["message"]),
        ("null-finish", None, ["message"]),
        ("length", "incomplete", ["message"]),
        ("incomplete-empty", "incomplete", []),
        ("content-filter", "incomplete", ["message"]),
        ("content-filter-empty", "incomplete", []),
        ("empty", "completed", []),
        ("reasoning", "completed", ["reasoning", "message"]),
        ("reasoning-text", "completed", ["reasoning", "message"]),
        ("refusal", "completed", ["message"]),
        ("tool-call", "completed", ["function_call"]),
        ("malformed-tool-call", "completed", ["function_call"]),
        ("reasoning-length", "incomplete", ["reasoning"]),
        ("failed", "failed", []),
        ("failed-rate-limit", "failed", []),
        ("cancelled", "cancelled", []),
        ("json-200", "completed", ["message"]),
    ],
)
async def test_non_streaming_answer_is_one_object(fault: str, status: str | None, types: list[str]) -> None:
    """Without streaming the response is one object of the SDK type in its terminal state."""
    seen = await fetch_stream(fault, stream=False)
    assert (seen.content_type, seen.json["object"], seen.json["status"]) == (JSON, "response", status)
    assert [item["type"] for item in seen.json["output"]] == types
    assert set(seen.json) - set(Response.model_fields) == {"store"}
    Response.model_validate(seen.json, strict=True)


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
    seen = await fetch_stream(fault, stream=False)
    assert (seen.status, seen.content_type, seen.ending) == (200, JSON, end)
    with pytest.raises(ValueError):  # invalid JSON or invalid UTF-8
        json.loads(seen.body)


@pytest.mark.parametrize("fault", ["inband-error", "event-error", "flat-error", "nested-error"])
async def test_non_streaming_in_band_error_is_in_the_body(fault: str) -> None:
    """Without streaming an in-band error is an error body with status 200."""
    seen = await fetch_stream(fault, stream=False)
    assert (seen.status, seen.json["error"]["type"]) == (200, "server_error")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"input": None}, "The request is not valid: Expected `str | array`, got `null` - at `$.input`"),
        ({"max_output_tokens": 0}, "The request is not valid: Expected `int` >= 1 - at `$.max_output_tokens`"),
        ({"background": True}, "The request is not valid: the simulator answers at once, so background must be false"),
    ],
)
async def test_invalid_request_body_is_rejected(body: dict[str, Any], message: str) -> None:
    """An invalid body gets a 400 with a suggestion."""
    seen = await fetch_stream("ok", **body)
    assert (seen.status, seen.json["error"]["type"]) == (400, "invalid_request_error")
    assert seen.json["error"]["message"].startswith(message)


async def test_both_apis_share_counters_and_record() -> None:
    """Both APIs share the fault counters and the request record, which has the path."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        statuses = [(await fetch_raw(simulator, "sim-500@1", api=api)).status for api in ("responses", "chat")]
        asked = [(request.path, request.model, request.stream, request.fault) for request in simulator.requests]
    assert statuses == [500, 200]
    assert asked == [
        ("/v1/responses", "sim-500@1", True, "500"),
        ("/v1/chat/completions", "sim-500@1", True, "ok"),
    ]


def test_every_stream_behaviour_is_tested() -> None:
    """Every behaviour that streams has a row; the others are the same for both APIs."""
    assert {*STREAMS, "comments"} == set(FAULTS) - set(FAULTS_BEFORE_STREAM)
