"""The circuit breaker of a route."""

import pytest

from streamcanary.client.circuit_breaker import BreakerPolicy, CircuitBreaker, CircuitBreakers, CircuitState
from streamcanary.model.faults import Fault, FaultKind, Phase, make_fault

POLICY = BreakerPolicy(failure_rate=0.5, min_calls=4, window=60, open_for=30)


def fault(kind: FaultKind) -> Fault:
    return make_fault(kind, Phase.STREAM, "x")


DOWN = fault(FaultKind.SERVER_ERROR)


def opened_breaker(now: float = 0.0) -> CircuitBreaker:
    """Return a breaker that opened_breaker at ``now``."""
    breaker = CircuitBreaker(POLICY)
    for _ in range(4):
        breaker.allow_request(now)
        breaker.record_result(DOWN, now)
    return breaker


def test_breaker_opens_on_failure_rate_after_min_calls() -> None:
    """A breaker opens only after min_calls, when the failure rate reaches the limit: two of four calls."""
    breaker = CircuitBreaker(POLICY)
    states = []
    for outcome in (None, None, DOWN, DOWN):
        assert True is breaker.allow_request(1.0)
        breaker.record_result(outcome, 1.0)
        states.append(breaker.state(1.0))
    assert [CircuitState.CLOSED, CircuitState.CLOSED, CircuitState.CLOSED, CircuitState.OPEN] == states


def test_open_circuit_rejects_calls() -> None:
    """An open circuit rejects every call until open_for has passed."""
    breaker = opened_breaker()
    assert [False, False, True] == [
        breaker.allow_request(0.0),
        breaker.allow_request(29.9),
        breaker.allow_request(30.0),
    ]


def test_half_open_admits_one_probe_at_a_time() -> None:
    """While a probe runs, other calls are rejected; a lost probe is replaced after open_for."""
    breaker = opened_breaker()
    assert [True, False, False, True] == [
        breaker.allow_request(30),
        breaker.allow_request(30),
        breaker.allow_request(59),
        breaker.allow_request(60),
    ]


def test_successful_probe_closes_the_circuit() -> None:
    """After one successful probe the circuit is closed, with an empty history."""
    breaker = opened_breaker()
    breaker.allow_request(30)
    breaker.record_result(None, 31)
    breaker.allow_request(32)
    breaker.record_result(DOWN, 32)
    assert CircuitState.CLOSED is breaker.state(32)


def test_failed_probe_reopens_the_circuit() -> None:
    """A failed probe opens the circuit for another open_for."""
    breaker = opened_breaker()
    breaker.allow_request(30)
    breaker.record_result(DOWN, 31)
    assert [False, True] == [breaker.allow_request(60), breaker.allow_request(61)]


@pytest.mark.parametrize(
    "kind",
    [
        FaultKind.CANCELLED,
        FaultKind.AUTH_FAILED,
        FaultKind.POOL_EXHAUSTED,
        FaultKind.CONTENT_POLICY,
        FaultKind.NOT_FOUND,
    ],
)
def test_faults_not_caused_by_the_route_do_not_count(kind: FaultKind) -> None:
    """Config errors, local faults and cancellations neither open nor close a circuit."""
    breaker = CircuitBreaker(POLICY)
    for _ in range(100):
        breaker.allow_request(0)
        breaker.record_result(fault(kind), 0)
    assert CircuitState.CLOSED is breaker.state(0)
    half_open = opened_breaker()
    half_open.allow_request(30)
    half_open.record_result(fault(kind), 30)
    assert (CircuitState.HALF_OPEN, True) == (half_open.state(30), half_open.allow_request(30))


def test_calls_outside_the_window_do_not_count() -> None:
    """Only calls within the window count."""
    breaker = CircuitBreaker(POLICY)
    for moment in (0, 0, 0, 61):
        breaker.allow_request(moment)
        breaker.record_result(DOWN, moment)
    assert CircuitState.CLOSED is breaker.state(61)


def test_breaker_is_per_endpoint_and_model() -> None:
    """Breakers are keyed by endpoint and model, and the number of breakers is bounded."""
    breakers = CircuitBreakers(POLICY)
    assert breakers.for_route("a", "m") is breakers.for_route("a", "m")
    assert False is (breakers.for_route("a", "m") is breakers.for_route("b", "m"))
    first = breakers.for_route("a", "0")
    for number in range(1100):
        breakers.for_route("a", str(number + 1))
    assert False is (first is breakers.for_route("a", "0"))
