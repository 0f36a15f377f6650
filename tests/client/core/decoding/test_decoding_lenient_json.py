"""JSON as servers in Python write it: numbers that JSON does not have, and halves of surrogate pairs."""

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from streamcanary.client.core.attempt import Api, AttemptMachine
from streamcanary.client.core.decoding.lenient_json import LenientDecoder, decode_untyped
from streamcanary.client.core.response_head import ResponseHead
from streamcanary.client.timeouts import Timeouts
from streamcanary.model.faults import FaultKind
from support.client.stream_strategies import join_deltas, split, split_points
from support.hypothesis_profile import count_example, examples, report_example_count

__all__ = ["report_example_count"]


class Choice(Struct):
    text: str | None = None
    logprob: float | None = None


class Message(Struct):
    id: str | None = None
    choices: list[Choice] | None = None
    extra: Any = None


decode = LenientDecoder(Message).decode


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_number_that_json_does_not_have_is_accepted(number: str) -> None:
    """A special number where a field is read, nested, in an array, or where nothing is read loses no other field."""
    for body in (
        '{"id": "a", "choices": [{"text": "Hi", "logprob": %s}]}',
        '{"id": "a", "choices": [{"text": "Hi"}], "extra": {"deep": [1, {"p": %s}]}}',
        '{"id": "a", "unread": [%s], "choices": [{"text": "Hi"}]}',
    ):
        message = decode((body % number).encode())
        assert ("a", "Hi") == (message.id, message.choices and message.choices[0].text)


def test_half_a_surrogate_pair_in_the_place_of_a_number_loses_no_other_field() -> None:
    """A field of a wrong type is left out, also if its text has half a surrogate pair."""
    message = decode(rb'{"id": "a", "choices": [{"text": "Hi", "logprob": "\ud800"}]}')
    assert ("a", [Choice(text="Hi")]) == (message.id, message.choices)


def test_half_a_surrogate_pair_stays_in_typed_text_only() -> None:
    """Typed text keeps a half, so that the next one can be joined; plain objects have U+FFFD."""
    body = rb'{"id": "\ud83d", "choices": [{"text": "\ude00 \ud83d\ude00 \\ud83d"}]}'
    message = decode(body)
    assert ("\ud83d", "\ude00 😀 \\ud83d") == (message.id, message.choices and message.choices[0].text)
    assert {"id": "\ufffd", "choices": [{"text": "\ufffd 😀 \\ud83d"}]} == decode_untyped(body)


@pytest.mark.parametrize(
    "body",
    [
        b"NaN}",
        b'{"id": "NaN" "choices": 1}',
        b'{"id": Nan}',
        b'{"id": "\xff", "x": NaN}',
        b'{"id": "\xff\\ud83d"}',
        b'{"id": "\\ud83d", "x": ',
        b'{"id": "\\ud8"}',
        b'{"x": NaN, "y": ' + b"[" * 100_000,
        b"",
    ],
)
def test_invalid_json_is_an_error(body: bytes) -> None:
    """What is not JSON for json, either, is an error of msgspec."""
    for function in (decode, decode_untyped):
        with pytest.raises(msgspec.DecodeError):
            function(body)


def test_number_of_any_length_is_accepted() -> None:
    """An integer with more digits than Python converts does not raise."""
    assert "a" == decode(b'{"id": "a", "x": NaN, "y": %b}' % (b"9" * 10_000)).id


# In an answer

TEXT = st.lists(st.sampled_from(["a", "é", "😀", "\U0010ffff", "\\", '"', "\n"]), min_size=1, max_size=8).map("".join)


