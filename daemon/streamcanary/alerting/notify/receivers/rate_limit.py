"""How often a receiver may be told: a bucket of turns that fills as time goes by."""

_BURST_SECONDS = 5.0  # seconds' worth of turns that can be saved up


class RateLimiter:
    """Gives out ``per_minute`` turns a minute, a few at once after a pause. Times are monotonic seconds."""

    def __init__(self, per_minute: int) -> None:
        self._tokens_per_second = per_minute / 60.0
        self._capacity = max(1.0, self._tokens_per_second * _BURST_SECONDS)
        self._tokens = self._capacity
        self._last_refill: float | None = None

    def acquire(self, now: float) -> float:
        """Take a turn and return 0; or if there is none, take none, and return the seconds until there is."""
        elapsed = 0.0 if self._last_refill is None else max(0.0, now - self._last_refill)
        self._last_refill = now
        self._tokens = min(self._capacity, self._tokens + elapsed * self._tokens_per_second)
        if self._tokens >= 1.0 - 1e-9:  # a wait that was slept out exactly is over
            self._tokens = max(0.0, self._tokens - 1.0)
            return 0.0
        return (1.0 - self._tokens) / self._tokens_per_second
