"""What a stream tells its caller, in the order in which it happens.

Where the SDK's streaming helpers have the event, it has the SDK's name.
"""

from typing import ClassVar

from msgspec import Struct

from streamcanary.model.outcome import Attempt, Usage


class AttemptStarted(Struct, frozen=True, tag="attempt.started"):
    """A request is about to be sent. ``number`` counts from 1 over all routes."""

    type: ClassVar[str] = "attempt.started"
    number: int
    route: str


class AttemptFailed(Struct, frozen=True, tag="attempt.failed"):
    """``attempt`` ended with a fault. ``next_delay``: seconds to wait before the next; ``None`` if there is none."""

    type: ClassVar[str] = "attempt.failed"
    attempt: Attempt
    next_delay: float | None


class FallbackStarted(Struct, frozen=True, tag="fallback.started"):
    """The call's own route has failed; ``route`` is asked instead."""

    type: ClassVar[str] = "fallback.started"
    route: str


class Restarted(Struct, frozen=True, tag="restarted"):
    """All that was delivered so far is void: the answer starts again."""

    type: ClassVar[str] = "restarted"


class ContentDelta(Struct, frozen=True, tag="content.delta", gc=False):
    """More text of the answer."""

    type: ClassVar[str] = "content.delta"
    delta: str


class ReasoningDelta(Struct, frozen=True, tag="reasoning.delta", gc=False):
    """More of what the model shows of its reasoning."""

    type: ClassVar[str] = "reasoning.delta"
    delta: str


class RefusalDelta(Struct, frozen=True, tag="refusal.delta", gc=False):
    """More text of a refusal by the model itself."""

    type: ClassVar[str] = "refusal.delta"
    delta: str


class ToolCallDelta(Struct, frozen=True, tag="tool_calls.function.arguments.delta", gc=False):
    """More of the arguments of the tool call at ``index``; ``name`` is that of the function, as far as it is known."""

    type: ClassVar[str] = "tool_calls.function.arguments.delta"
    index: int
    name: str
    arguments_delta: str


class Completed(Struct, frozen=True, tag="completed"):
    """The answer is whole; it is the last event. The answer itself is ``stream.result``."""

    type: ClassVar[str] = "completed"
    finish_reason: str | None
    usage: Usage | None
    degraded: str | None


Delta = ContentDelta | ReasoningDelta | RefusalDelta | ToolCallDelta
Event = AttemptStarted | AttemptFailed | FallbackStarted | Restarted | Delta | Completed
