"""The times of one attempt: its timeouts, its measured times, and when its answer ends.

A ``finish_reason`` alone does not end an answer, because servers send it too early: on every chunk, before the text, on
the reasoning, after the first of two tool calls. Before any output it counts only if it says why there is none, such as
a token limit. Later tokens or progress revoke it:

    NONE ── finish_reason on a chunk without content ──▶ FINAL ────────╮
      ├──── finish_reason on a chunk with content ─────▶ TENTATIVE ──▶ REVOKED, by a later token or progress
      ╰──── finish_reason before the first output, then output ──────▶ REVOKED

| state | waits for | the connection is lost |
|---|---|---|
| ``NONE`` | the first-token or the stall timeout: a fault | a fault |
| ``TENTATIVE`` | the stall timeout: the answer is complete | a fault, as the SDK would raise it |
| ``FINAL`` | the same | the answer is complete |
| ``REVOKED`` | the same | a fault |

``[DONE]``, a terminal event or a clean end of the body ends an answer in every state. No shorter wait is safe: a server
can be silent between a ``finish_reason`` and the rest of the answer for as long as between two tokens.
"""

import math
from enum import Enum, auto
from typing import Final

from streamcanary.client.core.measurement.gap_sample import GapSample
from streamcanary.client.timeouts import Timeouts


class FinishState(Enum):
    """Whether a ``finish_reason`` has arrived, and whether it can be the end."""

    NONE = auto()
    TENTATIVE = auto()
    FINAL = auto()
    REVOKED = auto()


_NONE: Final = FinishState.NONE  # read for each chunk: an attribute of an Enum costs as much as a function call


class AttemptClock:
    """The times of one attempt, in monotonic seconds.

    ``first_token`` is the time of the first content, reasoning or tool call, ``max_gap`` the longest time between two
    of these, ``gaps`` a bounded sample of such times, and ``token_gaps`` all of them, if it is not ``None``.
    ``streaming_time`` is their sum: the seconds from the first token to the last. ``answer_end`` is the time of the
    last event that belongs to the answer: later silence of an open connection is not part of its duration.
    ``headers_received`` is the time of the headers of a response whose body is read.
    """

    __slots__ = (
        "_finished_early",
        "_first_token_deadline",
        "_last_token",
        "_stall",
        "_stall_deadline",
        "_wait_deadline",
        "answer_end",
        "finish_state",
        "first_token",
        "gaps",
        "headers_received",
        "max_gap",
        "started",
        "streaming_time",
        "token_gaps",
    )

    def __init__(self, timeouts: Timeouts, started: float, *, has_timeouts: bool = True) -> None:
        self._first_token_deadline = started + timeouts.first_token if has_timeouts else math.inf
        self._wait_deadline = started + timeouts.headers if has_timeouts else math.inf  # for headers or first token
        self._stall = timeouts.stall if has_timeouts else math.inf
        self._stall_deadline = -math.inf  # after the last token or progress, or the finish_reason after it
        self._last_token = started
        self._finished_early = False
        self.started = started
        self.finish_state = _NONE
        self.headers_received: float | None = None
        self.first_token: float | None = None
        self.max_gap: float | None = None
        self.gaps = GapSample()
        self.streaming_time = 0.0
        self.token_gaps: list[float] | None = None
        self.answer_end: float | None = None

    @property
    def awaits_first_token(self) -> bool:
        """Whether the first-token timeout applies to the event stream."""
        return self.first_token is None and self.finish_state is _NONE

    @property
    def deadline(self) -> float:
        """When the current timeout expires.

        Progress without a token, such as that of a built-in tool, feeds the stall timeout, and postpones the
        first-token timeout until the stall timeout expires.
        """
        wait, stall = self._wait_deadline, self._stall_deadline
        # Read for each chunk: max() takes longer.
        return wait if wait > stall else stall  # noqa: FURB136

    def stream_started(self) -> None:
        """Wait for the first token: the headers have arrived."""
        self._wait_deadline = self._first_token_deadline

    def exclude_pause(self, seconds: float) -> None:
        """Extend the stall timeout by the ``seconds`` that the caller took between two reads."""
        self._stall_deadline += seconds
        self._last_token += seconds

    def token_received(self, now: float) -> None:
        """Handle content, reasoning, a refusal or a tool call."""
        if self.first_token is None:
            self.first_token = now
            self._wait_deadline = -math.inf
        else:
            gap = now - self._last_token
            if self.max_gap is None or gap > self.max_gap:
                self.max_gap = gap
            self.streaming_time += gap
            self.gaps.add(gap)
            if self.token_gaps is not None:
                self.token_gaps.append(gap)
        self._last_token = self.answer_end = now
        self._stall_deadline = now + self._stall
        if self.finish_state is not _NONE:
            self.finish_state = FinishState.REVOKED

    def progress_seen(self, now: float) -> None:
        """Handle work of the provider: a token, or an event without one that shows work, such as a tool's."""
        self.answer_end = now
        self._stall_deadline = now + self._stall
        if self.finish_state is not _NONE:
            self.finish_state = FinishState.REVOKED

    def body_received(self, now: float, *, with_content: bool) -> None:
        """Handle a complete JSON body in place of an event stream."""
        self.first_token = now if with_content else None
        self.answer_end = now

    def finish_seen(self, now: float, *, with_content: bool, is_early: bool) -> None:
        """Handle an event of an answer that has a ``finish_reason``.

        ``with_content``: the event has a token or progress. ``is_early``: there is no output yet, and the reason does
        not say why.
        """
        if self.finish_state is not _NONE:
            return
        if is_early:
            self._finished_early = True
            return
        self.answer_end = now
        self._stall_deadline, self._wait_deadline = now + self._stall, -math.inf
        if self._finished_early:
            self.finish_state = FinishState.REVOKED
        else:
            self.finish_state = FinishState.TENTATIVE if with_content else FinishState.FINAL
