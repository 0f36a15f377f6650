"""Behaviours of the stream itself: how it flows, how it breaks off, and what the answer in it says.

Each is written once, and spelled by the dialect of the API that it is asked through. Asked for no stream, the same
behaviours are played on the one JSON object, sent in slices. Where that has no meaning, or the API has no word for it,
the nearest that does is played.
"""

from collections.abc import Callable, Sequence
from typing import Final

from streamcanary.simulator.api.answer import TEXT, Answer, Kind, Part, text_answer
from streamcanary.simulator.api.base import Break, Dialect, Script
from streamcanary.simulator.api.error_bodies import error_object
from streamcanary.simulator.http.response_writer import EVENT_STREAM, JSON, Behaviour, Reply

_SORRY = "The server had an error while processing your request. Sorry about that!"
_RATE_LIMIT = "Rate limit reached for {model} on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000."
_THOUGHTS = ("The", " user", " wants", " pong", ".")
_BOM = b"\xef\xbb\xbf"


async def _start(reply: Reply, dialect: Dialect) -> None:
    await reply.start(EVENT_STREAM if dialect.streamed else JSON)


async def _send(reply: Reply, pieces: Sequence[bytes], gap: float | None = None) -> None:
    """Send ``pieces`` one chunk each, with ``gap`` seconds (or the usual) after each."""
    for piece in pieces:
        await reply.chunk(piece)
        await reply.pause(reply.pace.chunk_gap if gap is None else gap)


async def _send_few(reply: Reply, dialect: Dialect) -> None:
    """Send the head and the first pieces: text that a client may already have shown."""
    await _start(reply, dialect)
    await _send(reply, Script.of(dialect).few)


async def _play(reply: Reply, dialect: Dialect, wait: float, gap: float | None = None) -> None:
    """Send the answer whole, with ``wait`` seconds of silence before the first text."""
    script = Script.of(dialect)
    await _start(reply, dialect)
    for piece in script.opening:
        await reply.chunk(piece)
    await reply.pause(wait)
    await _send(reply, script.deltas + script.closing, gap)
    await reply.finish()


async def _ok(reply: Reply, dialect: Dialect) -> None:
    await _play(reply, dialect, reply.pace.first_token)


async def _slow_first_token(reply: Reply, dialect: Dialect) -> None:
    await _play(reply, dialect, reply.pace.slow_first_token)


async def _slow_drip(reply: Reply, dialect: Dialect) -> None:
    await _play(reply, dialect, reply.pace.first_token, reply.pace.slow_gap)


async def _cut(reply: Reply, dialect: Dialect) -> None:
    await _send_few(reply, dialect)
    await reply.cut(Script.of(dialect).broken)


async def _reset_stream(reply: Reply, dialect: Dialect) -> None:
    await _send_few(reply, dialect)
    reply.reset()


async def _stall(reply: Reply, dialect: Dialect) -> None:
    await _send_few(reply, dialect)
    await reply.hang()


async def _truncated(reply: Reply, dialect: Dialect) -> None:
    await _send_few(reply, dialect)
    await reply.finish()


async def _keepalive_stall(reply: Reply, dialect: Dialect) -> None:
    await _send_few(reply, dialect)
    await _ping(reply, _sign_of_life(dialect))


async def _pings(reply: Reply, dialect: Dialect) -> None:
    await _start(reply, dialect)
    await _ping(reply, _sign_of_life(dialect))


async def _empty_deltas(reply: Reply, dialect: Dialect) -> None:
    opening = Script.of(dialect).opening
    await _start(reply, dialect)
    await _send(reply, opening)
    if dialect.streamed:
        await _ping(reply, lambda count: dialect.empty_delta(len(opening) + count))
    else:
        await _ping(reply, _sign_of_life(dialect))


def _sign_of_life(dialect: Dialect) -> Callable[[int], bytes]:
    """Return what keeps a connection alive and says nothing."""
    sign = b": keep-alive\n\n" if dialect.streamed else b"\n"
    return lambda _: sign


async def _ping(reply: Reply, sign_of_life: Callable[[int], bytes]) -> None:
    """Send signs of life, each made from the number of those before it, for as long as a hang lasts."""
    gap = max(reply.pace.ping_gap, 0.001)
    for count in range(int(reply.pace.hang / gap) + 1):
        await reply.chunk(sign_of_life(count))
        await reply.pause(gap)
    reply.hang_up()


