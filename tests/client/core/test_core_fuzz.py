"""Properties of the decoder, the readers and one attempt for any bytes, without I/O.

``make test`` tries a sample of cases, ``make fuzz`` many more.
"""

import tracemalloc
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields

from streamcanary.client.core.answers import chat, responses
from streamcanary.client.core.answers.answer import AnswerTooLong
from streamcanary.client.core.answers.chat import ChatReader
from streamcanary.client.core.answers.responses import ResponsesReader
from streamcanary.client.core.attempt import Api, AttemptMachine
from streamcanary.client.core.decoding.lenient_json import ErrorReported
from streamcanary.client.core.decoding.sse import ServerSentEvent, SseDecoder, SseLimitExceeded
from streamcanary.client.core.limits import DEFAULT_LIMITS, Limits
from streamcanary.client.core.response_head import ResponseHead
from streamcanary.client.timeouts import Timeouts
from streamcanary.events import Delta
from streamcanary.model.faults import FaultKind, Phase, make_fault
from support.client.stream_strategies import (
    APIS,
    Stream,
    broken_streams,
    has_terminal_event,
    join_deltas,
    reference_events,
    split,
    split_points,
    sse_like_bytes,
    streams,
)
from support.hypothesis_profile import count_example, examples, report_example_count

__all__ = ["report_example_count"]

EVENT_STREAM = ResponseHead(200, {"content-type": "text/event-stream"})
JSON = ResponseHead(200, {"content-type": "application/json"})
CUT = make_fault(FaultKind.STREAM_CUT, Phase.STREAM, "reset")
TIMEOUTS = Timeouts(connect=1, headers=2, first_token=5, stall=3, total=60)
SMALL = Limits(max_line_bytes=24, max_event_bytes=40, max_answer_characters=12, max_events=6)
ENDINGS = st.sampled_from(["eof", "lost", "timed_out"])


# The decoder


@examples(sample=150, fuzz=20_000)
@given(data=sse_like_bytes, where=split_points)
def test_decoder_follows_the_specification(part: int, data: bytes, where: list[int] | None) -> None:
    """Any bytes, split anywhere, decode to the events that the specification defines."""
    count_example()
    decoder = SseDecoder()
    events = [(event.event, event.data) for piece in split(data, where) for event in decoder.feed(piece)]
    assert reference_events(data) == events


@examples(sample=100, fuzz=10_000)
@given(data=sse_like_bytes, where=split_points)
def test_decoder_limits_do_not_depend_on_the_split(part: int, data: bytes, where: list[int] | None) -> None:
    """When a line or event exceeds its limit, all events before it are decoded and none after it."""
    count_example()

    def decode(pieces: list[bytes]) -> tuple[list[tuple[str, bytes]], bool]:
        decoder, events = SseDecoder(Limits(max_line_bytes=12, max_event_bytes=16)), []
        for piece in pieces:
            try:
                events += decoder.feed(piece)
            except SseLimitExceeded as error:
                events += error.events
                return [(event.event, event.data) for event in events], True
        return [(event.event, event.data) for event in events], False

    assert decode([data]) == decode(split(data, where))


# The readers

_KEYS = st.sampled_from(
    [field.encode_name for struct in (chat.ChatPayload, chat.Choice, chat.Delta) for field in fields(struct)]
    + [field.encode_name for struct in (responses.StreamEvent, responses.Response) for field in fields(struct)]
    + [
        "type",
        "name",
        "arguments",
        "call_id",
        "function",
        "content",
        "text",
        "reason",
        "input_tokens",
        "code",
        "message",
    ]
)
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_KEYS, inner, max_size=4)),
    max_leaves=12,
)
_TYPES = st.sampled_from(
    [
        "message",
        "error",
        *(f"response.{name}" for name in ("created", "completed", "failed", "incomplete", "cancelled")),
        *(f"response.{name}" for name in ("output_text.delta", "output_item.done", "function_call_arguments.delta")),
        "",
    ]
)


@examples(sample=150, fuzz=16_000)
@given(api=st.sampled_from(APIS), value=_JSON, kind=_TYPES, body=st.booleans())
def test_reader_accepts_any_json(part: int, api: Api, value: Any, kind: str, body: bool) -> None:
    """JSON of any shape extends the answer, changes nothing, or is a classified error."""
    count_example()
    reader = (ChatReader if api == "chat" else ResponsesReader)(SMALL)
    if isinstance(value, dict) and kind:
        value.setdefault("type", kind)
    try:
        data = msgspec.json.encode(value)
    except UnicodeEncodeError:
        return
    with suppress(ErrorReported, msgspec.DecodeError, AnswerTooLong):
        reader.read_body(data) if body else reader.read_event(ServerSentEvent(kind or "message", data))
    assert len("".join(reader.answer.text)) <= SMALL.max_answer_characters


# One attempt


Attempted = tuple[AttemptMachine, list[Delta]]


def attempt(api: Api, pieces: list[bytes], ending: str, limits: Limits = DEFAULT_LIMITS, **options: Any) -> Attempted:
    machine = AttemptMachine(TIMEOUTS, started=0, api=api, limits=limits)
    machine.headers_received(options.get("head", EVENT_STREAM), wall_time=0)
    deltas: list[Delta] = []
    for piece in pieces:
        deltas += machine.feed(piece, 1)
    if ending == "eof":
        deltas += machine.feed_eof(1)
    elif ending == "lost":
        machine.fail_unless_complete(CUT)
    else:
        machine.deadline_exceeded()
    return machine, deltas


