"""State machine of one logical call, without I/O: its attempts, the waits between them, and the caller's events.

The stream reads :attr:`Call.state`, does the I/O, and reports the result:

    WAITING ── start_attempt() at next_attempt_at ──▶ SENDING ── headers_received() ──▶ READING ── feed()
       ▲                                                 │                                 │
       │                                                 │ connection_lost(),              │ feed_eof(),
       │                                                 │ deadline_exceeded()             │ connection_lost(),
       │                                                 │                                 │ deadline_exceeded()
       │                                                 ▼                                 ▼
       ╰── failed, and the plan has a next attempt ◀──────────── attempt finished ────────────────╮
                                                                                                  ▼
                                                             ENDED: ``result`` or ``failure`` is set

:class:`~streamcanary.client.core.plan.Plan` decides which attempt is next.
"""

from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Final

from streamcanary.client.core.answers.answer import Answer
from streamcanary.client.core.attempt import Api, AttemptMachine
from streamcanary.client.core.connection_trace import ConnectionTrace
from streamcanary.client.core.deadline_extension import DeadlineExtension, LagSince, lag_at_deadline, no_lag
from streamcanary.client.core.fault_classification import fault_from_exception
from streamcanary.client.core.plan import NextAttempt, Plan
from streamcanary.client.core.response_head import ResponseHead
from streamcanary.client.core.results import attempt_of, deltas_of, from_cache, result_of
from streamcanary.client.instrumentation.call_recorder import CallRecorder
from streamcanary.client.result import StreamFailed, StreamResult
from streamcanary.client.retry_policy import OnPartial
from streamcanary.events import (
    AttemptFailed,
    AttemptStarted,
    Completed,
    Event,
    FallbackStarted,
    Restarted,
)
from streamcanary.events import Delta as DeltaEvent
from streamcanary.model.clock import Clock
from streamcanary.model.faults import Fault, FaultKind, Phase, make_fault
from streamcanary.model.lag import delayed_fault, explains_excess
from streamcanary.model.outcome import Attempt


class CallState(Enum):
    """What the stream has to do next."""

    WAITING = auto()
    SENDING = auto()
    READING = auto()
    ENDED = auto()


READING: Final = CallState.READING
ENDED: Final = CallState.ENDED
"""Both for code that runs once per chunk: an attribute of an ``Enum`` costs as much there as a function call."""


