"""One attempt: complete answers, fault classification, and deadlines."""

import json
from typing import Any

import pytest

from streamcanary.client.core.attempt import AttemptMachine
from streamcanary.client.core.limits import Limits
from streamcanary.client.core.response_head import ResponseHead
from streamcanary.client.timeouts import Timeouts
from streamcanary.events import ContentDelta, ReasoningDelta, RefusalDelta, ToolCallDelta
from streamcanary.model.faults import Blame, FaultKind, Phase, make_fault

STREAM = {"content-type": "text/event-stream; charset=utf-8", "x-request-id": "req_1"}
TIMEOUTS = Timeouts(connect=1, headers=2, first_token=5, stall=3, total=20)


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps({**body, **more}).encode() + b"\n\n"


def attempt(*pieces: bytes, headers: dict[str, str] = STREAM, status: int = 200, **options: Any) -> AttemptMachine:
    """Return an attempt that received ``pieces``, one second apart, and then end of file."""
    machine = AttemptMachine(TIMEOUTS, started=0.0, **options)
    machine.headers_received(ResponseHead(status, headers), wall_time=0.0)
    for second, piece in enumerate(pieces, start=1):
        machine.feed(piece, float(second))
    machine.feed_eof(len(pieces) + 1.0)
    return machine


def kind_of(machine: AttemptMachine) -> FaultKind | None:
    return machine.fault.kind if machine.fault else None


WHOLE = (chunk({"role": "assistant", "content": ""}), chunk({"content": "Hi"}), chunk({}, "stop"))


def test_complete_answer_does_not_require_done() -> None:
    """A stream with text and a finish_reason is complete, with or without [DONE]."""
    for tail in ((), (b"data: [DONE]\n\n",)):
        machine = attempt(*WHOLE, *tail)
        assert (True, None, ["Hi"], "stop") == (
            machine.is_finished,
            machine.fault,
            machine.answer.text,
            machine.answer.finish_reason,
        )


@pytest.mark.parametrize(
    ("pieces", "kind"),
    [
        ((), FaultKind.STREAM_TRUNCATED),
        ((b": ping\n\n", b"retry: 10\n\n", b"data: [DONE]\n\n"), FaultKind.STREAM_TRUNCATED),
        ((b"<html>\n<title>Sign in</title>\n", b"</html>"), FaultKind.NOT_A_STREAM),
        ((b"Sign in",), FaultKind.NOT_A_STREAM),
        (WHOLE[:2], FaultKind.STREAM_TRUNCATED),
        ((*WHOLE[:2], b"data: [DONE]\n\n"), FaultKind.STREAM_TRUNCATED),
        ((WHOLE[0], WHOLE[2]), FaultKind.EMPTY_ANSWER),
        ((chunk({"reasoning_content": "hm"}), chunk({}, "length")), FaultKind.TOKEN_LIMIT_REACHED),
        ((chunk({}, "content_filter"),), FaultKind.CONTENT_POLICY),
        ((b"data: {nonsense\n\n",), FaultKind.STREAM_MALFORMED),
        ((b'data: {"id": "\xff"}\n\n',), FaultKind.STREAM_MALFORMED),
        ((b'data: {"x": "\xff", "choices": 5}\n\n',), FaultKind.STREAM_MALFORMED),
        ((b'data: {"error": ' + b"[" * 100_000 + b"\n\n",), FaultKind.STREAM_MALFORMED),
        ((WHOLE[1], b'data: {"error": {"message": "boom", "type": "server_error"}}\n\n'), FaultKind.SERVER_ERROR),
        ((WHOLE[1], b'data: {"error": {"message": "boom"}}\n\n'), FaultKind.STREAM_ERROR),
        ((WHOLE[1], b'data: {"error": "boom"}\n\n'), FaultKind.STREAM_ERROR),
        ((b'data: {"error": {"code": "429", "message": "slow down"}}\n\n',), FaultKind.RATE_LIMITED),
        ((b'event: error\ndata: {"message": "boom", "code": "overloaded_error"}\n\n',), FaultKind.OVERLOADED),
        ((*WHOLE, b'data: {"error": {"message": "late"}}\n\n'), FaultKind.STREAM_ERROR),
        ((WHOLE[1], b"event: error\ndata:\n\n", WHOLE[2]), FaultKind.STREAM_ERROR),
        ((WHOLE[1], b'data: {"error": {}}\n\n', WHOLE[2]), FaultKind.STREAM_ERROR),
        ((b'data: {"object": "error", "message": "boom", "code": 503}\n\n',), FaultKind.OVERLOADED),
        ((b'data: {"type": "error", "error": {"type": "overloaded_error"}}\n\n',), FaultKind.OVERLOADED),
        ((WHOLE[1], chunk({}, "error")), FaultKind.STREAM_ERROR),
        ((WHOLE[1], chunk({}, "abort")), FaultKind.STREAM_ERROR),
        ((WHOLE[1], chunk({"content": 5}), WHOLE[2]), FaultKind.STREAM_MALFORMED),
        ((WHOLE[1], chunk({"content": [{"other": "x"}]}), WHOLE[2]), FaultKind.STREAM_MALFORMED),
    ],
)
def test_incomplete_stream_is_a_fault(pieces: tuple[bytes, ...], kind: FaultKind) -> None:
    """An incomplete answer is a fault of the expected kind, even if the stream ends cleanly."""
    assert kind is kind_of(attempt(*pieces))


