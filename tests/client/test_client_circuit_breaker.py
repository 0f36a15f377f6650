"""The circuit breaker of a route."""

import heapq
from collections.abc import Callable
from itertools import count
from random import Random

import pytest

from streamcanary.client.circuit_breaker import BreakerPolicy, CircuitBreaker, CircuitBreakers, CircuitState
from streamcanary.client.core.call import Call, CallState
from streamcanary.client.core.plan import Plan, PlannedRoute
from streamcanary.client.instrumentation.call_recorder import CallRecorder
from streamcanary.client.instrumentation.instruments import Instruments
from streamcanary.client.retry_budget import RetryBudget
from streamcanary.client.retry_policy import RetryPolicy
from streamcanary.client.timeouts import Timeouts
from streamcanary.model.faults import Fault, FaultKind, Phase, make_fault
from support.client.calls import HEAD, STOP_CHUNK, TEXT_CHUNK, MaxJitter, status_error
from support.clock import ManualClock

POLICY = BreakerPolicy(
    consecutive_failures=1000, failure_rate=0.5, min_calls=4, window=60, first_open_for=4, open_for=30
)
CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


def fault(kind: FaultKind) -> Fault:
    return make_fault(kind, Phase.STREAM, "x")


DOWN = fault(FaultKind.SERVER_ERROR)


def record(breaker: CircuitBreaker, outcome: Fault | None, now: float) -> None:
    """Make an attempt at ``now`` whose result is known at once."""
    breaker.allow_request(now)
    breaker.record_result(outcome, started=now, now=now)


def opened_breaker(now: float = 0.0) -> CircuitBreaker:
    """Return a breaker that opened at ``now`` for four seconds."""
    breaker = CircuitBreaker(POLICY, MaxJitter())
    for _ in range(4):
        record(breaker, DOWN, now)
    return breaker


def states_after(policy: BreakerPolicy, *outcomes: Fault | None) -> list[CircuitState]:
    """Return the state after each of ``outcomes``, a tenth of a second apart."""
    breaker, states = CircuitBreaker(policy, MaxJitter()), []
    for number, outcome in enumerate(outcomes):
        record(breaker, outcome, number / 10)
        states.append(breaker.state(number / 10))
    return states


def test_breaker_opens_on_failure_rate_after_min_calls() -> None:
    """A breaker opens only after min_calls, when the failure rate reaches the limit: two of four calls."""
    assert [CLOSED, CLOSED, CLOSED, OPEN] == states_after(POLICY, None, None, DOWN, DOWN)


def test_breaker_opens_after_consecutive_failures() -> None:
    """Five failures in a row open the circuit by default; a success between them starts the count again."""
    assert [CLOSED] * 4 + [OPEN] == states_after(BreakerPolicy(), *[DOWN] * 5)
    assert [CLOSED] * 9 + [OPEN] == states_after(BreakerPolicy(), *[DOWN] * 4, None, *[DOWN] * 5)


def test_rare_failures_are_not_consecutive() -> None:
    """Failures further apart than the window do not add up, although nothing succeeded between them."""
    breaker = CircuitBreaker(BreakerPolicy(window=60), MaxJitter())
    for number in range(10):
        record(breaker, DOWN, 61.0 * number)
    assert CLOSED is breaker.state(61.0 * 9)


def test_open_circuit_rejects_calls() -> None:
    """An open circuit rejects every attempt until the period has passed."""
    breaker = opened_breaker()
    assert [False, False, True] == [breaker.allow_request(now) for now in (0.0, 3.9, 4.0)]


def test_half_open_admits_one_probe_at_a_time() -> None:
    """While a probe runs, other attempts are rejected; a lost probe is replaced after open_for."""
    breaker = opened_breaker()
    assert [True, False, False, True] == [breaker.allow_request(now) for now in (4, 4, 33, 34)]


