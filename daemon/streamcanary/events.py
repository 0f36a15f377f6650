"""Events of a stream, in the order in which the caller receives them.

An event that the SDK's streaming helpers also have carries the SDK's name in ``type``.
"""

from typing import ClassVar

from msgspec import Struct

from streamcanary.model.outcome import Attempt, Usage


class AttemptStarted(Struct, frozen=True, tag="attempt.started"):
    """An attempt starts: its request is about to be sent. ``number`` counts from 1 over all routes."""

    type: ClassVar[str] = "attempt.started"
    number: int
    route: str


class AttemptFailed(Struct, frozen=True, tag="attempt.failed"):
    """``attempt`` ended with a fault. ``next_delay``: seconds until the next attempt; ``None`` if none follows."""

    type: ClassVar[str] = "attempt.failed"
    attempt: Attempt
    next_delay: float | None


class FallbackStarted(Struct, frozen=True, tag="fallback.started"):
    """The previous route has failed; the call continues on the fallback ``route``."""

    type: ClassVar[str] = "fallback.started"
    route: str


class Restarted(Struct, frozen=True, tag="restarted"):
    """Everything delivered so far is void: the answer starts again from its beginning."""

    type: ClassVar[str] = "restarted"


class ContentDelta(Struct, frozen=True, tag="content.delta", gc=False):
    """A piece of the answer's text."""

    type: ClassVar[str] = "content.delta"
    delta: str


class ReasoningDelta(Struct, frozen=True, tag="reasoning.delta", gc=False):
    """A piece of the reasoning text that the model returns."""

    type: ClassVar[str] = "reasoning.delta"
    delta: str


class RefusalDelta(Struct, frozen=True, tag="refusal.delta", gc=False):
    """A piece of the text of a refusal by the model."""

    type: ClassVar[str] = "refusal.delta"
    delta: str


class ToolCallDelta(Struct, frozen=True, tag="tool_calls.function.arguments.delta", gc=False):
    """A piece of the arguments of a tool call; ``name`` is the function's, ``""`` until it is known.

    ``index`` is the place of the call in ``tool_calls`` of the result.
    """

    type: ClassVar[str] = "tool_calls.function.arguments.delta"
    index: int
    name: str
    arguments_delta: str


class Completed(Struct, frozen=True, tag="completed"):
    """The answer is complete. This is the last event; the answer is in ``stream.result``."""

    type: ClassVar[str] = "completed"
    finish_reason: str | None
    usage: Usage | None
    degraded: str | None


Delta = ContentDelta | ReasoningDelta | RefusalDelta | ToolCallDelta
Event = AttemptStarted | AttemptFailed | FallbackStarted | Restarted | Delta | Completed
