"""Limits the runs of one target at once."""

import asyncio
import heapq
import math
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Final

from streamcanary.model.canary import Canary

_MIN_DEFAULT: Final = 100
_TYPICAL_DURATION: Final = 5.0  # seconds: longer than most runs that succeed


def default_limit(canaries: Iterable[Canary]) -> int:
    """Return the default limit of a target with ``canaries``: 100, or as many as they need when each run takes 5 s.

    By Little's law, canaries have ``runs a second times duration`` runs at once. With 100, up to 125 canaries of the
    default ``every`` never wait, even if the target hangs and every run takes its whole timeout, 48 s. A tenth of the
    usual limit of open files (1,024) is enough for one target; set ``max_concurrent_runs`` to allow more.
    """
    needed = math.fsum(min(canary.timeout, _TYPICAL_DURATION) / canary.interval for canary in canaries)
    return max(_MIN_DEFAULT, math.ceil(needed))


def run_limits(canaries: Iterable[Canary], configured: Mapping[str, int | None]) -> dict[str, int]:
    """Return how many runs each target may have at once; ``configured`` has limits by target."""
    by_target: dict[str, list[Canary]] = {}
    for canary in canaries:
        by_target.setdefault(canary.target, []).append(canary)
    return {target: configured.get(target) or default_limit(those) for target, those in by_target.items()}


class RunSlots:
    """The runs of one target at once, at most ``limit``. The canary that has waited longest for a run is next.

    By the last run and not by the time of arrival: if a target cannot keep up, each of its canaries has its turn.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.is_closed = False
        self._used = 0
        self._order = count()
        self._waiting: list[tuple[float, int, asyncio.Future[bool]]] = []  # a heap

    def take(self) -> bool:
        """Take a slot, if one is free; return whether it was. :meth:`release` must follow then."""
        if self.is_closed or self._used >= self.limit:
            return False
        self._used += 1
        return True

    async def acquire(self, last_run: float, max_wait: float) -> bool:
        """Take a slot, for a canary whose last run started at ``last_run``; return whether there was one in time.

        ``max_wait`` is in seconds. :meth:`release` must follow if there was a slot.
        """
        if self.take():
            return True
        if self.is_closed:
            return False
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (last_run, next(self._order), turn))
        try:
            await asyncio.wait({turn}, timeout=max_wait)
        except asyncio.CancelledError:
            if turn.done() and turn.result():
                self.release()
            raise
        finally:
            if not turn.done():
                turn.cancel()
                self._remove_cancelled()
        return not turn.cancelled() and turn.result()

    def release(self) -> None:
        """Give a slot back; the next waiting run takes it."""
        self._used -= 1
        self._fill()

    def set_limit(self, limit: int) -> None:
        """Change the limit. With a higher one, waiting runs start; with a lower one, no run is ended for it."""
        self.limit = limit
        self._fill()

    def _fill(self) -> None:
        """Give free slots to waiting runs."""
        while self._waiting and self._used < self.limit:
            turn = heapq.heappop(self._waiting)[2]
            if not turn.done():
                turn.set_result(True)
                self._used += 1

    def close(self) -> None:
        """Let no further run start: those that wait, and all later ones, get no slot."""
        self.is_closed = True
        for _, _, turn in self._waiting:
            if not turn.done():
                turn.set_result(False)
        self._waiting.clear()

    def _remove_cancelled(self) -> None:
        """Remove runs that do not wait any more, once they are half of the heap: its size stays bounded."""
        if len(self._waiting) > 64 and 2 * sum(turn.done() for _, _, turn in self._waiting) > len(self._waiting):
            self._waiting = [entry for entry in self._waiting if not entry[2].done()]
            heapq.heapify(self._waiting)


class LimitLog:
    """Decides when missed runs are logged: at most once in ``interval`` seconds."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._logged_at = -math.inf
        self._count = 0

    def add(self, now: float) -> int | None:
        """Count a missed run at ``now`` (monotonic seconds); return the number to log, or ``None``."""
        self._count += 1
        if now - self._logged_at < self._interval:
            return None
        counted, self._count, self._logged_at = self._count, 0, now
        return counted
