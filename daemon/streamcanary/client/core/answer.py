"""Accumulates one answer while it streams: its pieces, metadata, usage and finish reason."""

from streamcanary.client.core.limits import DEFAULT_LIMITS, Limits
from streamcanary.client.core.tool_calls import ToolCalls, TooManyToolCalls
from streamcanary.client.result import ToolCall, ToolCallType
from streamcanary.events import ContentDelta, ReasoningDelta, RefusalDelta, ToolCallDelta
from streamcanary.model.outcome import Usage
from streamcanary.model.redaction.redactor import scrub

_MAX_NAME_LENGTH = 256
_MAX_COUNT = 2**53  # the largest integer that counters and spans hold exactly; a larger count is invalid


class AnswerTooLong(Exception):
    """The answer exceeds the limits of the client."""


class Answer:
    """The pieces of one answer, of either API. The ``add_`` methods return the event for the caller.

    ``finish_reason`` has the values of Chat Completions for both APIs; it is ``None`` until a terminal state arrives.
    Every ``add_`` method raises :class:`AnswerTooLong` when the answer exceeds the limits.
    """

    __slots__ = (
        "_limits",
        "_raw_model",
        "_size",
        "_tool_calls",
        "chunks",
        "created",
        "finish_reason",
        "has_other_output",
        "model",
        "raw",
        "reasoning",
        "refusal",
        "response_id",
        "text",
        "usage",
    )

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._raw_model: str | None = None  # as the server sent it
        self._size = 0
        self._tool_calls = ToolCalls()
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.refusal: list[str] = []
        self.has_other_output = False  # output of the provider's built-in tools: an image, a search
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.model: str | None = None
        self.response_id: str | None = None
        self.created: int | None = None
        self.raw: bytes | None = None
        self.chunks = 0

    @property
    def has_output(self) -> bool:
        """Whether there is text, a refusal, a tool call or other output; reasoning alone is no answer."""
        return bool(self.text or self.refusal or self._tool_calls or self.has_other_output)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls, in the order in which they started."""
        return self._tool_calls.complete()

    def malformed_tool_call(self) -> str | None:
        """Return a message about the first function call whose arguments are not complete JSON, if there is one."""
        return self._tool_calls.malformed()

    def set_metadata(self, response_id: str | None, model: str | None, created: float | None) -> None:
        """Set id, model and creation time; the first id and the last model are kept."""
        if model and model is not self._raw_model and model != self._raw_model:
            self._raw_model, self.model = model, scrub(model, limit=_MAX_NAME_LENGTH)
        if response_id and self.response_id is None:
            self.response_id = scrub(response_id, limit=_MAX_NAME_LENGTH)
        if created is not None and 0 <= created <= _MAX_COUNT:
            self.created = int(created)

    def set_usage(self, input_tokens: int | None, output_tokens: int | None) -> None:
        """Set the token usage; an invalid count becomes 0."""
        counts = [
            tokens if tokens is not None and 0 <= tokens <= _MAX_COUNT else 0
            for tokens in (input_tokens, output_tokens)
        ]
        self.usage = Usage(input_tokens=counts[0], output_tokens=counts[1])

    def set_finish_reason(self, reason: str) -> None:
        """Set the finish reason."""
        self.finish_reason = scrub(reason, limit=64) or None

    def add_text(self, piece: str) -> ContentDelta:
        """Add a piece of the text."""
        self._check_size(piece)
        self.text.append(piece)
        return ContentDelta(piece)

    def add_reasoning(self, piece: str) -> ReasoningDelta:
        """Add a piece of the reasoning."""
        self._check_size(piece)
        self.reasoning.append(piece)
        return ReasoningDelta(piece)

    def add_refusal(self, piece: str) -> RefusalDelta:
        """Add a piece of a refusal."""
        self._check_size(piece)
        self.refusal.append(piece)
        return RefusalDelta(piece)

    def add_tool_call(
        self,
        index: int | str | None,
        call_id: str | None,
        name: str | None,
        arguments: str | None,
        call_type: ToolCallType = "function",
    ) -> ToolCallDelta:
        """Add a piece of the tool call at ``index``, or start another one (see :meth:`ToolCalls.add`)."""
        try:
            call = self._tool_calls.add(index, call_id, name, arguments, call_type)
        except TooManyToolCalls as error:
            raise AnswerTooLong(str(error)) from None
        if arguments:
            self._check_size(arguments)
            call.arguments.append(arguments)
        return ToolCallDelta(call.position, call.name, arguments or "")

    def has_arguments(self, index: int) -> bool:
        """Return whether arguments of the tool call at ``index`` have arrived."""
        call = self._tool_calls.find(index)
        return call is not None and bool(call.arguments)

    def _check_size(self, piece: str) -> None:
        self._size += len(piece)
        if self._size > self._limits.max_answer_characters:
            raise AnswerTooLong(f"the answer is longer than {self._limits.max_answer_characters} characters")
