"""The output items of a response: adds each piece to the answer once, and completes a response without output."""

import json
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec import Struct

from streamcanary.client.core.answers.answer import Answer, AnswerTooLong
from streamcanary.client.core.answers.tool_calls import arguments_text
from streamcanary.client.core.decoding.lenient_json import decode_untyped
from streamcanary.client.core.limits import Limits
from streamcanary.client.result import ToolCallType, decode_raw

_MAX_PARTS: Final = 10_000
_LAST: Final = 1 << 62  # after every index
_MEDIA: Final = ("image", "audio")  # in names of types: image_generation_call
_TOOL_CALL_TYPES: Final = frozenset({"function_call", "custom_tool_call"})


class OutputPart(Struct):
    """A part of a message or of reasoning."""

    type: str | None = None
    text: str | None = None
    refusal: str | None = None
    transcript: str | None = None


class OutputItem(Struct):
    """A message, reasoning, a tool call, or the record of a built-in tool of the provider."""

    type: str | None = None
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: Any = None
    input: str | None = None
    content: list[OutputPart] | None = None
    summary: list[OutputPart] | None = None


class _RawItem(Struct):
    item: msgspec.Raw = msgspec.Raw()


class _RawResponse(Struct):
    response: msgspec.Raw = msgspec.Raw()


_Index = int | str
_Key = tuple[str, _Index, int]


