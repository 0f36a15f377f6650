"""The circuit breaker of a route."""

import pytest

from streamcanary.client.circuit_breaker import BreakerPolicy, CircuitBreaker, CircuitBreakers, CircuitState
from streamcanary.model.faults import Fault, FaultKind, Phase, make_fault

POLICY = BreakerPolicy(failure_rate=0.5, min_calls=4, window=60, open_for=30)


def fault(kind: FaultKind) -> Fault:
    return make_fault(kind, Phase.STREAM, "x")


DOWN = fault(FaultKind.SERVER_ERROR)


def opened(now: float = 0.0) -> CircuitBreaker:
    """Return a breaker that opened at ``now``."""
    breaker = CircuitBreaker(POLICY)
    for _ in range(4):
        breaker.allow_request(now)
        breaker.record_result(DOWN, now)
    return breaker


def test_opens_on_a_rate_over_a_minimum_of_calls() -> None:
    """Three failures of three calls are too few to judge; two of four are half."""
    breaker = CircuitBreaker(POLICY)
    states = []
    for outcome in (None, None, DOWN, DOWN):
        assert True is breaker.allow_request(1.0)
        breaker.record_result(outcome, 1.0)
        states.append(breaker.state(1.0))
    assert [CircuitState.CLOSED, CircuitState.CLOSED, CircuitState.CLOSED, CircuitState.OPEN] == states


def test_an_open_circuit_admits_nobody() -> None:
    """Until open_for has passed, no call goes that way."""
    breaker = opened()
    assert [False, False, True] == [
        breaker.allow_request(0.0),
        breaker.allow_request(29.9),
        breaker.allow_request(30.0),
    ]


def test_half_open_admits_one_probe_at_a_time() -> None:
    """While the probe is under way, others stay away; one that vanished is replaced after open_for."""
    breaker = opened()
    assert [True, False, False, True] == [
        breaker.allow_request(30),
        breaker.allow_request(30),
        breaker.allow_request(59),
        breaker.allow_request(60),
    ]


def test_a_probe_that_is_answered_closes() -> None:
    """After one success the route is asked again by all, with a clean record."""
    breaker = opened()
    breaker.allow_request(30)
    breaker.record_result(None, 31)
    breaker.allow_request(32)
    breaker.record_result(DOWN, 32)
    assert CircuitState.CLOSED is breaker.state(32)


def test_a_probe_that_fails_opens_again() -> None:
    """The wait starts anew."""
    breaker = opened()
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
def test_what_is_not_the_routes_fault_does_not_count(kind: FaultKind) -> None:
    """Our own mistakes, and callers who leave, neither open a circuit nor close one."""
    breaker = CircuitBreaker(POLICY)
    for _ in range(100):
        breaker.allow_request(0)
        breaker.record_result(fault(kind), 0)
    assert CircuitState.CLOSED is breaker.state(0)
    half_open = opened()
    half_open.allow_request(30)
    half_open.record_result(fault(kind), 30)
    assert (CircuitState.HALF_OPEN, True) == (half_open.state(30), half_open.allow_request(30))


def test_old_calls_are_forgotten() -> None:
    """Only calls within the window count."""
    breaker = CircuitBreaker(POLICY)
    for moment in (0, 0, 0, 61):
        breaker.allow_request(moment)
        breaker.record_result(DOWN, moment)
    assert CircuitState.CLOSED is breaker.state(61)


def test_each_route_has_its_own() -> None:
    """Breakers are told apart by endpoint and model, and shared by who asks for the same."""
    breakers = CircuitBreakers(POLICY)
    assert breakers.for_route("a", "m") is breakers.for_route("a", "m")
    assert False is (breakers.for_route("a", "m") is breakers.for_route("b", "m"))
    first = breakers.for_route("a", "0")
    for number in range(1100):
        breakers.for_route("a", str(number + 1))
    assert False is (first is breakers.for_route("a", "0"))
