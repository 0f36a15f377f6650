"""The output of a response: its items as JSON, and the events that stream them.

Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import Struct

from streamcanary.simulator.api.answer import TOOL_CALL_ID_PREFIX, Answer, Part, PartKind

Event = dict[str, Any]
"""An event without its sequence number."""
_PADDING_UNIT = 16  # characters; padding hides the length of tokens from an observer of the TLS traffic


class _PartFormat(Struct, frozen=True, kw_only=True):
    """The format of a part of an answer.

    ``id_prefix`` is the prefix of item ids, ``event_prefix`` that of the names of delta events; ``text_key`` is the key
    of the complete text. ``part_type`` is the type of the content part within the item, ``part_event_prefix`` the
    prefix of its events, ``index_key`` the key of its index. A tool call has no content part: its arguments are in the
    item itself.
    """

    id_prefix: str
    event_prefix: str
    text_key: str = "text"
    part_type: str | None = None
    part_event_prefix: str = "response.content_part"
    index_key: str = "content_index"


_PART_FORMATS: Final = {
    PartKind.TEXT: _PartFormat(id_prefix="msg", event_prefix="response.output_text", part_type="output_text"),
    PartKind.REFUSAL: _PartFormat(
        id_prefix="msg", event_prefix="response.refusal", text_key="refusal", part_type="refusal"
    ),
    PartKind.TOOL_CALL: _PartFormat(
        id_prefix="fc", event_prefix="response.function_call_arguments", text_key="arguments"
    ),
    PartKind.REASONING_SUMMARY: _PartFormat(
        id_prefix="rs",
        event_prefix="response.reasoning_summary_text",
        part_type="summary_text",
        part_event_prefix="response.reasoning_summary_part",
        index_key="summary_index",
    ),
    PartKind.REASONING: _PartFormat(id_prefix="rs", event_prefix="response.reasoning_text", part_type="reasoning_text"),
}


class ResponsesOutput(Struct, frozen=True, kw_only=True):
    """The output with one item for each part of ``answer``; item ids contain ``token``.

    ``status`` is the final status of each item: ``completed`` or ``incomplete``. With ``is_padded``, deltas are padded
    to hide their length.
    """

    token: str
    answer: Answer
    status: str
    is_padded: bool

    def items(self) -> list[dict[str, Any]]:
        """Return the completed items."""
        return [self._item(index, part, self.status) for index, part in enumerate(self.answer.parts)]

    def events(self) -> Iterator[Event]:
        """Yield the events of each item: added, deltas, done."""
        for index, part in enumerate(self.answer.parts):
            yield {"type": "response.output_item.added", "output_index": index, "item": self._added_item(index, part)}
            yield from self._part_events(index, part)
            done = self._item(index, part, self.status)
            yield {"type": "response.output_item.done", "output_index": index, "item": done}

    def empty_delta(self) -> Event:
        """Return an empty delta of the first text."""
        return self._delta_event(0, PartKind.TEXT, "")

    def _part_events(self, index: int, part: Part) -> Iterator[Event]:
        part_format, location = _PART_FORMATS[part.kind], self._location(index, part.kind)
        if part_format.part_type is not None:
            yield {
                "type": f"{part_format.part_event_prefix}.added",
                **location,
                "part": _content_part(_without_text(part)),
            }
        for piece in part.pieces:
            yield self._delta_event(index, part.kind, piece)
        yield {
            "type": f"{part_format.event_prefix}.done",
            **location,
            part_format.text_key: part.text,
            **_logprobs(part.kind),
        }
        if part_format.part_type is not None:
            yield {"type": f"{part_format.part_event_prefix}.done", **location, "part": _content_part(part)}

    def _delta_event(self, index: int, kind: PartKind, piece: str) -> Event:
        padding = {"obfuscation": "x" * (_PADDING_UNIT - len(piece) % _PADDING_UNIT)} if self.is_padded else {}
        location = self._location(index, kind)
        return {
            "type": f"{_PART_FORMATS[kind].event_prefix}.delta",
            **location,
            "delta": piece,
            **_logprobs(kind),
            **padding,
        }

    def _location(self, index: int, kind: PartKind) -> dict[str, Any]:
        """Return the fields that locate a text in the output."""
        part_format = _PART_FORMATS[kind]
        within = {} if part_format.part_type is None else {part_format.index_key: 0}
        return {"item_id": self._item_id(index, kind), "output_index": index, **within}

    def _added_item(self, index: int, part: Part) -> dict[str, Any]:
        """Return an item as in its ``added`` event, without content parts."""
        item = self._item(index, _without_text(part), "in_progress")
        return {name: [] if isinstance(value, list) else value for name, value in item.items()}

    def _item(self, index: int, part: Part, status: str) -> dict[str, Any]:
        identity = {"id": self._item_id(index, part.kind)}
        match part.kind:
            case PartKind.TOOL_CALL:
                call = {"arguments": part.text, "call_id": f"{TOOL_CALL_ID_PREFIX}{index + 1}", "name": part.name}
                return {**identity, "type": "function_call", "status": status, **call}
            case PartKind.REASONING_SUMMARY:
                return {**identity, "type": "reasoning", "summary": [_content_part(part)]}
            case PartKind.REASONING:
                reasoning = {"summary": [], "content": [_content_part(part)], "status": status}
                return {**identity, "type": "reasoning", **reasoning}
            case PartKind.TEXT | PartKind.REFUSAL:
                content = {"content": [_content_part(part)], "role": "assistant"}
                return {**identity, "type": "message", "status": status, **content}

    def _item_id(self, index: int, kind: PartKind) -> str:
        return f"{_PART_FORMATS[kind].id_prefix}_{self.token}{index:02d}"


def _without_text(part: Part) -> Part:
    return msgspec.structs.replace(part, pieces=())


def _logprobs(kind: PartKind) -> dict[str, Any]:
    return {"logprobs": []} if kind is PartKind.TEXT else {}


def _content_part(part: Part) -> dict[str, Any]:
    """Return the content part that holds the text of ``part`` within its item."""
    part_format = _PART_FORMATS[part.kind]
    annotations: dict[str, Any] = {"annotations": []} if part.kind is PartKind.TEXT else {}
    return {"type": part_format.part_type, **annotations, **_logprobs(part.kind), part_format.text_key: part.text}
