"""Reads the Responses API: events of a stream, or one complete body.

The terminal events are ``response.completed``, ``.incomplete``, ``.failed`` and ``.cancelled``; errors are flat
(``{"type": "error", "code": …}``), nested (``{"error": {…}}``), or in a failed response.
"""

from typing import Any, Final

import msgspec
from msgspec import Struct

from streamcanary.client.core.answer import Answer
from streamcanary.client.core.lenient_json import ErrorReported, LenientDecoder, decode_untyped
from streamcanary.client.core.limits import DEFAULT_LIMITS, Limits
from streamcanary.client.core.sse import ServerSentEvent
from streamcanary.events import Delta as DeltaEvent


class OutputContent(Struct):
    """A part of a message."""

    type: str | None = None
    text: str | None = None
    refusal: str | None = None


class OutputItem(Struct):
    """A message, a function call, or the record of a built-in tool of the provider."""

    type: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None
    content: list[OutputContent] | None = None


class TokenUsage(Struct, gc=False):
    """Token counts of the provider."""

    input_tokens: int | None = None
    output_tokens: int | None = None


class IncompleteDetails(Struct, gc=False):
    """Why a response is incomplete."""

    reason: str | None = None


class Response(Struct):
    """A response, complete or in progress."""

    id: str | None = None
    model: str | None = None
    created_at: float | None = None
    status: str | None = None
    output: list[OutputItem] | None = None
    usage: TokenUsage | None = None
    incomplete_details: IncompleteDetails | None = None
    error: Any = None


class StreamEvent(Struct):
    """An event of the stream; its type determines which fields it has."""

    type: str | None = None
    delta: Any = None
    output_index: int | None = None
    item: OutputItem | None = None
    response: Response | None = None
    error: Any = None


class _RawResponse(Struct):
    response: msgspec.Raw = msgspec.Raw()


_decode_event = LenientDecoder(StreamEvent)
_decode_response = LenientDecoder(Response)
_TERMINAL_STATUSES: Final = frozenset({"completed", "incomplete", "failed", "cancelled"})
_ANSWER_DELTAS: Final = frozenset({"response.output_text.delta", "response.refusal.delta"})
_TOOL_CALL_TYPES: Final = frozenset({"function_call", "custom_tool_call"})
_FINISH_REASONS: Final = {"max_output_tokens": "length"}  # other reasons have the same name in Chat Completions


class ResponsesReader:
    """Reads one answer of the Responses API. ``is_done``: a terminal event has arrived."""

    __slots__ = ("answer", "is_done", "progressed")

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self.answer = Answer(limits)
        self.is_done = False
        self.progressed = False

    def read_event(self, event: ServerSentEvent) -> list[DeltaEvent]:
        """Return the deltas that an event adds to the answer; raises as ``ChatReader.read_event``."""
        self.progressed = False
        data = event.data
        if not data or data.isspace() or data.startswith(b"[DONE]"):
            if event.event == "error":
                raise ErrorReported(None)
            return []
        stream_event = _decode_event(data)
        kind = stream_event.type or event.event
        if kind == "error" or stream_event.error:
            raise ErrorReported(stream_event.error or decode_untyped(data))
        if not kind.startswith("response."):
            return []
        self.answer.chunks += 1
        if stream_event.delta:
            return self._add_delta(kind, stream_event.delta, stream_event.output_index or 0)
        if stream_event.item is not None:
            return self._add_item(kind, stream_event.item, stream_event.output_index or 0)
        if stream_event.response is None:
            return []
        self.answer.set_metadata(
            stream_event.response.id, stream_event.response.model, stream_event.response.created_at
        )
        if kind.removeprefix("response.") not in _TERMINAL_STATUSES:
            return []
        stream_event.response.status = kind.removeprefix("response.")
        self.answer.raw = bytes(msgspec.json.decode(data, type=_RawResponse).response)
        return self._finish(stream_event.response)

    def read_body(self, body: bytes) -> list[DeltaEvent] | None:
        """Return the deltas of a complete JSON body, ``None`` if it is no response; raises as :meth:`read_event`."""
        response = _decode_response(body)
        if response.error and response.status != "failed":
            raise ErrorReported(response.error)
        if response.status is None:
            return None
        self.answer.chunks += 1
        self.answer.raw = body
        self.answer.set_metadata(response.id, response.model, response.created_at)
        return self._finish(response) if response.status in _TERMINAL_STATUSES else []

    def _add_delta(self, kind: str, delta: object, index: int) -> list[DeltaEvent]:
        answer = self.answer
        if not isinstance(delta, str):
            if kind in _ANSWER_DELTAS:  # skipping it would lose text
                raise msgspec.DecodeError(f"the delta of {kind} is not text")
            return []
        match kind:
            case "response.output_text.delta":
                return [answer.add_text(delta)]
            case "response.refusal.delta":
                return [answer.add_refusal(delta)]
            case "response.reasoning_text.delta" | "response.reasoning_summary_text.delta":
                return [answer.add_reasoning(delta)]
            case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta":
                return [answer.add_tool_call(index, None, None, delta)]
        return []

    def _add_item(self, kind: str, item: OutputItem, index: int) -> list[DeltaEvent]:
        """Add the name of a function call when it starts, and its arguments if no pieces of them arrived."""
        if item.type not in _TOOL_CALL_TYPES:
            return []
        missing = kind == "response.output_item.done" and not self.answer.has_arguments(index)
        arguments = (item.arguments or item.input) if missing else None
        return [self.answer.add_tool_call(index, item.call_id, item.name, arguments)]

    def _finish(self, response: Response) -> list[DeltaEvent]:
        answer = self.answer
        self.is_done = True
        if response.usage is not None:
            usage = response.usage
            answer.set_usage(usage.input_tokens, usage.output_tokens)
        if response.status == "failed":
            raise ErrorReported(response.error or {"message": "the response failed; the server gave no reason"})
        if response.status == "cancelled":
            raise ErrorReported({"code": "cancelled", "message": "the response was cancelled"})
        events = [] if answer.has_output else self._add_output(response.output or [])
        if response.status == "incomplete":
            reason = (response.incomplete_details.reason if response.incomplete_details else None) or "incomplete"
            answer.set_finish_reason(_FINISH_REASONS.get(reason, reason))
        else:
            answer.set_finish_reason("tool_calls" if answer.tool_calls else "stop")
        return events

    def _add_output(self, output: list[OutputItem]) -> list[DeltaEvent]:
        """Add the answer from the complete response, if no pieces of it arrived before."""
        events: list[DeltaEvent] = []
        for index, item in enumerate(output):
            if item.type in _TOOL_CALL_TYPES:
                arguments = item.arguments or item.input
                events.append(self.answer.add_tool_call(index, item.call_id, item.name, arguments))
            elif item.type == "message":
                for part in item.content or ():
                    if part.text:
                        events.append(self.answer.add_text(part.text))
                    if part.refusal:
                        events.append(self.answer.add_refusal(part.refusal))
            elif item.type != "reasoning":
                self.answer.has_other_output = True
        return events