@pytest.mark.parametrize(
    "piece",
    [
        b'data: {"id": "x", "choices": null}\n\n',
        b'data: {"id": "x", "choices": [{"index": 0}]}\n\n',
        b'data: {"id": 5, "created": "late", "choices": [{"delta": {"role": 7}, "finish_reason": false}]}\n\n',
        b'data: {"id": "x", "error": {}, "choices": [{"delta": {}}]}\n\n',
        b'data: {"usage": {"prompt_tokens": -5, "completion_tokens": 1e30}}\n\n',
        b'data: {"id": "x", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": null}}\n\n',
        b'data: {"foreign": true}\n\n',
        b"data: []\n\n",
        b"data: null\n\n",
        b"data:\n\n",
        b"retry: 100\n\n",
    ],
)
def test_nonconforming_chunks_are_accepted(piece: bytes) -> None:
    """Missing fields, nulls, wrong types and control frames do not break an answer."""
    machine = attempt(WHOLE[0], piece, *WHOLE[1:])
    assert (None, ["Hi"]) == (machine.fault, machine.answer.text)


@pytest.mark.parametrize(
    "piece",
    [
        b'{"id": "c1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}, "error": %b}',
        b'{"choices": [], "error": %b, "prompt_filter_results": [{"prompt_index": 0}]}',
        b'{"id": "c1", "choices": null, "error": %b}',
        b'{"usage": {"prompt_tokens": 3, "completion_tokens": 1}, "error": %b}',
        b'{"id": "c1", "choices": [{"index": 0, "delta": {}}], "error": %b}',
    ],
)
@pytest.mark.parametrize("error", [b'""', b"{}", b"false", b"null", b"0", b"[]"])
def test_empty_error_beside_a_part_of_the_answer_is_none(piece: bytes, error: bytes) -> None:
    """An empty ``error`` beside choices, an id or usage is no error, before the answer and after it, as in the SDK."""
    event = b"data: " + piece % error + b"\n\n"
    for pieces in ((event, *WHOLE), (*WHOLE, event)):
        machine = attempt(*pieces)
        assert (None, ["Hi"]) == (machine.fault, machine.answer.text)


