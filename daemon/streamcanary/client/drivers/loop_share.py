"""Bounds the share of an event loop's time that reading one stream takes, and the time between two yields.

A server that sends faster than we read is never waited for: without a yield, its stream would keep the loop from every
other task. With yields alone, some such streams would still take all of the loop's time.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import ClassVar, Final
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

READ_COST: Final = 50e-6
"""Seconds that each read counts at least: about the time in which the transport decodes one small chunk."""
MAX_SLICE: Final = 0.005
"""Seconds of work after which other tasks run."""
BURST: Final = 0.25
"""Seconds of work that are not limited: 5,000 small chunks, more than a usual answer has."""
MAX_FEED: Final = 4 * 1024
"""Bytes that are parsed at once: about 1 ms for events of one character, whatever the size of a network read."""
MAX_FLOOD_SHARES: Final = 4
"""The share of all streams of one endpoint beyond their bursts, as a multiple of the share of one."""
MAX_BODY_PIECES: Final = 2000
"""Pieces of a body without a stream that are read, such as chunks; servers send one or a few."""
_MAX_PAUSE: Final = 0.2  # seconds: shorter than a usual timeout, which goes on during a pause
_MAX_COST_RATIO: Final = 3  # of the time that a slice takes to its estimate; a longer one has waited for the network
_MIN_FLOOD_READS: Final = 200
_FLOOD_READS_PER_CHUNK: Final = 20  # servers send a chunk of an answer in one read, and a ping every few seconds
_MAX_SLICES: Final = 4096  # kept; the oldest are forgotten first


class FloodWork:
    """The work of those streams of one endpoint that have exceeded their burst. Times are seconds.

    An endpoint that floods makes the event loop late; that lag is no excuse for the endpoint.
    """

    _by_loop: ClassVar["WeakKeyDictionary[asyncio.AbstractEventLoop, WeakValueDictionary[str, FloodWork]]"] = (
        WeakKeyDictionary()
    )

    def __init__(self) -> None:
        self.streams: WeakSet[LoopShare] = WeakSet()
        self._slices: deque[tuple[float, float]] = deque(maxlen=_MAX_SLICES)  # the end of a slice, and its seconds

    @classmethod
    def of_running_loop(cls, endpoint: str) -> "FloodWork":
        """Return the work for ``endpoint`` in the running event loop."""
        loop = asyncio.get_running_loop()
        endpoints = cls._by_loop.get(loop)
        if endpoints is None:
            endpoints = cls._by_loop[loop] = WeakValueDictionary()
        work = endpoints.get(endpoint)
        if work is None:
            work = endpoints[endpoint] = cls()
        return work

    def add(self, now: float, seconds: float) -> None:
        """Count a slice of work that ended ``now``."""
        self._slices.append((now, seconds))

    def since(self, start: float) -> float:
        """Return the seconds of work after ``start``."""
        total = 0.0
        for end, seconds in reversed(self._slices):
            if end <= start:
                break
            total += seconds
        return total


class LoopShare:
    """The work of one stream. Times are seconds; ``max_share`` is a fraction, 1 for no limit.

    The work counts as at least :data:`READ_COST` a read, so that the number of reads is bounded on a machine of any
    speed: ``(BURST + max_share * t) / READ_COST`` in ``t`` seconds. Beyond their bursts, all streams with the same
    ``flood`` have at most :data:`MAX_FLOOD_SHARES` times the share of one.

    ``is_exceeded``: a slice of work is used up, or a pause of the longest length was not enough, so :meth:`pause` says
    how long to yield.
    """

    __slots__ = (
        "__weakref__",
        "_flood",
        "_max_share",
        "_now",
        "_seconds",
        "_slice",
        "_slice_started",
        "_started",
        "_work",
        "is_exceeded",
        "reads",
    )

    def __init__(self, max_share: float, now: Callable[[], float], flood: FloodWork | None = None) -> None:
        self._max_share = max_share
        self._now = now
        self._flood = flood or FloodWork()
        self._started = self._slice_started = now()
        self._work = 0.0
        self.reads = 0
        self._slice = 0.0
        self._seconds = 0.0  # that the work has taken before it exceeded the burst
        self.is_exceeded = False

    def add_read(self, seconds: float) -> None:
        """Count one read whose data took ``seconds`` to parse."""
        work = self._slice
        if work == 0.0:
            self._slice_started = self._now() - seconds
        self.reads += 1
        cost = READ_COST + seconds
        self._work += cost
        self._slice = work = work + cost
        if work >= MAX_SLICE:
            self.is_exceeded = True

    def lag_of_process(self, lag: float, start: float, chunks: int) -> float:
        """Return how much of the ``lag`` after ``start`` the endpoint has not caused itself, in seconds.

        ``chunks`` is the number of chunks of the answer so far. A stream that is read far more often than it has chunks
        is a flood, however late the process is: what it would have sent on time is more of the same.
        """
        if self.reads >= _MIN_FLOOD_READS and self.reads >= _FLOOD_READS_PER_CHUNK * chunks:
            return 0.0
        return max(0.0, lag - self._flood.since(start))

    def pause(self) -> float | None:
        """Return the seconds to yield to other tasks, 0 for one turn of the loop; ``None`` to read on."""
        if not self.is_exceeded:
            return None
        now = self._now()
        if self._slice > 0.0:
            self._end_slice(now)
        if self._max_share >= 1.0:
            self.is_exceeded = False
            return 0.0
        share = self._max_share * min(1.0, MAX_FLOOD_SHARES / max(1, len(self._flood.streams)))
        seconds = (self._work - BURST - share * (now - self._started)) / share
        self.is_exceeded = seconds > _MAX_PAUSE
        return min(max(0.0, seconds), _MAX_PAUSE)

    def _end_slice(self, now: float) -> None:
        self._seconds += min(now - self._slice_started, _MAX_COST_RATIO * self._slice)
        self._slice = 0.0
        if self._work > BURST:
            self._flood.streams.add(self)
            self._flood.add(now, self._seconds)
            self._seconds = 0.0


async def take_turns(
    pieces: AsyncGenerator[bytes], share: LoopShare, max_pieces: int = MAX_BODY_PIECES
) -> AsyncGenerator[bytes]:
    """Yield up to ``max_pieces`` of a body, and close ``pieces``; other tasks run between them, as ``share`` says.

    The transport returns thousands of small pieces from one network read without a pause. Without turns, not even a
    timeout of the reading task is noticed.
    """
    async with aclosing(pieces):
        count = 0
        async for piece in pieces:
            started, count = time.perf_counter(), count + 1
            yield piece
            if count >= max_pieces:
                break
            share.add_read(time.perf_counter() - started)
            if (pause := share.pause()) is not None:
                await asyncio.sleep(pause)
