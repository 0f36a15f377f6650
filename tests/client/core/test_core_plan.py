"""Where a call goes next: what its caller, its budget, its circuits and its cache say."""

from datetime import timedelta
from typing import Any

import pytest

from streamcanary.client.circuit_breaker import BreakerPolicy, CircuitBreaker
from streamcanary.client.core.call import Call, CallState
from streamcanary.client.core.plan import Plan, PlannedRoute
from streamcanary.client.instrumentation import CallRecorder, Instruments
from streamcanary.client.result import StreamResult
from streamcanary.client.retry_budget import RetryBudget
from streamcanary.client.retry_policy import RetryPolicy
from streamcanary.events import (
    Completed,
    ContentDelta,
    FallbackStarted,
)
from streamcanary.model.faults import Fault, FaultKind, Phase, make_fault
from support.client.calls import (
    TIMEOUTS,
    MaxJitter,
    complete_answer,
    connection_lost_error,
    make_call,
    status_error,
    take_events,
)
from support.clock import ManualClock


@pytest.mark.parametrize(
    ("wish", "kind", "attempts", "wait"),
    [
        (True, 401, 3, 1.0),
        (False, 503, 1, None),
        (None, 503, 3, 1.0),
        (None, 401, 1, None),
        (7.5, 401, 3, 7.5),
        (timedelta(seconds=3), 503, 3, 3.0),
        (0, 503, 3, 0.0),
    ],
)
def test_callers_who_know_better_decide(wish: Any, kind: int, attempts: int, wait: float | None) -> None:
    """The hook says whether the own route is tried again, and when; attempts stay bounded."""
    clock, asked = ManualClock(), []

    def on(fault: Fault) -> Any:
        asked.append(fault.kind)
        return wish

    call = make_call(clock, on=on)
    waits = []
    while call.state is not CallState.ENDED:
        call.start_attempt()
        call.connection_lost(status_error(kind))
        waits.append(call.next_attempt_at - clock.monotonic() if call.state is CallState.WAITING else None)
        clock.advance(10)
    assert (attempts, attempts, wait) == (len(call.attempts), len(asked), waits[0])


def test_an_empty_budget_ends_retries_and_not_fallbacks() -> None:
    """Without tokens the own route is not tried again; the fallbacks are."""
    clock = ManualClock()
    budget = RetryBudget(5)
    call = make_call(clock, "second", attempts=5, budget=budget)
    while call.state is not CallState.ENDED:
        call.start_attempt()
        call.connection_lost(connection_lost_error())
        clock.advance(10)
    assert (["own", "own", "second"], 0) == ([attempt.route for attempt in call.attempts], budget.available)


def test_an_answer_pays_the_budget_back() -> None:
    """An answer gives back what its last retry cost."""
    clock, budget = ManualClock(), RetryBudget(500)
    call = make_call(clock, budget=budget)
    call.start_attempt()
    call.connection_lost(connection_lost_error())
    clock.advance(1)
    assert 495 == budget.available
    complete_answer(call)
    assert 500 == budget.available


def open_breaker(clock: ManualClock) -> CircuitBreaker:
    breaker = CircuitBreaker(BreakerPolicy(min_calls=1))
    breaker.allow_request(clock.monotonic())
    breaker.record_result(make_fault(FaultKind.SERVER_ERROR, Phase.HEADERS, "x"), clock.monotonic())
    return breaker


def call_of(clock: ManualClock, *legs: PlannedRoute) -> Call:
    recorder = CallRecorder(Instruments(), model="m", labels={}, request_attributes={}, url="http://provider.test/")
    plan = Plan(legs, RetryPolicy(), random=MaxJitter(), deadline=clock.monotonic() + 60)
    return Call(plan, api="chat", total=60, on_partial="restart", clock=clock, recorder=recorder)


def test_an_open_circuit_goes_straight_to_the_fallback() -> None:
    """A route whose circuit is open costs no attempt; the fallback is asked at once."""
    clock = ManualClock()
    own = PlannedRoute(index=0, name="own", timeouts=TIMEOUTS, breaker=open_breaker(clock))
    call = call_of(clock, own, PlannedRoute(index=1, name="second", timeouts=TIMEOUTS))
    complete_answer(call)
    assert call.result is not None
    assert (["second"], "fallback") == ([attempt.route for attempt in call.attempts], call.result.degraded)


def test_an_open_circuit_without_a_fallback_fails_at_once() -> None:
    """With no other way the call fails with circuit_open, and nothing was sent."""
    clock = ManualClock()
    call = call_of(clock, PlannedRoute(index=0, name="own", timeouts=TIMEOUTS, breaker=open_breaker(clock)))
    assert call.failure is not None
    assert (CallState.ENDED, FaultKind.CIRCUIT_OPEN, ()) == (call.state, call.failure.fault.kind, call.failure.attempts)


def test_the_cache_is_the_last_resort() -> None:
    """A kept answer is delivered whole, marked as such, after every attempt on the own route."""
    clock = ManualClock()
    kept = StreamResult(text="kept", finish_reason="stop", model="m")
    cache = PlannedRoute(index=1, name="cache", timeouts=TIMEOUTS, kind="cache", cache_lookup=lambda _: kept)
    call = call_of(clock, PlannedRoute(index=0, name="own", timeouts=TIMEOUTS), cache)
    while call.state is not CallState.ENDED:
        call.start_attempt()
        clock.advance(2)
        call.deadline_exceeded()
        clock.advance(10)
    assert call.result is not None
    assert ("kept", "cache", 3) == (call.result.text, call.result.degraded, len(call.result.attempts))
    assert [FallbackStarted("cache"), ContentDelta("kept"), Completed("stop", None, "cache")] == take_events(call)[-3:]


def test_a_cache_without_the_answer_is_no_way() -> None:
    """When nothing is kept, the call fails as if there were no cache."""
    clock = ManualClock()
    cache = PlannedRoute(index=1, name="cache", timeouts=TIMEOUTS, kind="cache", cache_lookup=lambda _: None)
    call = call_of(clock, PlannedRoute(index=0, name="own", timeouts=TIMEOUTS), cache)
    call.start_attempt()
    call.connection_lost(status_error(401))
    assert call.failure is not None
    assert FaultKind.AUTH_FAILED is call.failure.fault.kind
