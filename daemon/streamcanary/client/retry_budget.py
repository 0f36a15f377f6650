"""Limits the retries of a client with a token bucket: retries take tokens, successes put them back.

Without it every caller retries when a provider fails, and multiplies the load that keeps it down. The numbers are
those of botocore's standard mode: https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
"""

import threading

_RETRY_COST = 5
_TIMEOUT_RETRY_COST = 10
_SUCCESS_REFUND = 1


class RetryBudget:
    """Tokens for retries, shared by every call of a client; safe to use from threads.

    A retry costs 5 tokens, a retry after a timeout 10. An answer puts back the cost of its last retry, or 1 if it
    needed none. With too few tokens a call does not retry on its primary route; it goes to its fallbacks or fails.
    """

    def __init__(self, capacity: int = 500) -> None:
        if capacity < 0:
            raise ValueError("the capacity of a retry budget must not be negative")
        self._capacity = capacity
        self._available = capacity
        self._lock = threading.Lock()

    @property
    def capacity(self) -> int:
        """The maximum number of tokens."""
        return self._capacity

    @property
    def available(self) -> int:
        """The current number of tokens."""
        return self._available

    def acquire(self, *, after_timeout: bool) -> int | None:
        """Take the tokens for one retry and return their number, or ``None`` if there are too few."""
        cost = _TIMEOUT_RETRY_COST if after_timeout else _RETRY_COST
        with self._lock:
            if self._available < cost:
                return None
            self._available -= cost
            return cost

    def release(self, cost: int) -> None:
        """Put tokens back after an answer whose last retry cost ``cost`` tokens, 0 if it needed no retry."""
        with self._lock:
            self._available = min(self._capacity, self._available + (cost or _SUCCESS_REFUND))
