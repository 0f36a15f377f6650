"""What holds for any bytes: of the decoder, the readers and one attempt, none of which does I/O.

``make test`` tries a sample of cases, ``make fuzz`` very many.
"""

import tracemalloc
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields

from streamcanary.client.core import chat, responses
from streamcanary.client.core.answer import AnswerTooLong
from streamcanary.client.core.attempt import Api, AttemptMachine, ResponseHead
from streamcanary.client.core.chat import ChatReader
from streamcanary.client.core.lenient_json import ErrorReported
from streamcanary.client.core.limits import LIMITS, Limits
from streamcanary.client.core.responses import ResponsesReader
from streamcanary.client.core.sse import ServerSentEvent, SseDecoder, SseInvalid
from streamcanary.client.timeouts_and_retries import Timeouts
from streamcanary.events import Delta
from streamcanary.model.faults import FaultKind, Phase, make_fault
from support.client.stream_strategies import (
    APIS,
    Stream,
    broken_streams,
    cuts,
    ends_by_the_book,
    events_by_the_book,
    soups,
    split,
    spoken,
    streams,
)
from support.hypothesis_profile import cases, cases_counted, tried

__all__ = ["cases_counted"]

EVENT_STREAM = ResponseHead(200, {"content-type": "text/event-stream"})
JSON = ResponseHead(200, {"content-type": "application/json"})
CUT = make_fault(FaultKind.STREAM_CUT, Phase.STREAM, "reset")
TIMEOUTS = Timeouts(connect=1, headers=2, first_token=5, stall=3, total=60)
SMALL = Limits(line=24, event=40, answer=12, events=6)
ENDINGS = st.sampled_from(["eof", "lost", "timed_out"])


# The decoder


@cases(sample=150, fuzz=20_000)
@given(data=soups, where=cuts)
def test_the_decoder_reads_by_the_book(part: int, data: bytes, where: list[int] | None) -> None:
    """Any bytes, split anywhere, give the events that the specification says."""
    tried()
    decoder = SseDecoder()
    events = [(event.event, event.data) for piece in split(data, where) for event in decoder.feed(piece)]
    assert events_by_the_book(data) == events


@cases(sample=100, fuzz=10_000)
@given(data=soups, where=cuts)
def test_the_limits_of_the_decoder_do_not_depend_on_the_split(part: int, data: bytes, where: list[int] | None) -> None:
    """Where a line or an event is too long, all events before it are heard, and none after it."""
    tried()

    def decode(pieces: list[bytes]) -> tuple[list[tuple[str, bytes]], bool]:
        decoder, events = SseDecoder(max_line=12, max_event=16), []
        for piece in pieces:
            try:
                events += decoder.feed(piece)
            except SseInvalid as error:
                events += error.events
                return [(event.event, event.data) for event in events], True
        return [(event.event, event.data) for event in events], False

    assert decode([data]) == decode(split(data, where))


# The readers