def test_open_period_doubles_up_to_open_for() -> None:
    """Each failed probe doubles the period, up to open_for; a success starts at the first period again."""
    breaker, now, periods = opened_breaker(), 0.0, []
    for outcome in (DOWN, DOWN, DOWN, DOWN, None):
        opened_at = now
        while not breaker.allow_request(now):
            now += 0.5
        periods.append(now - opened_at)
        breaker.record_result(outcome, started=now, now=now)
    assert [4, 8, 16, 30, 30] == periods
    assert CLOSED is breaker.state(now)
    for _ in range(4):
        record(breaker, DOWN, now)
    assert [False, True] == [breaker.allow_request(now + 3.9), breaker.allow_request(now + 4)]


def test_open_period_is_shortened_at_random() -> None:
    """The periods of many clients differ, by at most a fifth."""
    ends = set()
    for seed in range(50):
        breaker = CircuitBreaker(BreakerPolicy(consecutive_failures=1), Random(seed))  # noqa: S311 - the same each time
        record(breaker, DOWN, 0.0)
        ends.add(next(ms for ms in range(2000) if breaker.state(ms / 1000) is HALF_OPEN))
    assert (True, True, True) == (min(ends) >= 800, max(ends) <= 1000, len(ends) > 20)


def test_successful_probe_closes_the_circuit() -> None:
    """After one successful probe the circuit is closed, with an empty history."""
    breaker = opened_breaker()
    record(breaker, None, 4)
    record(breaker, DOWN, 5)
    assert CLOSED is breaker.state(5)


def test_first_token_of_the_probe_closes_the_circuit() -> None:
    """The circuit closes when the answer of the probe begins, which can be long before it is complete."""
    breaker = opened_breaker()
    breaker.allow_request(4)
    assert HALF_OPEN is breaker.state(4.5)
    breaker.record_first_token(started=4)
    assert (CLOSED, [True, True]) == (breaker.state(5), [breaker.allow_request(5), breaker.allow_request(5)])


def test_probe_that_fails_after_its_first_token_doubles_the_period() -> None:
    """Until an answer is complete, one failure opens the circuit again, for twice as long."""
    breaker = opened_breaker()
    breaker.allow_request(4)
    breaker.record_first_token(started=4)
    breaker.record_result(DOWN, started=4, now=10)
    assert [OPEN, HALF_OPEN] == [breaker.state(17.9), breaker.state(18)]


def test_complete_answer_after_the_first_token_starts_again() -> None:
    """After a complete answer it takes as many failures as ever to open the circuit, for the first period."""
    breaker = opened_breaker()
    breaker.allow_request(4)
    breaker.record_first_token(started=4)
    breaker.record_result(None, started=4, now=10)
    record(breaker, DOWN, 11)
    assert CLOSED is breaker.state(11)


def test_first_token_of_an_older_attempt_does_not_close_the_circuit() -> None:
    """A token that arrives for an attempt from before the circuit opened says nothing about the route now."""
    breaker = opened_breaker()
    breaker.record_first_token(started=-1)
    assert OPEN is breaker.state(3)


@pytest.mark.parametrize(
    ("outcome", "started", "state"),
    [
        (DOWN, -1.0, HALF_OPEN),
        (None, -1.0, HALF_OPEN),
        (DOWN, 1.0, HALF_OPEN),
        (None, 1.0, CLOSED),
        (DOWN, 5.0, OPEN),
        (None, 5.0, CLOSED),
    ],
)
def test_late_result_counts_by_the_time_of_its_request(
    outcome: Fault | None, started: float, state: CircuitState
) -> None:
    """A request from before the circuit opened changes nothing; one from the open period can only close it."""
    breaker = opened_breaker()
    assert True is breaker.allow_request(5.0)
    breaker.record_result(outcome, started=started, now=6.0)
    assert state is breaker.state(6.0)
    assert (state is CLOSED) is breaker.allow_request(6.0)


