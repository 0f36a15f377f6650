"""One call: attempts, backoff, fallbacks, and the events that it emits."""

import pytest

from streamcanary.client.core.call import CallState
from streamcanary.client.core.response_head import ResponseHead
from streamcanary.events import (
    AttemptFailed,
    AttemptStarted,
    Completed,
    ContentDelta,
    FallbackStarted,
    Restarted,
)
from streamcanary.model.faults import FaultKind
from support.client.calls import (
    HEAD,
    STOP_CHUNK,
    TEXT_CHUNK,
    complete_answer,
    connection_lost_error,
    cut_after_text,
    event_types,
    make_call,
    status_error,
    take_events,
)
from support.clock import ManualClock


def test_complete_answer_at_first_attempt() -> None:
    """A complete answer is delivered as it arrives, with one attempt and ``degraded`` None."""
    clock = ManualClock()
    call = make_call(clock)
    call.start_attempt()
    clock.advance(0.5)
    call.headers_received(HEAD)
    clock.advance(0.5)
    call.feed(TEXT_CHUNK)
    clock.advance(1)
    call.feed(STOP_CHUNK)
    call.feed_eof()
    assert [AttemptStarted(1, "primary"), ContentDelta("Hi"), Completed("stop", None, None)] == take_events(call)
    assert call.result is not None
    assert ("Hi", None, 1.0, 2.0, 1) == (
        call.result.text,
        call.result.degraded,
        call.result.time_to_first_token,
        call.result.duration,
        len(call.result.attempts),
    )


def test_backoff_doubles_up_to_max_delay() -> None:
    """The maximum delay doubles from base_delay to max_delay, and the last fault is the failure."""
    clock = ManualClock()
    call = make_call(clock, attempts=6)
    waits = []
    while call.state is not CallState.ENDED:
        call.start_attempt()
        call.connection_lost(connection_lost_error())
        waits.append(call.next_attempt_at - clock.monotonic())
        clock.advance(max(0.0, waits[-1]))
    assert [1.0, 2.0, 4.0, 8.0, 8.0] == waits[:5]
    assert call.failure is not None
    assert (FaultKind.CONNECTION_LOST, 6) == (call.failure.fault.kind, len(call.failure.attempts))
    assert [0.0, 1.0, 2.0, 4.0, 8.0, 8.0] == [attempt.delay for attempt in call.failure.attempts]


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry_after": "20"}, 20.0),
        ({"retry_after_ms": "2500", "retry_after": "20"}, 2.5),
        ({"retry_after": "Fri, 15 Jan 2027 08:00:30 GMT"}, 30.0),
        ({"retry_after": "0"}, 1.0),
        ({"retry_after": "soon"}, 1.0),
        ({"retry_after": "nan"}, 1.0),
        ({"retry_after": "-5"}, 1.0),
        ({"retry_after": "1e308"}, 1.0),
        ({}, 1.0),
    ],
)
def test_retry_after_is_a_lower_bound(headers: dict[str, str], wait: float) -> None:
    """Retry-After in each of its three formats extends the delay; invalid values are ignored."""
    clock = ManualClock()  # 2027-01-15T08:00:00Z
    call = make_call(clock)
    call.start_attempt()
    call.connection_lost(status_error(429, **headers))
    assert wait == pytest.approx(call.next_attempt_at - clock.monotonic())


def test_delay_beyond_total_deadline_ends_the_call() -> None:
    """A Retry-After beyond the total deadline ends the call at once as rate_limited, not as total_timeout."""
    clock = ManualClock()
    call = make_call(clock)
    call.start_attempt()
    call.connection_lost(status_error(429, retry_after="61"))
    assert call.failure is not None
    assert (FaultKind.RATE_LIMITED, 61.0, 1) == (
        call.failure.fault.kind,
        call.failure.fault.retry_after,
        len(call.failure.attempts),
    )


@pytest.mark.parametrize(
    ("error", "kind", "attempts"),
    [
        (status_error(401), FaultKind.AUTH_FAILED, 1),
        (status_error(404), FaultKind.NOT_FOUND, 1),
        (status_error(400, {"code": "context_length_exceeded"}), FaultKind.CONTEXT_LENGTH_EXCEEDED, 1),
        (status_error(429, {"code": "insufficient_quota"}), FaultKind.QUOTA_EXHAUSTED, 1),
        (status_error(429, {"code": "insufficient_quota"}, x_should_retry="true"), FaultKind.QUOTA_EXHAUSTED, 1),
        (status_error(429, {"type": "org_spend_limit_exceeded"}), FaultKind.QUOTA_EXHAUSTED, 1),
        (status_error(500, x_should_retry="false"), FaultKind.SERVER_ERROR, 1),
        (status_error(400, x_should_retry="true"), FaultKind.BAD_REQUEST, 3),
        (status_error(503), FaultKind.OVERLOADED, 3),
        (status_error(502), FaultKind.SERVER_ERROR, 3),
        (connection_lost_error(), FaultKind.CONNECTION_LOST, 3),
    ],
)
def test_only_retryable_faults_are_retried(error: Exception, kind: FaultKind, attempts: int) -> None:
    """Retryable faults are retried up to max_attempts; other faults are not retried."""
    clock = ManualClock()
    call = make_call(clock)
    while call.state is not CallState.ENDED:
        call.start_attempt()
        call.connection_lost(error)
        clock.advance(10)
    assert call.failure is not None
    assert (kind, attempts) == (call.failure.fault.kind, len(call.failure.attempts))


