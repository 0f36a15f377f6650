"""Behaviours of the stream itself: how it flows, how it breaks off, and what the answer in it says.

Asked for no stream, the same behaviours are played on the one JSON object, sent in slices; where that has no
meaning, the nearest that does is played.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from streamcanary.simulator.completion import DONE, TEXT, Answer, Completion, text_answer
from streamcanary.simulator.errors import error_body
from streamcanary.simulator.http1 import render_chunk
from streamcanary.simulator.reply import EVENT_STREAM, JSON, Behaviour, Reply

_FEW = 4  # parts before a stream breaks: the role and three pieces of text, of seven
_BOM = b"\xef\xbb\xbf"


async def _start(reply: Reply, completion: Completion) -> None:
    await reply.start(EVENT_STREAM if completion.streamed else JSON)


async def _send(reply: Reply, parts: Sequence[bytes], gap: float | None = None) -> None:
    """Send ``parts`` one chunk each, with ``gap`` seconds (or the usual) after each."""
    for part in parts:
        await reply.chunk(part)
        await reply.pause(reply.pace.chunk_gap if gap is None else gap)


async def _send_few(reply: Reply, completion: Completion) -> None:
    """Send the head and the first parts: text that a client may already have shown."""
    await _start(reply, completion)
    await _send(reply, completion.parts()[:_FEW])


async def _play(reply: Reply, completion: Completion, wait: float, gap: float | None = None) -> None:
    """Send the answer whole, with ``wait`` seconds of silence before its second part, the first text."""
    first, *rest = completion.parts()
    await _start(reply, completion)
    await reply.chunk(first)
    await reply.pause(wait)
    await _send(reply, rest, gap)
    await reply.finish()


async def _ok(reply: Reply, completion: Completion) -> None:
    await _play(reply, completion, reply.pace.first_token)


async def _slow_first_token(reply: Reply, completion: Completion) -> None:
    await _play(reply, completion, reply.pace.slow_first_token)


async def _slow_drip(reply: Reply, completion: Completion) -> None:
    await _play(reply, completion, reply.pace.first_token, reply.pace.slow_gap)


async def _cut(reply: Reply, completion: Completion) -> None:
    await _send_few(reply, completion)
    chunk = render_chunk(completion.parts()[_FEW])
    await reply.raw(chunk[: len(chunk) // 2])
    reply.hang_up()


async def _reset_stream(reply: Reply, completion: Completion) -> None:
    await _send_few(reply, completion)
    reply.reset()


async def _stall(reply: Reply, completion: Completion) -> None:
    await _send_few(reply, completion)
    await reply.hang()


async def _truncated(reply: Reply, completion: Completion) -> None:
    await _send_few(reply, completion)
    await reply.finish()


async def _keepalive_stall(reply: Reply, completion: Completion) -> None:
    await _send_few(reply, completion)
    await _ping(reply, b": keep-alive\n\n" if completion.streamed else b"\n")


async def _pings(reply: Reply, completion: Completion) -> None:
    await _start(reply, completion)
    await _ping(reply, b": keep-alive\n\n" if completion.streamed else b"\n")


async def _empty_deltas(reply: Reply, completion: Completion) -> None:
    await _start(reply, completion)
    await _send(reply, completion.parts()[:1])
    await _ping(reply, completion.delta({"content": ""}) if completion.streamed else b"\n")


async def _ping(reply: Reply, sign_of_life: bytes) -> None:
    """Send the same thing again and again, for as long as a hang lasts."""
    gap = max(reply.pace.ping_gap, 0.001)
    for _ in range(int(reply.pace.hang / gap) + 1):
        await reply.chunk(sign_of_life)
        await reply.pause(gap)
    reply.hang_up()


async def _malformed(reply: Reply, completion: Completion) -> None:
    await _send_few(reply, completion)
    part = completion.parts()[_FEW]
    await reply.chunk(part[: len(part) // 2] + b"\n\n")
    await reply.finish()


async def _bad_utf8(reply: Reply, completion: Completion) -> None:
    parts = completion.parts() if completion.streamed else [completion.whole()]
    await _start(reply, completion)
    await _send(reply, [part.replace(b'"content":"P', b'"content":"\xc3\x28') for part in parts])
    await reply.finish()


async def _inband_error(reply: Reply, completion: Completion) -> None:
    error = error_body("The server had an error while processing your request. Sorry about that!", "server_error")
    await _break_with(reply, completion, b"data: " + error + b"\n\n" + DONE, error)


async def _event_error(reply: Reply, completion: Completion) -> None:
    error = {"type": "error", "code": "server_error", "message": "The model stopped unexpectedly.", "param": None}
    event = b"event: error\ndata: " + msgspec.json.encode(error) + b"\n\n"
    await _break_with(reply, completion, event, error_body("The model stopped unexpectedly.", "server_error"))


async def _break_with(reply: Reply, completion: Completion, event: bytes, body: bytes) -> None:
    """Send some of the stream, then the error in it; asked for no stream, the error alone, still with status 200."""
    if not completion.streamed:
        await reply.whole(200, body)
        return
    await _send_few(reply, completion)
    await reply.chunk(event)
    await reply.finish()


async def _comments(reply: Reply, completion: Completion) -> None:
    """Send all that the event-stream format allows and a careless parser stumbles over.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
    """
    if not completion.streamed:
        await _ok(reply, completion)
        return
    first, second, third, *rest = completion.events()
    await _start(reply, completion)
    await _send(reply, [_BOM + b": \xe2\x99", b"\xaa after the BOM, a note cut in two\n\n"])
    await _send(reply, [b"retry: 3000\n\n", b"data:\n\n", b"id: 1\n" + first, b": a ping after an id\n\n"])
    # CRLF, cut between the two; then CR alone; then one event over two data lines, which are joined by a newline
    await _send(reply, [second.rstrip() + b"\r", b"\n\r", b"\n", third.replace(b"\n", b"\r")])
    two_lines = rest[0].replace(b',"object"', b'\ndata: ,"object"', 1)
    await _send(reply, [b"event: message\nunknown: field\n" + two_lines, *rest[1:-1]])
    await _send(reply, [rest[-1].replace(b"data: ", b"data:")])  # the space after the colon is optional
    await reply.finish()


def _say(answer: Answer, says: str) -> Behaviour:
    """Return the behaviour that sends another answer, well."""

    async def act(reply: Reply, completion: Completion) -> None:
        await _ok(reply, msgspec.structs.replace(completion, answer=answer))

    return Behaviour(act, says)


def _call(*arguments: str) -> Answer:
    """Return an answer that calls a tool, its arguments in pieces."""
    function = {"name": "sing", "arguments": ""}
    opening = {"index": 0, "id": "call_simulator000000000001", "type": "function", "function": function}
    pieces = [{"index": 0, "function": {"arguments": piece}} for piece in arguments]
    return Answer(deltas=tuple({"tool_calls": [piece]} for piece in (opening, *pieces)), finish_reason="tool_calls")


_THOUGHTS = tuple({"reasoning_content": piece} for piece in ("The", " user", " wants", " pong", "."))
_REFUSAL = tuple({"refusal": piece} for piece in ("I'm", " sorry", ", I", " cannot", " sing", " that", "."))

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
    "inband-error": Behaviour(_inband_error, 'some text, then data: {"error": …}'),
    "event-error": Behaviour(_event_error, "some text, then event: error"),
    "comments": Behaviour(_comments, "a good answer in legal, odd server-sent events"),
    "no-done": _say(text_answer(*TEXT, done=False), "a good answer without [DONE]"),
    "null-finish": _say(text_answer(*TEXT, finish_reason=None), "a good answer that ends without a finish_reason"),
    "length": _say(text_answer(*TEXT[:3], finish_reason="length"), "some text, finish_reason length"),
    "content-filter": _say(
        text_answer(*TEXT[:3], finish_reason="content_filter"), "some text, finish_reason content_filter"
    ),
    "content-filter-empty": _say(text_answer(finish_reason="content_filter"), "no text, finish_reason content_filter"),
    "empty": _say(text_answer(), "a whole stream without text"),
    "reasoning": _say(
        Answer(deltas=(*_THOUGHTS, *({"content": piece} for piece in TEXT))), "reasoning_content, then a good answer"
    ),
    "refusal": _say(Answer(deltas=_REFUSAL), "a refusal"),
    "tool-call": _say(_call('{"so', 'ng":', '"pong"}'), "a tool call"),
}
"""Behaviours by name, ``sim-`` left off."""
