"""Schedules canary runs: at fixed offsets of epoch time, spread over the interval, or by a cron expression.

Every missed run is counted and logged. Only this module and its triggers import APScheduler, whose own cron trigger
numbers weekdays differently from cron. The runs of a target at once are limited: a slow target, whose runs take long,
takes no connections, memory and time from the others. When the daemon itself is too slow for all runs, a part of them
is skipped.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC
from types import MappingProxyType
from typing import NamedTuple, Protocol

import msgspec
from apscheduler.events import EVENT_JOB_MAX_INSTANCES, EVENT_JOB_SUBMITTED, JobSubmissionEvent
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from streamcanary.canary.catch_up import catch_up
from streamcanary.canary.load_shedding import LoadShedder
from streamcanary.canary.metrics import CanaryMetrics
from streamcanary.canary.run_slots import RunSlots, run_limits
from streamcanary.canary.skipped_runs import SkippedRuns
from streamcanary.canary.start_turns import StartTurns
from streamcanary.canary.triggers import FirstRun, Trigger, first_runs, to_datetime
from streamcanary.client.drivers.loop_lag import LoopLag
from streamcanary.model.canary import Canary
from streamcanary.model.clock import Clock
from streamcanary.model.outcome import BudgetState, Outcome

_log = logging.getLogger(__name__)
logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)  # this module logs missed runs itself
_CLOCK_CHECK_INTERVAL = 1.0  # seconds between two comparisons of the clocks
# Seconds. A larger change of wall time against monotonic time between two comparisons is a clock step.
_CLOCK_STEP_THRESHOLD = 0.5
_CANCEL_TIMEOUT = 0.5  # seconds that cancelled runs have to end
# Seconds for each canary that the daemon needs to start: runs that were due meanwhile would begin all at once.
_START_TIME = 0.0003
_MAX_WAIT = 0.9  # of the time to the next run: how long a run waits for its turn at its target


class Runner(Protocol):
    """Runs one canary; the unit of scheduling."""

    canary: Canary

    def __call__(self, scheduled: float) -> Awaitable[Outcome]:
        """Run once; ``scheduled`` is the due time, in seconds since the epoch."""
        ...


class BudgetGuard(Protocol):
    """Decides whether the budget permits a run."""

    @property
    def min_start_gap(self) -> float:
        """Seconds between the first runs of two canaries at start, at least."""
        ...

    def admit(self, canary: Canary) -> BudgetState | None:
        """Return the budget state for a run that is due; ``None`` without a budget.

        The run is skipped if the state is ``slowed`` or ``exhausted``.
        """
        ...


class _Prepared(NamedTuple):
    """Canaries that are to be scheduled, and the limits of their targets."""

    runners: dict[str, Runner]
    instance: str
    limits: dict[str, int]
    starts_at_phase: bool
    last_due: Mapping[str, float]


class Scheduler:
    """Runs every canary when it is due, and passes each outcome to ``on_outcome``, which must not block.

    ``prepare`` and ``apply`` replace the canaries. Those whose schedule stays the same keep it, with the next run and
    the one that is running; others start as after a start of the daemon, scheduled one in each turn of the event loop:
    thousands of them delay no running canary. The running run of a removed canary ends.

    With ``starts_at_phase``, no canary runs before its phase, also at first.

    ``guard`` may forbid a run. ``on_clock_step`` is called after a step of the wall clock. ``max_concurrent_runs``
    limits the runs of each target at once; ``None``, or no entry, is
    :func:`~streamcanary.canary.run_slots.run_limits`.
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
        max_concurrent_runs: Mapping[str, int | None] = MappingProxyType({}),
        starts_at_phase: bool = False,
    ) -> None:
        self._runners: dict[str, Runner] = {}
        self._instance = instance
        self._starts_at_phase = starts_at_phase
        self._clock = clock
        self._metrics = metrics
        self._on_outcome = on_outcome
        self._guard = guard
        self._on_clock_step = on_clock_step
        self._slots: dict[str, RunSlots] = {}
        self._started: dict[str, float] = {}  # when each canary last started, in monotonic seconds
        self._start_turns = StartTurns()
        self._shedder = LoadShedder()
        self._skipped = SkippedRuns(clock, metrics, self._shedder, on_outcome)
        self._scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        )
        self._triggers: dict[str, Trigger] = {}
        self._due_by_canary: dict[str, float] = {}
        self._last_due_by_canary: dict[str, float] = {}
        self._running_tasks: dict[str, asyncio.Task[None]] = {}
        self._clock_task: asyncio.Task[None] | None = None
        # What a reload has left to do: canaries with their first runs, or without one if only their labels are others.
        self._waiting: dict[str, FirstRun | None] = {}
        self._schedule_task: asyncio.Task[None] | None = None
        self.prepare(
            runners, instance=instance, max_concurrent_runs=max_concurrent_runs, starts_at_phase=starts_at_phase
        )
        self._replace_runners(self._prepared)

    @property
    def is_running(self) -> bool:
        """Whether canaries are scheduled and the clock is watched."""
        return bool(self._scheduler.running) and self._clock_task is not None and not self._clock_task.done()

    def next_run(self, name: str) -> float | None:
        """Return when a canary is due next, in seconds since the epoch; ``None`` if it is not scheduled."""
        if (first := self._waiting.get(name)) is not None:
            return first.due
        job = self._scheduler.get_job(name)
        return None if job is None or job.next_run_time is None else float(job.next_run_time.timestamp())

    def start(self) -> None:
        """Start to run canaries; :func:`~streamcanary.canary.triggers.first_runs` says when each runs first."""
        for name, run in self._first_runs(list(self._runners), _START_TIME * len(self._runners)).items():
            self._schedule(name, run)
        self._scheduler.add_listener(self._on_submission, EVENT_JOB_SUBMITTED | EVENT_JOB_MAX_INSTANCES)
        self._scheduler.start()
        self._metrics.record_shed_share(0.0)
        self._clock_task = asyncio.create_task(self._watch_clocks(), name="clock step detection")

    def prepare(
        self,
        runners: Iterable[Runner],
        *,
        instance: str,
        max_concurrent_runs: Mapping[str, int | None] = MappingProxyType({}),
        starts_at_phase: bool = False,
        last_due: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """Prepare other canaries; they take effect at :meth:`apply`. May be called in another thread.

        ``last_due`` is when the last run of a former owner was due, in seconds since the epoch, by canary. New canaries
        that have missed a run since then make it soon, as :func:`~streamcanary.canary.catch_up.catch_up` says.
        """
        by_name = {runner.canary.name: runner for runner in runners}
        limits = run_limits((runner.canary for runner in by_name.values()), max_concurrent_runs)
        self._prepared = _Prepared(by_name, instance, limits, starts_at_phase, last_due)

    def apply(self) -> None:
        """Apply what the last :meth:`prepare` has prepared, while canaries run.

        Removed canaries do not run any more, and changed ones run as they are now. New ones, and those with another
        schedule, are scheduled in the next turns of the event loop, those that are due first before the others.
        """
        before, instance, waiting = self._runners, self._instance, self._waiting
        self._replace_runners(self._prepared)
        for name in before.keys() - self._runners.keys():
            if self._triggers.pop(name, None) is not None:
                self._scheduler.remove_job(name)
            for table in (self._started, self._due_by_canary, self._last_due_by_canary):
                table.pop(name, None)
        unscheduled, relabelled = [], []
        first: dict[str, FirstRun] = {}
        for name, runner in self._runners.items():
            former = before[name].canary if name in before else None
            is_other = former is None or former.schedule != runner.canary.schedule or instance != self._instance
            run = waiting.get(name)
            if is_other:
                unscheduled.append(name)
            elif run is not None:  # since an earlier call
                first[name] = run
            elif former != runner.canary or name in waiting:
                relabelled.append(name)
        first |= self._first_runs(unscheduled, last_due=self._prepared.last_due)
        order = sorted(first, key=lambda name: first[name].due)
        self._waiting = {**{name: first[name] for name in order}, **dict.fromkeys(relabelled)}
        if self._schedule_task is None or self._schedule_task.done():
            self._schedule_task = asyncio.create_task(self._schedule_in_turns(), name="schedule")
            self._schedule_task.add_done_callback(_log_defect)

    async def _schedule_in_turns(self) -> None:
        """Schedule the canaries that wait for it, and start the series of the others: one in each turn of the loop."""
        while self._waiting:
            name = next(iter(self._waiting))
            run = self._waiting.pop(name)
            if run is not None:
                self._schedule(name, run)
            else:
                self._metrics.initialize_series(self._runners[name].canary)
            await asyncio.sleep(0)

    def _replace_runners(self, prepared: "_Prepared") -> None:
        self._runners, self._instance = prepared.runners, prepared.instance
        self._starts_at_phase = prepared.starts_at_phase
        slots, self._slots = self._slots, {}
        for target, limit in prepared.limits.items():
            self._slots[target] = slots.pop(target) if target in slots else RunSlots(limit)
            self._slots[target].set_limit(limit)
        for unused in slots.values():
            unused.close()
        self._skipped.set_targets(self._slots)

    def _first_runs(
        self, names: Sequence[str], delay: float = 0.0, last_due: Mapping[str, float] = MappingProxyType({})
    ) -> dict[str, FirstRun]:
        """Return the first runs of the canaries ``names`` as after a start in ``delay`` seconds."""
        canaries, now = [self._runners[name].canary for name in names], self._clock.time() + delay
        gap = 0.0 if self._guard is None else self._guard.min_start_gap
        runs = first_runs(canaries, now, instance=self._instance, min_gap=gap, at_phase=self._starts_at_phase)
        return catch_up(runs, canaries, now, last_due=last_due, min_gap=gap) if last_due else runs

    def _schedule(self, name: str, run: FirstRun) -> None:
        """Schedule a canary; further runs of one that is scheduled are replaced."""
        self._triggers[name] = run.trigger
        self._last_due_by_canary.pop(name, None)
        self._metrics.initialize_series(self._runners[name].canary)
        self._scheduler.add_job(
            self._run_if_admitted,
            run.trigger,
            args=[name],
            id=name,
            name=name,
            next_run_time=to_datetime(run.due),
            replace_existing=True,
        )

    async def drain(self, seconds: float) -> None:
        """Start no more runs, wait up to ``seconds`` for running ones, and cancel the rest without an outcome."""
        for background in filter(None, (self._clock_task, self._schedule_task)):
            background.cancel()
            await asyncio.gather(background, return_exceptions=True)
        if self._scheduler.running:
            self._scheduler.pause()
        for slots in self._slots.values():
            slots.close()
        await self.finish(list(self._running_tasks), seconds)
        if self._scheduler.running:
            # APScheduler cancels its coroutine jobs here with either value of ``wait``: none is left at this point.
            self._scheduler.shutdown(wait=False)

    async def finish(self, names: Collection[str], seconds: float) -> None:
        """Wait up to ``seconds`` for running runs of the canaries ``names``, and cancel the rest without an outcome."""
        tasks = {name: task for name in names if (task := self._running_tasks.get(name)) is not None}
        if not tasks:
            return
        await asyncio.wait(tasks.values(), timeout=seconds)
        for name, task in tasks.items():
            if not task.done() and (runner := self._runners.get(name)) is not None:  # a reload may have removed it
                self._metrics.record_missed(runner.canary, "shutdown")
            task.cancel()
        # A cancelled run that waits for its connection to close is left behind.
        await asyncio.wait(tasks.values(), timeout=_CANCEL_TIMEOUT)

    def cancel(self, names: Iterable[str]) -> None:
        """Cancel running runs of the canaries ``names``, without an outcome."""
        for name in names:
            if (task := self._running_tasks.get(name)) is not None:
                task.cancel()

    def _on_submission(self, event: JobSubmissionEvent) -> None:
        """Record the due time of a run; APScheduler calls this before the run starts, both on the event loop."""
        name, due = event.job_id, event.scheduled_run_times[-1].timestamp()
        if event.code == EVENT_JOB_SUBMITTED:
            self._due_by_canary[name] = due
        else:
            self._last_due_by_canary[name] = due
            self._skipped.record(self._runners[name].canary, due, "overlap", "the previous run has not ended")

    async def _run_if_admitted(self, name: str) -> None:
        await self._start_turns.take()
        if name not in self._runners:  # a reload has removed it since it was submitted
            return
        runner, due = self._runners[name], self._due_by_canary[name]
        self._count_missed(name, due)
        self._shedder.observe_due(self._clock.time() - due)
        if not self._shedder.admits(name):
            self._skipped.record_shed(runner.canary, due)
            return
        slots = self._slots[runner.canary.target]
        if not await slots.acquire(self._started.get(name, -math.inf), self._max_wait(name)):
            if self._slots.get(runner.canary.target) is slots:
                self._record_no_slot(self._runners[name].canary, due, slots)
            return
        current = self._runners.get(name)  # a reload may have replaced or removed it while it waited
        if current is None:
            slots.release()
            return
        runner = current
        state = None if self._guard is None else self._guard.admit(runner.canary)
        if state in (BudgetState.SLOWED, BudgetState.EXHAUSTED):
            slots.release()
            self._skipped.record(runner.canary, due, "budget", f"the budget is {state}", state=state)
            return
        self._started[name] = self._clock.monotonic()
        task = asyncio.create_task(self._run(runner, due, state), name=f"canary {name}")
        task.add_done_callback(lambda _: slots.release())
        self._running_tasks[name] = task
        try:
            # Shielded: APScheduler cancels its jobs at shutdown, but drain() lets them end.
            await asyncio.shield(task)
        except asyncio.CancelledError:
            # Cancelled by drain(): APScheduler must not log that as an error of the job.
            if not (task.cancelled() or slots.is_closed):
                raise
        finally:
            if task.done():
                self._running_tasks.pop(name, None)
            else:
                task.add_done_callback(lambda _: self._running_tasks.pop(name, None))

    def _max_wait(self, name: str) -> float:
        """Return the seconds that a run may wait for its turn: so that it is over before the next one is due."""
        now = self._clock.time()
        return _MAX_WAIT * max(0.0, self._triggers[name].next_after(now) - now)

    def _record_no_slot(self, canary: Canary, due: float, slots: RunSlots) -> None:
        if slots.is_closed:
            self._metrics.record_missed(canary, "shutdown")
        else:
            self._skipped.record_no_slot(canary, due, slots.limit)

    async def _run(self, runner: Runner, due: float, state: BudgetState | None) -> None:
        outcome = await runner(due)
        self._on_outcome(msgspec.structs.replace(outcome, budget=state, behind_schedule=self._shedder.is_behind))

    def _count_missed(self, name: str, due: float) -> None:
        """Record the runs missed since the last one: the process was suspended, or its event loop was blocked."""
        last, self._last_due_by_canary[name] = self._last_due_by_canary.get(name), due
        if last is None:
            return
        missed = self._triggers[name].missed_between(last, due)
        if missed > 0:
            canary = self._runners[name].canary
            self._skipped.record(canary, due, "late", "the daemon did not run on time", missed)

    async def _watch_clocks(self) -> None:
        """Detect steps of the wall clock, for which APScheduler waits, and that the daemon is too slow.

        APScheduler sleeps too long after a step back.
        """
        lag, checked = LoopLag.of_running_loop(), asyncio.get_running_loop().time()
        lag.observe(self)
        offset = self._clock.time() - self._clock.monotonic()
        while True:
            await asyncio.sleep(_CLOCK_CHECK_INTERVAL)
            now_offset = self._clock.time() - self._clock.monotonic()
            if abs(step := now_offset - offset) > _CLOCK_STEP_THRESHOLD:
                _log.warning("clock step detected", extra={"seconds": round(step, 3)})
                self._realign()
                self._on_clock_step()
            offset = now_offset
            share, late = self._shedder.share, lag.since(checked)
            checked = asyncio.get_running_loop().time()
            self._shedder.evaluate(checked, late)
            if self._shedder.share != share:
                self._metrics.record_shed_share(self._shedder.share)
                if not self._shedder.share:
                    _log.info("on schedule again")

    def _realign(self) -> None:
        now = self._clock.time()
        self._last_due_by_canary.clear()  # runs in the skipped or repeated time are not missed runs
        for name, trigger in self._triggers.items():
            trigger.not_before = now
            self._scheduler.modify_job(name, next_run_time=to_datetime(trigger.next_after(now)))


def _log_defect(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("canaries not scheduled", exc_info=error)
