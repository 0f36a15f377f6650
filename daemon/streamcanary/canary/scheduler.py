"""Schedules canary runs: at fixed offsets of epoch time, spread over the interval, or by a cron expression.

Every missed run is counted and logged. This is the only module that imports APScheduler, whose own cron trigger numbers
weekdays differently from cron.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Protocol
from uuid import uuid4

import msgspec
from apscheduler.events import EVENT_JOB_MAX_INSTANCES, EVENT_JOB_SUBMITTED, JobSubmissionEvent
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger
from opentelemetry.context import Context

from streamcanary.canary.metrics import CanaryMetrics
from streamcanary.model.canary import Canary
from streamcanary.model.clock import Clock
from streamcanary.model.cron import Cron
from streamcanary.model.outcome import BudgetState, Outcome, OutcomeKind

_log = logging.getLogger(__name__)
logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)  # this module logs missed runs itself
_CLOCK_CHECK_INTERVAL = 1.0  # seconds between two comparisons of the clocks
# Seconds. A larger change of wall time against monotonic time between two comparisons is a clock step.
_CLOCK_STEP_THRESHOLD = 0.5
_CANCEL_TIMEOUT = 0.5  # seconds that cancelled runs have to end
_MAX_STAGGER = 0.25  # seconds between the first runs of two canaries at start, at most


class Runner(Protocol):
    """Runs one canary; the unit of scheduling."""

    canary: Canary

    def __call__(self, scheduled: float) -> Awaitable[Outcome]:
        """Run once; ``scheduled`` is the due time, in seconds since the epoch."""
        ...


class BudgetGuard(Protocol):
    """Decides whether the budget permits a run."""

    min_start_gap: float
    """Seconds between the first runs of two canaries at start, at least."""

    def admit(self, canary: Canary) -> BudgetState | None:
        """Return the budget state for a run that is due; ``None`` without a budget.

        The run is skipped if the state is ``slowed`` or ``exhausted``.
        """
        ...


def phase_offset(instance: str, name: str, interval: float) -> float:
    """Return the offset of a canary's runs within its interval, in seconds from 0 up to ``interval``.

    The offset is the same after each restart. It is a hash of instance and name, so that 100 replicas of one canary are
    spread as evenly as 100 canaries of one replica.
    """
    digest = blake2b(f"{instance}\0{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 * interval


class AlignedIntervalTrigger(BaseTrigger):  # type: ignore[misc] # APScheduler has no types
    """Fires at ``phase + k * interval`` seconds of epoch time, without drift for any duration of the runs.

    Times up to ``not_before``, in seconds since the epoch, are skipped.
    """

    __slots__ = ("interval", "not_before", "phase")

    def __init__(self, interval: float, phase: float, not_before: float = 0.0) -> None:
        self.interval = interval
        self.phase = phase
        self.not_before = not_before

    def next_after(self, moment: float) -> float:
        """Return the first fire time after ``moment``, both in seconds since the epoch."""
        moment = max(moment, self.not_before)
        steps = (moment - self.phase) // self.interval + 1
        point = self.phase + steps * self.interval
        return point if point - moment > 1e-6 else point + self.interval

    def missed_between(self, last: float, due: float) -> int:
        """Return the number of fire times between ``last`` and ``due``, which are fire times themselves."""
        return round((due - self.next_after(last)) / self.interval)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Return the fire time after the previous one, for APScheduler."""
        return _to_datetime(self.next_after((previous_fire_time or now).timestamp()))


