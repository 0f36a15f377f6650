"""Errors that a server writes into the event stream outside of ``data``."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcanary.client.core.attempt import Api, AttemptMachine
from streamcanary.client.core.decoding.sse_errors import error_in_json, error_in_line
from streamcanary.client.core.response_head import ResponseHead
from streamcanary.client.timeouts import Timeouts
from streamcanary.model.faults import FaultKind
from support.client.stream_strategies import APIS, split, split_points
from support.hypothesis_profile import count_example, examples, report_example_count

__all__ = ["report_example_count"]

ERROR = {"code": 400, "message": "the request exceeds the available context size", "type": "exceed_context_size_error"}
FIELD = b"error: " + json.dumps(ERROR).encode()
TEXT: dict[Api, bytes] = {
    "chat": b'data: {"id": "c", "choices": [{"delta": {"content": "Hi"}}]}\n\n',
    "responses": b'data: {"type": "response.output_text.delta", "delta": "Hi"}\n\n',
}
FINISH = b'data: {"id": "c", "choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'


def attempt(api: Api, pieces: list[bytes]) -> AttemptMachine:
    machine = AttemptMachine(Timeouts(), started=0.0, api=api)
    machine.headers_received(ResponseHead(200, {"content-type": "text/event-stream"}), wall_time=0.0)
    for piece in pieces:
        machine.feed(piece, 1.0)
    machine.feed_eof(2.0)
    return machine


@examples(sample=100, fuzz=5_000)
@given(
    api=st.sampled_from(APIS),
    has_text=st.booleans(),
    before=st.sampled_from([b"", b": ping\n\n", b"event: error\n", b"event: other\n", b"id: 1\n"]),
    newline=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    after=st.sampled_from([b"", b"\n", b"\n\n", b"\n\ndata: [DONE]\n\n", b"\ndata: {}\n\n"]),
    where=split_points,
)
def test_error_field_is_an_error_of_the_provider(
    part: int, api: Api, has_text: bool, before: bytes, newline: bytes, after: bytes, where: list[int] | None
) -> None:
    """The field ``error`` is the fault of its code, with any split and line end, alone or in a stream."""
    count_example()
    data = ((TEXT[api] if has_text else b"") + before + FIELD + after).replace(b"\n", newline)
    machine = attempt(api, split(data, where))
    assert machine.fault is not None
    assert FaultKind.CONTEXT_LENGTH_EXCEEDED is machine.fault.kind
    assert str(ERROR["message"]) in machine.fault.message
    assert "Hi" * has_text == "".join(machine.answer.text)


@pytest.mark.parametrize("api", APIS)
def test_incomplete_event_at_the_end_is_read_if_it_is_an_error(api: Api) -> None:
    """An error in ``data`` that no blank line or line end follows is reported; other data is dropped."""
    for end in (b"", b"\n"):
        machine = attempt(api, [TEXT[api], b'data: {"error": {"code": 503, "message": "busy"}}' + end])
        assert machine.fault is not None
        assert FaultKind.OVERLOADED is machine.fault.kind
        machine = attempt(api, [TEXT[api], TEXT[api].strip() + end])
        assert machine.fault is not None
        assert FaultKind.STREAM_TRUNCATED is machine.fault.kind


@pytest.mark.parametrize(
    "line",
    [
        b": " + FIELD,
        b":" + FIELD,
        b"id: " + FIELD[7:],
        b"retry: " + FIELD[7:],
        b"error: none",
        b"error: {}",
        b"error: []",
        b"error:",
        b"error",
        b"error: {broken",
        b'meta: {"message": "hello", "status": "ok"}',
        b'meta: {"error": null, "type": "usage"}',
        b'meta: {"code": 200, "message": "ok"}',
        b'{"choices": [], "error": {}}',
        b"x" * 65 + b": " + FIELD[7:],
        b'error: {"message": "' + b"x" * 70_000 + b'"}',
    ],
)
def test_other_field_is_ignored(line: bytes) -> None:
    """A comment, a field of the specification, and an unknown field that is no error object change nothing."""
    machine = attempt("chat", [TEXT["chat"], line + b"\n\n", FINISH])
    assert (None, ["Hi"]) == (machine.fault, machine.answer.text)


@pytest.mark.parametrize(
    "line",
    [
        b'Error: {"message": "no"}',
        b'meta: {"error": "no"}',
        b'meta: {"object": "error", "message": "no"}',
        b'meta: {"code": "503", "message": "no"}',
        b'meta: {"type": "overloaded_error", "message": "no"}',
        b'{"error": {"message": "no"}}',
        b'{"detail": "no", "status": 503}',
    ],
)
def test_json_error_is_recognized(line: bytes) -> None:
    """A line in a field of any name, or without a field, is an error if its JSON says so."""
    error = error_in_line(line)
    assert error is not None
    assert "error" in json.loads(error)


def test_error_with_its_own_error_is_not_wrapped() -> None:
    """An object that has ``error`` is passed on as it is; another one is wrapped."""
    assert b'{"error": 1}' == error_in_json(b'{"error": 1}')
    assert b'{"error":{"type": "error"}}' == error_in_json(b'{"type": "error"}')
