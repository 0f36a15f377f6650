"""One logical call as a state machine without I/O: its attempts, the waits between them, and what its caller hears.

The driver asks :attr:`Call.state` what to do, does it, and reports what came of it:

    WAITING ── wait until resume_at, then start() ──▶ OPENING ── send the request; headers() or broke() ──▶ READING
       ▲                                                                                                      │
       ╰────────────────────── a fault, and a way left ◀── read bytes; feed(), eof(), broke(), struck() ──────┤
                                                                                                              ▼
                                                    ENDED: ``result`` or ``failure`` is set ◀──────────────── over

Where it goes next is the business of its :class:`~streamcanary.client.core.plan.Plan`.
"""

from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Literal

import msgspec

from streamcanary.client.core.attempt import Api, AttemptMachine, ResponseHead
from streamcanary.client.core.fault_classification import fault_of_exception
from streamcanary.client.core.plan import Plan, Step
from streamcanary.client.instrumentation import CallRecorder
from streamcanary.client.result import StreamFailed, StreamResult
from streamcanary.events import (
    AttemptFailed,
    AttemptStarted,
    Completed,
    ContentDelta,
    Event,
    FallbackStarted,
    ReasoningDelta,
    RefusalDelta,
    Restarted,
    ToolCallDelta,
)
from streamcanary.events import Delta as DeltaEvent
from streamcanary.model.clock import Clock
from streamcanary.model.config_types.secret import scrub
from streamcanary.model.faults import Fault, FaultKind, Phase, make_fault
from streamcanary.model.outcome import Attempt

OnPartial = Literal["restart", "fail", "buffer"]


class State(Enum):
    """What the driver has to do next."""

    WAITING = auto()
    OPENING = auto()
    READING = auto()
    ENDED = auto()


