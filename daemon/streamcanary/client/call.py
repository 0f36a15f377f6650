"""One logical call as a state machine without I/O: its attempts, the waits between them, and where each goes.

The driver asks :attr:`Call.state` what to do, does it, and reports what came of it:

    WAITING ── wait until resume_at, then start() ──▶ OPENING ── send the request; headers() or broke() ──▶ READING
       ▲                                                                                                      │
       ╰────────────────────── a fault, and attempts left ◀── read bytes; feed(), eof(), broke(), struck() ───┤
                                                                                                              ▼
                                                    ENDED: ``result`` or ``failure`` is set ◀──────────────── over
"""

import random as _random
from collections import deque
from collections.abc import Sequence
from enum import Enum, auto

from msgspec import Struct

from streamcanary.client.attempt import AttemptMachine, ResponseHead
from streamcanary.client.backoff import full_jitter
from streamcanary.client.classify import fault_of_exception
from streamcanary.client.instruments import CallRecorder
from streamcanary.client.policy import RetryPolicy, Timeouts
from streamcanary.client.result import StreamFailed, StreamResult
from streamcanary.events import AttemptFailed, AttemptStarted, Completed, Event, FallbackStarted, Restarted
from streamcanary.events import Delta as DeltaEvent
from streamcanary.model.clock import Clock
from streamcanary.model.faults import Fault, FaultKind, Phase, make_fault
from streamcanary.model.outcome import Attempt

_TIMEOUTS = frozenset({FaultKind.HEADERS_TIMEOUT, FaultKind.FIRST_TOKEN_TIMEOUT, FaultKind.STALLED})


class State(Enum):
    """What the driver has to do next."""

    WAITING = auto()
    OPENING = auto()
    READING = auto()
    ENDED = auto()


class Leg(Struct, frozen=True, kw_only=True):
    """One way to an answer, as the call sees it: index 0 is the call's own route, the others are its fallbacks."""

    index: int
    name: str
    timeouts: Timeouts
    lenient: bool = False
    secrets: tuple[str, ...] = ()