@pytest.mark.parametrize(
    "kind",
    [
        FaultKind.CANCELLED,
        FaultKind.AUTH_FAILED,
        FaultKind.POOL_EXHAUSTED,
        FaultKind.CLIENT_DELAYED,
        FaultKind.CONTENT_POLICY,
        FaultKind.NOT_FOUND,
        FaultKind.MALFORMED_TOOL_CALL,
    ],
)
def test_faults_not_caused_by_the_route_do_not_count(kind: FaultKind) -> None:
    """Config errors, local faults, cancellations and what a model writes neither open nor close a circuit."""
    breaker = CircuitBreaker(BreakerPolicy(), MaxJitter())
    for _ in range(100):
        record(breaker, fault(kind), 0)
    assert CLOSED is breaker.state(0)
    half_open = opened_breaker()
    record(half_open, fault(kind), 4)
    assert (HALF_OPEN, True) == (half_open.state(4), half_open.allow_request(4))


def test_calls_outside_the_window_do_not_count() -> None:
    """Only attempts within the window count."""
    breaker = CircuitBreaker(POLICY, MaxJitter())
    for moment in (0, 0, 0, 61):
        record(breaker, DOWN, moment)
    assert CLOSED is breaker.state(61)


def test_breaker_is_per_endpoint_and_model() -> None:
    """Breakers are keyed by endpoint and model, and the number of breakers is bounded."""
    breakers = CircuitBreakers(POLICY, MaxJitter())
    assert breakers.for_route("a", "m") is breakers.for_route("a", "m")
    assert False is (breakers.for_route("a", "m") is breakers.for_route("b", "m"))
    first = breakers.for_route("a", "0")
    for number in range(1100):
        breakers.for_route("a", str(number + 1))
    assert False is (first is breakers.for_route("a", "0"))


class OutageSimulation:
    """Calls with default settings on a manual clock, against a primary that answers 503 until ``down_for``.

    The fallback, if any, always answers. The headers and the first token take ``latency`` seconds, the rest of an
    answer ``answer_seconds``. Each route can fail the first ``failing_requests`` instead of a time.
    """

    def __init__(
        self,
        seed: int,
        *,
        down_for: float = 0.0,
        latency: float,
        answer_seconds: float = 0.0,
        failing_requests: int = 0,
        has_fallback: bool = True,
        policy: BreakerPolicy | None = None,
    ) -> None:
        self._clock = ManualClock()
        self._start = self._clock.monotonic()
        self._down_for, self._latency, self._answer_seconds = down_for, latency, answer_seconds
        self._failing_requests, self._has_fallback = failing_requests, has_fallback
        self._random = Random(seed)  # noqa: S311 - the same each time
        self._budget = RetryBudget()
        self._breakers = CircuitBreakers(policy or BreakerPolicy(), self._random)
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self.calls: list[Call] = []
        self.primary_requests: list[float] = []
        """When the primary was asked, in seconds after the start."""

    def run(self, number: int, spacing: float) -> None:
        """Start ``number`` calls, ``spacing`` seconds apart, and run them to their ends."""
        for index in range(number):
            self._at(index * spacing, self._start_call)
        while self._due:
            due, _, action = heapq.heappop(self._due)
            self._clock.advance(max(0.0, due - self._now()))
            action()

    def _now(self) -> float:
        return self._clock.monotonic() - self._start

    def _at(self, due: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (due, next(self._numbers), action))

    def _start_call(self) -> None:
        names, clock = ("primary", "fallback")[: 1 + self._has_fallback], self._clock
        routes = [
            PlannedRoute(index=i, name=name, timeouts=Timeouts(), breaker=self._breakers.for_route("e", name))
            for i, name in enumerate(names)
        ]
        recorder = CallRecorder(Instruments(), model="m", labels={}, request_attributes={}, url="http://provider.test/")
        deadline = clock.monotonic() + 120
        plan = Plan(routes, RetryPolicy(), random=self._random, deadline=deadline, budget=self._budget)
        call = Call(plan, api="chat", total=120, on_partial="restart", clock=clock, recorder=recorder)
        self.calls.append(call)
        self._send_when_due(call)

    def _send_when_due(self, call: Call) -> None:
        if call.state is CallState.WAITING:
            self._at(call.next_attempt_at - self._start, lambda: self._send(call))

    def _send(self, call: Call) -> None:
        call.start_attempt()
        if call.state is CallState.WAITING:
            self._send_when_due(call)
            return
        is_down = False
        if call.route.name == "primary":
            is_down = self._now() < self._down_for or len(self.primary_requests) < self._failing_requests
            self.primary_requests.append(self._now())
        self._at(self._now() + self._latency, lambda: self._respond(call, is_down=is_down))

    def _respond(self, call: Call, *, is_down: bool) -> None:
        if is_down:
            call.connection_lost(status_error(503))
        else:
            call.headers_received(HEAD)
            call.feed(TEXT_CHUNK)
            self._at(self._now() + self._answer_seconds, lambda: self._finish(call))
        self._send_when_due(call)

    def _finish(self, call: Call) -> None:
        call.feed(STOP_CHUNK)
        call.feed_eof()


