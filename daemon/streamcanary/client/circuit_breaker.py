"""A circuit breaker per route: attempts skip a route that fails, for a limited time.

    closed ── too many failures in a row, or of the last attempts ──▶ open ── the period ends ──▶ half open ── probe
       ▲                                                               ▲                                         │
       ├─────────────────────── its first token arrives ───────────────┼─────────────────────────────────────────┤
       │                                                               ╰─── it fails: the period doubles ────────╯

(M. Nygard, "Release It!", 2018, chapter 5.)
"""

import random as _random
import threading
from collections import OrderedDict, deque
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from streamcanary.model.config_types.duration import PositiveDuration
from streamcanary.model.faults import Blame, Fault, FaultKind

_MAX_ROUTES = 1024
_MAX_CALLS = 10_000  # kept per route
_MAX_JITTER = 0.2  # the part of an open period by which it can be shortened
_FAILURE_BLAMES = frozenset({Blame.PROVIDER, Blame.NETWORK})
_FAULTS_OF_ANSWERS = frozenset({FaultKind.MALFORMED_TOOL_CALL})  # the model wrote it; the route works


class BreakerPolicy(BaseModel):
    """When the circuit of a route opens and closes. Times are seconds.

    It opens after ``consecutive_failures`` failed attempts without a success between them, of one call or of several,
    each at most ``window`` after the one before; or when ``failure_rate`` of the attempts within ``window`` have
    failed, with at least ``min_calls`` of them.

    It is open for ``first_open_for``, then half open: one attempt at a time is allowed. The first token of its answer
    closes the circuit; after a failure it is open for twice as long as before, up to ``open_for``. Until an answer is
    complete, one failure opens it again, as if it had not been closed. Each period is shortened at random by up to a
    fifth, so that the clients of a provider do not all return at once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    consecutive_failures: Annotated[int, Field(ge=1, le=_MAX_CALLS)] = 5
    failure_rate: Annotated[float, Field(gt=0, le=1)] = 0.5
    min_calls: Annotated[int, Field(ge=1, le=_MAX_CALLS)] = 20
    window: PositiveDuration = 60.0
    first_open_for: PositiveDuration = 1.0
    open_for: PositiveDuration = 30.0


class CircuitState(StrEnum):
    """The state of a breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


def counts_as_failure(fault: Fault) -> bool:
    """Return whether a fault counts against the route: not if the request, the key or this process is to blame.

    A tool call that the model wrote wrong does not count either: the route itself works.
    """
    if fault.kind in _FAULTS_OF_ANSWERS:
        return False
    return fault.blame in _FAILURE_BLAMES or fault.kind is FaultKind.RATE_LIMITED


