"""Measures the lag of an event loop: by how much its timers are late.

A loop is late while a callback runs for long, while the machine has no CPU for it, and while the process is stopped.
Everything that is read by the loop waits meanwhile, although it may have arrived in time.
"""

import asyncio
from collections import deque
from typing import ClassVar, Final
from weakref import WeakKeyDictionary, WeakSet

TICK: Final = 0.05
"""Seconds between two measurements; a delay that begins between two is underestimated by at most that."""
MIN_DELAY: Final = 0.05
"""Seconds; a timer that is less late counts as on time, which many are on a busy machine."""
_MAX_DELAYS: Final = 4096  # kept; the oldest are forgotten first


class LoopLag:
    """The lag of one event loop, measured while it has an observer. Times are seconds of the loop's clock.

    Get it with :meth:`of_running_loop`. An observer is any object that can be weakly referenced: a lost one does not
    keep the measurement running.
    """

    _by_loop: ClassVar["WeakKeyDictionary[asyncio.AbstractEventLoop, LoopLag]"] = WeakKeyDictionary()

    def __init__(self) -> None:
        self._observers: WeakSet[object] = WeakSet()
        self._next_tick: float | None = None
        self._delays: deque[tuple[float, float]] = deque(maxlen=_MAX_DELAYS)  # the end of a delay, and its seconds

    @classmethod
    def of_running_loop(cls) -> "LoopLag":
        """Return the lag of the running event loop."""
        loop = asyncio.get_running_loop()
        lag = cls._by_loop.get(loop)
        if lag is None:
            lag = cls._by_loop[loop] = cls()
        return lag

    @property
    def is_measuring(self) -> bool:
        """Whether the loop has a timer of this measurement."""
        return self._next_tick is not None

    def observe(self, observer: object) -> None:
        """Measure until :meth:`release` is called with ``observer``, or it no longer exists."""
        self._observers.add(observer)
        if self._next_tick is None:
            self._schedule_tick()

    def release(self, observer: object) -> None:
        """Stop measuring for ``observer``; the delays so far are kept."""
        self._observers.discard(observer)

    def since(self, start: float) -> float:
        """Return the seconds by which the loop was late after ``start``, including a delay that has just ended."""
        now = asyncio.get_running_loop().time()
        total = 0.0
        for end, seconds in reversed(self._delays):
            if end <= start:
                break
            total += min(seconds, end - start)
        current = 0.0 if self._next_tick is None else min(now - self._next_tick, now - start)
        return total + (current if current >= MIN_DELAY else 0.0)

    def longest_since(self, start: float) -> float:
        """Return the longest single delay that ended after ``start``, in seconds."""
        return max((seconds for end, seconds in self._delays if end > start), default=0.0)

    def _schedule_tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._next_tick = loop.time() + TICK
        loop.call_at(self._next_tick, self._tick)

    def _tick(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._next_tick is not None and (delay := now - self._next_tick) >= MIN_DELAY:
            self._delays.append((now, delay))
        self._next_tick = None
        if self._observers:
            self._schedule_tick()