@pytest.mark.parametrize("latency", [0.0, 0.02, 0.3])
def test_short_outage_costs_few_requests_and_ends_soon(latency: float) -> None:
    """All calls are served; the primary gets at most 12 requests while it is down, and calls again within 4 s after."""
    for seed in range(100):
        outage = OutageSimulation(seed, down_for=3.0, latency=latency)
        outage.run(20, 0.35)
        assert [CallState.ENDED] * 20 == [call.state for call in outage.calls]
        assert [] == [call.failure for call in outage.calls if call.result is None]
        after = [at for at in outage.primary_requests if at >= 3.0]
        assert True is (len(outage.primary_requests) - len(after) <= 12 and min(after) <= 7.0)
        last = outage.calls[-1].result
        assert last is not None
        assert None is last.degraded


def test_long_outage_is_probed_rarely() -> None:
    """During ten minutes of outage the primary is asked about every half minute, not once per call."""
    outage = OutageSimulation(1, down_for=600.0, latency=0.02)
    outage.run(2000, 0.35)
    requests = [at for at in outage.primary_requests if at < 600.0]
    assert True is (20 <= len(requests) <= 50)
    assert [] == [call.failure for call in outage.calls if call.result is None]


def test_long_answers_do_not_keep_the_circuit_open() -> None:
    """When the provider is well again, calls return to it at the first token of a probe, not at its end."""
    for seed in range(100):
        outage = OutageSimulation(seed, down_for=1.5, latency=0.1, answer_seconds=8.0)
        outage.run(32, 0.4)
        after = [call for call in outage.calls[10:] if call.result is None or call.result.degraded]
        assert [] == after


@pytest.mark.parametrize("down_for", [0.5, 1.0, 3.0, 10.0])
def test_breaker_without_a_fallback_fails_no_more_calls_than_retries_alone(down_for: float) -> None:
    """Where no other route can answer, calls wait for the circuit: not more of them fail than without a breaker."""

    def failures(policy: BreakerPolicy) -> int:
        outages = [
            OutageSimulation(seed, down_for=down_for, latency=0.05, has_fallback=False, policy=policy)
            for seed in range(100)
        ]
        for outage in outages:
            outage.run(40, 0.35)
        return sum(call.result is None for outage in outages for call in outage.calls)

    assert True is (failures(BreakerPolicy()) <= failures(BreakerPolicy(consecutive_failures=10_000, min_calls=10_000)))


def test_burst_of_failures_without_a_fallback_is_retried() -> None:
    """Twenty calls at once whose first requests fail are all served by their retries, although the circuit opens."""
    for seed in range(100):
        burst = OutageSimulation(seed, failing_requests=20, latency=0.05, has_fallback=False)
        burst.run(20, 0.0)
        assert [] == [call.failure for call in burst.calls if call.result is None]
