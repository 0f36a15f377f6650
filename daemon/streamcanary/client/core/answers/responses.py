"""Reads the Responses API: events of a stream, or one complete body.

The terminal events are ``response.completed``, ``.incomplete``, ``.failed`` and ``.cancelled``; errors are flat
(``{"type": "error", "code": …}``), nested (``{"error": {…}}``), or in a failed response.

A text can arrive up to five times: in deltas, in the ``.done`` events of the text, its part and its item, and in the
response. The first of these is read, so servers may leave out any of them.
"""

from typing import Any, Final

import msgspec
from msgspec import Struct

from streamcanary.client.core.answers.answer import Answer
from streamcanary.client.core.answers.response_output import OutputItem, OutputPart, ResponseOutput
from streamcanary.client.core.decoding.lenient_json import ErrorReported, LenientDecoder, decode_untyped
from streamcanary.client.core.decoding.sse import ServerSentEvent
from streamcanary.client.core.fault_classification import ERROR_EVENTS, find_error, keep_ignored, reports_error
from streamcanary.client.core.limits import DEFAULT_LIMITS, Limits
from streamcanary.events import Delta as DeltaEvent


class OutputDetails(Struct, gc=False):
    """Parts of the output tokens."""

    reasoning_tokens: int | None = None


class TokenUsage(Struct, gc=False):
    """Token counts of the provider."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    output_tokens_details: OutputDetails | None = None

    @property
    def reasoning_tokens(self) -> int | None:
        """The output tokens that the model used to reason, if they are reported."""
        details = self.output_tokens_details
        return details.reasoning_tokens if details is not None else None


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
    service_tier: str | None = None
    system_fingerprint: str | None = None


class StreamEvent(Struct):
    """An event of the stream; its type determines which fields it has."""

    type: str | None = None
    delta: Any = None
    output_index: int | None = None
    content_index: int | None = None
    summary_index: int | None = None
    item_id: str | None = None
    text: str | None = None
    refusal: str | None = None
    transcript: str | None = None
    name: str | None = None
    arguments: Any = None
    input: str | None = None
    part: OutputPart | None = None
    item: OutputItem | None = None
    response: Response | None = None
    error: Any = None


_decode_event = LenientDecoder(StreamEvent).decode
_decode_response = LenientDecoder(Response).decode
_TERMINAL_STATUSES: Final = frozenset({"completed", "incomplete", "failed", "cancelled"})
_ANSWER_DELTAS: Final = frozenset({"response.output_text.delta", "response.refusal.delta"})
_PROGRESS: Final = ("_call", "mcp_list_tools", "image", "audio", "annotation")
_FINISH_REASONS: Final = {"max_output_tokens": "length"}  # other reasons have the same name in Chat Completions


class ResponsesReader:
    """Reads one answer of the Responses API. ``is_done``: a terminal event has arrived."""

    __slots__ = ("_output", "answer", "ignored", "is_done", "progressed")

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self.answer = Answer(limits)
        self._output = ResponseOutput(self.answer, limits)
        self.is_done = False
        self.ignored: list[bytes] = []
        self.progressed = False

    def read_event(self, event: ServerSentEvent) -> list[DeltaEvent]:
        """Return the deltas that an event adds to the answer; raises as ``ChatReader.read_event``."""
        self.progressed = False
        data = event.data
        if not data or data.isspace() or data.startswith(b"[DONE]"):
            if event.event in ERROR_EVENTS:
                raise ErrorReported(None)
            return []
        stream_event = _decode_event(data)
        kind = stream_event.type or event.event
        if kind in ERROR_EVENTS or stream_event.error:
            raise ErrorReported(decode_untyped(data))
        if not kind.startswith("response."):
            if stream_event.type is None:
                if reports_error(error := decode_untyped(data)):
                    raise ErrorReported(error)
                keep_ignored(self.ignored, data)
            return []
        self.answer.chunks += 1
        if stream_event.delta:
            self._add_delta(kind, stream_event)
        elif stream_event.response is not None:
            self._read_response(kind.removeprefix("response."), stream_event.response, data)
        elif not kind.endswith(".delta"):
            self._add_whole(kind, stream_event, data)
        return self.answer.take_deltas()

    def read_body(self, body: bytes) -> list[DeltaEvent] | None:
        """Return the deltas of a complete JSON body, ``None`` if it is no response; raises as :meth:`read_event`."""
        response = _decode_response(body)
        if response.error and response.status != "failed":
            raise ErrorReported(decode_untyped(body))
        is_response = response.status in _TERMINAL_STATUSES or response.output is not None
        if not is_response and (error := find_error(body)) is not None:
            raise ErrorReported(error)
        if response.status is None:
            return None
        self.answer.chunks += 1
        self.answer.raw = body
        self._set_metadata(response)
        if response.status in _TERMINAL_STATUSES:
            self._finish(response)
        return self.answer.take_deltas()

    def _add_delta(self, kind: str, event: StreamEvent) -> None:
        delta, output = event.delta, self._output
        if not isinstance(delta, str):
            if kind in _ANSWER_DELTAS:  # skipping it would lose text
                raise msgspec.DecodeError(f"the delta of {kind} is not text")
            self.progressed = _is_progress(kind, event.item)
            return
        index = _index_of(event)
        match kind:
            case "response.output_text.delta":
                output.add_text(index, event.content_index, delta)
            case "response.refusal.delta":
                output.add_refusal(index, event.content_index, delta)
            case "response.reasoning_text.delta":
                output.add_reasoning(index, event.content_index, delta)
            case "response.reasoning_summary_text.delta":
                output.add_summary(index, event.summary_index, delta)
            case "response.function_call_arguments.delta":
                self.answer.add_tool_call(index, None, None, delta)
            case "response.custom_tool_call_input.delta":
                self.answer.add_tool_call(index, None, None, delta, "custom")
            case "response.audio.transcript.delta" | "response.output_audio_transcript.delta":
                output.add_transcript(delta)
                self.progressed = True
            case "response.audio.delta" | "response.output_audio.delta":
                self.answer.has_media = self.answer.has_other_output = self.progressed = True
            case _:
                self.progressed = _is_progress(kind, event.item)

    def _add_whole(self, kind: str, event: StreamEvent, data: bytes) -> None:
        """Add what a ``.done`` event has, or the start of an item, if it has not arrived before."""
        output, index = self._output, _index_of(event)
        self.progressed = _is_progress(kind, event.item)
        match kind:
            case "response.output_text.done" if event.text:
                output.complete_text(index, event.content_index, event.text)
            case "response.refusal.done" if event.refusal:
                output.complete_refusal(index, event.content_index, event.refusal)
            case "response.reasoning_text.done" if event.text:
                output.complete_reasoning(index, event.content_index, event.text)
            case "response.reasoning_summary_text.done" if event.text:
                output.complete_summary(index, event.summary_index, event.text)
            case "response.content_part.done" if event.part is not None:
                output.complete_part(index, event.content_index, event.part)
            case "response.reasoning_summary_part.done" if event.part is not None and event.part.text:
                output.complete_summary(index, event.summary_index, event.part.text)
            case "response.function_call_arguments.done":
                call = OutputItem(type="function_call", name=event.name, arguments=event.arguments)
                output.complete_item(index, call)
            case "response.custom_tool_call_input.done":
                output.complete_item(index, OutputItem(type="custom_tool_call", name=event.name, input=event.input))
            case "response.output_item.added" if event.item is not None:
                output.start_item(index, event.item)
            case "response.output_item.done" if event.item is not None:
                output.complete_item(index, event.item)
                output.keep_item(index, event.item, data)
            case "response.image_generation_call.partial_image":
                self.answer.has_media = self.answer.has_other_output = True

    def _set_metadata(self, response: Response) -> None:
        self.answer.set_metadata(response.id, response.model, response.created_at)
        self.answer.set_deployment(response.system_fingerprint, response.service_tier)

    def _read_response(self, status: str, response: Response, data: bytes) -> None:
        self._set_metadata(response)
        if status in _TERMINAL_STATUSES:
            response.status = status
            self.answer.raw = self._output.complete_response(response.output or [], data)
            self._finish(response)

    def _finish(self, response: Response) -> None:
        answer = self.answer
        self.is_done = True
        if response.usage is not None:
            usage = response.usage
            answer.set_usage(usage.input_tokens, usage.output_tokens, usage.reasoning_tokens)
        if response.status == "failed":
            raise ErrorReported(response.error or {"message": "the response failed; the server gave no reason"})
        if response.status == "cancelled":
            raise ErrorReported({"code": "cancelled", "message": "the response was cancelled"})
        self._output.complete(response.output or [])
        if response.status == "incomplete":
            reason = (response.incomplete_details.reason if response.incomplete_details else None) or "incomplete"
            answer.set_finish_reason(_FINISH_REASONS.get(reason, reason))
        else:
            answer.set_finish_reason("tool_calls" if answer.tool_calls else "stop")


def _index_of(event: StreamEvent) -> int | str:
    """Return what identifies the output item of an event: its index, or its id if the server sends no index."""
    if event.output_index is not None:
        return event.output_index
    return event.item_id or (event.item and event.item.id) or 0


def _is_progress(kind: str, item: OutputItem | None) -> bool:
    """Return whether an event without a token is work of the provider: a built-in tool's, an image's, a complete item.

    The start of a message or of its parts is none: servers send it before they begin to work.
    """
    subject = (item.type if item is not None else None) or kind
    return kind == "response.output_item.done" or any(word in subject for word in _PROGRESS)
