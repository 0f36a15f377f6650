"""An answer while it arrives: what has been said so far, in which pieces, and how it ended."""

from streamcanary.client.limits import LIMITS, Limits
from streamcanary.client.result import ToolCall
from streamcanary.client.wire import ChatMessage, Choice, Delta, ToolCallChunk
from streamcanary.events import ContentDelta, ReasoningDelta, RefusalDelta, ToolCallDelta
from streamcanary.events import Delta as DeltaEvent
from streamcanary.model.outcome import Usage

_MOST_TOOL_CALLS = 128  # as many as the API itself allows to be declared


class AnswerTooLong(Exception):
    """The answer is larger than the client is willing to hold."""


class _PartialToolCall:
    __slots__ = ("arguments", "id", "name")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []


class Answer:
    """The pieces of one answer, gathered from Chat Completions chunks or from one whole completion."""

    __slots__ = (
        "_limits",
        "_size",
        "_tools",
        "chunks",
        "created",
        "finish_reason",
        "model",
        "reasoning",
        "refusal",
        "response_id",
        "text",
        "usage",
    )

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._size = 0
        self._tools: dict[int, _PartialToolCall] = {}
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.refusal: list[str] = []
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.model: str | None = None
        self.response_id: str | None = None
        self.created: int | None = None
        self.chunks = 0

    @property
    def says_something(self) -> bool:
        """Whether there is text, a refusal or a tool call: reasoning alone is no answer."""
        return bool(self.text or self.refusal or self._tools)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls, in the order of their index."""
        return tuple(
            ToolCall(id=call.id, name=call.name, arguments="".join(call.arguments))
            for _, call in sorted(self._tools.items())
        )

    def add(self, message: ChatMessage) -> list[DeltaEvent]:
        """Take in one chunk, or a whole completion, and return what it adds.

        Raises:
            AnswerTooLong: if it grows over the limits.
        """
        self.chunks += 1
        if message.model:
            self.model = message.model[:256]
        if message.id and self.response_id is None:
            self.response_id = message.id[:256]
        if message.created is not None:
            self.created = message.created
        if (usage := message.usage) is not None:
            self.usage = Usage(input_tokens=usage.prompt_tokens or 0, output_tokens=usage.completion_tokens or 0)
        if not message.choices:
            return []
        choice = message.choices[0]
        return [] if choice.index else self._take(choice)  # n > 1 is never asked for: another index is noise

    def _take(self, choice: Choice) -> list[DeltaEvent]:
        if choice.finish_reason:
            self.finish_reason = choice.finish_reason[:64]
        delta = choice.delta or choice.message
        if delta is None:
            return []
        events: list[DeltaEvent] = []
        if content := delta.content:
            self._hold(content)
            self.text.append(content)
            events.append(ContentDelta(content))
        if delta.reasoning_content or delta.reasoning or delta.refusal or delta.tool_calls:
            self._take_uncommon(delta, events)
        return events

    def _take_uncommon(self, delta: Delta, events: list[DeltaEvent]) -> None:
        if reasoning := delta.reasoning_content or delta.reasoning:
            self._hold(reasoning)
            self.reasoning.append(reasoning)
            events.append(ReasoningDelta(reasoning))
        if refusal := delta.refusal:
            self._hold(refusal)
            self.refusal.append(refusal)
            events.append(RefusalDelta(refusal))
        for position, chunk in enumerate(delta.tool_calls or ()):
            events.append(self._take_tool_call(position, chunk))

    def _take_tool_call(self, position: int, chunk: ToolCallChunk) -> ToolCallDelta:
        index = position if chunk.index is None else chunk.index
        if index not in self._tools:
            if len(self._tools) >= _MOST_TOOL_CALLS:
                raise AnswerTooLong(f"the answer has more than {_MOST_TOOL_CALLS} tool calls")
            self._tools[index] = _PartialToolCall()
        call = self._tools[index]
        call.id = call.id or (chunk.id or "")[:256]
        arguments = ""
        if chunk.function is not None:
            call.name = call.name or (chunk.function.name or "")[:256]
            arguments = chunk.function.arguments or ""
            self._hold(arguments)
            call.arguments.append(arguments)
        return ToolCallDelta(index, call.name, arguments)

    def _hold(self, piece: str) -> None:
        self._size += len(piece)
        if self._size > self._limits.answer:
            raise AnswerTooLong(f"the answer is longer than {self._limits.answer} characters")
