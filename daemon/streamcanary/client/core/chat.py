"""Reads Chat Completions: chunks of a stream, or one complete body."""

from typing import Any

import msgspec
from msgspec import Struct

from streamcanary.client.core.answer import Answer
from streamcanary.client.core.lenient_json import ErrorReported, LenientDecoder, decode_untyped
from streamcanary.client.core.limits import DEFAULT_LIMITS, Limits
from streamcanary.client.core.sse import ServerSentEvent
from streamcanary.events import Delta as DeltaEvent


class Function(Struct):
    """A part of a function call: the name comes first, the arguments follow in pieces, or complete as an object."""

    name: str | None = None
    arguments: Any = None


class ToolCallChunk(Struct):
    """A part of the tool call at ``index``."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Delta(Struct):
    """What a chunk adds to the message. Servers use two names for reasoning; content can be a list of parts."""

    content: Any = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallChunk] | None = None


class Choice(Struct):
    """One choice: with a ``delta`` in a stream, with a ``message`` in a complete body."""

    index: int | None = None
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None
    error: Any = None


class TokenUsage(Struct, gc=False):
    """Token counts of the provider."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class ChatPayload(Struct):
    """A chunk of a stream, a complete body, or an error: they share their outer shape."""

    id: str | None = None
    model: str | None = None
    created: int | None = None
    choices: list[Choice] | None = None
    usage: TokenUsage | None = None
    error: Any = None
    object: str | None = None
    type: str | None = None

    @property
    def is_error(self) -> bool:
        """Whether this is an error, in any of the forms that servers use; an empty ``error`` with choices is none."""
        if self.error or "error" in (self.object, self.type):
            return True
        return self.error is not None and not self.choices


_ERROR_FINISH_REASONS = frozenset({"error", "abort", "cancelled"})  # an error as finish_reason: OpenRouter, vLLM
_decode = LenientDecoder(ChatPayload)


class ChatReader:
    """Reads one answer of Chat Completions. ``is_done``: ``[DONE]`` has arrived."""

    __slots__ = ("answer", "is_done", "progressed")

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self.answer = Answer(limits)
        self.is_done = False
        self.progressed = False

    def read_event(self, event: ServerSentEvent) -> list[DeltaEvent]:
        """Return the deltas that an event adds to the answer.

        Raises:
            ErrorReported: if the event is an error.
            msgspec.DecodeError: if it is not JSON.
            AnswerTooLong: if the answer exceeds the limits.
        """
        self.progressed = False
        data = event.data
        if data.startswith(b"[DONE]"):
            self.is_done = True
            return []
        if not data or data.isspace():
            if event.event == "error":
                raise ErrorReported(None)
            return []
        message = _decode(data)
        if message.is_error or event.event == "error":
            raise ErrorReported(message.error or decode_untyped(data))
        if message.choices is None and message.id is None and message.usage is None:
            return []  # JSON, but not of this API
        return self._add(message)

    def read_body(self, body: bytes) -> list[DeltaEvent] | None:
        """Return the deltas of a complete JSON body, ``None`` if it is no completion; raises as :meth:`read_event`."""
        message = _decode(body)
        if message.is_error:
            raise ErrorReported(message.error or decode_untyped(body))
        if not message.choices:
            return None
        self.is_done = True
        self.answer.raw = body
        return self._add(message)

    def _add(self, message: ChatPayload) -> list[DeltaEvent]:
        answer = self.answer
        answer.chunks += 1
        answer.set_metadata(message.id, message.model, message.created)
        if (usage := message.usage) is not None:
            answer.set_usage(usage.prompt_tokens, usage.completion_tokens)
        if not message.choices:
            return []
        choice = message.choices[0]
        if choice.index:
            return []  # n > 1 is never requested: ignore other choices
        if choice.error or choice.finish_reason in _ERROR_FINISH_REASONS:
            raise ErrorReported(
                choice.error or {"message": f"the answer ended with finish_reason {choice.finish_reason}"}
            )
        if choice.finish_reason:
            answer.set_finish_reason(choice.finish_reason)
        delta = choice.delta or choice.message
        if delta is None:
            return []
        events: list[DeltaEvent] = []
        if content := delta.content:
            events.append(answer.add_text(content if isinstance(content, str) else _text_of(content)))
        if delta.reasoning_content or delta.reasoning or delta.refusal or delta.tool_calls:
            self._add_uncommon(delta, events)
        return events

    def _add_uncommon(self, delta: Delta, events: list[DeltaEvent]) -> None:
        if reasoning := delta.reasoning_content or delta.reasoning:
            events.append(self.answer.add_reasoning(reasoning))
        if delta.refusal:
            events.append(self.answer.add_refusal(delta.refusal))
        for position, call in enumerate(delta.tool_calls or ()):
            function = call.function or Function()
            index = position if call.index is None else call.index
            events.append(self.answer.add_tool_call(index, call.id, function.name, _arguments(function.arguments)))


def _text_of(content: object) -> str:
    """Return the text of content in parts. An unreadable part is an error, because skipping it would lose text."""
    parts = content if isinstance(content, list) else [None]
    texts: list[str] = []
    for part in parts:
        text = part.get("text") if isinstance(part, dict) else part
        if not isinstance(text, str):
            raise msgspec.DecodeError("the content of a chunk is neither text nor parts with text")
        texts.append(text)
    return "".join(texts)


def _arguments(arguments: object) -> str | None:
    if arguments is None or isinstance(arguments, str):
        return arguments
    return msgspec.json.encode(arguments).decode()