@examples(sample=100, fuzz=12_000)
@given(stream=streams(), where=split_points, ending=ENDINGS)
def test_complete_stream_is_independent_of_the_split(
    part: int, stream: Stream, where: list[int] | None, ending: str
) -> None:
    """A complete stream gives the same answer for any split and any ending."""
    count_example()
    machine, deltas = attempt(stream.api, split(stream.data, where), ending)
    assert machine.fault is None
    assert (stream.text, stream.reasoning, "", stream.arguments) == join_deltas(deltas)
    assert (stream.text, stream.finish_reason) == ("".join(machine.answer.text), machine.answer.finish_reason)


@examples(sample=150, fuzz=16_000)
@given(stream=streams(), cut=st.integers(0, 1 << 20), where=split_points, ending=ENDINGS)
def test_truncated_stream_is_never_an_answer(
    part: int, stream: Stream, cut: int, where: list[int] | None, ending: str
) -> None:
    """A stream cut before the last byte of its terminal event is a fault; a stream cut after it is the answer."""
    count_example()
    data = stream.data[: cut % len(stream.data)]
    machine, _ = attempt(stream.api, split(data, where), ending)
    # The last byte of the terminal event is an empty line's: with CRLF, its CR ends the line already.
    whole = len(data) >= stream.complete_at - stream.data[: stream.complete_at].endswith(b"\r\n")
    assert whole is (machine.is_finished and machine.fault is None)
    if whole:
        assert stream.text == "".join(machine.answer.text)


@examples(sample=200, fuzz=20_000)
@given(broken=broken_streams(), where=split_points, ending=ENDINGS, small=st.booleans())
def test_damaged_stream_is_independent_of_the_split(
    part: int, broken: tuple[Api, bytes], where: list[int] | None, ending: str, small: bool
) -> None:
    """A damaged stream ends as a fault, or as an answer if its bytes contain a terminal event, for any split."""
    count_example()
    api, data = broken
    limits = (
        Limits(max_line_bytes=400, max_event_bytes=600, max_answer_characters=8, max_events=7)
        if small
        else DEFAULT_LIMITS
    )
    (at_once, events_at_once), (machine, events) = (
        attempt(api, pieces, ending, limits) for pieces in ([data], split(data, where))
    )
    assert (at_once.is_finished, at_once.fault, join_deltas(events_at_once)) == (
        machine.is_finished,
        machine.fault,
        join_deltas(events),
    )
    if machine.fault is None:
        assert join_deltas(events)[0] == "".join(machine.answer.text)
        assert has_terminal_event(api, data)
    assert len("".join(machine.answer.text)) <= limits.max_answer_characters


@examples(sample=100, fuzz=8_000)
@given(
    broken=st.one_of(broken_streams(), st.tuples(st.sampled_from(APIS), sse_like_bytes)),
    media_type=st.sampled_from(["", "text/plain", "application/json", "text/html"]),
    where=split_points,
)
def test_stream_of_another_type_is_independent_of_the_split(
    part: int, broken: tuple[Api, bytes], media_type: str, where: list[int] | None
) -> None:
    """A body of another type is an answer or a fault, the same for any split, and never raises."""
    count_example()
    api, data = broken
    head = ResponseHead(200, {"content-type": media_type})
    at_once, machine = (attempt(api, pieces, "eof", head=head)[0] for pieces in ([data], split(data, where)))
    assert (True, at_once.answer.text) == (machine.is_finished, machine.answer.text)
    assert (at_once.fault and at_once.fault.kind) == (machine.fault and machine.fault.kind)
    if media_type == "text/html" and data.startswith(b"data:"):
        assert machine.fault is not None


@examples(sample=50, fuzz=3_000)
@given(broken=broken_streams(), data=st.one_of(st.binary(max_size=60), st.none()), where=split_points)
def test_any_json_body_is_an_answer_or_a_fault(
    part: int, broken: tuple[Api, bytes], data: bytes | None, where: list[int] | None
) -> None:
    """A JSON body in place of a stream is an answer or a fault, and never raises."""
    count_example()
    api, frames = broken
    body = data if data is not None else next((data for _, data in reference_events(frames)), b"")
    machine, deltas = attempt(api, split(body, where), "eof", head=JSON)
    assert True is machine.is_finished
    if machine.fault is None:
        assert join_deltas(deltas)[0] == "".join(machine.answer.text)


# Memory

_ENDLESS = {
    "a line": (b"data: ", b"x" * 64),
    "comments": (b"", b": ping\n"),
    "an event of many lines": (b"", b"data: " + b"x" * 58 + b"\n"),
    "empty lines of data": (b"", b"data:\n" * 10),
    "a byte at a time": (b"data: ", b"x"),
    "text": (b"", b'data: {"choices": [{"delta": {"content": "xxxxxxxx"}}]}\n\n'),
    "tool calls": (b"", b'data: {"choices": [{"delta": {"tool_calls": [{"index": %d}]}}]}\n\n'),
    "nothing": (b"", b'data: {"id": "x", "choices": []}\n\n'),
}


@pytest.mark.parametrize("what", _ENDLESS)
@pytest.mark.parametrize("head", [EVENT_STREAM, JSON], ids=["stream", "body"])
def test_endless_stream_uses_bounded_memory(what: str, head: ResponseHead) -> None:
    """An endless stream ends as a fault or buffers nothing."""
    first, then = _ENDLESS[what]
    machine = AttemptMachine(
        TIMEOUTS,
        started=0,
        limits=Limits(max_line_bytes=4096, max_event_bytes=8192, max_answer_characters=8192, max_events=2000),
    )
    machine.headers_received(head, wall_time=0)
    tracemalloc.start()
    try:
        machine.feed(first, 1)
        for number in range(10_000):
            machine.feed(then % number if b"%d" in then else then, 1)
        machine.feed_eof(1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 512 * 1024
    assert machine.fault is not None
