"""An answer while it arrives: what has been said so far, in which pieces, and how it ended."""

from streamcanary.client.core.limits import LIMITS, Limits
from streamcanary.client.result import ToolCall
from streamcanary.events import ContentDelta, ReasoningDelta, RefusalDelta, ToolCallDelta
from streamcanary.model.config_types.secret import scrub
from streamcanary.model.outcome import Usage

_MOST_TOOL_CALLS = 128  # as many as the API itself allows to be declared
_LONGEST_NAME = 256
_LARGEST = 2**53  # what counters and spans can hold exactly; a larger count is nonsense


class AnswerTooLong(Exception):
    """The answer is larger than the client is willing to hold."""


class _PartialToolCall:
    __slots__ = ("arguments", "id", "name")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []


class Answer:
    """The pieces of one answer, whichever API they came by. Adding a piece returns the event that tells of it.

    ``finish_reason`` is that of Chat Completions for both APIs; it is ``None`` until a terminal state has come.
    Every method that adds raises :class:`AnswerTooLong` when the answer grows over the limits.
    """

    __slots__ = (
        "_limits",
        "_model",
        "_size",
        "_tools",
        "chunks",
        "created",
        "finish_reason",
        "model",
        "other_output",
        "raw",
        "reasoning",
        "refusal",
        "response_id",
        "text",
        "usage",
    )

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._model: str | None = None  # as the server spells it
        self._size = 0
        self._tools: dict[int, _PartialToolCall] = {}
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.refusal: list[str] = []
        self.other_output = False  # of the provider's own tools: an image, a search
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.model: str | None = None
        self.response_id: str | None = None
        self.created: int | None = None
        self.raw: bytes | None = None
        self.chunks = 0

    @property
    def says_something(self) -> bool:
        """Whether there is text, a refusal or a tool call: reasoning alone is no answer."""
        return bool(self.text or self.refusal or self._tools or self.other_output)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls, in the order of their index."""
        return tuple(
            ToolCall(id=call.id, name=call.name, arguments="".join(call.arguments))
            for _, call in sorted(self._tools.items())
        )

    def describe(self, response_id: str | None, model: str | None, created: float | None) -> None:
        """Note who answers; the first id stands, the last model."""
        if model and model is not self._model and model != self._model:
            self._model, self.model = model, scrub(model, limit=_LONGEST_NAME)
        if response_id and self.response_id is None:
            self.response_id = scrub(response_id, limit=_LONGEST_NAME)
        if created is not None and 0 <= created <= _LARGEST:
            self.created = int(created)

    def use(self, input_tokens: int | None, output_tokens: int | None) -> None:
        """Note how many tokens were used; a number that cannot be one counts as none."""
        counts = [
            tokens if tokens is not None and 0 <= tokens <= _LARGEST else 0 for tokens in (input_tokens, output_tokens)
        ]
        self.usage = Usage(input_tokens=counts[0], output_tokens=counts[1])

    def finish(self, reason: str) -> None:
        """Note how it ended."""
        self.finish_reason = scrub(reason, limit=64) or None

    def add_text(self, piece: str) -> ContentDelta:
        """Add a piece of the text."""
        self._hold(piece)
        self.text.append(piece)
        return ContentDelta(piece)

    def add_reasoning(self, piece: str) -> ReasoningDelta:
        """Add a piece of the reasoning."""
        self._hold(piece)
        self.reasoning.append(piece)
        return ReasoningDelta(piece)

    def add_refusal(self, piece: str) -> RefusalDelta:
        """Add a piece of a refusal."""
        self._hold(piece)
        self.refusal.append(piece)
        return RefusalDelta(piece)

    def add_tool_call(self, index: int, call_id: str | None, name: str | None, arguments: str | None) -> ToolCallDelta:
        """Add a piece of the tool call at ``index``; its id and name come once, its arguments in pieces."""
        if index not in self._tools:
            if len(self._tools) >= _MOST_TOOL_CALLS:
                raise AnswerTooLong(f"the answer has more than {_MOST_TOOL_CALLS} tool calls")
            self._tools[index] = _PartialToolCall()
        call = self._tools[index]
        call.id = call.id or (call_id or "")[:_LONGEST_NAME]
        call.name = call.name or (name or "")[:_LONGEST_NAME]
        if arguments:
            self._hold(arguments)
            call.arguments.append(arguments)
        return ToolCallDelta(index, call.name, arguments or "")

    def has_arguments(self, index: int) -> bool:
        """Tell whether arguments of the tool call at ``index`` have come."""
        return index in self._tools and bool(self._tools[index].arguments)

    def _hold(self, piece: str) -> None:
        self._size += len(piece)
        if self._size > self._limits.answer:
            raise AnswerTooLong(f"the answer is longer than {self._limits.answer} characters")


def _count(tokens: int | None) -> int:
    return tokens if tokens is not None and 0 <= tokens <= _LARGEST else 0
