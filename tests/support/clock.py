"""Clocks that a test controls."""

from streamcanary.model.clock import SystemClock


class ManualClock:
    """Start at a round wall time; wall and monotonic time advance together unless the wall clock is stepped."""

    def __init__(self, wall: float = 1_800_000_000.0, monotonic: float = 1000.0) -> None:
        self._wall = wall
        self._monotonic = monotonic

    def time(self) -> float:
        """Return seconds since the epoch."""
        return self._wall

    def monotonic(self) -> float:
        """Return monotonic seconds."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Advance wall and monotonic time."""
        self._wall += seconds
        self._monotonic += seconds

    def step(self, seconds: float) -> None:
        """Set the wall clock forward or back by ``seconds``."""
        self._wall += seconds


class OffsetClock(SystemClock):
    """The real clock plus an offset that a test increases: nothing waits, and everything with an age gets older."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def time(self) -> float:
        """Return seconds since the epoch."""
        return super().time() + self._ahead

    def monotonic(self) -> float:
        """Return monotonic seconds."""
        return super().monotonic() + self._ahead

    def advance(self, seconds: float) -> None:
        """Increase the offset."""
        self._ahead += seconds
