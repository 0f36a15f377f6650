"""The times at which canaries run: their triggers, and their first runs after a start."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Final

from apscheduler.triggers.base import BaseTrigger
from msgspec import Struct

from streamcanary.model.canary import Canary
from streamcanary.model.schedules.cron import Cron

MAX_STAGGER: Final = 0.25
"""Seconds between the first runs of two canaries after a start, unless their phase or the budget says otherwise."""

PHASE_GRID: Final = 1 / 8
"""Seconds; phases are multiples of it, so that runs start together.

A run that starts alone finds little of its code and data in the caches of the CPU, and takes up to twice the CPU time
of one that follows another. Operating systems delay timers for the same reason. A power of two: the sums are exact.
"""
_MIN_GRID_INTERVAL: Final = 1.0  # seconds; a shorter interval has too few such phases

MAX_CRON_DELAY: Final = 300.0
"""Seconds after its due time in which a missed run of a canary with a cron expression can be made.

It bridges a lease that ends, also one of some minutes, and a failover of the database. Later, the canary may have to be
quiet: its expression says when it may run.
"""


def phase_offset(instance: str, name: str, interval: float) -> float:
    """Return the offset of a canary's runs within its interval, in seconds from 0 up to ``interval``.

    The offset is the same after each restart. It is a hash of instance and name, so that 100 replicas of one canary are
    spread as evenly as 100 canaries of one replica. It is a multiple of :data:`PHASE_GRID` if the interval is a second
    or longer.
    """
    offset = hashed_share(f"{instance}\0{name}") * interval
    return offset if interval < _MIN_GRID_INTERVAL else offset // PHASE_GRID * PHASE_GRID


def hashed_share(text: str) -> float:
    """Return a number from 0 up to 1 that depends on ``text`` alone, and is as good as random."""
    digest = blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


class AlignedIntervalTrigger(BaseTrigger):  # type: ignore[misc] # APScheduler has no types
    """Fires at ``phase + k * interval`` seconds of epoch time, without drift for any duration of the runs.

    Times up to ``not_before``, in seconds since the epoch, are skipped.
    """

    __slots__ = ("interval", "not_before", "phase")

    max_delay = math.inf
    """Seconds after a fire time in which a run that was missed then can be made."""

    def __init__(self, interval: float, phase: float, not_before: float = 0.0) -> None:
        self.interval = interval
        self.phase = phase
        self.not_before = not_before

    @property
    def times(self) -> str:
        """The times at which it fires, but for ``not_before``; equal for triggers with the same times."""
        return f"each {self.interval!r} s at {self.phase!r} s"

    def next_after(self, moment: float) -> float:
        """Return the first fire time after ``moment``, both in seconds since the epoch."""
        return self._point_after(max(moment, self.not_before))

    def last_until(self, moment: float) -> float:
        """Return the last fire time not later than ``moment``, also a skipped one."""
        return self._point_after(moment) - self.interval

    def _point_after(self, moment: float) -> float:
        steps = (moment - self.phase) // self.interval + 1
        point = self.phase + steps * self.interval
        return point if point - moment > 1e-6 else point + self.interval

    def missed_between(self, last: float, due: float) -> int:
        """Return the number of fire times between ``last`` and ``due``, which are fire times themselves."""
        return round((due - self.next_after(last)) / self.interval)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Return the fire time after the previous one, for APScheduler."""
        return to_datetime(self.next_after((previous_fire_time or now).timestamp()))


class CronTrigger(BaseTrigger):  # type: ignore[misc] # APScheduler has no types
    """Fires exactly at the times of ``cron``, without a phase offset.

    Times up to ``not_before``, in seconds since the epoch, are skipped.
    """

    __slots__ = ("cron", "not_before")

    max_delay = MAX_CRON_DELAY
    """Seconds after a fire time in which a run that was missed then can be made."""

    def __init__(self, cron: Cron, not_before: float = 0.0) -> None:
        self.cron = cron
        self.not_before = not_before

    @property
    def times(self) -> str:
        """The times at which it fires, but for ``not_before``; equal for triggers with the same times."""
        return str(self.cron)

    def next_after(self, moment: float) -> float:
        """Return the first fire time after ``moment``, both in seconds since the epoch."""
        return self.cron.nth_run_after(max(moment, self.not_before), 1)

    def last_until(self, moment: float) -> float | None:
        """Return the last fire time not later than ``moment``; ``None`` if it is more than ``max_delay`` before it."""
        return self.cron.last_point_until(moment, self.max_delay)

    def missed_between(self, last: float, due: float) -> int:
        """Return the number of fire times between ``last`` and ``due``, which are fire times themselves."""
        return self.cron.expected_runs(max(last, self.not_before), due) - 1

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Return the fire time after the previous one, for APScheduler."""
        return to_datetime(self.next_after((previous_fire_time or now).timestamp()))


Trigger = AlignedIntervalTrigger | CronTrigger


def trigger_of(canary: Canary, instance: str) -> Trigger:
    """Return the trigger of a canary, which is the same in each process of ``instance``."""
    if canary.cron is not None:
        return CronTrigger(canary.cron)
    return AlignedIntervalTrigger(canary.interval, phase_offset(instance, canary.name, canary.interval))


class FirstRun(Struct, frozen=True):
    """When a canary runs first after a start, in seconds since the epoch, and its trigger.

    The first run may be at one of the trigger's times, or before all of them.
    """

    due: float
    trigger: Trigger


def first_runs(
    canaries: Iterable[Canary], now: float, *, instance: str, min_gap: float, at_phase: bool = False
) -> dict[str, FirstRun]:
    """Return the first run of each canary, by name, for a start at ``now``.

    One canary, or a few, have a result at once: every quarter of a second the next one runs. Many are spread over their
    intervals, each at its phase, as in all further runs: at a start there are at most four runs a second more than at
    any other time. ``min_gap`` is the least time in seconds between two first runs, which a budget can require.

    After a first run before its phase, a canary runs again one interval later at the earliest, so that a slow run does
    not overlap the next. A canary with a cron expression waits for its time: it may have to be quiet at others.

    With ``at_phase`` every canary waits for its phase, as the members of a fleet do: all of them may start at once.
    """
    runs = {}
    for position, canary in enumerate(canaries):
        trigger = trigger_of(canary, instance)
        aligned = trigger.next_after(now)
        if at_phase or canary.cron is not None:
            runs[canary.name] = FirstRun(aligned, trigger)
            continue
        due = max(now + position * min_gap, min(now + position * MAX_STAGGER, aligned))
        if due != aligned:
            trigger.not_before = due + canary.interval
        runs[canary.name] = FirstRun(due, trigger)
    return runs


def to_datetime(seconds: float) -> datetime:
    """Return ``seconds`` since the epoch as a time for APScheduler."""
    return datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)
