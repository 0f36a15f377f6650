"""One attempt: errors that are not marked as such, and bodies with another content type."""

import json

import pytest

from streamcanary.client.core.attempt import Api, AttemptMachine
from streamcanary.client.core.limits import Limits
from streamcanary.client.core.response_head import ResponseHead
from streamcanary.client.timeouts import Timeouts
from streamcanary.model.faults import FaultKind, Phase, make_fault
from support.client.stream_strategies import APIS

K = FaultKind
TIMEOUTS = Timeouts(connect=1, headers=2, first_token=5, stall=3, total=20)
STREAM = "text/event-stream"
TEXT: dict[Api, bytes] = {
    "chat": b'data: {"id": "c", "choices": [{"delta": {"content": "Hi"}}]}\n\n',
    "responses": b'data: {"type": "response.output_text.delta", "delta": "Hi"}\n\n',
}
END: dict[Api, bytes] = {
    "chat": b'data: {"id": "c", "choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n',
    "responses": b'data: {"type": "response.completed", "response": {"id": "r", "status": "completed"}}\n\n',
}
FIELDS = b'[{"loc": ["body", "a"], "msg": "field required"}, {"loc": ["body", "b"], "msg": "must be int"}]'
PRETTY = json.dumps({"error": {"message": "no slot", "code": 503}}, indent=2).encode()
CONTEXT = "the request exceeds the available context size"
QUEUED = b'data: {"message":"server busy, queued"}\n\n'
SPLITS = ("whole", "bytes")


def start(content_type: str, *, status: int = 200, api: Api = "chat", limits: Limits | None = None) -> AttemptMachine:
    machine = AttemptMachine(TIMEOUTS, started=0.0, api=api, limits=limits or Limits(), secrets=("hidden-key-1",))
    headers = {"content-type": content_type} if content_type else {}
    machine.headers_received(ResponseHead(status, headers), wall_time=0.0)
    return machine


def attempt(
    body: bytes, content_type: str = STREAM, *, split: str = "whole", api: Api = "chat", status: int = 200
) -> AttemptMachine:
    """Return an attempt that received ``body`` at once or byte by byte, and then end of file."""
    machine = start(content_type, status=status, api=api)
    for piece in [body] if split == "whole" else [body[i : i + 1] for i in range(len(body))]:
        machine.feed(piece, 1.0)
    machine.feed_eof(2.0)
    return machine


def outcome(machine: AttemptMachine) -> tuple[FaultKind | None, str]:
    return (None, "") if machine.fault is None else (machine.fault.kind, machine.fault.message)


UNMARKED: list[tuple[bytes, FaultKind, str]] = [
    (b"event: error\ndata: no more memory\n\n", K.STREAM_ERROR, "no more memory"),
    (b'event: exception\ndata: {"message": "no more memory"}\n\n', K.STREAM_ERROR, "no more memory"),
    (b"event: exception\ndata:\n\n", K.STREAM_ERROR, "the stream contains an error without a message"),
    (b'data: error: {"message":"boom","code":500}\n\n', K.SERVER_ERROR, "boom"),
    (b"data: [ERROR] CUDA out of memory\n\n", K.STREAM_ERROR, "[ERROR] CUDA out of memory"),
    (b'data: {"message":"Internal server error"}\n\n', K.SERVER_ERROR, "Internal server error"),
    (b'data: {"message":"Internal server error"}\n\ndata: [DONE]\n\n', K.SERVER_ERROR, "Internal server error"),
    (b'data: {"detail": ' + FIELDS + b"}\n\n", K.BAD_REQUEST, "a: field required; b: must be int"),
    (b'data: {"success":false,"message":"no worker"}\n\n', K.STREAM_ERROR, "no worker"),
    (QUEUED + b'data: {"message":"worker failed"}\n\ndata: {}\n\n', K.STREAM_ERROR, "worker failed"),
    (PRETTY, K.OVERLOADED, "no slot"),
    (PRETTY + b"\n\n", K.OVERLOADED, "no slot"),
    (b"error: " + CONTEXT.encode() + b"\n\n", K.CONTEXT_LENGTH_EXCEEDED, CONTEXT),
    (b"error: bad things with hidden-key-1", K.STREAM_ERROR, "bad things with [redacted]"),
    (b"Internal Server Error", K.SERVER_ERROR, "Internal Server Error"),
]  # fmt: skip


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("has_text", [False, True])
@pytest.mark.parametrize(("body", "kind", "message"), UNMARKED)
def test_unmarked_error_is_the_fault(
    body: bytes, kind: FaultKind, message: str, has_text: bool, split: str, api: Api
) -> None:
    """An error in any form is the fault of an event stream that ends without an answer, with its words."""
    machine = attempt((TEXT[api] if has_text else b"") + body, split=split, api=api)
    assert (kind, message) == outcome(machine)