class Call:
    """The attempts of one call. ``events`` holds what the caller has not taken yet.

    ``on_answer`` is told of the answer of the call's own route, if it is not degraded.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        api: Api,
        total: float,
        on_partial: OnPartial,
        clock: Clock,
        recorder: CallRecorder,
        on_answer: Callable[[StreamResult], None] | None = None,
    ) -> None:
        self._plan = plan
        self._api: Api = api
        self._total = total
        self._on_partial = on_partial
        self._clock = clock
        self._recorder = recorder
        self._on_answer = on_answer
        self._started = clock.monotonic()
        self._ahead = clock.time() - self._started  # of wall time; taken once, so that no attempt overtakes the next
        self._total_deadline = self._started + total
        self._held: list[DeltaEvent] = []  # in buffer mode: what waits for the answer to be whole
        self._delivered = False
        self._delay = 0.0
        self._secrets: tuple[str, ...] = ()  # of the attempt
        self.events: deque[Event] = deque()
        self.attempts: list[Attempt] = []
        self.leg = plan.own
        self.machine: AttemptMachine | None = None
        self.resume_at = self._started
        self.state = State.WAITING
        self.result: StreamResult | None = None
        self.failure: StreamFailed | None = None
        recorder.call_started(self._started, self._started + self._ahead)
        if (step := plan.first(self._started)) is not None:
            self._go(step)
        elif (fault := plan.fault) is not None:
            self._give_up(fault, "")

    # What the driver asks

    @property
    def deadline(self) -> float:
        """When, in monotonic seconds, what is under way must be given up; then report :meth:`struck`."""
        return min(self._running().deadline, self._total_deadline)

    # What the driver reports

    def start(self) -> None:
        """Begin the attempt that was waited for."""
        now, leg = self._clock.monotonic(), self.leg
        number = len(self.attempts) + 1
        self.machine = AttemptMachine(
            leg.timeouts,
            started=now,
            api=self._api,
            silent=leg.kind == "whole",
            lenient=leg.lenient,
            secrets=leg.secrets,
        )
        self._secrets = leg.secrets
        if self._recorder.wants_gaps:
            self.machine.gaps = []
        self._recorder.attempt_started(number, leg.name, self._delay, now)
        self.events.append(AttemptStarted(number, leg.name))
        self.state = State.OPENING

    def sent(self, credentials: tuple[str, ...], url: str = "") -> None:
        """Report the credentials that were sent, which no message may show, and where to, if no headers will tell."""
        if further := tuple(secret for secret in credentials if secret not in self._secrets):
            self._secrets += further
            self._running().hide(further)
        if url:
            self._recorder.addressed(url)

    def headers(self, head: ResponseHead) -> None:
        """Report that status and headers have come."""
        self._running().headers(head, wall=self._clock.time())
        self._recorder.headers(head)
        self.state = State.READING
        self._settle()

    def feed(self, data: bytes) -> None:
        """Report bytes of the body."""
        machine = self._running()
        deltas = machine.feed(data, self._clock.monotonic())
        if deltas:
            self._deliver(deltas)
        if machine.gaps:
            self._recorder.gaps(machine.gaps, machine.answer.model)
            machine.gaps.clear()
        if machine.over:
            self._settle()

    def eof(self) -> None:
        """Report that the body has ended cleanly."""
        deltas = self._running().eof(self._clock.monotonic())
        if deltas:
            self._deliver(deltas)
        self._settle()

    def broke(self, error: BaseException) -> None:
        """Report that sending or reading raised ``error``.

        Raises:
            BaseException: ``error`` itself, if it is none of the network: a programming error.
        """
        machine = self._running()
        phase = Phase.HEADERS if self.state is State.OPENING else machine.phase
        fault = fault_of_exception(error, phase, now=self._clock.time(), secrets=self._secrets)
        if fault is None:
            self.abandon()
            raise error
        machine.lost(fault)
        self._settle()

    def unkeyed(self, error: BaseException) -> None:
        """Report that the function that gives the SDK its keys raised ``error``: nothing was sent."""
        said = scrub(f"the key cannot be had: {type(error).__name__}: {error}", self._secrets)
        self._running().lost(make_fault(FaultKind.AUTH_FAILED, Phase.CONFIG, said))
        self._settle()

    def struck(self, head: ResponseHead | None = None) -> None:
        """Report that :attr:`deadline` has passed; ``head`` may be that of an error whose body has not come."""
        machine = self._running()
        if head is not None and head.status >= 300:
            machine.headers(head, wall=self._clock.time())
        elif self._total_deadline <= machine.deadline:
            message = f"no whole answer within {self._total:g} s in all"
            machine.lost(make_fault(FaultKind.TOTAL_TIMEOUT, machine.phase, message))
        else:
            machine.timed_out()
        self._settle()

    def paused(self, seconds: float) -> None:
        """Report how long the caller took between two reads."""
        if self.machine is not None and self.state is State.READING:
            self.machine.paused(seconds)

    def abandon(self) -> None:
        """Report that the caller went away: left the loop, was cancelled, or forgot the stream. Nobody is to blame."""
        if self.state is State.ENDED:
            return
        if self.machine is not None and self.state in (State.OPENING, State.READING):
            self.machine.left()
            self._close_attempt(self.machine)
        elif self.leg.breaker is not None:  # admitted, and never tried
            self.leg.breaker.release()
        self.state = State.ENDED
        self._recorder.call_abandoned(tuple(self.attempts), self._clock.monotonic())

    # What follows from it

    def _running(self) -> AttemptMachine:
        if self.machine is None:
            raise RuntimeError("no attempt is under way")
        return self.machine

    def _deliver(self, deltas: Sequence[DeltaEvent]) -> None:
        if not self._delivered:
            self._recorder.first_token(self._clock.monotonic())
            self._delivered = True
        if self._on_partial == "buffer":
            self._held.extend(deltas)
        else:
            self.events.extend(deltas)

    def _settle(self) -> None:
        """When the attempt is over, decide what is next."""
        machine = self._running()
        if not machine.over:
            return
        attempt = self._close_attempt(machine)
        self.state = State.WAITING  # the attempt is closed once, even if the caller's hook raises
        fault = machine.fault
        if fault is None:
            self._complete(machine)
            return
        partial = "".join(machine.answer.text)
        given_up = self._on_partial == "fail" and self._delivered
        step = None if given_up else self._plan.after(fault, self.leg, self._clock.monotonic())
        self.events.append(AttemptFailed(attempt, None if step is None else step.delay))
        if step is None:
            self._give_up(fault, partial)
            return
        if self._delivered and self._on_partial == "restart":
            self.events.append(Restarted())
        self._delivered = False
        self._held.clear()
        self._recorder.retry_scheduled(fault, step.leg.name, step.delay, self._clock.monotonic())
        self._go(step)

    def _go(self, step: Step) -> None:
        """Take the next step: wait for it, or, if it is into the cache, end with what is there."""
        now = self._clock.monotonic()
        self.leg, self._delay, self.resume_at = step.leg, step.delay, now + step.delay
        self.state = State.WAITING
        if self.leg is not self._plan.own:
            self.events.append(FallbackStarted(self.leg.name))
        if self.leg.recall is not None and (kept := self.leg.recall(now)) is not None:
            self._complete_from(kept)

    def _close_attempt(self, machine: AttemptMachine) -> Attempt:
        now = self._clock.monotonic()
        attempt = Attempt(
            number=len(self.attempts) + 1,
            route=self.leg.name,
            started=machine.started + self._ahead,
            duration=now - machine.started,
            fault=machine.fault,
            time_to_first_token=None if machine.first_token is None else machine.first_token - machine.started,
            chunks=machine.answer.chunks,
            request_id=machine.request_id,
            delay=self._delay,
        )
        self.attempts.append(attempt)
        if self.leg.breaker is not None:
            self.leg.breaker.record(machine.fault, now)
        self._recorder.attempt_ended(attempt, machine, now)
        return attempt

    def _complete(self, machine: AttemptMachine) -> None:
        answer, attempts = machine.answer, tuple(self.attempts)
        own = self.leg is self._plan.own
        degraded = "non_streaming" if self.leg.kind == "whole" or (own and not machine.streamed) else None
        result = StreamResult(
            text="".join(answer.text),
            reasoning="".join(answer.reasoning),
            refusal="".join(answer.refusal),
            tool_calls=answer.tool_calls,
            finish_reason=answer.finish_reason,
            usage=answer.usage,
            model=answer.model,
            request_id=attempts[-1].request_id,
            response_id=answer.response_id,
            created=answer.created,
            api=self._api,
            raw=answer.raw,
            attempts=attempts,
            degraded=degraded if own or degraded else "fallback",
            time_to_first_token=attempts[-1].time_to_first_token,
            max_gap=machine.max_gap,
            duration=self._clock.monotonic() - self._started,
        )
        self._plan.answered()
        if result.degraded is None and self._on_answer is not None:
            self._on_answer(result)
        self.events.extend(self._held)
        self._end(result)

    def _complete_from(self, kept: StreamResult) -> None:
        """End with an answer from the cache; it comes in one piece."""
        for piece, event in ((kept.reasoning, ReasoningDelta), (kept.text, ContentDelta), (kept.refusal, RefusalDelta)):
            if piece:
                self.events.append(event(piece))
        for index, call in enumerate(kept.tool_calls):
            self.events.append(ToolCallDelta(index, call.name, call.arguments))
        self._end(
            msgspec.structs.replace(
                kept,
                attempts=tuple(self.attempts),
                degraded="cache",
                usage=None,
                time_to_first_token=None,
                max_gap=None,
                duration=self._clock.monotonic() - self._started,
            )
        )

    def _end(self, result: StreamResult) -> None:
        self.result = result
        self.events.append(Completed(result.finish_reason, result.usage, result.degraded))
        self.state = State.ENDED
        self._recorder.call_ended(result, self._clock.monotonic())

    def _give_up(self, fault: Fault, partial: str) -> None:
        self.failure = StreamFailed(fault, tuple(self.attempts), partial)
        self.state = State.ENDED
        self._recorder.call_failed(self.failure, self._clock.monotonic())
