"""The source of time; tests pass their own."""

import time
from typing import Protocol


class Clock(Protocol):
    """A wall clock and a monotonic clock.

    Use wall time (``time``) for timestamps that people and other machines read; it can jump. Use monotonic time
    (``monotonic``) for durations and deadlines; it never goes back.
    """

    def time(self) -> float:
        """Return seconds since the epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds of a clock that never goes back; its zero is arbitrary."""
        ...


class SystemClock:
    """The clocks of the operating system."""

    monotonic = staticmethod(time.monotonic)  # on Linux the same clock that asyncio's loop reads
    time = staticmethod(time.time)