def test_programming_error_propagates() -> None:
    """An exception that is not a network error propagates and ends the call."""
    call = make_call(ManualClock())
    call.start_attempt()
    with pytest.raises(ZeroDivisionError):
        call.connection_lost(ZeroDivisionError())
    assert CallState.ENDED is call.state


def test_restart_emits_restarted_after_text() -> None:
    """With on_partial="restart", a fault after text emits Restarted and the answer starts again."""
    clock = ManualClock()
    call = make_call(clock)
    cut_after_text(call)
    clock.advance(1)
    complete_answer(call)
    events = take_events(call)
    started, delta, failed, restarted, *rest = events
    assert [AttemptStarted(1, "primary"), ContentDelta("Hi")] == [started, delta]
    assert isinstance(failed, AttemptFailed)
    assert 1.0 == failed.next_delay
    assert [Restarted(), AttemptStarted(2, "primary"), ContentDelta("Hi"), Completed("stop", None, None)] == [
        restarted,
        *rest,
    ]


def test_fault_before_text_emits_no_restarted() -> None:
    """A fault before the first text emits no Restarted."""
    clock = ManualClock()
    call = make_call(clock)
    call.start_attempt()
    call.connection_lost(connection_lost_error())
    assert ["attempt.started", "attempt.failed"] == event_types(take_events(call))


def test_fail_mode_fails_after_text() -> None:
    """With on_partial="fail", a fault after text fails the call with the partial text."""
    call = make_call(ManualClock(), on_partial="fail")
    cut_after_text(call)
    assert call.failure is not None
    assert ("Hi", FaultKind.STREAM_CUT, 1) == (
        call.failure.partial_text,
        call.failure.fault.kind,
        len(call.failure.attempts),
    )


def test_buffer_mode_delivers_only_complete_text() -> None:
    """With on_partial="buffer", the caller receives the text once, from the attempt that succeeded."""
    clock = ManualClock()
    call = make_call(clock, on_partial="buffer")
    cut_after_text(call)
    clock.advance(1)
    complete_answer(call)
    assert ["attempt.started", "attempt.failed", "attempt.started", "content.delta", "completed"] == event_types(
        take_events(call)
    )


def test_fallbacks_follow_the_primary() -> None:
    """After the last primary attempt, each fallback is tried once without delay, and the answer is degraded."""
    clock = ManualClock()
    call = make_call(clock, "second", "third", attempts=2)
    for _ in range(3):
        call.start_attempt()
        call.connection_lost(connection_lost_error())
        clock.advance(1)
    complete_answer(call)
    routes = [attempt.route for attempt in call.attempts]
    assert ["primary", "primary", "second", "third"] == routes
    assert [FallbackStarted("second"), FallbackStarted("third")] == [
        event for event in take_events(call) if isinstance(event, FallbackStarted)
    ]
    assert call.result is not None
    assert "fallback" == call.result.degraded


def test_timeout_prefers_the_next_route() -> None:
    """After a timeout the next route is tried first, and the primary again only when no other route remains."""
    clock = ManualClock()
    call = make_call(clock, "second", attempts=2)
    call.start_attempt()
    clock.advance(2)
    call.deadline_exceeded()
    call.start_attempt()
    call.connection_lost(connection_lost_error())
    clock.advance(1)
    call.start_attempt()
    call.connection_lost(connection_lost_error())
    assert ["primary", "second", "primary"] == [attempt.route for attempt in call.attempts]


def test_content_policy_refusal_skips_fallbacks() -> None:
    """A content-policy refusal is not sent to another route."""
    call = make_call(ManualClock(), "second")
    call.start_attempt()
    call.connection_lost(status_error(400, {"code": "content_policy_violation"}))
    assert call.failure is not None
    assert (FaultKind.CONTENT_POLICY, 1) == (call.failure.fault.kind, len(call.failure.attempts))


def test_total_timeout_ends_the_call() -> None:
    """The total timeout ends the current attempt as total_timeout, and no fallback follows."""
    clock = ManualClock()
    call = make_call(clock, "second")
    call.start_attempt()
    call.headers_received(HEAD)
    for _ in range(30):
        call.feed(TEXT_CHUNK)
        clock.advance(2)
    call.deadline_exceeded()
    assert call.failure is not None
    assert FaultKind.TOTAL_TIMEOUT is call.failure.fault.kind


def test_error_status_is_a_fault_without_a_body() -> None:
    """An error response fails the attempt when its headers arrive, with what the headers say."""
    call = make_call(ManualClock())
    call.start_attempt()
    call.headers_received(ResponseHead(500, {"retry-after": "7"}))
    assert call.attempts[0].fault is not None
    assert (FaultKind.SERVER_ERROR, 500, 7.0) == (
        call.attempts[0].fault.kind,
        call.attempts[0].fault.status,
        call.attempts[0].fault.retry_after,
    )


def test_cancel_ends_the_attempt_as_cancelled() -> None:
    """Cancelling a call ends the attempt as cancelled, once, however often it is called."""
    call = make_call(ManualClock())
    call.start_attempt()
    call.headers_received(HEAD)
    call.cancel()
    call.cancel()
    assert (CallState.ENDED, None, None, [FaultKind.CANCELLED]) == (
        call.state,
        call.result,
        call.failure,
        [attempt.fault.kind for attempt in call.attempts if attempt.fault],
    )
