"""When canaries run: on a grid of epoch time, spread over their interval, or at the points of a cron expression.

Nothing is missed in silence. The only importer of APScheduler, whose own cron trigger counts weekdays otherwise than
cron does.
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
logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)  # of the runs that it leaves out, we tell
_CLOCK_CHECK_INTERVAL = 1.0  # seconds between two looks at the clocks
_CLOCK_STEP_THRESHOLD = (
    0.5  # seconds by which wall time may drift from monotonic time between two looks before it counts as a step
)
_MAX_STAGGER = 0.25  # seconds between the first runs of two canaries at start, at most


class Runner(Protocol):
    """What is scheduled: one canary that can be run."""

    canary: Canary

    def __call__(self, scheduled: float) -> Awaitable[Outcome]:
        """Run once; ``scheduled`` is when it was due, in seconds since the epoch."""
        ...


class BudgetGuard(Protocol):
    """Who may forbid a run for the sake of the budget."""

    min_start_gap: float
    """Seconds between the first runs of two canaries at start, at least."""

    def admit(self, canary: Canary) -> BudgetState | None:
        """Return how the budget stands for a run that is due; ``None`` if there is none.

        It is skipped if that is ``slowed`` or ``exhausted``.
        """
        ...


def phase_offset(instance: str, name: str, interval: float) -> float:
    """Return where in its interval a canary runs, in seconds from 0 up to ``interval``.

    It is the same after each restart. The instance is hashed too: a hundred replicas of one canary are spread as well
    as a hundred canaries of one replica.
    """
    digest = blake2b(f"{instance}\0{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 * interval


class AlignedIntervalTrigger(BaseTrigger):  # type: ignore[misc] # APScheduler has no types
    """Fires at ``phase + k * interval`` seconds of epoch time: no drift, whatever each run takes.

    Points up to ``not_before``, in seconds since the epoch, are left out.
    """

    __slots__ = ("interval", "not_before", "phase")

    def __init__(self, interval: float, phase: float, not_before: float = 0.0) -> None:
        self.interval = interval
        self.phase = phase
        self.not_before = not_before

    def next_after(self, moment: float) -> float:
        """Return the first point of the grid after ``moment``, both in seconds since the epoch."""
        moment = max(moment, self.not_before)
        steps = (moment - self.phase) // self.interval + 1
        point = self.phase + steps * self.interval
        return point if point - moment > 1e-6 else point + self.interval

    def missed_between(self, last: float, due: float) -> int:
        """Return how many points are between ``last`` and ``due``, which are points themselves."""
        return round((due - self.next_after(last)) / self.interval)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Return the point of the grid that follows the previous one, as APScheduler asks for it."""
        return _to_datetime(self.next_after((previous_fire_time or now).timestamp()))


class CronTrigger(BaseTrigger):  # type: ignore[misc] # APScheduler has no types
    """Fires at the points of ``cron``, exactly: who writes nine o'clock means it. There is no phase.

    Points up to ``not_before``, in seconds since the epoch, are left out.
    """

    __slots__ = ("cron", "not_before")

    def __init__(self, cron: Cron, not_before: float = 0.0) -> None:
        self.cron = cron
        self.not_before = not_before

    def next_after(self, moment: float) -> float:
        """Return the first point after ``moment``, both in seconds since the epoch."""
        return self.cron.nth_run_after(max(moment, self.not_before), 1)

    def missed_between(self, last: float, due: float) -> int:
        """Return how many points are between ``last`` and ``due``, which are points themselves."""
        return self.cron.expected_runs(last, due) - 1

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Return the point that follows the previous one, as APScheduler asks for it."""
        return _to_datetime(self.next_after((previous_fire_time or now).timestamp()))


class Scheduler:
    """Runs every canary when it is due, and hands each outcome to ``deliver``, which must not block.

    ``guard`` is asked before each run. ``on_clock_step`` is called when wall time has jumped.
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
        """Whether the schedule turns."""
        return bool(self._scheduler.running) and self._clock_task is not None and not self._clock_task.done()

    def start(self) -> None:
        """Start to run canaries.

        Each that has an interval is asked at once, one after the other, and from its next turn on on its grid. That
        turn is at least an interval later, so that a slow first run overlaps no second. One that has a cron expression
        waits for its first point: outside of it nobody wants to know.
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
        self._clock_task = asyncio.create_task(self._detect_clock_steps(), name="schedule watch")

    async def drain(self, seconds: float) -> None:
        """Start no more runs, let those under way end within ``seconds``, and cancel the rest without an outcome."""
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
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        if self._scheduler.running:
            # APScheduler cancels its coroutine jobs here, whatever it is told: by now none is left.
            self._scheduler.shutdown(wait=False)

    def _on_submission(self, event: JobSubmissionEvent) -> None:
        """Note when a run was due; it comes before the run itself starts, both on the event loop."""
        name, due = event.job_id, event.scheduled_run_times[-1].timestamp()
        if event.code == EVENT_JOB_SUBMITTED:
            self._due_by_canary[name] = due
        else:
            self._last_due_by_canary[name] = due
            self._record_skipped(name, due, "overlap", "the run before it has not ended")

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
            # Shielded: APScheduler cancels its jobs at shutdown, and the drain gives them time.
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():  # by the drain: that is no error of the job, which APScheduler would log
                raise
        finally:
            if task.done():
                self._running_tasks.pop(name, None)
            else:
                task.add_done_callback(lambda _: self._running_tasks.pop(name, None))

    async def _run(self, runner: Runner, due: float, state: BudgetState | None) -> None:
        self._on_outcome(msgspec.structs.replace(await runner(due), budget=state))

    def _count_missed(self, name: str, due: float) -> None:
        """Count the points between the last run and this one: the daemon slept, or its loop stood still."""
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
        # A budget that ends is told of once, by its guard; each run of each canary would fill the log.
        level = logging.WARNING if state is None else logging.DEBUG
        _log.log(level, "canary runs missed: %s", explanation, extra={"canary": name, "reason": reason, "count": count})
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
        """Notice when wall time jumps: APScheduler waits on it, and after a step back would not wake for as long."""
        offset = self._clock.time() - self._clock.monotonic()
        while True:
            await asyncio.sleep(_CLOCK_CHECK_INTERVAL)
            now_offset = self._clock.time() - self._clock.monotonic()
            if abs(step := now_offset - offset) > _CLOCK_STEP_THRESHOLD:
                _log.warning("the clock has jumped: runs are put back on their grid", extra={"seconds": round(step, 3)})
                self._realign()
                self._on_clock_step()
            offset = now_offset

    def _realign(self) -> None:
        now = self._clock.time()
        self._last_due_by_canary.clear()  # what lies between the two times was not missed: it never was, or was twice
        for name, trigger in self._triggers.items():
            trigger.not_before = now
            self._scheduler.modify_job(name, next_run_time=_to_datetime(trigger.next_after(now)))


def _to_datetime(seconds: float) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)
