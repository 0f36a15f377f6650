"""Hypothesis strategies for event streams of both APIs: complete ones in every valid encoding, and damaged ones."""

import json
import re
from collections.abc import Iterable
from copy import deepcopy
from itertools import pairwise
from typing import Any, Final, NamedTuple

from hypothesis import strategies as st

from streamcanary.client.core.attempt import Api
from streamcanary.events import ContentDelta, Event, ReasoningDelta, RefusalDelta, Restarted, ToolCallDelta

MODEL: Final = "gpt-test"
APIS: Final[tuple[Api, ...]] = ("chat", "responses")


class Stream(NamedTuple):
    """A complete answer as bytes. ``frames`` are its events; the one at ``terminal_frame`` is the terminal event."""

    api: Api
    frames: tuple[bytes, ...]
    terminal_frame: int
    text: str
    reasoning: str
    arguments: str
    finish_reason: str

    @property
    def data(self) -> bytes:
        """All bytes of the stream."""
        return b"".join(self.frames)

    @property
    def complete_at(self) -> int:
        """How many bytes must have arrived for the answer to be complete."""
        return sum(map(len, self.frames[: self.terminal_frame + 1]))


class _Encoding(NamedTuple):
    """How events are encoded; all variants are equivalent."""

    newline: bytes
    space: bytes
    pretty: bool
    has_event_names: bool
    comments: bool
    escaped: bool  # characters beyond ASCII are escaped in JSON
    has_byte_order_mark: bool  # a byte order mark
    has_done_marker: bool
    usage: bool


_SPECIAL_TEXT = st.sampled_from(
    ["\n", "\r", "data:", "[DONE]", '"', "\\", "é", "🐤", "\u2028", "\x00", " ", "}", "\ufeff"]
)
_PIECES = st.lists(st.one_of(_SPECIAL_TEXT, st.text(min_size=1, max_size=6)), min_size=1, max_size=5)
_PIECES_OR_NONE = st.one_of(st.just([]), _PIECES)
_ENCODINGS = st.builds(
    _Encoding,
    newline=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    space=st.sampled_from([b" ", b""]),
    pretty=st.booleans(),
    has_event_names=st.booleans(),
    comments=st.booleans(),
    escaped=st.booleans(),
    has_byte_order_mark=st.booleans(),
    has_done_marker=st.booleans(),
    usage=st.booleans(),
)


@st.composite
def payloads(draw: st.DrawFn) -> tuple[Api, list[dict[str, Any]], list[str], list[str], list[str]]:
    """Draw the events of a complete answer as JSON objects, with its pieces of text, reasoning and arguments."""
    api = draw(st.sampled_from(APIS))
    reasoning, arguments = draw(_PIECES_OR_NONE), _as_json(draw(_PIECES_OR_NONE))
    text = draw(_PIECES_OR_NONE) if arguments else draw(_PIECES)
    make = _chat if api == "chat" else _responses
    return api, make(text, reasoning, arguments), text, reasoning, arguments


