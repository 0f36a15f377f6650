"""The source of time; tests pass their own."""

import time
from functools import partial
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


class LeaseClock(SystemClock):
    """The clocks of the operating system, with a monotonic clock that also counts the time of a suspended machine.

    A lease ends while the machine sleeps, and the clock of asyncio's loop stands still then. No clock of a virtual
    machine counts the time for which its host pauses it: commits are fenced by the database for that reason.
    """

    monotonic = staticmethod(
        partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
        if hasattr(time, "clock_gettime")
        else time.monotonic
    )
