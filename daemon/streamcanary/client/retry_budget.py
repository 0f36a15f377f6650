"""How many retries a client may make in all: a bucket of tokens that retries empty and successes fill again.

Without it every caller retries at once when a provider goes down, and multiplies the load that keeps it down. The
numbers are those of botocore's standard mode: https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
"""

import threading

_RETRY_COST = 5
_TIMEOUT_RETRY_COST = 10
_SUCCESS_REFUND = 1


class RetryBudget:
    """Tokens for retries, shared by every call of a client; safe to use from threads.

    A retry costs 5, one after a timeout 10; an answer gives back what its last retry cost, or 1 if it needed none.
    When there are too few, a call does not retry on its own route, and goes to its fallbacks or fails.
    """

    def __init__(self, capacity: int = 500) -> None:
        if capacity < 0:
            raise ValueError("the capacity of a retry budget is not negative")
        self._capacity = capacity
        self._available = capacity
        self._lock = threading.Lock()

    @property
    def capacity(self) -> int:
        """How many tokens there are at most."""
        return self._capacity

    @property
    def available(self) -> int:
        """How many tokens there are now."""
        return self._available

    def acquire(self, *, after_timeout: bool) -> int | None:
        """Take the tokens for one retry and return how many, or ``None`` if there are too few."""
        cost = _TIMEOUT_RETRY_COST if after_timeout else _RETRY_COST
        with self._lock:
            if self._available < cost:
                return None
            self._available -= cost
            return cost

    def release(self, cost: int) -> None:
        """Give tokens back after an answer whose last retry cost ``spent``, 0 if it needed none."""
        with self._lock:
            self._available = min(self._capacity, self._available + (cost or _SUCCESS_REFUND))
