"""Faults in the stream: its timing, its interruption, and the content of its answer.

Each behaviour is defined once; :class:`ApiResponse` encodes it for the API of the request. A request without
``stream`` gets the same behaviour on the JSON object, sent in slices. Where a behaviour does not exist for the JSON
object or the API, the nearest one is played.
"""

from collections.abc import Callable, Iterable, Sequence
from email.utils import formatdate
from typing import Final

from streamcanary.simulator.api.answer import ANSWER_PIECES, Answer, Part, PartKind, text_answer
from streamcanary.simulator.api.base import ApiResponse, StreamedBody, StreamErrorKind
from streamcanary.simulator.api.error_bodies import error_object
from streamcanary.simulator.http.response_writer import (
    EVENT_STREAM,
    JSON,
    RATE_LIMIT_HEADERS,
    Behaviour,
    ResponseWriter,
)

_SERVER_ERROR = "The server had an error while processing your request. Sorry about that!"
_RATE_LIMIT = "Rate limit reached for {model} on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000."
_REASONING = ("The", " user", " wants", " pong", ".")
_NO_FINISH, _FINISH = b'"finish_reason":null', b'"finish_reason":"stop"'
_BOM = b"\xef\xbb\xbf"
_LOW_QUOTA_HEADERS: Final = {
    **dict(RATE_LIMIT_HEADERS),
    "x-ratelimit-remaining-tokens": "6000",  # 3 % of them
    "x-ratelimit-reset-tokens": "58.2s",  # until the other 97 % of a minute's tokens are there again
}
_DAYS_TO_SUNSET: Final = 90


Headers = Iterable[tuple[str, str]]


async def _start_body(writer: ResponseWriter, response: ApiResponse, headers: Headers = RATE_LIMIT_HEADERS) -> None:
    await writer.start_body(EVENT_STREAM if response.is_streamed else JSON, headers)


async def _send_pieces(writer: ResponseWriter, pieces: Sequence[bytes], gap: float | None = None) -> None:
    """Send each of ``pieces`` as a chunk, followed by ``gap`` seconds (default: ``chunk_gap``)."""
    for piece in pieces:
        await writer.send_chunk(piece)
        await writer.sleep(writer.timings.chunk_gap if gap is None else gap)


async def _send_until_break(writer: ResponseWriter, response: ApiResponse) -> None:
    """Send the head and the first pieces: text that a client may already have shown."""
    await _start_body(writer, response)
    await _send_pieces(writer, StreamedBody.for_response(response).until_break)


async def _send_answer(
    writer: ResponseWriter,
    response: ApiResponse,
    wait: float,
    gap: float | None = None,
    headers: Headers = RATE_LIMIT_HEADERS,
) -> None:
    """Send the complete answer, with ``wait`` seconds of silence before the first text."""
    body = StreamedBody.for_response(response)
    await _start_body(writer, response, headers)
    for piece in body.before_deltas:
        await writer.send_chunk(piece)
    await writer.sleep(wait)
    await _send_pieces(writer, body.deltas + body.after_deltas, gap)
    await writer.end_body()


async def _ok(writer: ResponseWriter, response: ApiResponse) -> None:
    await _send_answer(writer, response, writer.timings.first_token)


async def _low_quota(writer: ResponseWriter, response: ApiResponse) -> None:
    await _send_answer(writer, response, writer.timings.first_token, headers=_LOW_QUOTA_HEADERS.items())


async def _other_model(writer: ResponseWriter, response: ApiResponse) -> None:
    await _ok(writer, response.with_model(f"{response.model}-other"))


async def _retiring(writer: ResponseWriter, response: ApiResponse) -> None:
    """Announce the sunset at the start of the day in 90 days, so that it is the same for a day."""
    today = writer.now - writer.now % 86_400
    sunset = formatdate(today + _DAYS_TO_SUNSET * 86_400, usegmt=True)
    headers = (*RATE_LIMIT_HEADERS, ("deprecation", f"@{int(today)}"), ("sunset", sunset))
    await _send_answer(writer, response, writer.timings.first_token, headers=headers)


async def _slow_first_token(writer: ResponseWriter, response: ApiResponse) -> None:
    await _send_answer(writer, response, writer.timings.slow_first_token)


async def _slow_drip(writer: ResponseWriter, response: ApiResponse) -> None:
    await _send_answer(writer, response, writer.timings.first_token, writer.timings.slow_gap)


async def _cut(writer: ResponseWriter, response: ApiResponse) -> None:
    await _send_until_break(writer, response)
    await writer.send_half_chunk(StreamedBody.for_response(response).broken_delta)


async def _reset_stream(writer: ResponseWriter, response: ApiResponse) -> None:
    await _send_until_break(writer, response)
    writer.reset_connection()


async def _stall(writer: ResponseWriter, response: ApiResponse) -> None:
    await _send_until_break(writer, response)
    await writer.hang()


async def _truncated(writer: ResponseWriter, response: ApiResponse) -> None:
    await _send_until_break(writer, response)
    await writer.end_body()