class ResponseOutput:
    """The output of one response.

    The ``add_`` methods add a delta of a part. The ``complete_`` methods add a part or an item that arrives whole, if
    no piece of it has arrived. A part is identified by the index of its item and its own index, each 0 if missing.
    """

    __slots__ = ("_answer", "_items", "_items_size", "_last", "_limits", "_parts")

    def __init__(self, answer: Answer, limits: Limits) -> None:
        self._answer = answer
        self._limits = limits
        self._parts: set[_Key] = set()
        self._last: _Key | None = None
        self._items: dict[_Index, tuple[str, bytes]] = {}  # types and JSON of complete items
        self._items_size = 0

    def add_text(self, index: _Index, part: int | None, delta: str) -> None:
        """Add a delta of text."""
        self._mark(("text", index, part or 0))
        self._answer.add_text(delta)

    def add_refusal(self, index: _Index, part: int | None, delta: str) -> None:
        """Add a delta of a refusal."""
        self._mark(("refusal", index, part or 0))
        self._answer.add_refusal(delta)

    def add_reasoning(self, index: _Index, part: int | None, delta: str) -> None:
        """Add a delta of reasoning."""
        self._mark(("reasoning", index, part or 0))
        self._answer.add_reasoning(delta)

    def add_summary(self, index: _Index, part: int | None, delta: str) -> None:
        """Add a delta of a summary of reasoning."""
        self._mark(("summary", index, part or 0))
        self._answer.add_reasoning(delta)

    def add_transcript(self, delta: str) -> None:
        """Add a delta of the transcript of audio."""
        self._answer.add_audio({"transcript": delta})

    def complete_text(self, index: _Index, part: int | None, text: str) -> None:
        """Add whole text."""
        if self._is_new(("text", index, part or 0), self._answer.text, text):
            self._answer.add_text(text)

    def complete_refusal(self, index: _Index, part: int | None, text: str) -> None:
        """Add a whole refusal."""
        if self._is_new(("refusal", index, part or 0), self._answer.refusal, text):
            self._answer.add_refusal(text)

    def complete_reasoning(self, index: _Index, part: int | None, text: str) -> None:
        """Add whole reasoning."""
        if self._is_new(("reasoning", index, part or 0), self._answer.reasoning, text):
            self._answer.add_reasoning(text)

    def complete_summary(self, index: _Index, part: int | None, text: str) -> None:
        """Add a whole summary of reasoning."""
        if self._is_new(("summary", index, part or 0), self._answer.reasoning, text):
            self._answer.add_reasoning(text)

    def complete_part(self, index: _Index, position: int | None, part: OutputPart) -> None:
        """Add a whole part of a message or of reasoning."""
        if part.type == "reasoning_text":
            self.complete_reasoning(index, position, part.text or "")
        elif part.text:
            self.complete_text(index, position, part.text)
        if part.refusal:
            self.complete_refusal(index, position, part.refusal)
        if part.transcript and not self._answer.text:
            self.add_transcript(part.transcript)
        if part.type not in (None, "output_text", "text", "refusal", "reasoning_text"):
            self._add_other(part)

    def start_item(self, index: _Index, item: OutputItem) -> None:
        """Add the name of a tool call; its arguments follow in pieces."""
        if item.type in _TOOL_CALL_TYPES:
            call_type: ToolCallType = "custom" if item.type == "custom_tool_call" else "function"
            self._answer.add_tool_call(index, item.call_id, item.name, None, call_type, is_start=True)

    def complete_item(self, index: _Index, item: OutputItem) -> None:
        """Add a whole item."""
        match item.type:
            case "function_call":
                self._answer.add_whole_tool_call(
                    index, item.call_id, item.name, arguments_text(item.arguments), "function"
                )
            case "custom_tool_call":
                self._answer.add_whole_tool_call(index, item.call_id, item.name, item.input or "", "custom")
            case "message":
                for position, part in enumerate(item.content or ()):
                    self.complete_part(index, position, part)
            case "reasoning":
                for position, part in enumerate(item.summary or ()):
                    self.complete_summary(index, position, part.text or "")
                for position, part in enumerate(item.content or ()):
                    self.complete_reasoning(index, position, part.text or "")
            case _:
                self._add_other(item)

    def complete(self, output: Iterable[OutputItem]) -> None:
        """Add from the complete output what has not arrived before."""
        text, refusal, reasoning = [], [], []
        position = 0
        for item in output:
            match item.type:
                case "message":
                    text += [part.text for part in item.content or () if part.text]
                    refusal += [part.refusal for part in item.content or () if part.refusal]
                case "reasoning":
                    reasoning += [part.text for part in (*(item.summary or ()), *(item.content or ())) if part.text]
                case "function_call" | "custom_tool_call":
                    self._complete_tool_call(position, item)
                    position += 1
                case _:
                    self._add_other(item)
        self._answer.complete_reasoning("".join(reasoning))
        self._answer.complete_text("".join(text))
        self._answer.complete_refusal("".join(refusal))

    def keep_item(self, index: _Index, item: OutputItem, data: bytes) -> None:
        """Keep the JSON of a complete item, the ``item`` of the event ``data``, for a response without output."""
        raw = _raw_field(data, _RawItem, "item") if item.type and _has_content(item) else b""
        self._items_size += len(raw)
        if raw and self._items_size <= self._limits.max_answer_characters and len(self._items) < _MAX_PARTS:
            self._items[index] = (item.type or "", raw)

    def complete_response(self, output: list[OutputItem], data: bytes) -> bytes:
        """Return the JSON of the response in the event ``data``, with the output of the stream that it lacks."""
        raw = _raw_field(data, _RawResponse, "response")
        try:
            missing = self._missing_items({item.type for item in output if _has_content(item)})
            if not missing:
                return raw
            response = decode_raw(raw)
            existing = response.get("output")
            response["output"] = [*(existing if isinstance(existing, list) else ()), *missing]
            return json.dumps(response).encode()
        except (ValueError, RecursionError):  # nested too deep for json; the answer itself is complete
            return raw

    def _missing_items(self, present: set[str | None]) -> list[dict[str, Any]]:
        """Return the items of the stream whose types are not ``present``."""
        missing = [decode_raw(item) for kind, item in self._sorted_items() if kind not in present]
        present = present.union(item["type"] for item in missing)
        return missing + [item for item in self._items_from_answer() if item["type"] not in present]

    def _add_other(self, output: OutputItem | OutputPart) -> None:
        self._answer.has_other_output = True
        self._answer.has_media |= any(word in (output.type or "") for word in _MEDIA)

    def _complete_tool_call(self, position: int, item: OutputItem) -> None:
        is_custom = item.type == "custom_tool_call"
        self._answer.complete_tool_call(
            position,
            item.call_id,
            item.name,
            (item.input or "") if is_custom else arguments_text(item.arguments),
            "custom" if is_custom else "function",
        )

    def _sorted_items(self) -> list[tuple[str, bytes]]:
        """Return the complete items by index; those with an id instead of an index as they arrived, at the end."""
        by_index = sorted(self._items.items(), key=lambda entry: entry[0] if isinstance(entry[0], int) else _LAST)
        return [item for _, item in by_index]

    def _items_from_answer(self) -> Iterable[dict[str, Any]]:
        """Yield the items that the pieces of the answer make up."""
        answer = self._answer
        text, refusal, reasoning = ("".join(pieces) for pieces in (answer.text, answer.refusal, answer.reasoning))
        if reasoning:
            summary = [{"type": "summary_text", "text": reasoning}]
            yield {"id": "", "type": "reasoning", "summary": summary}
        content: list[dict[str, Any]] = []
        if text:
            content.append({"type": "output_text", "text": text, "annotations": []})
        if refusal:
            content.append({"type": "refusal", "refusal": refusal})
        if content:
            yield {"id": "", "type": "message", "role": "assistant", "status": "completed", "content": content}
        for call in answer.tool_calls:
            if call.type == "custom":
                yield {"type": "custom_tool_call", "call_id": call.id, "name": call.name, "input": call.arguments}
            else:
                function = {"call_id": call.id, "name": call.name, "arguments": call.arguments}
                yield {"type": "function_call", **function, "status": "completed"}

    def _mark(self, key: _Key) -> None:
        if key == self._last:
            return
        if len(self._parts) >= _MAX_PARTS:
            raise AnswerTooLong(f"the answer has more than {_MAX_PARTS} parts, a limit that cannot be raised")
        self._parts.add(key)
        self._last = key

    def _is_new(self, key: _Key, received: list[str], whole: str) -> bool:
        """Return whether no piece of a part has arrived, also none with another index: some servers mix them up."""
        if not whole or key in self._parts:
            return False
        had_deltas = self._last is not None and self._last[0] == key[0]
        self._mark(key)
        return not (had_deltas and _ends_with(received, whole))


def _raw_field(data: bytes, event_type: type[Struct], name: str) -> bytes:
    """Return the JSON of a field of an event; also of an event that msgspec rejects, such as one with ``NaN``."""
    try:
        return bytes(getattr(msgspec.json.decode(data, type=event_type), name))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        decoded = decode_untyped(data)
    try:
        return json.dumps(decoded[name]).encode()
    except (ValueError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None


def _has_content(item: OutputItem) -> bool:
    return item.type != "message" or any(part.text or part.refusal for part in item.content or ())


def _ends_with(pieces: list[str], whole: str) -> bool:
    """Return whether the text in ``pieces`` ends with ``whole``."""
    tail: list[str] = []
    size = 0
    for piece in reversed(pieces):
        if size >= len(whole):
            break
        tail.append(piece)
        size += len(piece)
    return "".join(reversed(tail)).endswith(whole)