def _as_json(pieces: list[str]) -> list[str]:
    """Return pieces of a JSON object that contains ``pieces``, as a model writes the arguments of a tool call."""
    if not pieces:
        return []
    escaped = [json.dumps(piece)[1:-1] for piece in pieces]
    return ['{"a": "', *escaped, '"}']


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    """Draw a complete answer."""
    api, events, text, reasoning, arguments = draw(payloads())
    encoding = draw(_ENCODINGS)
    last = len(events) - 1
    if api == "chat" and encoding.usage:
        events.append({**_CHUNK, "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}})
    frames = [_frame(event, encoding) for event in events]
    if encoding.has_byte_order_mark:
        frames[0] = b"\xef\xbb\xbf" + frames[0]
    if encoding.has_done_marker:
        frames.append(b"data:" + encoding.space + b"[DONE]" + encoding.newline * 2)
    finish = "tool_calls" if arguments else "stop"
    return Stream(api, tuple(frames), last, "".join(text), "".join(reasoning), "".join(arguments), finish)


@st.composite
def broken_streams(draw: st.DrawFn) -> tuple[Api, bytes]:
    """Draw damaged bytes: a complete answer with fields, events and bytes removed, repeated or changed."""
    api, events, *_ = draw(payloads())
    encoding = draw(_ENCODINGS)
    for kind, where, what in draw(_JSON_DAMAGE):
        _damage_event(events[where % len(events)], kind, where, deepcopy(what))
    frames = [_frame(event, encoding) for event in events]
    for kind, where, _ in draw(_FRAME_DAMAGE):
        _damage_frames(frames, kind, where)
    data = bytearray(b"".join(frames) + b"data: [DONE]\n\n" * encoding.has_done_marker)
    for kind, where, byte in draw(_BYTE_DAMAGE):
        _damage_bytes(data, kind, where, byte)
    return api, bytes(data)


_ANYWHERE = st.integers(0, 1 << 16)
_JUNK: Final = (
    None,
    True,
    0,
    -1,
    1e308,
    10**400,
    "",
    "x",
    [],
    {},
    [None],
    [[]],
    {"a": 1},
    ["x"],
    "\ud800",
    2**63,
    [{}],
)
_JSON_DAMAGE = st.lists(
    st.tuples(st.sampled_from(["drop", "replace", "wrap", "error"]), _ANYWHERE, st.sampled_from(_JUNK)), max_size=3
)
_FRAME_DAMAGE = st.lists(
    st.tuples(st.sampled_from(["drop", "repeat", "swap", "cut", "garbage"]), _ANYWHERE, st.none()), max_size=2
)
_BYTE_DAMAGE = st.lists(
    st.tuples(st.sampled_from(["flip", "drop", "insert", "glue", "truncate"]), _ANYWHERE, st.integers(0, 255)),
    max_size=3,
)

_SYNTAX = st.sampled_from(
    [b"data", b":", b" ", b"\n", b"\r", b"\r\n", b"\n\n", b"event", b"id", b"retry", b"\xef\xbb\xbf", b"data: ", b"{}"]
)
_WHOLE = st.sampled_from(
    [b"data: a\n\n", b"data: a\ndata: b\n\n", b"event: e\ndata: a\n\n", b"data:a\r\n\r\n", b":\n\n"]
)
sse_like_bytes = st.lists(st.one_of(_SYNTAX, _SYNTAX, _WHOLE, st.binary(max_size=6)), max_size=24).map(b"".join)
"""Bytes in which the syntax of the format is frequent."""

split_points = st.one_of(st.lists(_ANYWHERE, max_size=10), st.none())
"""Split points: these positions, or (None) between any two bytes."""


def split(data: bytes, where: list[int] | None) -> list[bytes]:
    """Return ``data`` in pieces."""
    if where is None:
        return [data[i : i + 1] for i in range(len(data))]
    edges = [0, *sorted(place % (len(data) + 1) for place in where), len(data)]
    return [data[start:end] for start, end in pairwise(edges) if start < end]


def reference_events(data: bytes) -> list[tuple[str, bytes]]:
    """Return the events of a complete stream, parsed by the text of the specification (WHATWG HTML, section 9.2.6)."""
    events: list[tuple[str, bytes]] = []
    kind, lines = b"", []
    *ended, _ = re.split(rb"\r\n|\n|\r", data.removeprefix(b"\xef\xbb\xbf"))
    for line in ended:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not line:
            if lines:
                events.append(((kind or b"message").decode("utf-8", "replace"), b"\n".join(lines)))
            kind, lines = b"", []
        elif name == b"data":
            lines.append(value)
        elif name == b"event":
            kind = value
    return events


def has_terminal_event(api: Api, data: bytes) -> bool:
    """Return whether any event of ``data`` is terminal, as far as a plain JSON parser can determine."""
    for kind, payload in reference_events(data):
        try:
            value = json.loads(payload.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            continue
        if not isinstance(value, dict):
            continue
        if api == "responses":
            type_field = value.get("type")
            if (type_field if isinstance(type_field, str) and type_field else kind) in (
                "response.completed",
                "response.incomplete",
            ):
                return True
        elif any(
            isinstance(choice, dict) and isinstance(choice.get("finish_reason"), str) and choice["finish_reason"]
            for choice in (value.get("choices") if isinstance(value.get("choices"), list) else ())
        ):
            return True
    return False


def join_deltas(events: Iterable[Event]) -> tuple[str, str, str, str]:
    """Return text, reasoning, refusal and tool arguments as a caller assembles them."""
    deltas: dict[type, str] = {}
    arguments: dict[int, str] = {}
    for event in events:
        match event:
            case Restarted():
                deltas.clear()
                arguments.clear()
            case ToolCallDelta():
                arguments[event.index] = arguments.get(event.index, "") + event.arguments_delta
            case ContentDelta() | ReasoningDelta() | RefusalDelta():
                deltas[type(event)] = deltas.get(type(event), "") + event.delta
    text, reasoning, refusal = (deltas.get(kind, "") for kind in (ContentDelta, ReasoningDelta, RefusalDelta))
    return text, reasoning, refusal, "".join(piece for _, piece in sorted(arguments.items()))


_CHUNK: Final = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_800_000_000, "model": MODEL}


def _chat(text: list[str], reasoning: list[str], arguments: list[str]) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"reasoning_content": piece} for piece in reasoning]
    deltas += [{"content": piece} for piece in text]
    if arguments:
        deltas.append({"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "f", "arguments": ""}}]})
        deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in arguments]
    chunks = [{**_CHUNK, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    finish = "tool_calls" if arguments else "stop"
    return [*chunks, {**_CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}]


def _responses(text: list[str], reasoning: list[str], arguments: list[str]) -> list[dict[str, Any]]:
    response = {"id": "resp_1", "object": "response", "created_at": 1_800_000_000, "model": MODEL, "output": []}
    call = {"type": "function_call", "call_id": "call_1", "name": "f"}
    whole_call = {**call, "arguments": "".join(arguments)}
    message = {"type": "message", "content": [{"type": "output_text", "text": "".join(text)}]}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": {**response, "status": "in_progress"}}]
    events += [{"type": "response.reasoning_text.delta", "output_index": 0, "delta": piece} for piece in reasoning]
    events += [{"type": "response.output_text.delta", "output_index": 1, "delta": piece} for piece in text]
    if arguments:
        delta = {"type": "response.function_call_arguments.delta", "output_index": 2}
        events.append({"type": "response.output_item.added", "output_index": 2, "item": {**call, "arguments": ""}})
        events += [{**delta, "delta": piece} for piece in arguments]
        events.append({"type": "response.output_item.done", "output_index": 2, "item": whole_call})
    output = [*([message] if text else []), *([whole_call] if arguments else [])]
    usage = {"input_tokens": 3, "output_tokens": 4}
    whole = {**response, "status": "completed", "output": output, "usage": usage}
    return [*events, {"type": "response.completed", "response": whole}]


def _frame(event: dict[str, Any], encoding: _Encoding) -> bytes:
    text = json.dumps(event, ensure_ascii=encoding.escaped, indent=1 if encoding.pretty else None)
    lines = [b"data:" + encoding.space + line for line in text.encode("utf-8", "replace").split(b"\n")]
    if encoding.has_event_names:
        lines.insert(0, b"event: " + str(event.get("type", "message")).encode("utf-8", "replace"))
    if encoding.comments:
        lines = [b": ping", b"id: 1", *lines, b":", b"retry: 5"]
    return encoding.newline.join([*lines, b"", b""])


def _damage_event(event: dict[str, Any], kind: str, where: int, what: Any) -> None:
    """Apply damage ``kind`` to one field of an event, at any depth."""
    places: list[tuple[Any, Any]] = []
    waiting: list[Any] = [event]
    while waiting:
        holder = waiting.pop()
        for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
            places.append((holder, key))
            if isinstance(holder[key], (dict, list)):
                waiting.append(holder[key])
    if kind == "error" or not places:
        event["error"] = what
        return
    holder, key = places[where % len(places)]
    if kind == "drop":
        del holder[key]
    else:
        holder[key] = [holder[key]] if kind == "wrap" else what


def _damage_frames(frames: list[bytes], kind: str, where: int) -> None:
    place = where % len(frames)
    if kind == "garbage":
        frames[place] = b"data: <html>\n\n"
    elif kind == "repeat":
        frames.insert(place, frames[place])
    elif kind == "swap":
        frames[place], frames[-1] = frames[-1], frames[place]
    elif len(frames) > 1:
        frames[place:] = frames[place + 1 :] if kind == "drop" else []
        frames[:] = frames or [b""]


def _damage_bytes(data: bytearray, kind: str, where: int, byte: int) -> None:
    if not data:
        return
    place = where % len(data)
    if kind == "flip":
        data[place] ^= byte or 1
    elif kind == "insert":
        data.insert(place, byte)
    elif kind == "drop":
        del data[place]
    elif kind == "truncate":
        del data[place:]
    elif (newline := data.find(b"\n", place)) >= 0:  # glue two lines
        del data[newline]