async def _keepalive_stall(writer: ResponseWriter, response: ApiResponse) -> None:
    await _send_until_break(writer, response)
    await _send_keepalives(writer, _keepalive_bytes(response))


async def _pings(writer: ResponseWriter, response: ApiResponse) -> None:
    await _start_body(writer, response)
    await _send_keepalives(writer, _keepalive_bytes(response))


async def _empty_deltas(writer: ResponseWriter, response: ApiResponse) -> None:
    opening = StreamedBody.for_response(response).before_deltas
    await _start_body(writer, response)
    await _send_pieces(writer, opening)
    if response.is_streamed:
        await _send_keepalives(writer, lambda count: response.empty_delta(len(opening) + count))
    else:
        await _send_keepalives(writer, _keepalive_bytes(response))


def _keepalive_bytes(response: ApiResponse) -> Callable[[int], bytes]:
    """Return a function that returns keep-alive bytes without content."""
    data = b": keep-alive\n\n" if response.is_streamed else b"\n"
    return lambda _: data


async def _send_keepalives(writer: ResponseWriter, keepalive: Callable[[int], bytes]) -> None:
    """Send keep-alive comments for the duration of a hang; ``keepalive`` gets the number of those sent before."""
    gap = max(writer.timings.keepalive_gap, 0.001)
    for count in range(int(writer.timings.hang / gap) + 1):
        await writer.send_chunk(keepalive(count))
        await writer.sleep(gap)
    writer.close_connection()


