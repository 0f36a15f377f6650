"""The next route of a call, as decided by the retry hook, the retry budget, circuit breakers and the cache."""

from datetime import timedelta
from typing import Any, Literal

import pytest

from streamcanary.client.circuit_breaker import BreakerPolicy, CircuitBreaker
from streamcanary.client.core.call import Call, CallState
from streamcanary.client.core.plan import Plan, PlannedRoute
from streamcanary.client.instrumentation.call_recorder import CallRecorder
from streamcanary.client.instrumentation.instruments import Instruments
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
    ("retry_decision", "kind", "attempts", "delay"),
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
def test_retry_hook_decides(retry_decision: Any, kind: int, attempts: int, delay: float | None) -> None:
    """The retry hook decides whether and when the primary is retried; the number of attempts stays bounded."""
    clock, asked = ManualClock(), []

    def on(fault: Fault) -> Any:
        asked.append(fault.kind)
        return retry_decision

    call = make_call(clock, on=on)
    delays = []
    while call.state is not CallState.ENDED:
        call.start_attempt()
        call.connection_lost(status_error(kind))
        delays.append(call.next_attempt_at - clock.monotonic() if call.state is CallState.WAITING else None)
        clock.advance(10)
    assert (attempts, attempts, delay) == (len(call.attempts), len(asked), delays[0])


def test_empty_budget_stops_retries_but_not_fallbacks() -> None:
    """Without budget the primary is not retried, and the fallbacks are still tried."""
    clock = ManualClock()
    budget = RetryBudget(5)
    call = make_call(clock, "second", attempts=5, budget=budget)
    while call.state is not CallState.ENDED:
        call.start_attempt()
        call.connection_lost(connection_lost_error())
        clock.advance(10)
    assert (["primary", "primary", "second"], 0) == ([attempt.route for attempt in call.attempts], budget.available)


def test_delay_of_the_client_costs_no_budget() -> None:
    """A retry after a delay of this process takes no tokens, and is made without any."""
    clock, budget = ManualClock(), RetryBudget(0)
    call = make_call(clock, attempts=2, budget=budget)
    for _ in range(2):
        clock.advance(call.next_attempt_at - clock.monotonic())
        call.start_attempt()
        clock.advance(call.deadline - clock.monotonic())
        call.deadline_exceeded(lag_since=lambda _: 1.0)
    assert [FaultKind.CLIENT_DELAYED] * 2 == [attempt.fault and attempt.fault.kind for attempt in call.attempts]


def test_answer_refunds_the_budget() -> None:
    """An answer refunds the cost of its last retry."""
    clock, budget = ManualClock(), RetryBudget(500)
    call = make_call(clock, budget=budget)
    call.start_attempt()
    call.connection_lost(connection_lost_error())
    clock.advance(1)
    assert 495 == budget.available
    complete_answer(call)
    assert 500 == budget.available


def open_breaker(clock: ManualClock, *, first_open_for: float = 1.0) -> CircuitBreaker:
    policy = BreakerPolicy(min_calls=1, first_open_for=first_open_for)
    breaker, now = CircuitBreaker(policy, MaxJitter()), clock.monotonic()
    breaker.allow_request(now)
    breaker.record_result(make_fault(FaultKind.SERVER_ERROR, Phase.HEADERS, "x"), started=now, now=now)
    return breaker


def make_call_with_routes(clock: ManualClock, *routes: PlannedRoute, budget: RetryBudget | None = None) -> Call:
    recorder = CallRecorder(Instruments(), model="m", labels={}, request_attributes={}, url="http://provider.test/")
    plan = Plan(routes, RetryPolicy(), random=MaxJitter(), deadline=clock.monotonic() + 60, budget=budget)
    return Call(plan, api="chat", total=60, on_partial="restart", clock=clock, recorder=recorder)


def test_open_circuit_goes_straight_to_the_fallback() -> None:
    """A route with an open circuit makes no attempt; the fallback is tried at once."""
    clock = ManualClock()
    primary = PlannedRoute(index=0, name="primary", timeouts=TIMEOUTS, breaker=open_breaker(clock))
    call = make_call_with_routes(clock, primary, PlannedRoute(index=1, name="second", timeouts=TIMEOUTS))
    complete_answer(call)
    assert call.result is not None
    assert (["second"], "fallback") == ([attempt.route for attempt in call.attempts], call.result.degraded)


def test_open_circuit_without_fallback_is_waited_for() -> None:
    """Without another route the call waits until the circuit is half open, and one backoff more."""
    clock = ManualClock()
    breaker = open_breaker(clock, first_open_for=3)
    call = make_call_with_routes(clock, PlannedRoute(index=0, name="primary", timeouts=TIMEOUTS, breaker=breaker))
    assert (CallState.WAITING, 3.5) == (call.state, call.next_attempt_at - clock.monotonic())
    clock.advance(3.5)
    complete_answer(call)
    assert call.result is not None
    assert (["primary"], 3.5) == ([attempt.route for attempt in call.attempts], call.attempts[0].delay)


def test_long_open_circuit_without_fallback_fails_at_once() -> None:
    """A circuit that stays open for longer than the longest backoff is a circuit_open fault, and no request is sent."""
    clock = ManualClock()
    breaker = open_breaker(clock, first_open_for=10)
    call = make_call_with_routes(clock, PlannedRoute(index=0, name="primary", timeouts=TIMEOUTS, breaker=breaker))
    assert call.failure is not None
    assert (CallState.ENDED, FaultKind.CIRCUIT_OPEN, ()) == (call.state, call.failure.fault.kind, call.failure.attempts)