_KEYS = st.sampled_from(
    [field.encode_name for struct in (chat.ChatMessage, chat.Choice, chat.Delta) for field in fields(struct)]
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


@cases(sample=150, fuzz=16_000)
@given(api=st.sampled_from(APIS), value=_JSON, kind=_TYPES, body=st.booleans())
def test_a_reader_takes_any_json(part: int, api: Api, value: Any, kind: str, body: bool) -> None:
    """JSON of any shape adds something, adds nothing, or is an error that has a name."""
    tried()
    reader = (ChatReader if api == "chat" else ResponsesReader)(SMALL)
    if isinstance(value, dict) and kind:
        value.setdefault("type", kind)
    try:
        data = msgspec.json.encode(value)
    except UnicodeEncodeError:
        return
    with suppress(ErrorReported, msgspec.DecodeError, AnswerTooLong):
        reader.take_body(data) if body else reader.take(ServerSentEvent(kind or "message", data))
    assert len("".join(reader.answer.text)) <= SMALL.answer


# One attempt


Attempted = tuple[AttemptMachine, list[Delta]]


def attempt(api: Api, pieces: list[bytes], ending: str, limits: Limits = LIMITS, **options: Any) -> Attempted:
    machine = AttemptMachine(TIMEOUTS, started=0, api=api, limits=limits)
    machine.headers(options.get("head", EVENT_STREAM), wall=0)
    deltas: list[Delta] = []
    for piece in pieces:
        deltas += machine.feed(piece, 1)
    if ending == "eof":
        deltas += machine.eof(1)
    elif ending == "lost":
        machine.lost(CUT)
    else:
        machine.timed_out()
    return machine, deltas


@cases(sample=100, fuzz=12_000)
@given(stream=streams(), where=cuts, ending=ENDINGS)
def test_a_whole_stream_is_the_answer_however_it_is_split(
    part: int, stream: Stream, where: list[int] | None, ending: str
) -> None:
    """Split anywhere, and whatever ends it afterwards, a whole stream gives just its text, and what else it says."""
    tried()
    machine, deltas = attempt(stream.api, split(stream.data, where), ending)
    assert machine.fault is None
    assert (stream.text, stream.reasoning, "", stream.arguments) == spoken(deltas)
    assert (stream.text, stream.finish_reason) == ("".join(machine.answer.text), machine.answer.finish_reason)


@cases(sample=150, fuzz=16_000)
@given(stream=streams(), cut=st.integers(0, 1 << 20), where=cuts, ending=ENDINGS)
def test_a_part_of_a_stream_is_never_the_answer(
    part: int, stream: Stream, cut: int, where: list[int] | None, ending: str
) -> None:
    """What ends before its terminal state is a fault, one byte too early is too early; after it, it is the answer."""
    tried()
    data = stream.data[: cut % len(stream.data)]
    machine, _ = attempt(stream.api, split(data, where), ending)
    # The last byte of the terminal event is an empty line's: with CRLF, its CR ends the line already.
    whole = len(data) >= stream.whole_at - stream.data[: stream.whole_at].endswith(b"\r\n")
    assert whole is (machine.over and machine.fault is None)
    if whole:
        assert stream.text == "".join(machine.answer.text)


@cases(sample=200, fuzz=20_000)
@given(broken=broken_streams(), where=cuts, ending=ENDINGS, small=st.booleans())
def test_a_broken_stream_ends_the_same_however_it_is_split(
    part: int, broken: tuple[Api, bytes], where: list[int] | None, ending: str, small: bool
) -> None:
    """Damage ends as an answer or as a fault; as an answer only where a terminal state can be seen in the bytes."""
    tried()
    api, data = broken
    limits = Limits(line=400, event=600, answer=8, events=7) if small else LIMITS
    (at_once, heard_at_once), (machine, heard) = (
        attempt(api, pieces, ending, limits) for pieces in ([data], split(data, where))
    )
    assert (at_once.over, at_once.fault, spoken(heard_at_once)) == (machine.over, machine.fault, spoken(heard))
    if machine.fault is None:
        assert spoken(heard)[0] == "".join(machine.answer.text)
        assert ends_by_the_book(api, data)
    assert len("".join(machine.answer.text)) <= limits.answer


@cases(sample=50, fuzz=3_000)
@given(broken=broken_streams(), data=st.one_of(st.binary(max_size=60), st.none()), where=cuts)
def test_any_json_body_is_an_answer_or_a_fault(
    part: int, broken: tuple[Api, bytes], data: bytes | None, where: list[int] | None
) -> None:
    """A body where a stream was asked for: an answer, an error, or something else; never an exception."""
    tried()
    api, frames = broken
    body = data if data is not None else next((data for _, data in events_by_the_book(frames)), b"")
    machine, deltas = attempt(api, split(body, where), "eof", head=JSON)
    assert True is machine.over
    if machine.fault is None:
        assert spoken(deltas)[0] == "".join(machine.answer.text)


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
def test_memory_is_bounded(what: str, head: ResponseHead) -> None:
    """A stream without an end is given up, or holds nothing: never does it grow in memory."""
    first, then = _ENDLESS[what]
    machine = AttemptMachine(TIMEOUTS, started=0, limits=Limits(line=4096, event=8192, answer=8192, events=2000))
    machine.headers(head, wall=0)
    tracemalloc.start()
    try:
        machine.feed(first, 1)
        for number in range(10_000):
            machine.feed(then % number if b"%d" in then else then, 1)
        machine.eof(1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 512 * 1024
    assert machine.fault is not None
