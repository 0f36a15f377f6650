"""Chat Completions: from chunks, or one whole completion, to an answer."""

from typing import Any

from msgspec import Struct

from streamcanary.client.answer import Answer
from streamcanary.client.limits import LIMITS, Limits
from streamcanary.client.sse import ServerSentEvent
from streamcanary.client.wire import Decoder, ErrorReported, decode_untyped
from streamcanary.events import Delta as DeltaEvent
from streamcanary.model.outcome import Usage


class Function(Struct, gc=False):
    """A part of a function call: its name comes first and whole, its arguments in pieces."""

    name: str | None = None
    arguments: str | None = None


class ToolCallChunk(Struct):
    """A part of a tool call; ``index`` says of which."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Delta(Struct):
    """What a chunk adds to the message. Reasoning goes by two names in the field."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallChunk] | None = None


class Choice(Struct):
    """One choice; streamed ones have a ``delta``, whole ones a ``message``."""

    index: int | None = None
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None


class TokenUsage(Struct, gc=False):
    """Tokens, as the provider counts them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class ChatMessage(Struct):
    """A chunk of a streamed completion, a whole completion, or an error: they share their outer shape."""

    id: str | None = None
    model: str | None = None
    created: int | None = None
    choices: list[Choice] | None = None
    usage: TokenUsage | None = None
    error: Any = None


_decode = Decoder(ChatMessage)


class ChatReader:
    """Reads one answer of Chat Completions. ``done`` tells that ``[DONE]`` has come."""

    __slots__ = ("answer", "done")

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.answer = Answer(limits)
        self.done = False

    def take(self, event: ServerSentEvent) -> list[DeltaEvent]:
        """Return what an event adds to the answer.

        Raises:
            ErrorReported: if it is an error.
            msgspec.DecodeError: if it is not JSON.
            AnswerTooLong: if the answer grows over the limits.
        """
        data = event.data
        if data.startswith(b"[DONE]"):
            self.done = True
            return []
        if not data or data.isspace():
            return []
        message = _decode(data)
        if message.error or event.event == "error":
            raise ErrorReported(message.error or decode_untyped(data))
        if message.choices is None and message.id is None and message.usage is None:
            return []  # JSON, and nothing of ours
        return self._add(message)

    def take_body(self, body: bytes) -> list[DeltaEvent] | None:
        """Return what a whole JSON body says, or ``None`` if it is no completion; raises as :meth:`take` does."""
        message = _decode(body)
        if message.error:
            raise ErrorReported(message.error)
        if not message.choices:
            return None
        self.done = True
        self.answer.raw = body
        return self._add(message)

    def _add(self, message: ChatMessage) -> list[DeltaEvent]:
        answer = self.answer
        answer.chunks += 1
        answer.describe(message.id, message.model, message.created)
        if (usage := message.usage) is not None:
            answer.usage = Usage(input_tokens=usage.prompt_tokens or 0, output_tokens=usage.completion_tokens or 0)
        if not message.choices:
            return []
        choice = message.choices[0]
        if choice.index:
            return []  # n > 1 is never asked for: another index is noise
        if choice.finish_reason:
            answer.finish_reason = choice.finish_reason[:64]
        delta = choice.delta or choice.message
        if delta is None:
            return []
        events: list[DeltaEvent] = []
        if content := delta.content:
            events.append(answer.add_text(content))
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
            events.append(self.answer.add_tool_call(index, call.id, function.name, function.arguments))