def test_retry_without_fallback_waits_for_the_circuit() -> None:
    """A call whose own failure opens the circuit is retried when it is half open, if no other route is left."""
    clock = ManualClock()
    breaker = CircuitBreaker(BreakerPolicy(consecutive_failures=1, first_open_for=3), MaxJitter())
    call = make_call_with_routes(clock, PlannedRoute(index=0, name="primary", timeouts=TIMEOUTS, breaker=breaker))
    call.start_attempt()
    call.connection_lost(status_error(503))
    assert (CallState.WAITING, 3.5) == (call.state, call.next_attempt_at - clock.monotonic())


def fail_elsewhere(breaker: CircuitBreaker, now: float) -> None:
    """Open a circuit by the attempts of other calls."""
    for _ in range(10):
        breaker.record_result(make_fault(FaultKind.SERVER_ERROR, Phase.HEADERS, "x"), started=now, now=now)


@pytest.mark.parametrize(("fallbacks", "routes"), [(["second"], ["primary", "second"]), ([], ["primary", "primary"])])
def test_retry_goes_to_the_fallback_if_the_circuit_opens_meanwhile(fallbacks: list[str], routes: list[str]) -> None:
    """If the circuit opens while a retry waits, a fallback is tried instead, and the retry is not paid for."""
    clock, budget, breaker = ManualClock(), RetryBudget(500), CircuitBreaker(BreakerPolicy(), MaxJitter())
    planned = [PlannedRoute(index=0, name="primary", timeouts=TIMEOUTS, breaker=breaker)]
    planned += [PlannedRoute(index=1, name=name, timeouts=TIMEOUTS) for name in fallbacks]
    call = make_call_with_routes(clock, *planned, budget=budget)
    call.start_attempt()
    call.connection_lost(status_error(503))
    assert 495 == budget.available
    fail_elsewhere(breaker, clock.monotonic())
    clock.advance(0.5)
    call.start_attempt()
    if call.state is CallState.WAITING:
        call.start_attempt()
    available = budget.available
    call.connection_lost(status_error(503))
    assert (routes, 500 if fallbacks else 495) == ([attempt.route for attempt in call.attempts], available)


def test_waiting_retry_does_not_reserve_the_probe() -> None:
    """A retry that waits, and its cancellation, leave the probe of a half open circuit to others."""
    clock, breaker = ManualClock(), CircuitBreaker(BreakerPolicy(), MaxJitter())
    call = make_call_with_routes(clock, PlannedRoute(index=0, name="primary", timeouts=TIMEOUTS, breaker=breaker))
    call.start_attempt()
    call.connection_lost(status_error(503, retry_after="20"))
    fail_elsewhere(breaker, clock.monotonic())
    clock.advance(1)
    assert True is breaker.allow_request(clock.monotonic())
    call.cancel()
    assert False is breaker.allow_request(clock.monotonic())


def test_cache_is_used_after_all_primary_attempts() -> None:
    """A cached answer is delivered whole and marked as such, after every attempt on the primary."""
    clock = ManualClock()
    cached = StreamResult(text="cached", finish_reason="stop", model="m")
    cache = PlannedRoute(index=1, name="cache", timeouts=TIMEOUTS, kind="cache", cache_lookup=lambda _: cached)
    call = make_call_with_routes(clock, PlannedRoute(index=0, name="primary", timeouts=TIMEOUTS), cache)
    while call.state is not CallState.ENDED:
        call.start_attempt()
        clock.advance(2)
        call.deadline_exceeded()
        clock.advance(10)
    assert call.result is not None
    assert ("cached", "cache", 3) == (call.result.text, call.result.degraded, len(call.result.attempts))
    events = [FallbackStarted("cache"), ContentDelta("cached"), Completed("stop", None, "cache")]
    assert events == take_events(call)[-3:]


def test_cache_miss_fails_the_call() -> None:
    """On a cache miss the call fails as if there were no cache."""
    clock = ManualClock()
    cache = PlannedRoute(index=1, name="cache", timeouts=TIMEOUTS, kind="cache", cache_lookup=lambda _: None)
    call = make_call_with_routes(clock, PlannedRoute(index=0, name="primary", timeouts=TIMEOUTS), cache)
    call.start_attempt()
    call.connection_lost(status_error(401))
    assert call.failure is not None
    assert FaultKind.AUTH_FAILED is call.failure.fault.kind


@pytest.mark.parametrize(("kind", "route"), [("whole", None), ("stream", "second")])
def test_same_request_is_not_sent_again_after_its_token_limit(
    kind: Literal["whole", "stream"], route: str | None
) -> None:
    """Without streaming the answer would end at the same limit; another route may have a model that needs less."""
    routes = [
        PlannedRoute(index=0, name="primary", timeouts=TIMEOUTS),
        PlannedRoute(index=1, name="second", timeouts=TIMEOUTS, kind=kind),
    ]
    plan = Plan(routes, RetryPolicy(), random=MaxJitter(), deadline=60)
    following = plan.attempt_after(make_fault(FaultKind.TOKEN_LIMIT_REACHED, Phase.STREAM, "x"), routes[0], 1.0)
    assert route == (following and following.route.name)