@pytest.mark.parametrize("error", [b'""', b"false", b"null"])
def test_heartbeat_with_an_empty_error_is_none(error: bytes) -> None:
    """An event that has only an empty ``error`` is a heartbeat; it does not count as a part of the answer, either."""
    heartbeat = b'data: {"error": ' + error + b"}\n\n"
    machine = attempt(heartbeat, *WHOLE, heartbeat)
    assert (None, ["Hi"]) == (machine.fault, machine.answer.text)
    assert FaultKind.STREAM_TRUNCATED is kind_of(attempt(heartbeat))


def test_valid_fields_are_kept_next_to_invalid_one() -> None:
    """A wrong type in one field drops only that field."""
    machine = attempt(b'data: {"created": "x", "choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}\n\n')
    assert (None, ["Hi"], None) == (machine.fault, machine.answer.text, machine.answer.created)


def test_content_may_be_a_list_of_parts() -> None:
    """Content in the form of a list of parts is joined as text."""
    machine = attempt(chunk({"content": "one "}), chunk({"content": [{"type": "text", "text": "two"}]}), WHOLE[2])
    assert (None, ["one ", "two"]) == (machine.fault, machine.answer.text)


def test_tool_arguments_may_be_an_object() -> None:
    """Tool call arguments that arrive as a JSON object are serialized to JSON text."""
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": {"a": 1}}}
    machine = attempt(chunk({"tool_calls": [call]}), chunk({}, "tool_calls"))
    assert '{"a":1}' == machine.answer.tool_calls[0].arguments


@pytest.mark.parametrize("tokens", [-5, 10**30, 1.5, "many", None])
def test_usage_with_invalid_count_is_unknown(tokens: object) -> None:
    """Usage with an invalid token count is not known; it is never zero."""
    machine = attempt(chunk({"content": "Hi"}, "stop", usage={"prompt_tokens": tokens, "completion_tokens": 3}))
    assert None is machine.answer.usage


def test_provider_strings_are_sanitized_and_bounded() -> None:
    """Model, id and finish_reason lose control characters and are truncated."""
    machine = attempt(chunk({"content": "x"}, id="a\x1bb"), chunk({}, "st\x00op", model="m\x00" + "n" * 999))
    answer = machine.answer
    assert ("a b", "m " + "n" * 253 + "…", "st op") == (answer.response_id, answer.model, answer.finish_reason)


def test_every_delta_is_an_event() -> None:
    """Text, reasoning, refusal and tool call deltas are emitted as events and accumulated."""
    machine = AttemptMachine(TIMEOUTS, started=0.0)
    machine.headers_received(ResponseHead(200, STREAM), wall_time=0.0)
    call = {"index": 0, "id": "call_1", "function": {"name": "f", "arguments": '{"a"'}}
    more = {"index": 0, "function": {"arguments": ": 1}"}}
    events = [
        event
        for piece in (
            chunk({"reasoning": "hm"}),
            chunk({"content": "Hi"}),
            chunk({"refusal": "no"}),
            chunk({"tool_calls": [call]}),
            chunk({"tool_calls": [more]}),
        )
        for event in machine.feed(piece, 1.0)
    ]
    assert [
        ReasoningDelta("hm"),
        ContentDelta("Hi"),
        RefusalDelta("no"),
        ToolCallDelta(0, "f", '{"a"'),
        ToolCallDelta(0, "f", ": 1}"),
    ] == events
    assert [("call_1", "f", '{"a": 1}')] == [(c.id, c.name, c.arguments) for c in machine.answer.tool_calls]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "text/html"}, 200),
        ({"content-type": "text/event-stream"}, 204),
        ({"content-type": "text/event-stream"}, 205),
    ],
)
def test_response_that_is_not_a_stream_is_not_a_stream_fault(headers: dict[str, str], status: int) -> None:
    """A stream that is HTML by its type, or has a status without a body, is not_a_stream with blame config."""
    machine = attempt(*WHOLE, headers=headers, status=status)
    assert machine.fault is not None
    assert (FaultKind.NOT_A_STREAM, Blame.CONFIG, False) == (
        machine.fault.kind,
        machine.fault.blame,
        machine.fault.retryable,
    )