class Call:
    """The attempts of one call. ``events`` holds what the caller has not taken yet."""

    def __init__(
        self,
        *,
        legs: Sequence[Leg],
        retry: RetryPolicy,
        on_partial: str,
        clock: Clock,
        random: _random.Random,
        recorder: CallRecorder,
    ) -> None:
        self._own, *fallbacks = legs
        self._fallbacks = deque(fallbacks)
        self._own_left = retry.max_attempts
        self._own_fault: Fault | None = None
        self._retry = retry
        self._on_partial = on_partial
        self._clock = clock
        self._random = random
        self._recorder = recorder
        self._started = clock.monotonic()
        self._total_deadline = self._started + legs[0].timeouts.total
        self._held: list[DeltaEvent] = []  # in buffer mode: what waits for the answer to be whole
        self._delivered = False
        self._delay = 0.0
        self._attempt_wall = 0.0
        self.events: deque[Event] = deque()
        self.attempts: list[Attempt] = []
        self.leg = self._own
        self.machine: AttemptMachine | None = None
        self.resume_at = self._started
        self.state = State.WAITING
        self.result: StreamResult | None = None
        self.failure: StreamFailed | None = None
        recorder.call_started(self._started, clock.time())

    # What the driver asks

    @property
    def deadline(self) -> float:
        """When, in monotonic seconds, what is under way must be given up; then report :meth:`struck`."""
        return min(self._running().deadline, self._total_deadline)

    # What the driver reports

    def start(self) -> None:
        """Begin the attempt that was waited for."""
        now = self._clock.monotonic()
        number = len(self.attempts) + 1
        if self.leg is self._own:
            self._own_left -= 1
        self._attempt_wall = self._clock.time()
        self.machine = AttemptMachine(
            self.leg.timeouts, started=now, lenient=self.leg.lenient, secrets=self.leg.secrets
        )
        self._recorder.attempt_started(number, self.leg.name, self._delay, now)
        self.events.append(AttemptStarted(number, self.leg.name))
        self.state = State.OPENING

    def headers(self, head: ResponseHead) -> None:
        """Report that status and headers have come."""
        machine = self._running()
        machine.headers(head, wall=self._clock.time())
        self._recorder.headers(head)
        self.state = State.READING
        self._settle()

    def feed(self, data: bytes) -> None:
        """Report bytes of the body."""
        machine = self._running()
        deltas = machine.feed(data, self._clock.monotonic())
        if deltas:
            self._deliver(deltas)
        if machine.over:
            self._settle()

    def eof(self) -> None:
        """Report that the body has ended cleanly."""
        machine = self._running()
        self._deliver(machine.eof(self._clock.monotonic()))
        self._settle()

    def broke(self, error: BaseException) -> None:
        """Report that sending or reading raised ``error``.

        Raises:
            BaseException: ``error`` itself, if it is none of the network: a programming error.
        """
        machine = self._running()
        phase = Phase.HEADERS if self.state is State.OPENING else machine.phase
        fault = fault_of_exception(error, phase, now=self._clock.time(), secrets=self.leg.secrets)
        if fault is None:
            self.abandon()
            raise error
        machine.lost(fault)
        self._settle()

    def struck(self, head: ResponseHead | None = None) -> None:
        """Report that :attr:`deadline` has passed; ``head`` may be that of an error whose body has not come."""
        machine = self._running()
        if head is not None and head.status >= 300:
            machine.headers(head, wall=self._clock.time())
        elif self._total_deadline <= machine.deadline and self._clock.monotonic() >= self._total_deadline:
            total = self._own.timeouts.total
            machine.lost(
                make_fault(FaultKind.TOTAL_TIMEOUT, machine.phase, f"no whole answer within {total:g} s in all")
            )
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
        fault = make_fault(FaultKind.CANCELLED, Phase.CONFIG, "the caller went away")
        if self.machine is not None and self.state in (State.OPENING, State.READING):
            fault = make_fault(FaultKind.CANCELLED, self.machine.phase, "the caller went away")
            self.machine.fault, self.machine.over = fault, True
            self._close_attempt(self.machine)
        self.state = State.ENDED
        self._recorder.call_abandoned(tuple(self.attempts), self._clock.monotonic())

    # What follows from it

    def _running(self) -> AttemptMachine:
        if self.machine is None:
            raise RuntimeError("no attempt is under way")
        return self.machine

    def _deliver(self, deltas: Sequence[DeltaEvent]) -> None:
        if not deltas:
            return
        if not self._delivered:
            self._recorder.first_token(self._clock.monotonic())
        if self._on_partial == "buffer":
            self._held.extend(deltas)
            self._delivered = True
        else:
            self._delivered = True
            self.events.extend(deltas)

    def _settle(self) -> None:
        """When the attempt is over, decide what is next."""
        machine = self._running()
        if not machine.over:
            return
        attempt = self._close_attempt(machine)
        fault = machine.fault
        if fault is None:
            self._complete(machine)
            return
        delay = self._plan_next(fault)
        self.events.append(AttemptFailed(attempt, delay))
        if delay is None:
            self._give_up(machine, fault)
            return
        self._delay = delay
        self.resume_at = self._clock.monotonic() + delay
        self.state = State.WAITING
        if self._delivered and self._on_partial != "buffer":
            self.events.append(Restarted())
        self._delivered = False
        self._held.clear()
        if self.leg is not self._own:
            self.events.append(FallbackStarted(self.leg.name))
        self._recorder.retry_scheduled(fault, self.leg.name, delay, self._clock.monotonic())

    def _plan_next(self, fault: Fault) -> float | None:
        """Choose the next leg, and return how long to wait before it; ``None`` if there is none.

        The own route is tried again while it may help; after a timeout another route is tried first, because the same
        one will hardly be quicker. A refusal on grounds of content is not shopped around.
        """
        if self.leg is self._own:
            self._own_fault = fault
            if not fault.retryable:
                self._own_left = 0
        now = self._clock.monotonic()
        if (
            fault.kind in (FaultKind.CONTENT_POLICY, FaultKind.CANCELLED)
            or fault.kind is FaultKind.TOTAL_TIMEOUT
            or now >= self._total_deadline
        ):
            return None
        if self._delivered and self._on_partial == "fail":
            return None
        if not (self._fallbacks and (self.leg is not self._own or fault.kind in _TIMEOUTS)):
            delay = self._own_delay()
            if delay is not None:
                self.leg = self._own
                return delay
        if self._fallbacks:
            self.leg = self._fallbacks.popleft()
            return 0.0
        return None

    def _own_delay(self) -> float | None:
        """Return the wait before the own route is tried again, or ``None`` if it is not, or not within ``total``."""
        if self._own_left <= 0 or self._own_fault is None:
            return None
        retries = self._retry.max_attempts - self._own_left - 1
        delay = max(full_jitter(self._retry, retries, self._random), self._own_fault.retry_after or 0.0)
        return delay if self._clock.monotonic() + delay < self._total_deadline else None

    def _close_attempt(self, machine: AttemptMachine) -> Attempt:
        now = self._clock.monotonic()
        attempt = Attempt(
            number=len(self.attempts) + 1,
            route=self.leg.name,
            started=self._attempt_wall,
            duration=now - machine.started,
            fault=machine.fault,
            time_to_first_token=None if machine.first_token is None else machine.first_token - machine.started,
            chunks=machine.answer.chunks,
            request_id=machine.request_id,
            delay=self._delay,
        )
        self.attempts.append(attempt)
        self._recorder.attempt_ended(attempt, machine, now)
        return attempt

    def _complete(self, machine: AttemptMachine) -> None:
        answer, attempts = machine.answer, tuple(self.attempts)
        now = self._clock.monotonic()
        degraded = "fallback" if self.leg is not self._own else None if machine.streamed else "non_streaming"
        self.result = StreamResult(
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
            attempts=attempts,
            degraded=degraded,
            time_to_first_token=attempts[-1].time_to_first_token,
            max_gap=machine.max_gap,
            duration=now - self._started,
        )
        self.events.extend(self._held)
        self.events.append(Completed(answer.finish_reason, answer.usage, degraded))
        self.state = State.ENDED
        self._recorder.call_ended(self.result, now)

    def _give_up(self, machine: AttemptMachine, fault: Fault) -> None:
        now = self._clock.monotonic()
        self.failure = StreamFailed(fault, tuple(self.attempts), "".join(machine.answer.text))
        self.state = State.ENDED
        self._recorder.call_failed(self.failure, now)
