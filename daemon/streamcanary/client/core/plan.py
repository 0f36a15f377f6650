"""Decides the next attempt of a call: a retry on the primary route, a fallback, or none.

The primary route is retried after a retryable fault, while attempts, budget and time are left. After a timeout a
fallback is tried first, because the same route is unlikely to be faster. A route with an open circuit is skipped; a
call without another route waits until the circuit is half open. A content policy fault ends the call without fallbacks.
"""

import random as _random
from collections import deque
from collections.abc import Callable, Sequence
from datetime import timedelta
from math import inf
from typing import Any, Literal

from msgspec import Struct

from streamcanary.client.circuit_breaker import CircuitBreaker
from streamcanary.client.core.answers.completeness import TokenLimit
from streamcanary.client.core.backoff import full_jitter
from streamcanary.client.core.limits import DEFAULT_LIMITS, Limits
from streamcanary.client.result import StreamResult
from streamcanary.client.retry_budget import RetryBudget
from streamcanary.client.retry_policy import RetryPolicy
from streamcanary.client.timeouts import Timeouts
from streamcanary.model.faults import Fault, FaultKind, Phase, make_fault

OnFault = Callable[[Fault], "bool | float | timedelta | None"]
"""Decides about a retry on the primary route: ``True`` or ``False``; seconds or a ``timedelta`` to retry after exactly
that wait; ``None`` to leave the decision to the client."""

_TIMEOUT_FAULTS = frozenset({FaultKind.HEADERS_TIMEOUT, FaultKind.FIRST_TOKEN_TIMEOUT, FaultKind.STALLED})
_NO_FALLBACK_FAULTS = frozenset({FaultKind.CONTENT_POLICY, FaultKind.CANCELLED})


class PlannedRoute(Struct, frozen=True, kw_only=True):
    """A route of a call: index 0 is the primary route, the others are its fallbacks.

    ``kind`` is a streaming request, a request without streaming (``whole``), or an answer from the cache, which
    ``cache_lookup`` returns, given the time.
    """

    index: int
    name: str
    timeouts: Timeouts
    kind: Literal["stream", "whole", "cache"] = "stream"
    lenient: bool = False
    secrets: tuple[str, ...] = ()
    public: tuple[str, ...] = ()  # names of its host, model and provider
    breaker: CircuitBreaker | None = None
    cache_lookup: Callable[[float], StreamResult | None] | None = None
    limits: Limits = DEFAULT_LIMITS
    token_limit: TokenLimit | None = None


class NextAttempt(Struct, frozen=True):
    """The next attempt: its route, and the ``delay`` before it in seconds.

    ``is_admitted``: the circuit breaker of the route has allowed it. A delayed attempt is not, because the circuit can
    open during the delay: :meth:`Plan.replace_retry` follows it.
    """

    route: PlannedRoute
    delay: float
    is_admitted: bool = True