def halved(text: str, cuts: list[int]) -> list[str]:
    """Return ``text`` cut between UTF-16 code units, where servers in JavaScript and Java cut it."""
    data = text.encode("utf-16-le")
    edges = [0, *sorted({2 * (cut % (len(data) // 2 + 1)) for cut in cuts}), len(data)]
    pieces = (data[start:end] for start, end in pairwise(edges))
    return [piece.decode("utf-16-le", "surrogatepass") for piece in pieces if piece]


def events_of(api: Api, kind: str, pieces: list[str]) -> list[dict[str, Any]]:
    """Return the events of an answer whose text, reasoning or tool arguments arrive in ``pieces``."""
    if api == "responses":
        events: list[dict[str, Any]] = []
        if kind == "arguments":
            item = {"type": "function_call", "call_id": "c", "name": "f", "arguments": ""}
            events = [{"type": "response.output_item.added", "output_index": 0, "item": item}]
        name = {"text": "output_text", "reasoning": "reasoning_text", "arguments": "function_call_arguments"}[kind]
        events += [{"type": f"response.{name}.delta", "output_index": 0, "delta": piece} for piece in pieces]
        if kind == "reasoning":
            events.append({"type": "response.output_text.delta", "output_index": 1, "delta": "!"})
        return [*events, {"type": "response.completed", "response": {"status": "completed", "score": float("nan")}}]
    deltas: list[dict[str, Any]] = [{"content": piece} for piece in pieces]
    if kind == "reasoning":
        deltas = [*({"reasoning_content": piece} for piece in pieces), {"content": "!"}]
    if kind == "arguments":
        functions = [{"name": "f", "arguments": ""}, *({"arguments": piece} for piece in pieces)]
        deltas = [{"tool_calls": [{"index": 0, "function": function}]} for function in functions]
    finish = {"delta": {}, "finish_reason": "stop", "logprob": float("-inf")}
    return [{"id": "c", "choices": [choice]} for choice in ({"delta": delta} for delta in deltas)] + [
        {"id": "c", "choices": [finish]}
    ]


@examples(sample=100, fuzz=8_000)
@given(
    api=st.sampled_from(["chat", "responses"]),
    kind=st.sampled_from(["text", "reasoning", "arguments"]),
    text=TEXT,
    cuts=st.lists(st.integers(0, 40), max_size=6),
    where=split_points,
)
def test_pairs_are_joined_across_chunks(
    part: int, api: Api, kind: str, text: str, cuts: list[int], where: list[int] | None
) -> None:
    """Text, reasoning and arguments cut between any two UTF-16 code units and bytes are joined without a loss."""
    count_example()
    text = json.dumps({"a": text}, ensure_ascii=False) if kind == "arguments" else text
    data = b"".join(
        b"data: " + json.dumps(event).encode() + b"\n\n" for event in events_of(api, kind, halved(text, cuts))
    )
    machine = AttemptMachine(Timeouts(), started=0.0, api=api)
    machine.headers_received(ResponseHead(200, {"content-type": "text/event-stream"}), wall_time=0.0)
    deltas = [delta for piece in split(data, where) for delta in machine.feed(piece, 1.0)] + machine.feed_eof(1.0)
    assert machine.fault is None
    expected = {"text": (text, "", "", ""), "reasoning": ("!", text, "", ""), "arguments": ("", "", "", text)}
    assert expected[kind] == join_deltas([*deltas, *machine.answer.flush()])


@pytest.mark.parametrize(
    ("api", "body"),
    [
        ("chat", r'{"choices": [{"message": {"content": "Hi \ud83d"}, "logprob": NaN, "finish_reason": "stop"}]}'),
        (
            "responses",
            r'{"status": "completed", "x": NaN, "output": [{"type": "message", "content": [{"text": "Hi \ud83d"}]}]}',
        ),
    ],
)
def test_json_body_is_accepted(api: Api, body: str) -> None:
    """An answer that is one JSON body may contain a special number and half a surrogate pair."""
    machine = AttemptMachine(Timeouts(), started=0.0, api=api)
    machine.headers_received(ResponseHead(200, {"content-type": "application/json"}), wall_time=0.0)
    machine.feed(body.encode(), 1.0)
    machine.feed_eof(1.0)
    machine.answer.flush()
    assert (None, "Hi \ufffd") == (machine.fault, "".join(machine.answer.text))


def test_error_with_half_a_surrogate_pair_is_reported() -> None:
    """An error whose JSON only json accepts is classified, and its message can be encoded."""
    machine = AttemptMachine(Timeouts(), started=0.0)
    machine.headers_received(ResponseHead(200, {"content-type": "text/event-stream"}), wall_time=0.0)
    machine.feed(rb'data: {"error": {"code": 503, "message": "busy \ud83d", "load": Infinity}}' + b"\n\n", 1.0)
    assert machine.fault is not None
    assert FaultKind.OVERLOADED is machine.fault.kind
    assert machine.fault.message.encode().startswith(b"busy ")
