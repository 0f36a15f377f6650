"""A circuit breaker per route: calls skip a route that mostly fails, for a limited time.

    closed ── too many of the last calls failed ──▶ open ── open_for seconds ──▶ half open ── the one probe
       ▲                                              ▲                             │        that is let through
       ╰────────────── it answered ───────────────────┼─────────────────────────────┤
                                                      ╰────── it failed ────────────╯

(M. Nygard, "Release It!", 2018, chapter 5.)
"""

import threading
from collections import OrderedDict, deque
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from streamcanary.model.config_types.duration import PositiveDuration
from streamcanary.model.faults import Blame, Fault, FaultKind

_MAX_ROUTES = 1024
_MAX_CALLS = 10_000  # kept per route
_FAILURE_BLAMES = frozenset({Blame.PROVIDER, Blame.NETWORK})


class BreakerPolicy(BaseModel):
    """When the circuit of a route opens and closes. Times are seconds.

    It opens when ``failure_rate`` of the calls within ``window`` have failed, with at least ``min_calls`` calls. After
    ``open_for`` it is half open: one call at a time is allowed, and the first success closes it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    failure_rate: Annotated[float, Field(gt=0, le=1)] = 0.5
    min_calls: Annotated[int, Field(ge=1, le=_MAX_CALLS)] = 20
    window: PositiveDuration = 60.0
    open_for: PositiveDuration = 30.0


class CircuitState(StrEnum):
    """The state of a breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


def counts_as_failure(fault: Fault) -> bool:
    """Return whether a fault counts against the route: not if the request, the key or this process is to blame."""
    return fault.blame in _FAILURE_BLAMES or fault.kind is FaultKind.RATE_LIMITED


class CircuitBreaker:
    """The breaker of one route; safe to use from threads. Times are monotonic seconds."""

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._lock = threading.Lock()
        self._calls: deque[tuple[float, bool]] = deque(maxlen=_MAX_CALLS)
        self._failures = 0
        self._opened_at: float | None = None
        self._probe_started: float | None = None

    def state(self, now: float) -> CircuitState:
        """Return the state at ``now``."""
        if self._opened_at is None:
            return CircuitState.CLOSED
        return CircuitState.HALF_OPEN if now - self._opened_at >= self._policy.open_for else CircuitState.OPEN

    def allow_request(self, now: float) -> bool:
        """Return whether a call may use the route; then :meth:`record_result` or :meth:`release_probe` must follow."""
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
        """Report that an allowed call is not made, so that another call can be the probe."""
        with self._lock:
            self._probe_started = None

    def record_result(self, fault: Fault | None, now: float) -> None:
        """Record the result of an allowed call; a fault that does not count against the route changes no state."""
        is_failure = fault is not None and counts_as_failure(fault)
        with self._lock:
            if self._opened_at is not None:
                self._probe_started = None
                if fault is None:
                    self._close()
                elif is_failure:
                    self._opened_at = now
                return
            if fault is not None and not is_failure:
                return
            self._add_call(now, is_failure=is_failure)
            calls = len(self._calls)
            if is_failure and calls >= self._policy.min_calls and self._failures >= self._policy.failure_rate * calls:
                self._opened_at = now

    def _add_call(self, now: float, *, is_failure: bool) -> None:
        if len(self._calls) == _MAX_CALLS:
            self._failures -= self._calls[0][1]
        self._calls.append((now, is_failure))
        self._failures += is_failure
        while self._calls and self._calls[0][0] < now - self._policy.window:
            self._failures -= self._calls.popleft()[1]

    def _close(self) -> None:
        self._opened_at = None
        self._calls.clear()
        self._failures = 0


class CircuitBreakers:
    """The breakers of all routes of a client, by endpoint and model: the 1,024 most recently used."""

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._lock = threading.Lock()
        self._by_route: OrderedDict[tuple[str, str], CircuitBreaker] = OrderedDict()

    def for_route(self, endpoint: str, model: str) -> CircuitBreaker:
        """Return the breaker of a route."""
        key = (endpoint, model)
        with self._lock:
            breaker = self._by_route.get(key)
            if breaker is None:
                breaker = self._by_route[key] = CircuitBreaker(self._policy)
                if len(self._by_route) > _MAX_ROUTES:
                    self._by_route.popitem(last=False)
            else:
                self._by_route.move_to_end(key)
            return breaker