def test_redirect_names_its_target() -> None:
    """A redirect is not_a_stream; its message has the target without user info, query and fragment."""
    machine = AttemptMachine(TIMEOUTS, started=0.0)
    location = {
        "location": "https://user:hunter2@login.example/sso?ticket=hunter2#hunter2",
        "content-type": "text/html",
    }
    machine.headers_received(ResponseHead(307, location), wall_time=0.0)
    assert machine.fault is not None
    assert (FaultKind.NOT_A_STREAM, Blame.CONFIG, False, 307) == (
        machine.fault.kind,
        machine.fault.blame,
        machine.fault.retryable,
        machine.fault.status,
    )
    assert (
        "the server redirects to https://login.example/sso: a login page, or the base URL is wrong"
        == machine.fault.message
    )


JSON = {"content-type": "application/json"}


def test_json_completion_is_an_unstreamed_answer() -> None:
    """A JSON completion from a server that ignores ``stream`` is an answer with ``was_streamed`` false."""
    body = {"id": "c", "choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}
    machine = attempt(json.dumps(body).encode(), headers=JSON)
    assert (None, ["Hi"], False) == (machine.fault, machine.answer.text, machine.was_streamed)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"error": {"message": "no", "code": "insufficient_quota"}}', FaultKind.QUOTA_EXHAUSTED),
        (b'{"error": {"message": "no", "code": 404}}', FaultKind.NOT_FOUND),
        (b'{"status": "up"}', FaultKind.NOT_A_STREAM),
        (b"<html>", FaultKind.NOT_A_STREAM),
        (b"", FaultKind.NOT_A_STREAM),
    ],
)
def test_json_body_is_classified_by_its_content(body: bytes, kind: FaultKind) -> None:
    """A JSON error with status 200 is that error; other JSON is not_a_stream."""
    assert kind is kind_of(attempt(body, headers=JSON))


def test_lenient_attempt_accepts_done_without_finish_reason() -> None:
    """A lenient attempt accepts [DONE] without a finish_reason; end of file without either is stream_truncated."""
    assert None is kind_of(attempt(*WHOLE[:2], b"data: [DONE]\n\n", lenient=True))
    assert FaultKind.STREAM_TRUNCATED is kind_of(attempt(*WHOLE[:2], lenient=True))


def test_timeouts_apply_in_sequence() -> None:
    """The headers, first-token and stall timeouts apply one after the other."""
    machine = AttemptMachine(TIMEOUTS, started=100.0)
    deadlines = [machine.deadline]
    machine.headers_received(ResponseHead(200, STREAM), wall_time=0.0)
    deadlines.append(machine.deadline)
    machine.feed(WHOLE[0], 101.0)
    deadlines.append(machine.deadline)
    machine.feed(WHOLE[1], 102.0)
    deadlines.append(machine.deadline)
    assert [102.0, 105.0, 105.0, 105.0] == deadlines


@pytest.mark.parametrize("piece", [b": ping\n\n", chunk({"content": ""}), chunk({}), chunk({"role": "assistant"})])
def test_only_tokens_reset_the_timeouts(piece: bytes) -> None:
    """Comments and empty deltas reset neither the first-token nor the stall timeout."""
    machine = AttemptMachine(TIMEOUTS, started=0.0)
    machine.headers_received(ResponseHead(200, STREAM), wall_time=0.0)
    machine.feed(piece, 4.0)
    assert 5.0 == machine.deadline
    machine.feed(WHOLE[1], 4.5)
    machine.feed(piece, 6.0)
    assert 7.5 == machine.deadline


