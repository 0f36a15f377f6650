"""Where a call goes next: again on its own route, on to a fallback, or nowhere.

The own route is tried again while that may help, as long as attempts, budget and time are left. After a timeout another
route is tried first, because the same one will hardly be quicker. A route whose circuit is open is passed over. A
refusal on grounds of content is not shopped around.
"""

import random as _random
from collections import deque
from collections.abc import Callable, Sequence
from datetime import timedelta
from math import inf
from typing import Any, Literal

from msgspec import Struct

from streamcanary.client.circuit_breaker import CircuitBreaker
from streamcanary.client.core.backoff import full_jitter
from streamcanary.client.result import StreamResult
from streamcanary.client.retry_budget import RetryBudget
from streamcanary.client.timeouts_and_retries import RetryPolicy, Timeouts
from streamcanary.model.faults import Fault, FaultKind, Phase, make_fault

OnFault = Callable[[Fault], "bool | float | timedelta | None"]
"""Decides about a retry on the own route: ``True`` and ``False`` whether, a number of seconds or a ``timedelta`` that
it happens after just that wait, ``None`` leaves it to the client."""

_TIMEOUTS = frozenset({FaultKind.HEADERS_TIMEOUT, FaultKind.FIRST_TOKEN_TIMEOUT, FaultKind.STALLED})
_FINAL = frozenset({FaultKind.CONTENT_POLICY, FaultKind.CANCELLED})


class Leg(Struct, frozen=True, kw_only=True):
    """One way to an answer: index 0 is the call's own route, the others are its fallbacks.

    ``kind`` says how: a streamed request, a request without streaming, or an answer from the cache, which ``recall``
    looks for, given the time.
    """

    index: int
    name: str
    timeouts: Timeouts
    kind: Literal["stream", "whole", "cache"] = "stream"
    lenient: bool = False
    secrets: tuple[str, ...] = ()
    breaker: CircuitBreaker | None = None
    recall: Callable[[float], StreamResult | None] | None = None


class Step(Struct, frozen=True):
    """What is next: a leg, and how many seconds to wait before it."""

    leg: Leg
    delay: float


class Plan:
    """The legs of one call and what is left of them. Times are monotonic seconds; nothing begins after ``deadline``."""

    def __init__(
        self,
        legs: Sequence[Leg],
        retry: RetryPolicy,
        *,
        random: _random.Random,
        deadline: float,
        budget: RetryBudget | None = None,
        on: OnFault | None = None,
    ) -> None:
        self.own, *fallbacks = legs
        self._fallbacks = deque(fallbacks)
        self._left = retry.max_attempts
        self._retry = retry
        self._random = random
        self._deadline = deadline
        self._budget = budget
        self._on = on
        self._fault: Fault | None = None  # the last one of the own route
        self._wish: bool | float | None = None  # what the caller's hook says of it
        self._spent = 0  # tokens that the last retry cost

    def first(self, now: float) -> Step | None:
        """Return where the call begins, or ``None`` if every way is closed."""
        if _admits(self.own, now):
            return Step(self.own, 0.0)
        self._fault = make_fault(
            FaultKind.CIRCUIT_OPEN,
            Phase.CONFIG,
            f"{self.own.name} has mostly failed of late and is not asked for a while",
        )
        self._left = 0
        return self._fallback(now)

    @property
    def fault(self) -> Fault | None:
        """The last fault of the own route."""
        return self._fault

    def after(self, fault: Fault, leg: Leg, now: float) -> Step | None:
        """Return what follows on ``fault`` of ``leg``, or ``None`` if nothing does."""
        if leg is self.own:
            self._left -= 1
            self._fault = fault
            self._ask_caller(fault)
        if now >= self._deadline or (fault.kind is FaultKind.TOTAL_TIMEOUT and self._wish is None):
            return self._remembered(now)
        if fault.kind in _FINAL and self._wish is None:
            return None
        another_route = bool(self._fallbacks) and self._fallbacks[0].kind == "stream"
        if another_route and (leg is not self.own or fault.kind in _TIMEOUTS):
            return self._fallback(now) or self._again(now)
        return self._again(now) or self._fallback(now)

    def answered(self) -> None:
        """Take in that a leg has answered: the budget gets back what the last retry cost."""
        if self._budget is not None:
            self._budget.give(self._spent)

    def _ask_caller(self, fault: Fault) -> None:
        wish: Any = self._on(fault) if self._on is not None else None
        wish = wish.total_seconds() if isinstance(wish, timedelta) else wish
        if wish is not None and not (isinstance(wish, (int, float)) and 0 <= wish < inf):
            raise TypeError(f"on must return None, True, False, or the seconds to wait, not {wish!r:.100}")
        self._wish = wish

    def _again(self, now: float) -> Step | None:
        """Return another try on the own route, if it may help, and has its end before the deadline."""
        fault, wish = self._fault, self._wish
        may = fault is not None and (fault.retryable if wish is None else wish is not False)
        if fault is None or not may or self._left <= 0:
            return None
        if wish is None or wish is True:
            retries = self._retry.max_attempts - self._left - 1
            delay = max(full_jitter(self._retry, retries, self._random), fault.retry_after or 0.0)
        else:
            delay = max(0.0, float(wish))
        if now + delay >= self._deadline:
            return None
        spent = self._budget.take(after_timeout=fault.kind in _TIMEOUTS) if self._budget else 0
        if spent is None:
            return None
        if not _admits(self.own, now):
            if self._budget is not None and spent:
                self._budget.give(spent)
            return None
        self._spent = spent
        return Step(self.own, delay)

    def _fallback(self, now: float) -> Step | None:
        while self._fallbacks:
            leg = self._fallbacks.popleft()
            if _admits(leg, now):
                return Step(leg, 0.0)
        return None

    def _remembered(self, now: float) -> Step | None:
        """Return the way into the cache, if it leads somewhere: it takes no time, of which none is left."""
        kept = (leg for leg in self._fallbacks if leg.recall is not None and _admits(leg, now))
        return next((Step(leg, 0.0) for leg in kept), None)


def _admits(leg: Leg, now: float) -> bool:
    if leg.recall is not None:
        return leg.recall(now) is not None
    return leg.breaker is None or leg.breaker.admit(now)