@pytest.mark.parametrize("api", APIS)
def test_unmarked_error_explains_a_lost_connection(api: Api) -> None:
    """An error before the connection is lost is the fault, and no other loss is."""
    for body, kind in ((b'data: {"message":"Internal server error"}\n\n', K.SERVER_ERROR), (b"", K.STREAM_CUT)):
        machine = start(STREAM, api=api)
        machine.feed(TEXT[api] + body, 1.0)
        machine.fail_unless_complete(make_fault(K.STREAM_CUT, Phase.STREAM, "reset"))
        assert kind is outcome(machine)[0]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    "extra",
    [
        b'data: {"message": "server busy, waiting for a slot"}\n\n',
        b'data: {"success": false, "message": "a tool failed"}\n\n',
        b'data: {"status": "error", "message": "a tool failed"}\n\n',
        b'data: {"detail": [{"msg": "a tool failed"}]}\n\n',
        b'data: {"error_code": 0, "error_msg": "success"}\n\n',
        b'data: {"code": 1000, "msg": "success"}\n\n',
        b'data: {"base_resp": {"status_code": 0, "status_msg": "success"}}\n\n',
        b"error: none\n\n",
        PRETTY.replace(b"503", b"0") + b"\n\n",
    ],
)
def test_message_beside_an_answer_changes_nothing(extra: bytes, api: Api) -> None:
    """What a server sends besides a complete answer is no fault, whatever its words."""
    for body in (extra + TEXT[api] + END[api], TEXT[api] + extra + END[api]):
        machine = attempt(body, api=api)
        assert ((None, ""), ["Hi"]) == (outcome(machine), machine.answer.text)


def test_error_of_minimax_in_the_stream_is_classified() -> None:
    """``base_resp`` with a code other than 0 is an error with MiniMax's meaning, also in a chunk with an id."""
    for choices in (b"null", b"[]"):
        error = b'{"id":"c","choices":%b,"base_resp":{"status_code":1008,"status_msg":"no credit"}}' % choices
        assert (K.QUOTA_EXHAUSTED, "no credit") == outcome(attempt(TEXT["chat"] + b"data: " + error + b"\n\n"))
        success = error.replace(b"1008", b"0")
        assert (None, "") == outcome(attempt(TEXT["chat"] + b"data: " + success + b"\n\n" + END["chat"]))


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (
            b"data: hello hidden-key-1\n\n",
            K.STREAM_MALFORMED,
            "the event stream is malformed: JSON is malformed: invalid character (byte 0): hello [redacted]",
        ),
        (
            b'data: {"status": "queued"}\n\n',
            K.STREAM_TRUNCATED,
            'the event stream ended without an answer; it says: {"status": "queued"}',
        ),
        (
            b"<html><title>Sign in</title></html>",
            K.NOT_A_STREAM,
            "the body is not an event stream, as its type says; it says: Sign in",
        ),
    ],
)
def test_words_of_the_server_are_kept(body: bytes, kind: FaultKind, message: str) -> None:
    """A fault without an error of the server has what the server said, scrubbed."""
    assert (kind, message) == outcome(attempt(body))


OTHER_TYPES = ["", "text/plain; charset=utf-8", "application/octet-stream", "application/json", "application/x-ndjson"]
STARTS = [b"", b"\xef\xbb\xbf", b": ping\n\n", b"\r\n", b"event: message\n", b"id: 1\nretry: 10\n"]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("before", STARTS)
@pytest.mark.parametrize("content_type", OTHER_TYPES)
def test_event_stream_of_another_type_is_read(content_type: str, before: bytes, split: str, api: Api) -> None:
    """A body that is an event stream by its first event is read as one, as by the SDK, without or with another type."""
    machine = attempt(before + TEXT[api] + END[api], content_type, split=split, api=api)
    assert ((None, ""), ["Hi"], True) == (outcome(machine), machine.answer.text, machine.was_streamed)


@pytest.mark.parametrize("content_type", [STREAM, *OTHER_TYPES])
def test_success_with_another_status_is_read(content_type: str) -> None:
    """A stream with status 201 is an answer, as for the SDK."""
    assert (None, "") == outcome(attempt(TEXT["chat"] + END["chat"], content_type, status=201))


def test_json_answer_of_another_type_is_read() -> None:
    """A complete JSON answer is one without a content type, too."""
    body = b'{"id": "c", "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}'
    for content_type in ("", "text/plain", "application/json"):
        machine = attempt(b"\xef\xbb\xbf" + body, content_type, status=201)
        assert ((None, ""), ["Hi"], False) == (outcome(machine), machine.answer.text, machine.was_streamed)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("content_type", [*OTHER_TYPES, "text/html"])
