"""The output of a response: its items as JSON, and the events in which they come to be.

Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import Struct

from streamcanary.simulator.api.answer import CALL_ID, Answer, Kind, Part

Event = dict[str, Any]
"""An event before it has its number."""
_PADDED = 16  # characters of a delta with its padding, which hides the length of tokens from who listens to TLS


class _Form(Struct, frozen=True, kw_only=True):
    """How a part of an answer is spelled.

    The ids of its item begin with ``item``, the names of the events of its deltas with ``stem``; ``whole`` is what the
    text is called when it is all there. ``part`` is the type of what holds the text within the item, the names of the
    events about that begin with ``added``, ``index`` counts it; the arguments of a call stand in the item itself.
    """

    item: str
    stem: str
    whole: str = "text"
    part: str | None = None
    added: str = "response.content_part"
    index: str = "content_index"


_FORMS: Final = {
    Kind.TEXT: _Form(item="msg", stem="response.output_text", part="output_text"),
    Kind.REFUSAL: _Form(item="msg", stem="response.refusal", whole="refusal", part="refusal"),
    Kind.CALL: _Form(item="fc", stem="response.function_call_arguments", whole="arguments"),
    Kind.SUMMARY: _Form(
        item="rs",
        stem="response.reasoning_summary_text",
        part="summary_text",
        added="response.reasoning_summary_part",
        index="summary_index",
    ),
    Kind.REASONING: _Form(item="rs", stem="response.reasoning_text", part="reasoning_text"),
}


class Output(Struct, frozen=True, kw_only=True):
    """One item for each part of ``answer``; ``token`` makes their ids, ``padded`` deltas hide their length.

    ``status`` is that of each item once it is done: ``completed`` or ``incomplete``.
    """

    token: str
    answer: Answer
    status: str
    padded: bool

    def items(self) -> list[dict[str, Any]]:
        """Return the items, done."""
        return [self._item(index, part, self.status) for index, part in enumerate(self.answer.parts)]

    def events(self) -> Iterator[Event]:
        """Yield the life of each item: it is added, grows by deltas, is done."""
        for index, part in enumerate(self.answer.parts):
            yield {"type": "response.output_item.added", "output_index": index, "item": self._begun(index, part)}
            yield from self._growth(index, part)
            done = self._item(index, part, self.status)
            yield {"type": "response.output_item.done", "output_index": index, "item": done}

    def empty_delta(self) -> Event:
        """Return a delta that adds nothing to the first text."""
        return self._delta(0, Kind.TEXT, "")

    def _growth(self, index: int, part: Part) -> Iterator[Event]:
        form, place = _FORMS[part.kind], self._place(index, part.kind)
        if form.part is not None:
            yield {"type": f"{form.added}.added", **place, "part": _held(_empty(part))}
        for piece in part.pieces:
            yield self._delta(index, part.kind, piece)
        yield {"type": f"{form.stem}.done", **place, form.whole: part.whole, **_logprobs(part.kind)}
        if form.part is not None:
            yield {"type": f"{form.added}.done", **place, "part": _held(part)}

    def _delta(self, index: int, kind: Kind, piece: str) -> Event:
        padding = {"obfuscation": "x" * (_PADDED - len(piece) % _PADDED)} if self.padded else {}
        place = self._place(index, kind)
        return {"type": f"{_FORMS[kind].stem}.delta", **place, "delta": piece, **_logprobs(kind), **padding}

    def _place(self, index: int, kind: Kind) -> dict[str, Any]:
        """Return where in the output a text belongs."""
        form = _FORMS[kind]
        within = {} if form.part is None else {form.index: 0}
        return {"item_id": self._id(index, kind), "output_index": index, **within}

    def _begun(self, index: int, part: Part) -> dict[str, Any]:
        """Return an item as it is added: what will hold its text is not there yet."""
        item = self._item(index, _empty(part), "in_progress")
        return {name: [] if isinstance(value, list) else value for name, value in item.items()}

    def _item(self, index: int, part: Part, status: str) -> dict[str, Any]:
        identity = {"id": self._id(index, part.kind)}
        match part.kind:
            case Kind.CALL:
                call = {"arguments": part.whole, "call_id": f"{CALL_ID}{index + 1}", "name": part.name}
                return {**identity, "type": "function_call", "status": status, **call}
            case Kind.SUMMARY:
                return {**identity, "type": "reasoning", "summary": [_held(part)]}
            case Kind.REASONING:
                reasoning = {"summary": [], "content": [_held(part)], "status": status}
                return {**identity, "type": "reasoning", **reasoning}
            case Kind.TEXT | Kind.REFUSAL:
                content = {"content": [_held(part)], "role": "assistant"}
                return {**identity, "type": "message", "status": status, **content}

    def _id(self, index: int, kind: Kind) -> str:
        return f"{_FORMS[kind].item}_{self.token}{index:02d}"


def _empty(part: Part) -> Part:
    return msgspec.structs.replace(part, pieces=())


def _logprobs(kind: Kind) -> dict[str, Any]:
    return {"logprobs": []} if kind is Kind.TEXT else {}


def _held(part: Part) -> dict[str, Any]:
    """Return what holds the text of a part within its item."""
    form = _FORMS[part.kind]
    annotations: dict[str, Any] = {"annotations": []} if part.kind is Kind.TEXT else {}
    return {"type": form.part, **annotations, **_logprobs(part.kind), form.whole: part.whole}