class CronTrigger(BaseTrigger):  # type: ignore[misc] # APScheduler has no types
    """Fires exactly at the times of ``cron``, without a phase offset.

    Times up to ``not_before``, in seconds since the epoch, are skipped.
    """

    __slots__ = ("cron", "not_before")

    def __init__(self, cron: Cron, not_before: float = 0.0) -> None:
        self.cron = cron
        self.not_before = not_before

    def next_after(self, moment: float) -> float:
        """Return the first fire time after ``moment``, both in seconds since the epoch."""
        return self.cron.nth_run_after(max(moment, self.not_before), 1)

    def missed_between(self, last: float, due: float) -> int:
        """Return the number of fire times between ``last`` and ``due``, which are fire times themselves."""
        return self.cron.expected_runs(last, due) - 1

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Return the fire time after the previous one, for APScheduler."""
        return _to_datetime(self.next_after((previous_fire_time or now).timestamp()))


class Scheduler:
    """Runs every canary when it is due, and passes each outcome to ``on_outcome``, which must not block.

    ``guard`` may forbid a run. ``on_clock_step`` is called after a step of the wall clock.
    """

    def __init__(
        self,
        runners: Sequence[Runner],
        *,
        instance: str,
        clock: Clock,
        metrics: CanaryMetrics,
        on_outcome: Callable[[Outcome], None],
        guard: BudgetGuard | None = None,
        on_clock_step: Callable[[], None] = lambda: None,
    ) -> None:
        self._runners = {runner.canary.name: runner for runner in runners}
        self._instance = instance
        self._clock = clock
        self._metrics = metrics
        self._on_outcome = on_outcome
        self._guard = guard
        self._on_clock_step = on_clock_step
        self._scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        )
        self._triggers: dict[str, AlignedIntervalTrigger | CronTrigger] = {}
        self._due_by_canary: dict[str, float] = {}
        self._last_due_by_canary: dict[str, float] = {}
        self._running_tasks: dict[str, asyncio.Task[None]] = {}
        self._clock_task: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        """Whether canaries are scheduled and the clock is watched."""
        return bool(self._scheduler.running) and self._clock_task is not None and not self._clock_task.done()

    def start(self) -> None:
        """Start to run canaries.

        Canaries with an interval run once at the start, one after the other, and then at their fixed offsets. The
        second run is at least one interval after the first, so that a slow first run does not overlap it. A canary with
        a cron expression waits for its first fire time: it may have to be quiet at other times.
        """
        now = self._clock.time()
        gap = 0.0 if self._guard is None else self._guard.min_start_gap
        for position, (name, runner) in enumerate(self._runners.items()):
            interval, cron = runner.canary.interval, runner.canary.cron
            trigger: AlignedIntervalTrigger | CronTrigger
            if cron is None:
                due = now + position * max(gap, min(_MAX_STAGGER, interval / (2 * len(self._runners))))
                trigger = AlignedIntervalTrigger(
                    interval, phase_offset(self._instance, name, interval), not_before=due + interval
                )
            else:
                trigger = CronTrigger(cron)
                due = trigger.next_after(now)
            self._triggers[name] = trigger
            self._metrics.initialize_series(runner.canary)
            self._scheduler.add_job(
                self._run_if_admitted, trigger, args=[name], id=name, name=name, next_run_time=_to_datetime(due)
            )
        self._scheduler.add_listener(self._on_submission, EVENT_JOB_SUBMITTED | EVENT_JOB_MAX_INSTANCES)
        self._scheduler.start()
        self._clock_task = asyncio.create_task(self._detect_clock_steps(), name="clock step detection")

    async def drain(self, seconds: float) -> None:
        """Start no more runs, wait up to ``seconds`` for running ones, and cancel the rest without an outcome."""
        if self._clock_task is not None:
            self._clock_task.cancel()
            await asyncio.gather(self._clock_task, return_exceptions=True)
        if self._scheduler.running:
            self._scheduler.pause()
        tasks = dict(self._running_tasks)
        if tasks:
            await asyncio.wait(tasks.values(), timeout=seconds)
        for name, task in tasks.items():
            if not task.done():
                task.cancel()
                self._metrics.record_missed(self._runners[name].canary, "shutdown")
        if tasks:  # a cancelled run that waits for its connection to close is left behind
            await asyncio.wait(tasks.values(), timeout=_CANCEL_TIMEOUT)
        if self._scheduler.running:
            # APScheduler cancels its coroutine jobs here with either value of ``wait``: none is left at this point.
            self._scheduler.shutdown(wait=False)

    def _on_submission(self, event: JobSubmissionEvent) -> None:
        """Record the due time of a run; APScheduler calls this before the run starts, both on the event loop."""
        name, due = event.job_id, event.scheduled_run_times[-1].timestamp()
        if event.code == EVENT_JOB_SUBMITTED:
            self._due_by_canary[name] = due
        else:
            self._last_due_by_canary[name] = due
            self._record_skipped(name, due, "overlap", "the previous run has not ended")

    async def _run_if_admitted(self, name: str) -> None:
        runner, due = self._runners[name], self._due_by_canary[name]
        self._count_missed(name, due)
        state = None if self._guard is None else self._guard.admit(runner.canary)
        if state in (BudgetState.SLOWED, BudgetState.EXHAUSTED):
            self._record_skipped(name, due, "budget", f"the budget is {state}", state=state)
            return
        task = asyncio.create_task(self._run(runner, due, state), name=f"canary {name}")
        self._running_tasks[name] = task
        try:
            # Shielded: APScheduler cancels its jobs at shutdown, but drain() lets them end.
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():  # cancelled by drain(): APScheduler must not log that as an error of the job
                raise
        finally:
            if task.done():
                self._running_tasks.pop(name, None)
            else:
                task.add_done_callback(lambda _: self._running_tasks.pop(name, None))

    async def _run(self, runner: Runner, due: float, state: BudgetState | None) -> None:
        self._on_outcome(msgspec.structs.replace(await runner(due), budget=state))

    def _count_missed(self, name: str, due: float) -> None:
        """Record the runs missed since the last one: the process was suspended, or its event loop was blocked."""
        last, self._last_due_by_canary[name] = self._last_due_by_canary.get(name), due
        if last is None:
            return
        missed = self._triggers[name].missed_between(last, due)
        if missed > 0:
            self._record_skipped(name, due, "late", "the daemon did not run on time", missed)

    def _record_skipped(
        self, name: str, due: float, reason: str, explanation: str, count: int = 1, state: BudgetState | None = None
    ) -> None:
        canary = self._runners[name].canary
        # The spend guard logs an exhausted budget once; a warning for each run of each canary would flood the log.
        level = logging.WARNING if state is None else logging.DEBUG
        _log.log(
            level,
            "canary runs missed",
            extra={"canary": name, "reason": reason, "explanation": explanation, "count": count},
        )
        self._metrics.record_missed(canary, reason, count)
        outcome = Outcome(
            run_id=uuid4().hex,
            canary=canary.name,
            target=canary.target,
            provider=canary.provider,
            kind=OutcomeKind.SKIPPED,
            scheduled=due,
            started=self._clock.time(),
            reason=reason if count == 1 else f"{reason}: {count} runs",
            budget=state,
        )
        self._metrics.record_run(canary, outcome, Context())
        self._on_outcome(outcome)

    async def _detect_clock_steps(self) -> None:
        """Detect steps of the wall clock: APScheduler waits for wall time and sleeps too long after a step back."""
        offset = self._clock.time() - self._clock.monotonic()
        while True:
            await asyncio.sleep(_CLOCK_CHECK_INTERVAL)
            now_offset = self._clock.time() - self._clock.monotonic()
            if abs(step := now_offset - offset) > _CLOCK_STEP_THRESHOLD:
                _log.warning("clock step detected", extra={"seconds": round(step, 3)})
                self._realign()
                self._on_clock_step()
            offset = now_offset

    def _realign(self) -> None:
        now = self._clock.time()
        self._last_due_by_canary.clear()  # runs in the skipped or repeated time are not missed runs
        for name, trigger in self._triggers.items():
            trigger.not_before = now
            self._scheduler.modify_job(name, next_run_time=_to_datetime(trigger.next_after(now)))


def _to_datetime(seconds: float) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)
