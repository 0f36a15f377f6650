"""What the reader of the Responses API reads: each text once, from any of its events; built-in tools; the response."""

import json
from contextlib import suppress
from itertools import combinations
from typing import Any

import msgspec
import pytest
from openai.types.responses import Response

from streamcanary.client.core.answers.answer import AnswerTooLong
from streamcanary.client.core.answers.responses import ResponsesReader
from streamcanary.client.core.decoding.sse import ServerSentEvent
from streamcanary.client.core.limits import Limits
from streamcanary.client.result import StreamResult
from support.client.stream_strategies import join_deltas

Payload = dict[str, Any]
PLACE = {"output_index": 1, "content_index": 0, "item_id": "msg_1"}
TEXT = "pong, twice: pong"


def event(kind: str, **fields: Any) -> Payload:
    return {"type": f"response.{kind}", **fields}


def completed(*output: Payload, status: str = "completed", **fields: Any) -> Payload:
    response = {"id": "resp_1", "object": "response", "status": status, "model": "m", "output": list(output)}
    return event(status, response={**response, **fields})


def message(*content: Payload) -> Payload:
    return {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": list(content)}


def read(*payloads: Payload, limits: Limits | None = None) -> tuple[ResponsesReader, tuple[str, str, str, str]]:
    """Return the reader after these events, and text, reasoning, refusal and arguments as a caller assembles them."""
    reader, events = ResponsesReader(limits or Limits()), []
    for payload in payloads:
        events += reader.read_event(ServerSentEvent(payload["type"], json.dumps(payload).encode()))
    return reader, join_deltas([*events, *reader.answer.flush()])


def response_of(reader: ResponsesReader) -> Response:
    response = StreamResult(text="".join(reader.answer.text), api="responses", raw=reader.answer.raw).response
    assert isinstance(response, Response)
    return response


# Each text once

PART = {"type": "output_text", "text": TEXT, "annotations": []}
TEXT_EVENTS = [
    [
        event("output_text.delta", **PLACE, delta="pong, twice"),
        event("output_text.delta", **PLACE, delta=": pong"),
    ],
    [event("output_text.done", **PLACE, text=TEXT)],
    [event("content_part.done", **PLACE, part=PART)],
    [event("output_item.done", output_index=1, item=message(PART))],
    [completed(message(PART))],
]


@pytest.mark.parametrize("has_places", [True, False])
def test_text_from_any_events_is_read_once(has_places: bool) -> None:
    """Whichever of its events a server sends, with or without indexes, the text is delivered once."""
    for size in range(1, len(TEXT_EVENTS) + 1):
        for chosen in combinations(TEXT_EVENTS, size):
            payloads = [dict(payload) for payloads in chosen for payload in payloads]
            if not has_places:
                payloads = [{name: payload[name] for name in payload if name not in PLACE} for payload in payloads]
            reader, (text, *_) = read(*payloads)
            assert (TEXT, TEXT) == (text, "".join(reader.answer.text))


def test_mixed_up_indexes_do_not_double_text() -> None:
    """Text of a done event with another index than its deltas is delivered once."""
    _, (text, *_) = read(*TEXT_EVENTS[0], event("output_text.done", output_index=0, content_index=0, text=TEXT))
    assert TEXT == text


def test_parts_are_separate() -> None:
    """Two parts, one in deltas and one in a done event, are both read."""
    _, (text, *_) = read(
        event("output_text.delta", **PLACE, delta="pong"),
        event("output_text.done", **PLACE, text="pong"),
        event("output_text.done", **{**PLACE, "content_index": 1}, text=", and more"),
        completed(message({"type": "output_text", "text": "pong"}, {"type": "output_text", "text": ", and more"})),
    )
    assert "pong, and more" == text


def test_rest_of_the_text_is_read_from_the_response() -> None:
    """Text whose end is only in the completed response is delivered whole."""
    _, (text, *_) = read(TEXT_EVENTS[0][0], completed(message(PART)))
    assert TEXT == text


REFUSAL = {"type": "refusal", "refusal": "no"}
SUMMARY = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}
REASONING = {**SUMMARY, "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}


@pytest.mark.parametrize(
    "payload",
    [
        event("refusal.done", **PLACE, refusal="no"),
        event("content_part.done", **PLACE, part=REFUSAL),
        event("output_item.done", output_index=1, item=message(REFUSAL)),
        completed(message(REFUSAL)),
    ],
)
def test_refusal_is_read_from_done_events(payload: Payload) -> None:
    """A refusal without deltas is read from each event that has it whole."""
    for payloads in ([payload], [payload, payload], [event("refusal.delta", **PLACE, delta="no"), payload]):
        assert ("", "", "no", "") == read(*payloads)[1]


@pytest.mark.parametrize(
    ("delta", "payload"),
    [
        ("reasoning_text", event("reasoning_text.done", **PLACE, text="hm")),
        ("reasoning_text", event("content_part.done", **PLACE, part={"type": "reasoning_text", "text": "hm"})),
        ("reasoning_text", event("output_item.done", output_index=1, item=REASONING)),
        ("reasoning_text", completed(REASONING)),
        ("reasoning_summary_text", event("reasoning_summary_text.done", output_index=1, summary_index=0, text="hm")),
        (
            "reasoning_summary_text",
            event("reasoning_summary_part.done", output_index=1, part={"type": "summary_text", "text": "hm"}),
        ),
        ("reasoning_summary_text", event("output_item.done", output_index=1, item=SUMMARY)),
        ("reasoning_summary_text", completed(SUMMARY)),
    ],
)
def test_reasoning_is_read_from_done_events(delta: str, payload: Payload) -> None:
    """Reasoning without deltas is read from each event that has it whole."""
    for payloads in ([payload], [event(f"{delta}.delta", **PLACE, delta="hm"), payload]):
        assert ("", "hm", "", "") == read(*payloads)[1]


CALL = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"x": 1}'}
ADDED = event("output_item.added", output_index=1, item={**CALL, "arguments": ""})
ARGUMENTS = {"output_index": 1, "item_id": "fc_1"}