async def _malformed(reply: Reply, dialect: Dialect) -> None:
    await _send_few(reply, dialect)
    piece = Script.of(dialect).broken
    await reply.chunk(piece[: len(piece) // 2] + b"\n\n")
    await reply.finish()


async def _bad_utf8(reply: Reply, dialect: Dialect) -> None:
    pieces = Script.of(dialect).pieces if dialect.streamed else (dialect.whole(),)
    await _start(reply, dialect)
    await _send(reply, [piece.replace(b'"Pong', b'"\xc3\x28ong') for piece in pieces])
    await reply.finish()


async def _comments(reply: Reply, dialect: Dialect) -> None:
    """Send all that the event-stream format allows and a careless parser stumbles over.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
    """
    if not dialect.streamed:
        await _ok(reply, dialect)
        return
    first, second, third, *rest = Script.of(dialect).pieces
    await _start(reply, dialect)
    await _send(reply, [_BOM + b": \xe2\x99", b"\xaa after the BOM, a note cut in two\n\n"])
    await _send(reply, [b"retry: 3000\n\n", b"data:\n\n", b"id: 1\n" + first, b": a ping after an id\n\n"])
    # CRLF, cut between the two; then CR alone; then one event over two data lines, which are joined by a newline
    await _send(reply, [second.rstrip() + b"\r", b"\n\r", b"\n", third.replace(b"\n", b"\r")])
    two_lines = rest[0].replace(b',"', b'\ndata: ,"', 1)
    await _send(reply, [b"event: message\nunknown: field\n" + two_lines, *rest[1:-1]])
    await _send(reply, [rest[-1].replace(b"data: ", b"data:")])  # the space after the colon is optional
    await reply.finish()


def _say(answer: Answer, says: str) -> Behaviour:
    """Return the behaviour that sends another answer, well."""

    async def act(reply: Reply, dialect: Dialect) -> None:
        await _ok(reply, dialect.saying(answer))

    return Behaviour(act, says)


def _break_off(how: Break, says: str, message: str = _SORRY, type: str = "server_error") -> Behaviour:  # noqa: A002 - the name it has on the wire
    """Return the behaviour that sends some of the stream, then that it will not be finished, and ends it cleanly.

    Asked for no stream, it sends that alone, still with status 200. An API that has no word for it just ends.
    """

    async def act(reply: Reply, dialect: Dialect) -> None:
        error = error_object(message.replace("{model}", dialect.model[:200]), type, type)
        script = Script.of(dialect)
        whole, event = dialect.broken(how, error), dialect.break_off(how, error, len(script.few))
        if whole is None or event is None:
            await _truncated(reply, dialect)
        elif not dialect.streamed:
            await reply.whole(200, whole)
        else:
            await _send_few(reply, dialect)
            await reply.chunk(event)
            await reply.finish()

    return Behaviour(act, says)


STREAMS: Final[dict[str, Behaviour]] = {
    "ok": Behaviour(_ok, "a good answer"),
    "slow-first-token": Behaviour(_slow_first_token, "a good answer after a long wait"),
    "slow-drip": Behaviour(_slow_drip, "a good answer, long gaps between its chunks"),
    "cut": Behaviour(_cut, "some text, then an abrupt end inside a chunk"),
    "reset-stream": Behaviour(_reset_stream, "some text, then a RST"),
    "stall": Behaviour(_stall, "some text, then silence"),
    "keepalive-stall": Behaviour(_keepalive_stall, "some text, then comments for ever"),
    "pings": Behaviour(_pings, "comments for ever, no text"),
    "empty-deltas": Behaviour(_empty_deltas, "empty deltas for ever, no text"),
    "truncated": Behaviour(_truncated, "some text, then a clean end: no finish_reason, no [DONE]"),
    "malformed": Behaviour(_malformed, "some text, then broken JSON"),
    "bad-utf8": Behaviour(_bad_utf8, "bytes that are not UTF-8 in the text"),
    "inband-error": _break_off("bare", 'some text, then data: {"error": …}'),
    "event-error": _break_off("flat", "some text, then event: error"),
    "flat-error": _break_off("flat", "some text, then event: error, its code and message beside the type"),
    "nested-error": _break_off("nested", "some text, then event: error, its code and message under error"),
    "failed": _break_off("failed", "some text, then response.failed; to Chat Completions, inband-error"),
    "failed-rate-limit": _break_off(
        "failed",
        "some text, then response.failed with rate_limit_exceeded; to Chat Completions, the same in-band",
        _RATE_LIMIT,
        "rate_limit_exceeded",
    ),
    "cancelled": _break_off("cancelled", "some text, then response.cancelled; to Chat Completions, truncated"),
    "comments": Behaviour(_comments, "a good answer in legal, odd server-sent events"),
    "no-done": _say(text_answer(*TEXT, done=False), "a good answer without [DONE], as ever in Responses"),
    "null-finish": _say(
        text_answer(*TEXT, finish_reason=None), "a good answer that ends without a finish_reason or terminal event"
    ),
    "length": _say(text_answer(*TEXT[:3], finish_reason="length"), "some text, cut off at the token limit"),
    "incomplete-empty": _say(Answer(finish_reason="length"), "no text, cut off at the token limit"),
    "content-filter": _say(
        text_answer(*TEXT[:3], finish_reason="content_filter"), "some text, cut off by the content filter"
    ),
    "content-filter-empty": _say(Answer(finish_reason="content_filter"), "no text, cut off by the content filter"),
    "empty": _say(Answer(), "a whole stream without text"),
    "reasoning": _say(
        Answer(parts=(Part(Kind.SUMMARY, _THOUGHTS), Part(Kind.TEXT, TEXT))),
        "reasoning_content or a summary of the reasoning, then a good answer",
    ),
    "reasoning-text": _say(
        Answer(parts=(Part(Kind.REASONING, _THOUGHTS), Part(Kind.TEXT, TEXT))),
        "the reasoning itself as servers of open models send it, then a good answer",
    ),
    "refusal": _say(
        Answer(parts=(Part(Kind.REFUSAL, ("I'm", " sorry", ", I", " cannot", " sing", " that", ".")),)), "a refusal"
    ),
    "tool-call": _say(
        Answer(parts=(Part(Kind.CALL, ('{"so', 'ng":', '"pong"}'), "sing"),), finish_reason="tool_calls"),
        "a tool call",
    ),
}
"""Behaviours by name, ``sim-`` left off."""
