"""Starts due runs: a job of APScheduler for all canaries with the same times, and one for a first run at another time.

Only this module and the triggers import APScheduler, whose own cron trigger numbers weekdays differently from cron. A
job for each canary would take half a kilobyte, and twice the CPU time for each run.
"""

import copy
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from apscheduler.executors.base import BaseExecutor
from apscheduler.job import Job
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.date import DateTrigger

from streamcanary.canary.scheduling.triggers import FirstRun, Trigger, to_datetime

_log = logging.getLogger(__name__)
logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)  # the scheduler of canaries logs missed runs itself
_ROUNDING = 1e-6  # seconds; APScheduler's times have microseconds
_MARGIN = 1e-3  # seconds, less than between any two times of a canary


class _LoopExecutor(BaseExecutor):  # type: ignore[misc] # APScheduler has no types
    """Calls the function of a due job at once in the event loop; APScheduler's executor starts a task for it.

    ``due`` is when the job was due, in seconds since the epoch; of several times that have passed, the last one. The
    instances of a job are not counted: whether the runs of a canary overlap is decided for each canary.
    """

    due = 0.0

    def submit_job(self, job: Job, run_times: list[datetime]) -> None:
        """Call the function of ``job``."""
        self._do_submit_job(job, run_times)

    def _do_submit_job(self, job: Job, run_times: list[datetime]) -> None:
        self.due = run_times[-1].timestamp()
        job.func(*job.args)


class _SharedTimes(NamedTuple):
    """The times of the canaries ``names``, and the job for them."""

    trigger: Trigger
    job: Job
    names: dict[str, None]

    @property
    def next_run(self) -> float:
        """The next of the times, in seconds since the epoch."""
        return float(self.job.next_run_time.timestamp())


class DueRuns:
    """Calls ``on_due`` in the event loop with the name of a canary and the time at which its run was due.

    Times are in seconds since the epoch. A run that could not start on time is due nevertheless, and of several missed
    ones of a canary only the last.
    """

    def __init__(self, on_due: Callable[[str, float], None]) -> None:
        self._on_due = on_due
        self._executor = _LoopExecutor()
        self._scheduler = AsyncIOScheduler(
            timezone=UTC,
            executors={"default": self._executor},
            job_defaults={"misfire_grace_time": None, "coalesce": True},
        )
        self._triggers: dict[str, Trigger] = {}
        self._shared: dict[str, _SharedTimes] = {}
        self._first_jobs: dict[str, Job] = {}  # of first runs that are still to come, at times of their own

    @property
    def is_running(self) -> bool:
        """Whether runs become due."""
        return bool(self._scheduler.running)

    def start(self) -> None:
        """Start; call it in the event loop."""
        self._scheduler.start()

    def pause(self) -> None:
        """Let no further run be due."""
        if self._scheduler.running:
            self._scheduler.pause()

    def stop(self) -> None:
        """Stop for good."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def add(self, name: str, run: FirstRun) -> None:
        """Add a canary, or replace its times."""
        self.remove(name)
        trigger = self._triggers[name] = run.trigger
        shared = self._shared.get(trigger.times) or self._share(trigger, run.due)
        shared.names[name] = None
        is_at_its_times = abs(trigger.next_after(run.due - _MARGIN) - run.due) < _ROUNDING
        if is_at_its_times and shared.next_run <= run.due + _ROUNDING:
            trigger.not_before = max(trigger.not_before, run.due - _MARGIN)
            return
        trigger.not_before = max(trigger.not_before, run.due)
        self._first_jobs[name] = self._scheduler.add_job(
            self._on_first_run, DateTrigger(to_datetime(run.due), UTC), [name]
        )
        following = shared.trigger.next_after(run.due)
        if shared.next_run > following + _ROUNDING:  # the others have their first runs later
            shared.job.modify(next_run_time=to_datetime(following))

    def _share(self, trigger: Trigger, moment: float) -> "_SharedTimes":
        """Create the job for all canaries with the times of ``trigger``, from ``moment`` on."""
        times, trigger = trigger.times, copy.copy(trigger)
        trigger.not_before = 0.0
        first = to_datetime(trigger.next_after(moment - _MARGIN))
        job = self._scheduler.add_job(self._on_times, trigger, [times], id=times, next_run_time=first)
        shared = self._shared[times] = _SharedTimes(trigger, job, {})
        return shared

    def remove(self, name: str) -> None:
        """Remove a canary, if it was added."""
        trigger = self._triggers.pop(name, None)
        if trigger is None:
            return
        if (first_job := self._first_jobs.pop(name, None)) is not None:
            first_job.remove()
        shared = self._shared[trigger.times]
        del shared.names[name]
        if not shared.names:
            del self._shared[trigger.times]
            shared.job.remove()

    def next_run(self, name: str, now: float) -> float | None:
        """Return when a canary is due next after ``now``; ``None`` if it is unknown."""
        if (first_job := self._first_jobs.get(name)) is not None:
            return float(first_job.trigger.run_date.timestamp())
        trigger = self._triggers.get(name)
        return None if trigger is None else trigger.next_after(now)

    def missed_between(self, name: str, last: float, due: float) -> int:
        """Return the number of times of a canary between ``last`` and ``due``, at which it was due."""
        return self._triggers[name].missed_between(last, due)

    def realign(self, now: float) -> None:
        """Continue with the first times after ``now``: the wall clock was changed, for which APScheduler waits."""
        for first_job in self._first_jobs.values():
            first_job.remove()
        self._first_jobs.clear()
        for trigger in self._triggers.values():
            trigger.not_before = now
        for shared in self._shared.values():
            shared.job.modify(next_run_time=to_datetime(shared.trigger.next_after(now)))

    def _on_first_run(self, name: str) -> None:
        del self._first_jobs[name]
        self._call(name, self._executor.due)

    def _on_times(self, times: str) -> None:
        due = self._executor.due
        for name in tuple(self._shared[times].names):
            if due - self._triggers[name].not_before > _ROUNDING:
                self._call(name, due)

    def _call(self, name: str, due: float) -> None:
        try:
            self._on_due(name, due)
        except Exception:  # noqa: BLE001 - logged; the other canaries of the job are due, too
            _log.exception("canary run failed internally", extra={"canary": name})