@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (b'{"error": {"message": "busy", "code": 503}}', K.OVERLOADED, "busy"),
        (b'\n{"error": {"message": "busy", "code": 503}}\n', K.OVERLOADED, "busy"),
        (PRETTY, K.OVERLOADED, "no slot"),
        (b'\xef\xbb\xbf{"error": {"message": "busy", "code": 503}}', K.OVERLOADED, "busy"),
        (b'{"detail":"Not authenticated"}', K.AUTH_FAILED, "Not authenticated"),
        (b'{"detail": ' + FIELDS + b"}", K.BAD_REQUEST, "a: field required; b: must be int"),
        (b'{"message":"Internal server error"}', K.SERVER_ERROR, "Internal server error"),
        (b'{"base_resp":{"status_code":1004,"status_msg":"login fail"}}', K.AUTH_FAILED, "login fail"),
        (b"Internal Server Error", K.SERVER_ERROR, "Internal Server Error"),
        (b"error: no slot", K.STREAM_ERROR, "no slot"),
        (b'error: {"message": "no slot", "code": 503}\n', K.OVERLOADED, "no slot"),
        (b'data: {"error": {"message": "no slot", "code": 503}}', K.OVERLOADED, "no slot"),
    ],
)
def test_error_in_a_body_of_another_type_is_the_fault(
    body: bytes, kind: FaultKind, message: str, content_type: str, split: str
) -> None:
    """An address is not blamed when the body has an error, whatever its content type."""
    assert (kind, message) == outcome(attempt(body, content_type, split=split))


@pytest.mark.parametrize(
    ("content_type", "body", "message"),
    [
        ("text/html", b"<html><title>Sign in</title></html>", "status 200 and text/html, not an event stream: Sign in"),
        ("", b"<html><title>Sign in</title></html>", "status 200 and no content type, not an event stream: Sign in"),
        ("text/plain", b"Ollama is running", "status 200 and text/plain, not an event stream: Ollama is running"),
        ("text/plain", b"data: hello\n\n", "status 200 and text/plain, not an event stream: data: hello"),
        ("text/plain", b"id hidden-key-1", "status 200 and text/plain, not an event stream: id [redacted]"),
        ("image/png", b"\x89PNG\x00", "status 200 and image/png, not an event stream"),
        ("", b"", "status 200 and no content type, not an event stream"),
        ("application/json", b'{"message": "Welcome"}', "JSON that is neither an answer nor an error: Welcome"),
        ("application/json", b"Welcome", "content type application/json, but the body is not JSON: Welcome"),
    ],
)
def test_other_body_is_not_a_stream(content_type: str, body: bytes, message: str) -> None:
    """A page, a greeting and nothing are not_a_stream; the message has their words."""
    assert (K.NOT_A_STREAM, f"the server answered with {message}") == outcome(attempt(body, content_type))


def test_page_ends_the_attempt_at_once() -> None:
    """The beginning of a page in HTML, and 64 KiB of anything else, end the attempt; the rest is not waited for."""
    for content_type, body in (
        ("text/html", b" <html>"),
        ("text/html", b"\xef\xbb\xbf<html>"),
        ("", b"<!doctype html>"),
        ("text/plain", b"id" + b"x" * (64 << 10)),
        ("text/plain", b"x" * (64 << 10) + b"x"),
    ):
        machine = start(content_type)
        machine.feed(body, 1.0)
        assert (True, K.NOT_A_STREAM) == (machine.is_finished, outcome(machine)[0])


def test_silent_body_of_another_type_is_the_fault_of_its_timeout() -> None:
    """Without a body, its type says nothing: that is the first-token timeout, or a lost connection; not so a page."""
    for content_type, body, kind in (
        ("", b": ping\n\n", K.FIRST_TOKEN_TIMEOUT),
        ("application/json", b"", K.FIRST_TOKEN_TIMEOUT),
        ("text/plain", b"Welcome", K.NOT_A_STREAM),
        ("text/html", b"", K.NOT_A_STREAM),
        ("text/plain", b"Internal Server Error", K.SERVER_ERROR),
    ):
        machine = start(content_type)
        machine.feed(body, 1.0)
        machine.deadline_exceeded()
        assert kind is outcome(machine)[0]
        machine = start(content_type)
        machine.feed(body, 1.0)
        machine.fail_unless_complete(make_fault(K.STREAM_CUT, Phase.STREAM, "reset"))
        assert (K.STREAM_CUT if kind is K.FIRST_TOKEN_TIMEOUT else kind) is outcome(machine)[0]


@pytest.mark.parametrize("content_type", ["", "application/json"])
def test_large_first_event_of_another_type_is_read(content_type: str) -> None:
    """The limit of a body of another type does not apply to a stream, whose first event can be an image."""
    text = "x" * (200 << 10)
    chunk = json.dumps({"id": "c", "choices": [{"delta": {"content": text}}]}).encode()
    body = b"data: " + chunk + b"\n\n" + END["chat"]
    machine = start(content_type)
    for place in range(0, len(body), 10_000):
        machine.feed(body[place : place + 10_000], 1.0)
    machine.feed_eof(2.0)
    assert ((None, ""), text) == (outcome(machine), "".join(machine.answer.text))


def test_json_body_over_its_limit_is_answer_too_long() -> None:
    """A JSON body is limited like an event."""
    machine = start("application/json", limits=Limits(max_event_bytes=100))
    machine.feed(b'{"id": "' + b"x" * 100, 1.0)
    assert K.ANSWER_TOO_LONG is outcome(machine)[0]