async def _malformed(writer: ResponseWriter, response: ApiResponse) -> None:
    await _send_until_break(writer, response)
    piece = StreamedBody.for_response(response).broken_delta
    await writer.send_chunk(piece[: len(piece) // 2] + b"\n\n")
    await writer.end_body()


async def _held_open(writer: ResponseWriter, response: ApiResponse) -> None:
    body = StreamedBody.for_response(response.with_answer(text_answer(*ANSWER_PIECES, has_done_marker=False)))
    await _start_body(writer, response)
    await _send_pieces(writer, body.pieces)
    if response.is_streamed:
        await writer.hang()
    else:
        await writer.end_body()


async def _early_finish(writer: ResponseWriter, response: ApiResponse) -> None:
    body = StreamedBody.for_response(response)
    await _start_body(writer, response)
    await _send_pieces(writer, [piece.replace(_NO_FINISH, _FINISH) for piece in body.pieces])
    await writer.end_body()


async def _bad_utf8(writer: ResponseWriter, response: ApiResponse) -> None:
    pieces = StreamedBody.for_response(response).pieces if response.is_streamed else (response.json_body(),)
    await _start_body(writer, response)
    await _send_pieces(writer, [piece.replace(b'"Pong', b'"\xc3\x28ong') for piece in pieces])
    await writer.end_body()


async def _comments(writer: ResponseWriter, response: ApiResponse) -> None:
    """Send valid but unusual event-stream syntax, which an incomplete parser rejects.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
    """
    if not response.is_streamed:
        await _ok(writer, response)
        return
    first, second, third, *rest = StreamedBody.for_response(response).pieces
    await _start_body(writer, response)
    await _send_pieces(writer, [_BOM + b": \xe2\x99", b"\xaa after the BOM, a note cut in two\n\n"])
    await _send_pieces(writer, [b"retry: 3000\n\n", b"data:\n\n", b"id: 1\n" + first, b": a ping after an id\n\n"])
    # CRLF, cut between the two; then CR alone; then one event over two data lines, which are joined by a newline
    await _send_pieces(writer, [second.rstrip() + b"\r", b"\n\r", b"\n", third.replace(b"\n", b"\r")])
    two_lines = rest[0].replace(b',"', b'\ndata: ,"', 1)
    await _send_pieces(writer, [b"event: message\nunknown: field\n" + two_lines, *rest[1:-1]])
    await _send_pieces(writer, [rest[-1].replace(b"data: ", b"data:")])  # the space after the colon is optional
    await writer.end_body()


def _other_answer(answer: Answer, description: str) -> Behaviour:
    """Return the behaviour that sends ``answer`` without a fault in the stream."""

    async def respond(writer: ResponseWriter, response: ApiResponse) -> None:
        await _ok(writer, response.with_answer(answer))

    return Behaviour(respond, description)


def _stream_error(
    kind: StreamErrorKind,
    description: str,
    message: str = _SERVER_ERROR,
    type: str = "server_error",  # noqa: A002 - the name it has on the wire
) -> Behaviour:
    """Return the behaviour that sends a part of the stream, then an error event, and ends the stream cleanly.

    A request without ``stream`` gets only the error, with status 200. If the API has no such error, the stream ends
    without one.
    """

    async def respond(writer: ResponseWriter, response: ApiResponse) -> None:
        error = error_object(message.replace("{model}", response.model[:200]), type, type)
        body = StreamedBody.for_response(response)
        json_error, event = response.json_error(kind, error), response.error_event(kind, error, len(body.until_break))
        if json_error is None or event is None:
            await _truncated(writer, response)
        elif not response.is_streamed:
            await writer.send_response(200, json_error)
        else:
            await _send_until_break(writer, response)
            await writer.send_chunk(event)
            await writer.end_body()

    return Behaviour(respond, description)


FAULTS_IN_STREAM: Final[dict[str, Behaviour]] = {
    "ok": Behaviour(_ok, "a complete answer"),
    "slow-first-token": Behaviour(_slow_first_token, "a complete answer after a long wait"),
    "slow-drip": Behaviour(_slow_drip, "a complete answer, long gaps between its chunks"),
    "low-quota": Behaviour(_low_quota, "a complete answer, with 3 % of the tokens of the rate limit left"),
    "other-model": Behaviour(_other_model, "a complete answer of another model, whose name ends in -other"),
    "retiring": Behaviour(_retiring, "a complete answer, with the headers Deprecation and Sunset"),
    "cut": Behaviour(_cut, "some text, then an abrupt end inside a chunk"),
    "reset-stream": Behaviour(_reset_stream, "some text, then a RST"),
    "stall": Behaviour(_stall, "some text, then silence"),
    "keepalive-stall": Behaviour(_keepalive_stall, "some text, then comments without end"),
    "pings": Behaviour(_pings, "comments without end, no text"),
    "empty-deltas": Behaviour(_empty_deltas, "empty deltas without end, no text"),
    "truncated": Behaviour(_truncated, "some text, then a clean end: no finish_reason, no [DONE]"),
    "malformed": Behaviour(_malformed, "some text, then broken JSON"),
    "bad-utf8": Behaviour(_bad_utf8, "bytes that are not UTF-8 in the text"),
    "inband-error": _stream_error("bare", 'some text, then data: {"error": …}'),
    "error-field": _stream_error("field", "some text, then error: {…}, a field of its own in the event stream"),
    "event-error": _stream_error("flat", "some text, then event: error"),
    "flat-error": _stream_error("flat", "some text, then event: error, its code and message beside the type"),
    "nested-error": _stream_error("nested", "some text, then event: error, its code and message under error"),
    "failed": _stream_error("failed", "some text, then response.failed; to Chat Completions, inband-error"),
    "failed-rate-limit": _stream_error(
        "failed",
        "some text, then response.failed with rate_limit_exceeded; to Chat Completions, the same in-band",
        _RATE_LIMIT,
        "rate_limit_exceeded",
    ),
    "cancelled": _stream_error("cancelled", "some text, then response.cancelled; to Chat Completions, truncated"),
    "comments": Behaviour(_comments, "a complete answer in valid but unusual server-sent events"),
    "no-done": _other_answer(
        text_answer(*ANSWER_PIECES, has_done_marker=False),
        "a complete answer without [DONE], which Responses never has",
    ),
    "held-open": Behaviour(_held_open, "a complete answer without [DONE], then silence on an open connection"),
    "early-finish": Behaviour(
        _early_finish, "a complete answer with finish_reason stop on every chunk, which Responses never has"
    ),
    "null-finish": _other_answer(
        text_answer(*ANSWER_PIECES, finish_reason=None),
        "a complete answer that ends without a finish_reason or terminal event",
    ),
    "length": _other_answer(
        text_answer(*ANSWER_PIECES[:3], finish_reason="length"), "some text, cut off at the token limit"
    ),
    "incomplete-empty": _other_answer(Answer(finish_reason="length"), "no text, cut off at the token limit"),
    "reasoning-length": _other_answer(
        Answer(parts=(Part(PartKind.REASONING_SUMMARY, _REASONING),), finish_reason="length"),
        "reasoning alone, cut off at the token limit",
    ),
    "content-filter": _other_answer(
        text_answer(*ANSWER_PIECES[:3], finish_reason="content_filter"), "some text, cut off by the content filter"
    ),
    "content-filter-empty": _other_answer(
        Answer(finish_reason="content_filter"), "no text, cut off by the content filter"
    ),
    "empty": _other_answer(Answer(), "a whole stream without text"),
    "reasoning": _other_answer(
        Answer(parts=(Part(PartKind.REASONING_SUMMARY, _REASONING), Part(PartKind.TEXT, ANSWER_PIECES))),
        "reasoning_content or a summary of the reasoning, then a complete answer",
    ),
    "reasoning-text": _other_answer(
        Answer(parts=(Part(PartKind.REASONING, _REASONING), Part(PartKind.TEXT, ANSWER_PIECES))),
        "the reasoning itself as servers of open models send it, then a complete answer",
    ),
    "refusal": _other_answer(
        Answer(parts=(Part(PartKind.REFUSAL, ("I'm", " sorry", ", I", " cannot", " sing", " that", ".")),)), "a refusal"
    ),
    "tool-call": _other_answer(
        Answer(parts=(Part(PartKind.TOOL_CALL, ('{"so', 'ng":', '"pong"}'), "sing"),), finish_reason="tool_calls"),
        "a tool call",
    ),
    "malformed-tool-call": _other_answer(
        Answer(parts=(Part(PartKind.TOOL_CALL, ('{"so', 'ng":'), "sing"),), finish_reason="tool_calls"),
        "a tool call whose arguments end in the middle of their JSON",
    ),
}
"""The behaviours by name, without ``sim-``."""
