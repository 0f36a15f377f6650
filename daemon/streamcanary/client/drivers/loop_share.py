"""Bounds the share of an event loop's time that reading one stream takes, and the time between two yields.

A server that sends faster than we read is never waited for: without a yield, its stream would keep the loop from every
other task. With yields alone, some such streams would still take all of the loop's time.
"""

from collections.abc import Callable
from typing import Final

READ_COST: Final = 50e-6
"""Seconds that each read counts at least: about the time in which the transport decodes one small chunk."""
MAX_SLICE: Final = 0.005
"""Seconds of work after which other tasks run."""
BURST: Final = 0.25
"""Seconds of work that are not limited: 5,000 small chunks, more than a usual answer has."""
MAX_FEED: Final = 4 * 1024
"""Bytes that are parsed at once: about 1 ms for events of one character, whatever the size of a network read."""
_MAX_PAUSE: Final = 0.2  # seconds: shorter than a usual timeout, which goes on during a pause


class LoopShare:
    """The work of one stream. Times are seconds; ``max_share`` is a fraction, 1 for no limit.

    The work counts as at least :data:`READ_COST` a read, so that the number of reads is bounded on a machine of any
    speed: ``(BURST + max_share * t) / READ_COST`` in ``t`` seconds.
    """

    __slots__ = ("_max_share", "_now", "_slice", "_started", "_work")

    def __init__(self, max_share: float, now: Callable[[], float]) -> None:
        self._max_share = max_share
        self._now = now
        self._started = now()
        self._work = 0.0
        self._slice = 0.0

    def add_read(self, seconds: float) -> None:
        """Count one read whose data took ``seconds`` to parse."""
        cost = READ_COST + seconds
        self._work += cost
        self._slice += cost

    def pause(self) -> float | None:
        """Return the seconds to yield to other tasks, 0 for one turn of the loop; ``None`` to read on."""
        if self._slice < MAX_SLICE:
            return None
        self._slice = 0.0
        if self._max_share >= 1.0:
            return 0.0
        allowed = BURST + self._max_share * (self._now() - self._started)
        return min(max(0.0, (self._work - allowed) / self._max_share), _MAX_PAUSE)
