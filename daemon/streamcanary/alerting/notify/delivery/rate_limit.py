"""The rate limit of deliveries to a receiver: a token bucket."""

_BURST_SECONDS = 5.0  # seconds of the rate that the bucket holds


class RateLimiter:
    """A token bucket that gives ``per_minute`` tokens a minute, with a burst of 5 seconds. Times are monotonic."""

    def __init__(self, per_minute: int) -> None:
        self._tokens_per_second = per_minute / 60.0
        self._capacity = max(1.0, self._tokens_per_second * _BURST_SECONDS)
        self._tokens = self._capacity
        self._last_refill: float | None = None

    def acquire(self, now: float) -> float:
        """Take a token and return 0; if there is none, take none and return the seconds until there is one."""
        elapsed = 0.0 if self._last_refill is None else max(0.0, now - self._last_refill)
        self._last_refill = now
        self._tokens = min(self._capacity, self._tokens + elapsed * self._tokens_per_second)
        if self._tokens >= 1.0 - 1e-9:  # rounding must not add another wait after the returned one
            self._tokens = max(0.0, self._tokens - 1.0)
            return 0.0
        return (1.0 - self._tokens) / self._tokens_per_second