@pytest.mark.parametrize(
    "payloads",
    [
        [ADDED, event("function_call_arguments.done", **ARGUMENTS, name="f", arguments='{"x": 1}')],
        [ADDED, event("output_item.done", output_index=1, item=CALL)],
        [event("output_item.done", output_index=1, item=CALL)],
        [ADDED, event("function_call_arguments.delta", **ARGUMENTS, delta='{"x'), completed(CALL)],
        [event("function_call_arguments.delta", **ARGUMENTS, delta='{"x'), completed(CALL)],
        [completed(CALL)],
        [completed({**CALL, "arguments": {"x": 1}})],
    ],
)
def test_tool_call_is_read_from_done_events(payloads: list[Payload]) -> None:
    """A function call is read from each event that has it whole, and what is missing of one in pieces."""
    done = event("output_item.done", output_index=1, item=CALL)
    for events in (payloads, [*payloads, completed(CALL)], [*payloads[:-1], done, payloads[-1]]):
        reader, deltas = read(*events)
        arguments = reader.answer.tool_calls[0].arguments
        assert ({"x": 1}, arguments) == (json.loads(arguments), deltas[3])
        assert [("call_1", "f")] == [(call.id, call.name) for call in reader.answer.tool_calls]


def test_parallel_calls_without_index_are_separate() -> None:
    """Parallel function calls without ``output_index`` are told apart by the id of their item."""
    other = {**CALL, "id": "fc_2", "call_id": "call_2", "name": "g", "arguments": '{"y": 2}'}
    payloads = [
        event("output_item.added", item={**CALL, "arguments": ""}),
        event("output_item.added", item={**other, "arguments": ""}),
        event("function_call_arguments.delta", item_id="fc_1", delta='{"x": 1}'),
        event("function_call_arguments.delta", item_id="fc_2", delta='{"y": 2}'),
        event("output_item.done", item=CALL),
        event("output_item.done", item=other),
        completed(CALL, other),
    ]
    calls = read(*payloads)[0].answer.tool_calls
    assert [("call_1", "f", '{"x": 1}'), ("call_2", "g", '{"y": 2}')] == [
        (call.id, call.name, call.arguments) for call in calls
    ]


def test_number_of_parts_is_limited() -> None:
    """An answer of more parts than any real one is too long."""
    with pytest.raises(AnswerTooLong, match="the answer has more than 10000 parts"):
        read(*(event("output_text.delta", output_index=number, delta="x") for number in range(10_001)))


# The response is filled from the stream


def test_response_without_output_is_filled_from_deltas() -> None:
    """A completed response with an empty output has text, refusal, reasoning and tool calls of the stream."""
    reader, _ = read(
        event("reasoning_text.delta", output_index=0, delta="hm"),
        *TEXT_EVENTS[0],
        event("refusal.delta", output_index=1, content_index=1, delta="no"),
        {**ADDED, "output_index": 2},
        event("function_call_arguments.delta", output_index=2, delta='{"x": 1}'),
        completed(),
    )
    response = response_of(reader)
    assert (TEXT, ["reasoning", "message", "function_call"]) == (
        response.output_text,
        [item.type for item in response.output],
    )
    assert ("call_1", "f", '{"x": 1}') == (
        response.output[2].call_id,
        response.output[2].name,
        response.output[2].arguments,
    )


def test_response_without_output_is_filled_from_items() -> None:
    """A completed response without output has the items of the stream as they were sent, with their annotations."""
    item = message({**PART, "annotations": [{"type": "url_citation", "url": "https://example.com/"}]})
    search = {"id": "ws_1", "type": "web_search_call", "status": "completed"}
    reader, _ = read(
        event("output_item.done", output_index=1, item=item),
        event("output_item.done", output_index=0, item=search),
        completed(output=None),
    )
    assert [search, item] == json.loads(reader.answer.raw or b"")["output"]


