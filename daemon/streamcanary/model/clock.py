"""Where time comes from, so that a test can hand in its own."""

import time
from typing import Protocol


class Clock(Protocol):
    """Two readings of time; which one to use is a matter of correctness.

    Wall time (``time``) stamps what people and other machines read, and may jump. Monotonic time
    (``monotonic``) measures durations and deadlines, and never goes back.
    """

    def time(self) -> float:
        """Return seconds since the epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that only goes forward; its zero means nothing."""
        ...


class SystemClock:
    """The clocks of the operating system."""

    def time(self) -> float:
        """Return seconds since the epoch, UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Return ``time.monotonic()``: on Linux the same clock that asyncio's loop reads."""
        return time.monotonic()