def test_caller_pause_is_excluded_from_stall() -> None:
    """Time the caller takes between two reads extends the stall deadline and does not count in max_gap."""
    machine = AttemptMachine(TIMEOUTS, started=0.0)
    machine.headers_received(ResponseHead(200, STREAM), wall_time=0.0)
    machine.feed(WHOLE[1], 1.0)
    machine.clock.exclude_pause(60.0)
    assert 64.0 == machine.deadline
    machine.feed(WHOLE[1], 62.0)
    assert 1.0 == machine.clock.max_gap


@pytest.mark.parametrize(
    ("pieces", "kind", "phase"),
    [
        (None, FaultKind.HEADERS_TIMEOUT, Phase.HEADERS),
        (WHOLE[:1], FaultKind.FIRST_TOKEN_TIMEOUT, Phase.STREAM),
        (WHOLE[:2], FaultKind.STALLED, Phase.STREAM),
        (WHOLE, None, Phase.END),
    ],
)
def test_expired_timeout_determines_the_fault(
    pieces: tuple[bytes, ...] | None, kind: FaultKind | None, phase: Phase
) -> None:
    """The expired timeout determines the fault; after a finish_reason no timeout applies."""
    machine = AttemptMachine(TIMEOUTS, started=0.0)
    if pieces is not None:
        machine.headers_received(ResponseHead(200, STREAM), wall_time=0.0)
        for piece in pieces:
            machine.feed(piece, 1.0)
    machine.deadline_exceeded()
    assert (True, kind, phase) == (machine.is_finished, kind_of(machine), machine.phase)


def test_oversized_answer_is_answer_too_long() -> None:
    """More text, a longer line or more events than the limits allow is answer_too_long."""
    long = [chunk({"content": "x" * 60}), chunk({"content": "x" * 60}), chunk({}, "stop")]
    assert FaultKind.ANSWER_TOO_LONG is kind_of(attempt(*long, limits=Limits(max_answer_characters=100)))
    assert FaultKind.ANSWER_TOO_LONG is kind_of(attempt(*WHOLE, limits=Limits(max_events=2)))
    assert FaultKind.ANSWER_TOO_LONG is kind_of(attempt(*WHOLE, limits=Limits(max_line_bytes=20)))


def test_fault_message_contains_no_secret() -> None:
    """A key that a provider repeats in its error is scrubbed from the message."""
    body = b'data: {"error": {"message": "bad key my-own-secret-key\\u0000 given", "code": "my-own-secret-key"}}\n\n'
    headers = {**STREAM, "x-request-id": "req my-own-secret-key"}
    machine = attempt(body, headers=headers, secrets=("my-own-secret-key",))
    assert machine.fault is not None
    assert ("bad key [redacted]  given", "[redacted]", "req [redacted]") == (
        machine.fault.message,
        machine.fault.code,
        machine.fault.request_id,
    )


def test_complete_answer_survives_later_oversized_line() -> None:
    """A line over the limit does not invalidate an answer that was complete before it, even in the same read."""
    endless = b"x" * 2000
    for pieces in ((*WHOLE, endless), (b"".join((*WHOLE, endless)),)):
        machine = attempt(*pieces, limits=Limits(max_line_bytes=1000))
        assert (None, ["Hi"]) == (machine.fault, machine.answer.text)


def test_fault_status_is_set_once_headers_arrive() -> None:
    """A fault has status 200 once the headers have arrived, and no status before."""
    for begun, status in ((False, None), (True, 200)):
        for end in ("lost", "left", "timed out"):
            machine = AttemptMachine(TIMEOUTS, started=0.0)
            if begun:
                machine.headers_received(ResponseHead(200, STREAM), wall_time=0.0)
            match end:
                case "lost":
                    machine.fail_unless_complete(make_fault(FaultKind.STREAM_CUT, Phase.STREAM, "reset"))
                case "left":
                    machine.cancelled()
                case _:
                    machine.deadline_exceeded()
            assert machine.fault is not None
            assert (status, "req_1" if begun else None) == (machine.fault.status, machine.fault.request_id)