class Call:
    """The attempts of one call. ``events`` holds the events that the caller has not read yet.

    ``on_primary_answer`` is called with the answer of the primary route, if it is not degraded.
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
        on_primary_answer: Callable[[StreamResult], None] | None = None,
    ) -> None:
        self._plan = plan
        self._api: Api = api
        self._total = total
        self._on_partial = on_partial
        self._clock = clock
        self._now = clock.monotonic
        self._recorder = recorder
        self._on_primary_answer = on_primary_answer
        self._started = clock.monotonic()
        # To wall time. Computed once, so that a clock step does not reorder the attempts.
        self._wall_offset = clock.time() - self._started
        self._total_deadline = self._started + total
        self._buffered_deltas: list[DeltaEvent] = []  # in buffer mode: not delivered until the answer is complete
        self._has_delivered = False
        self._delay = 0.0
        self._is_admitted = True  # by the circuit breaker of the route
        self._secrets: tuple[str, ...] = ()  # of the attempt
        self._extension = DeadlineExtension()
        self._sent_at: float | None = None  # the request of the attempt
        self.events: deque[Event] = deque()
        self._undelivered = self._buffered_deltas if on_partial == "buffer" else self.events  # where deltas wait
        self.attempts: list[Attempt] = []
        self.route = plan.primary
        self.machine: AttemptMachine | None = None
        self.next_attempt_at = self._started
        self.state = CallState.WAITING
        self.result: StreamResult | None = None
        self.failure: StreamFailed | None = None
        recorder.call_started(self._started, self._started + self._wall_offset)
        if (next_attempt := plan.first_attempt(self._started)) is not None:
            self._schedule_attempt(next_attempt)
        elif (fault := plan.primary_fault) is not None:
            self._fail(fault, None)

    # Read by the stream

    @property
    def deadline(self) -> float:
        """When the current operation must end (monotonic seconds); then report :meth:`deadline_exceeded`."""
        deadline = (self.machine or self._require_machine()).clock.deadline
        if self._extension.is_used:
            deadline = self._extension.apply(deadline)
        return min(deadline, self._total_deadline)

    @property
    def trace(self) -> ConnectionTrace:
        """The trace of the connection of the current attempt."""
        return self._require_machine().trace

    def extend_deadline(self, lag_since: LagSince) -> float | None:
        """Return a later :attr:`deadline` if the current one passed while the process was late, else ``None``.

        The total timeout is not extended: the caller relies on it.
        """
        if self.state not in (CallState.SENDING, CallState.READING):
            return None
        machine, now = self._require_machine(), self._clock.monotonic()
        deadline = machine.deadline
        if self._total_deadline <= max(deadline, now):
            return None
        is_extended = self._extension.extend(deadline, machine.current_timeout, now, lag_since)
        return self.deadline if is_extended else None

    # Reported by the stream

    def start_attempt(self) -> None:
        """Start the attempt that was scheduled; or schedule another one, if its circuit has opened since."""
        now = self._clock.monotonic()
        if not self._is_admitted and (instead := self._plan.replace_retry(now)) is not None:
            self._schedule_attempt(instead)
            return
        route = self.route
        number = len(self.attempts) + 1
        self.machine = AttemptMachine(
            route.timeouts,
            started=now,
            api=self._api,
            non_streaming=route.kind == "whole",
            lenient=route.lenient,
            secrets=route.secrets,
            public=route.public,
            limits=route.limits,
            token_limit=route.token_limit,
        )
        self._secrets, self._sent_at = route.secrets, None
        if self._recorder.records_gaps:
            self.machine.clock.token_gaps = []
        self._recorder.attempt_started(number, route.name, self._delay, now)
        self.events.append(AttemptStarted(number, route.name))
        self.state = CallState.SENDING

    def request_sent(self, credentials: tuple[str, ...], url: str = "", *, sent_at: float | None = None) -> None:
        """Report the credentials that were sent, to redact them, and the address if no response arrived.

        ``sent_at`` is when the whole request had been sent; ``None`` if it was not, or if that is not known.
        """
        self._sent_at = sent_at
        if further := tuple(secret for secret in credentials if secret not in self._secrets):
            self._secrets += further
            self._require_machine().add_secrets(further)
        if url:
            self._recorder.attempt.set_server(url)

    def headers_received(self, head: ResponseHead) -> None:
        """Report that status and headers have arrived, and the body of an error as far as it was read."""
        machine = self._require_machine()
        machine.headers_received(head, wall_time=self._clock.time())
        if not machine.is_finished:
            machine.clock.headers_received = self._clock.monotonic()
        self._recorder.attempt.headers_received(head)
        self.state = CallState.READING
        self._advance_if_finished()

    def feed(self, data: bytes) -> None:
        """Report bytes of the body."""
        machine = self.machine or self._require_machine()
        deltas = machine.feed(data, self._now())
        if deltas:
            if self._has_delivered:
                self._undelivered.extend(deltas)
            else:
                self._deliver(deltas)
        if machine.clock.token_gaps:
            self._recorder.record_gaps(machine.clock.token_gaps, machine.answer.model)
            machine.clock.token_gaps.clear()
        if machine.is_finished:
            self._advance_if_finished()

    def feed_eof(self) -> None:
        """Report that the body has ended cleanly."""
        deltas = self._require_machine().feed_eof(self._clock.monotonic())
        if deltas:
            self._deliver(deltas)
        self._advance_if_finished()

    def connection_lost(self, error: BaseException, lag_since: LagSince = no_lag) -> None:
        """Report that sending or reading raised ``error``; ``lag_since``: the lag of this process.

        Raises:
            BaseException: ``error`` itself, if it is no network error but a programming error.
        """
        machine = self._require_machine()
        phase = Phase.HEADERS if self.state is CallState.SENDING else machine.phase
        fault = fault_from_exception(error, phase, now=self._clock.time(), secrets=machine.redactor)
        if fault is None:
            self.cancel()
            raise error
        if fault.kind is FaultKind.CONNECT_TIMEOUT:
            connect = self.route.timeouts.connect
            if explains_excess(lag := lag_since(machine.clock.started), connect):
                fault = delayed_fault(fault.phase, f"connect timeout of {connect:g} s", lag)
        machine.fail_unless_complete(fault)
        self._advance_if_finished()

    def key_missing(self, error: BaseException) -> None:
        """Report that the key provider of the SDK client raised ``error``, so no request was sent.

        A ``ConnectionError`` or ``TimeoutError`` is a fault of the network, not of the key.
        """
        machine = self._require_machine()
        message = machine.redactor.scrub(f"cannot get the API key: {type(error).__name__}: {error}")
        is_network = isinstance(error, (ConnectionError, TimeoutError))
        kind, phase = (FaultKind.CONNECT_FAILED, Phase.CONNECT) if is_network else (FaultKind.AUTH_FAILED, Phase.CONFIG)
        machine.fail_unless_complete(make_fault(kind, phase, message))
        self._advance_if_finished()

    def response_refused(self, message: str) -> None:
        """Report that what the server sent in place of a response exceeds a limit."""
        machine = self._require_machine()
        machine.fail_unless_complete(make_fault(FaultKind.SERVER_ERROR, Phase.HEADERS, message))
        self._advance_if_finished()

    def deadline_exceeded(self, lag_since: LagSince = no_lag, *, is_held_back: bool = False) -> None:
        """Report that :attr:`deadline` has passed; ``lag_since``: the lag of this process.

        ``is_held_back``: this process has not begun to send the request.
        """
        machine = self._require_machine()
        is_total = self._total_deadline <= self._extension.apply(machine.deadline)
        seconds = self._total if is_total else machine.current_timeout
        if lag := self._lag_behind_timeout(machine, lag_since, is_total=is_total):
            machine.fail_unless_complete(delayed_fault(machine.phase, f"timeout of {seconds:g} s", lag))
        elif is_held_back:
            message = f"the timeout of {seconds:g} s passed before this process began to send the request"
            machine.fail_unless_complete(make_fault(FaultKind.CLIENT_DELAYED, machine.phase, message))
        elif is_total:
            message = f"no complete answer within the total timeout of {self._total:g} s"
            machine.fail_unless_complete(make_fault(FaultKind.TOTAL_TIMEOUT, machine.phase, message))
        else:
            machine.deadline_exceeded()
        self._advance_if_finished()

    def _lag_behind_timeout(self, machine: AttemptMachine, lag_since: LagSince, *, is_total: bool) -> float | None:
        """Return the lag of this process that explains why a timeout has passed, or ``None``."""
        if is_total:
            started, sent = machine.clock.started, self._sent_at
            lag = lag_at_deadline(self._total, self._total_deadline, lag_since, started=started, sent=sent)
            return lag if explains_excess(lag, self._total) else None
        return self._extension.explaining_lag(machine.deadline, machine.current_timeout, lag_since)

    def exclude_pause(self, seconds: float) -> None:
        """Report the ``seconds`` that the caller took between two reads."""
        if self.machine is not None and self.state is READING:
            self.machine.clock.exclude_pause(seconds)

    def cancel(self) -> None:
        """Report that the caller left the loop, was cancelled, or dropped the stream. Not counted as a failure."""
        if self.state is CallState.ENDED:
            return
        if self.machine is not None and self.state in (CallState.SENDING, CallState.READING):
            self.machine.cancelled()
            self._end_attempt(self.machine)
        elif self.route.breaker is not None and self._is_admitted:  # allowed, but not attempted
            self.route.breaker.release_probe()
        self.state = CallState.ENDED
        self._recorder.call_cancelled(tuple(self.attempts), self._clock.monotonic())

    # Transitions

    def _require_machine(self) -> AttemptMachine:
        if self.machine is None:
            raise RuntimeError("no attempt is in progress")
        return self.machine

    def _deliver(self, deltas: Sequence[DeltaEvent]) -> None:
        if not self._has_delivered:
            clock = self._require_machine().clock
            if self.route.breaker is not None:
                self.route.breaker.record_first_token(started=clock.started)
            self._recorder.attempt.first_token_received(clock.first_token or self._clock.monotonic())
            self._has_delivered = True
        self._undelivered.extend(deltas)

    def _advance_if_finished(self) -> None:
        """If the attempt is finished, end the call or schedule the next attempt."""
        machine = self._require_machine()
        if not machine.is_finished:
            return
        attempt = self._end_attempt(machine)
        self.state = CallState.WAITING  # so that the attempt ends only once, even if the caller's hook raises
        fault = machine.fault
        if fault is None:
            self._complete(machine)
            return
        is_final = self._on_partial == "fail" and self._has_delivered
        next_attempt = None if is_final else self._plan.attempt_after(fault, self.route, self._clock.monotonic())
        self.events.append(AttemptFailed(attempt, None if next_attempt is None else next_attempt.delay))
        if next_attempt is None:
            self._fail(fault, machine.answer)
            return
        if self._has_delivered and self._on_partial == "restart":
            self.events.append(Restarted())
        self._has_delivered = False
        self._buffered_deltas.clear()
        self._recorder.retry_scheduled(fault, next_attempt.route.name, next_attempt.delay, self._clock.monotonic())
        self._schedule_attempt(next_attempt)

    def _schedule_attempt(self, next_attempt: NextAttempt) -> None:
        """Wait for the next attempt, or end the call if its route is the cache."""
        now = self._clock.monotonic()
        self.route, self._delay, self.next_attempt_at = next_attempt.route, next_attempt.delay, now + next_attempt.delay
        self.state, self._is_admitted = CallState.WAITING, next_attempt.is_admitted
        if self.route is not self._plan.primary:
            self.events.append(FallbackStarted(self.route.name))
        if self.route.cache_lookup is not None and (cached := self.route.cache_lookup(now)) is not None:
            self._complete_from_cache(cached)

    def _end_attempt(self, machine: AttemptMachine) -> Attempt:
        clock = machine.clock
        now = self._clock.monotonic()
        ended = now if machine.fault is not None or clock.answer_end is None else clock.answer_end
        attempt = attempt_of(
            machine,
            number=len(self.attempts) + 1,
            route=self.route.name,
            delay=self._delay,
            started=clock.started + self._wall_offset,
            ended=ended,
        )
        self.attempts.append(attempt)
        if self.route.breaker is not None:
            self.route.breaker.record_result(machine.fault, started=clock.started, now=now)
        self._recorder.attempt.ended(attempt, machine, ended)
        return attempt

    def _complete(self, machine: AttemptMachine) -> None:
        last_deltas = machine.answer.flush()
        is_primary = self.route is self._plan.primary
        degraded = "non_streaming" if self.route.kind == "whole" or (is_primary and not machine.was_streamed) else None
        ended = machine.clock.answer_end
        result = result_of(
            machine,
            api=self._api,
            attempts=tuple(self.attempts),
            degraded=degraded if is_primary or degraded else "fallback",
            duration=(self._clock.monotonic() if ended is None else ended) - self._started,
        )
        self._plan.record_success()
        if result.degraded is None and self._on_primary_answer is not None:
            self._on_primary_answer(result)
        self.events.extend((*self._buffered_deltas, *last_deltas))
        self._end(result)

    def _complete_from_cache(self, cached: StreamResult) -> None:
        """End with a cached answer, delivered in one piece."""
        self.events.extend(deltas_of(cached))
        duration = self._clock.monotonic() - self._started
        self._end(from_cache(cached, attempts=tuple(self.attempts), duration=duration))

    def _end(self, result: StreamResult) -> None:
        self.result = result
        self.events.append(Completed(result.finish_reason, result.usage, result.degraded))
        self.state = CallState.ENDED
        self._recorder.call_succeeded(result, self._started + result.duration)

    def _fail(self, fault: Fault, answer: Answer | None) -> None:
        partial = "" if answer is None else "".join(answer.text)
        self.failure = StreamFailed(fault, tuple(self.attempts), partial)
        self.state = CallState.ENDED
        partial_result = None if answer is None else answer.partial_result
        self._recorder.call_failed(self.failure, self._clock.monotonic(), partial_result)
