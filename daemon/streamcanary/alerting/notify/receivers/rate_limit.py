"""How often a receiver may be told: a bucket of turns that fills as time goes by."""

_BURST = 5.0  # seconds' worth of turns that can be saved up


class Pace:
    """Gives out ``per_minute`` turns a minute, a few at once after a pause. Times are monotonic seconds."""

    def __init__(self, per_minute: int) -> None:
        self._rate = per_minute / 60.0
        self._most = max(1.0, self._rate * _BURST)
        self._turns = self._most
        self._at: float | None = None

    def take(self, now: float) -> float:
        """Take a turn and return 0; or if there is none, take none, and return the seconds until there is."""
        passed = 0.0 if self._at is None else max(0.0, now - self._at)
        self._at = now
        self._turns = min(self._most, self._turns + passed * self._rate)
        if self._turns >= 1.0 - 1e-9:  # a wait that was slept out exactly is over
            self._turns = max(0.0, self._turns - 1.0)
            return 0.0
        return (1.0 - self._turns) / self._rate
