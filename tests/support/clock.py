"""Clocks that move when a test says so."""

from streamcanary.model.clock import SystemClock


class ManualClock:
    """Starts at a round wall time; wall and monotonic time move together unless the wall is stepped."""

    def __init__(self, wall: float = 1_800_000_000.0, monotonic: float = 1000.0) -> None:
        self._wall = wall
        self._monotonic = monotonic

    def time(self) -> float:
        """Return seconds since the epoch."""
        return self._wall

    def monotonic(self) -> float:
        """Return seconds that only go forward."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._wall += seconds
        self._monotonic += seconds

    def step(self, seconds: float) -> None:
        """Set the wall clock forward or back."""
        self._wall += seconds


class OffsetClock(SystemClock):
    """The real clock, which a test can send ahead: nothing waits, and all that has an age is older."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def time(self) -> float:
        """Return seconds since the epoch."""
        return super().time() + self._ahead

    def monotonic(self) -> float:
        """Return seconds that only go forward."""
        return super().monotonic() + self._ahead

    def advance(self, seconds: float) -> None:
        """Go ahead."""
        self._ahead += seconds