class Plan:
    """The remaining attempts of a call. Times are monotonic seconds; no attempt starts after ``deadline``."""

    def __init__(
        self,
        routes: Sequence[PlannedRoute],
        retry: RetryPolicy,
        *,
        random: _random.Random,
        deadline: float,
        budget: RetryBudget | None = None,
        on: OnFault | None = None,
    ) -> None:
        self.primary, *fallbacks = routes
        self._fallbacks = deque(fallbacks)
        self._attempts_left = retry.max_attempts
        self._retry = retry
        self._random = random
        self._deadline = deadline
        self._budget = budget
        self._on_fault = on
        self._primary_fault: Fault | None = None  # the last one of the primary route
        self._hook_decision: bool | float | None = None  # the decision of the caller's hook about it
        self._retry_cost = 0  # tokens

    def first_attempt(self, now: float) -> NextAttempt | None:
        """Return the first attempt, or ``None`` if no route allows one soon enough."""
        if _allows_attempt(self.primary, now):
            return NextAttempt(self.primary, 0.0)
        if (fallback := self._next_fallback(now)) is None:
            wait = self._circuit_wait(now) + full_jitter(self._retry, 0, self._random)
            if wait <= self._retry.max_delay and now + wait < self._deadline:
                return NextAttempt(self.primary, wait, is_admitted=False)
        self._primary_fault = make_fault(
            FaultKind.CIRCUIT_OPEN,
            Phase.CONFIG,
            f"the circuit breaker of {self.primary.name} is open: recent attempts failed",
        )
        self._attempts_left = 0
        return fallback

    @property
    def primary_fault(self) -> Fault | None:
        """The last fault of the primary route."""
        return self._primary_fault

    def attempt_after(self, fault: Fault, route: PlannedRoute, now: float) -> NextAttempt | None:
        """Return the attempt that follows ``fault`` on ``route``, or ``None`` if the call ends."""
        if route is self.primary:
            self._attempts_left -= 1
            self._primary_fault = fault
            self._call_hook(fault)
        if now >= self._deadline or (fault.kind is FaultKind.TOTAL_TIMEOUT and self._hook_decision is None):
            return self._cached_fallback(now)
        if fault.kind in _NO_FALLBACK_FAULTS and self._hook_decision is None:
            return None
        has_other_route = bool(self._fallbacks) and self._fallbacks[0].kind == "stream"
        if has_other_route and (route is not self.primary or fault.kind in _TIMEOUT_FAULTS):
            return self._next_fallback(now) or self._retry_primary(now)
        if self._circuit_wait(now):
            return self._next_fallback(now) or self._retry_primary(now)
        return self._retry_primary(now) or self._next_fallback(now)

    def replace_retry(self, now: float) -> NextAttempt | None:
        """Return the attempt that is made instead of a retry that is due, ``None`` if the retry is made.

        That is a fallback, if the circuit of the primary route has opened since; without a fallback the retry is made.
        """
        if _allows_attempt(self.primary, now) or (instead := self._next_fallback(now)) is None:
            return None
        if self._budget is not None and self._retry_cost:
            self._budget.release(self._retry_cost)
        self._retry_cost = 0
        return instead

    def record_success(self) -> None:
        """Report that a route has answered: the cost of the last retry goes back to the budget."""
        if self._budget is not None:
            self._budget.release(self._retry_cost)

    def _call_hook(self, fault: Fault) -> None:
        decision: Any = self._on_fault(fault) if self._on_fault is not None else None
        decision = decision.total_seconds() if isinstance(decision, timedelta) else decision
        if decision is not None and not (isinstance(decision, (int, float)) and 0 <= decision < inf):
            raise TypeError(f"on must return None, True, False, or the seconds to wait, not {decision!r:.100}")
        self._hook_decision = decision

    def _retry_primary(self, now: float) -> NextAttempt | None:
        """Return a retry on the primary route, if allowed and due before the deadline.

        It is not due before the circuit is half open, unless the caller's hook has decided when.
        """
        fault, decision = self._primary_fault, self._hook_decision
        is_retryable = fault is not None and (fault.retryable if decision is None else decision is not False)
        if fault is None or not is_retryable or self._attempts_left <= 0:
            return None
        if decision is None or decision is True:
            retries = self._retry.max_attempts - self._attempts_left - 1
            backoff = full_jitter(self._retry, retries, self._random)
            wait = self._circuit_wait(now)
            delay = max(backoff, fault.retry_after or 0.0, wait + backoff if wait else 0.0)
        else:
            delay = max(0.0, float(decision))
        if now + delay >= self._deadline:
            return None
        # A delay of this process is free: its retry is no load on a provider that fails.
        budget = None if fault.kind is FaultKind.CLIENT_DELAYED else self._budget
        cost = 0 if budget is None else budget.acquire(after_timeout=fault.kind in _TIMEOUT_FAULTS)
        if cost is None:
            return None
        self._retry_cost = cost
        return NextAttempt(self.primary, delay, is_admitted=False)

    def _circuit_wait(self, now: float) -> float:
        """Return for how many seconds the circuit of the primary route stays open."""
        return 0.0 if self.primary.breaker is None else self.primary.breaker.seconds_open(now)

    def _next_fallback(self, now: float) -> NextAttempt | None:
        while self._fallbacks:
            route = self._fallbacks.popleft()
            if self._can_answer(route) and _allows_attempt(route, now):
                return NextAttempt(route, 0.0)
        return None

    def _can_answer(self, route: PlannedRoute) -> bool:
        """Return whether ``route`` may do better: the same request without streaming ends at the same token limit."""
        fault = self._primary_fault
        return route.kind != "whole" or fault is None or fault.kind is not FaultKind.TOKEN_LIMIT_REACHED

    def _cached_fallback(self, now: float) -> NextAttempt | None:
        """Return the cache fallback if it has an answer; it is the only one that takes no time."""
        cached_routes = (
            route for route in self._fallbacks if route.cache_lookup is not None and _allows_attempt(route, now)
        )
        return next((NextAttempt(route, 0.0) for route in cached_routes), None)


def _allows_attempt(route: PlannedRoute, now: float) -> bool:
    if route.cache_lookup is not None:
        return route.cache_lookup(now) is not None
    return route.breaker is None or route.breaker.allow_request(now)