class CircuitBreaker:
    """The breaker of one route; safe to use from threads. Times are monotonic seconds."""

    def __init__(self, policy: BreakerPolicy, random: _random.Random) -> None:
        self._policy = policy
        self._random = random
        self._lock = threading.Lock()
        self._calls: deque[tuple[float, bool]] = deque(maxlen=_MAX_CALLS)
        self._failures = 0
        self._consecutive_failures = 0
        self._last_failure = 0.0
        self._opened_at: float | None = None
        self._half_open_at = 0.0
        self._times_opened = 0  # without a success between them
        self._probe_started: float | None = None

    def state(self, now: float) -> CircuitState:
        """Return the state at ``now``."""
        if self._opened_at is None:
            return CircuitState.CLOSED
        return CircuitState.HALF_OPEN if now >= self._half_open_at else CircuitState.OPEN

    def seconds_open(self, now: float) -> float:
        """Return how long the circuit stays open; 0 if it is closed or half open."""
        return 0.0 if self._opened_at is None else max(0.0, self._half_open_at - now)

    def allow_request(self, now: float) -> bool:
        """Return whether an attempt may use the route; :meth:`record_result` or :meth:`release_probe` must follow."""
        with self._lock:
            state = self.state(now)
            if state is not CircuitState.HALF_OPEN:
                return state is CircuitState.CLOSED
            # A probe that was never recorded or released must not keep the circuit open for ever.
            if self._probe_started is not None and now - self._probe_started < self._policy.open_for:
                return False
            self._probe_started = now
            return True

    def release_probe(self) -> None:
        """Report that an allowed attempt is not made, so that another one can be the probe."""
        with self._lock:
            self._probe_started = None

    def record_first_token(self, *, started: float) -> None:
        """Report the first token of an attempt that was sent at ``started``: the route answers again.

        An open circuit is closed before the answer is complete, which can take minutes. The next failure opens it.
        """
        opened_at = self._opened_at
        if opened_at is None or started < opened_at:  # without the lock: this is every attempt of a healthy route
            return
        with self._lock:
            if self._opened_at == opened_at:
                self._opened_at = self._probe_started = None
                self._consecutive_failures = self._policy.consecutive_failures - 1
                self._last_failure = started

    def record_result(self, fault: Fault | None, *, started: float, now: float) -> None:
        """Record the result of an attempt that was sent at ``started``.

        A fault that does not count against the route changes no state. Neither does an attempt that was sent before the
        circuit opened, nor the failure of one that was sent while it was open: they say nothing new.
        """
        is_failure = fault is not None and counts_as_failure(fault)
        with self._lock:
            if self._opened_at is None:
                self._record_closed(fault, now, is_failure=is_failure)
            elif started < self._opened_at:
                return
            elif fault is None:
                self._close()
            elif started >= self._half_open_at:
                self._probe_started = None
                if is_failure:
                    self._open(now)

    def _record_closed(self, fault: Fault | None, now: float, *, is_failure: bool) -> None:
        if fault is not None and not is_failure:
            return
        if not is_failure and self._times_opened:
            self._close()
        self._add_call(now, is_failure=is_failure)
        if not is_failure:
            self._consecutive_failures = 0
            return
        if now - self._last_failure > self._policy.window:
            self._consecutive_failures = 0
        self._consecutive_failures += 1
        self._last_failure = now
        calls, policy = len(self._calls), self._policy
        is_rate_exceeded = calls >= policy.min_calls and self._failures >= policy.failure_rate * calls
        if is_rate_exceeded or self._consecutive_failures >= policy.consecutive_failures:
            self._open(now)

    def _open(self, now: float) -> None:
        policy = self._policy
        period = policy.first_open_for * 2.0 ** min(self._times_opened, 32)
        self._times_opened += 1
        self._opened_at = now
        self._half_open_at = now + min(period, policy.open_for) * self._random.uniform(1 - _MAX_JITTER, 1)

    def _add_call(self, now: float, *, is_failure: bool) -> None:
        if len(self._calls) == _MAX_CALLS:
            self._failures -= self._calls[0][1]
        self._calls.append((now, is_failure))
        self._failures += is_failure
        while self._calls and self._calls[0][0] < now - self._policy.window:
            self._failures -= self._calls.popleft()[1]

    def _close(self) -> None:
        self._opened_at = self._probe_started = None
        self._times_opened = self._consecutive_failures = 0
        self._calls.clear()
        self._failures = 0


class CircuitBreakers:
    """The breakers of all routes of a client, by endpoint and model: the 1,024 most recently used."""

    def __init__(self, policy: BreakerPolicy, random: _random.Random) -> None:
        self._policy = policy
        self._random = random
        self._lock = threading.Lock()
        self._by_route: OrderedDict[tuple[str, str], CircuitBreaker] = OrderedDict()

    def for_route(self, endpoint: str, model: str) -> CircuitBreaker:
        """Return the breaker of a route."""
        key = (endpoint, model)
        with self._lock:
            breaker = self._by_route.get(key)
            if breaker is None:
                breaker = self._by_route[key] = CircuitBreaker(self._policy, self._random)
                if len(self._by_route) > _MAX_ROUTES:
                    self._by_route.popitem(last=False)
            else:
                self._by_route.move_to_end(key)
            return breaker