def test_output_of_the_response_is_kept() -> None:
    """A response with output is the bytes of the provider, and gets only what it lacks."""
    reader, _ = read(*TEXT_EVENTS[0], completed(SUMMARY))
    assert ["reasoning", "message"] == [item.type for item in response_of(reader).output]
    reader, _ = read(*TEXT_EVENTS[0], completed(SUMMARY, message(PART)))
    assert ["reasoning", "message"] == [item.type for item in response_of(reader).output]


@pytest.mark.parametrize("extra", ['"x": ' + "9" * 5000, '"x": NaN', '"x": "\\ud83d"', '"x": ' + "[" * 900 + "]" * 900])
def test_oddities_of_items_do_not_break_the_response(extra: str) -> None:
    """Unused fields of an item and of the response can have any JSON: the answer is complete or malformed."""
    item = json.dumps(message(PART))[:-1] + f", {extra}}}"
    reader = ResponsesReader()
    with suppress(msgspec.DecodeError):
        for data in (
            f'{{"type": "response.output_item.done", "output_index": 0, "item": {item}}}',
            f'{{"type": "response.completed", "response": {{"id": "r", "output": [], {extra}}}}}',
        ):
            reader.read_event(ServerSentEvent("message", data.encode()))
        assert (TEXT, "stop") == ("".join(reader.answer.text), reader.answer.finish_reason)


# Built-in tools, images and audio


@pytest.mark.parametrize(
    "payload",
    [
        event("web_search_call.in_progress", output_index=0, item_id="ws_1"),
        event("web_search_call.searching", output_index=0, item_id="ws_1"),
        event("file_search_call.searching"),
        event("code_interpreter_call.interpreting"),
        event("code_interpreter_call_code.delta", delta="import"),
        event("image_generation_call.generating"),
        event("image_generation_call.partial_image", partial_image_b64="AAAA"),
        event("mcp_call_arguments.delta", delta="{"),
        event("mcp_call.in_progress"),
        event("mcp_list_tools.in_progress"),
        event("output_item.added", item={"type": "web_search_call"}),
        event("output_item.done", item={"type": "reasoning", "encrypted_content": "AAAA"}),
        event("output_text.annotation.added", annotation={}),
        event("audio.delta", delta="AAAA"),
    ],
)
def test_work_of_the_provider_is_progress(payload: Payload) -> None:
    """Events of built-in tools, images and audio are progress without a token."""
    reader, deltas = read(payload)
    assert (("", "", "", ""), True) == (deltas, reader.progressed)


@pytest.mark.parametrize(
    "payload",
    [
        event("created", response={"status": "in_progress"}),
        event("in_progress", response={"status": "in_progress"}),
        event("output_item.added", item={"type": "message", "content": []}),
        event("output_item.added", item={"type": "reasoning"}),
        event("content_part.added", part={"type": "output_text", "text": ""}),
        event("reasoning_summary_text.delta", delta=""),
        event("queued"),
        event("ping"),
        event("output_text.delta", **PLACE, delta=""),
        event("function_call_arguments.delta", delta=""),
        {"type": "keepalive", "sequence_number": 3},
    ],
)
def test_keepalive_is_no_progress(payload: Payload) -> None:
    """Pings, empty deltas and repeated states are not progress."""
    assert False is read(event("web_search_call.searching"), payload)[0].progressed


@pytest.mark.parametrize(
    ("payload", "has_media"),
    [
        (event("image_generation_call.partial_image", partial_image_b64="AAAA"), True),
        (event("output_item.done", item={"type": "image_generation_call", "result": "AAAA"}), True),
        (event("audio.delta", delta="AAAA"), True),
        (event("content_part.done", part={"type": "output_audio", "data": "AAAA"}), True),
        (event("content_part.done", part={"type": "unknown"}), False),
        (completed({"type": "image_generation_call", "result": "AAAA"}), True),
        (completed({"type": "web_search_call", "status": "completed"}), False),
    ],
)
def test_other_output_is_an_answer(payload: Payload, has_media: bool) -> None:
    """Images, audio and built-in tools are output, also if the completed response has none; the first two are media."""
    payloads = [payload] if payload["type"] == "response.completed" else [payload, completed()]
    answer = read(*payloads)[0].answer
    assert (True, has_media) == (answer.has_output, answer.has_media)


def test_transcript_is_text() -> None:
    """The transcript of audio is the text of the answer."""
    _, (text, *_) = read(event("audio.transcript.delta", delta="po"), event("audio.transcript.delta", delta="ng"))
    assert "pong" == text


def test_token_limit_is_finish_reason_length() -> None:
    """A response that is incomplete because of ``max_output_tokens`` ended with ``length``, as in Chat Completions."""
    details = {"reason": "max_output_tokens"}
    reader, _ = read(*TEXT_EVENTS[0], completed(status="incomplete", incomplete_details=details))
    assert "length" == reader.answer.finish_reason
    assert TEXT == response_of(reader).output_text
