"""Schedules canary runs: at fixed offsets of epoch time, spread over the interval, or by a cron expression.

Every missed run is counted and logged. The runs of a target at once are limited: a slow target, whose runs take long,
takes no connections, memory and time from the others. When the daemon itself is too slow for all runs, a part of them
is skipped.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

import msgspec

from streamcanary.canary.metrics import CanaryMetrics
from streamcanary.canary.scheduling.catch_up import catch_up
from streamcanary.canary.scheduling.due_runs import DueRuns
from streamcanary.canary.scheduling.load_shedding import LoadShedder
from streamcanary.canary.scheduling.run_slots import RunSlots, run_limits
from streamcanary.canary.scheduling.skipped_runs import SkippedRuns
from streamcanary.canary.scheduling.start_turns import StartTurns
from streamcanary.canary.scheduling.triggers import FirstRun, first_runs
from streamcanary.client.drivers.loop_lag import LoopLag
from streamcanary.model.canary import Canary
from streamcanary.model.clock import Clock
from streamcanary.model.outcome import BudgetState, Outcome

_log = logging.getLogger(__name__)
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
    :func:`~streamcanary.canary.scheduling.run_slots.run_limits`.
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
        self._due_runs = DueRuns(self._on_due)
        self._last_due: dict[str, float] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}  # of runs, also of those that wait for their turn
        self._running: set[str] = set()  # the canaries whose runs do not wait
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
        return self._due_runs.is_running and self._clock_task is not None and not self._clock_task.done()

    def next_run(self, name: str) -> float | None:
        """Return when a canary is due next, in seconds since the epoch; ``None`` if it is not scheduled."""
        if (first := self._waiting.get(name)) is not None:
            return first.due
        return self._due_runs.next_run(name, self._clock.time())

    def start(self) -> None:
        """Start to run canaries; :func:`.triggers.first_runs` says when each runs first."""
        for name, run in self._first_runs(list(self._runners), _START_TIME * len(self._runners)).items():
            self._schedule(name, run)
        self._due_runs.start()
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
        that have missed a run since then make it soon, as :func:`.catch_up.catch_up` says.
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
            self._due_runs.remove(name)
            self._started.pop(name, None)
            self._last_due.pop(name, None)
            if name in self._tasks and name not in self._running:
                self._tasks[name].cancel()
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
        self._last_due.pop(name, None)
        self._metrics.initialize_series(self._runners[name].canary)
        self._due_runs.add(name, run)

    async def drain(self, seconds: float) -> None:
        """Start no more runs, wait up to ``seconds`` for running ones, and cancel the rest without an outcome."""
        self._due_runs.pause()
        for slots in self._slots.values():
            slots.close()
        for background in filter(None, (self._clock_task, self._schedule_task)):
            background.cancel()
            await asyncio.gather(background, return_exceptions=True)
        await self.finish(list(self._tasks), seconds)
        self._due_runs.stop()

    async def finish(self, names: Collection[str], seconds: float) -> None:
        """Wait up to ``seconds`` for running runs of the canaries ``names``, and cancel the rest without an outcome."""
        tasks = {name: task for name in names if (task := self._tasks.get(name)) is not None}
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
            if (task := self._tasks.get(name)) is not None:
                task.cancel()

    def _on_due(self, name: str, due: float) -> None:
        """Let a run that is due wait for its turn, unless it would overlap the previous one."""
        if name in self._tasks:
            self._last_due[name] = due
            self._skipped.record(self._runners[name].canary, due, "overlap", "the previous run has not ended")
            return
        self._count_missed(name, due)
        task = self._tasks[name] = asyncio.create_task(self._run_in_turn(name, due), name=f"canary {name}")
        task.add_done_callback(self._on_end)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        name = task.get_name().removeprefix("canary ")
        del self._tasks[name]
        self._running.discard(name)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("canary run failed internally", extra={"canary": name}, exc_info=error)

    async def _run_in_turn(self, name: str, due: float) -> None:
        """Run a canary as soon as its target has a slot for it, unless the daemon is behind schedule."""
        await self._start_turns.take()
        self._shedder.observe_due(self._clock.time() - due)  # now: runs that start before it delay it, too
        if not self._shedder.admits(name):
            self._skipped.record_shed(self._runners[name].canary, due)
            return
        target = self._runners[name].canary.target
        slots = self._slots[target]
        if not slots.take() and not await slots.acquire(self._started.get(name, -math.inf), self._max_wait(name)):
            if self._slots.get(target) is slots:
                self._record_no_slot(self._runners[name].canary, due, slots)
            return
        self._running.add(name)
        try:
            await self._run_within_budget(self._runners[name], due)
        finally:
            slots.release()

    async def _run_within_budget(self, runner: Runner, due: float) -> None:
        canary = runner.canary
        state = None if self._guard is None else self._guard.admit(canary)
        if state in (BudgetState.SLOWED, BudgetState.EXHAUSTED):
            self._skipped.record(canary, due, "budget", f"the budget is {state}", state=state)
            return
        self._started[canary.name] = self._clock.monotonic()
        outcome = await runner(due)
        if state is not None or self._shedder.is_behind:
            outcome = msgspec.structs.replace(outcome, budget=state, behind_schedule=self._shedder.is_behind)
        self._on_outcome(outcome)

    def _max_wait(self, name: str) -> float:
        """Return the seconds that a run may wait for its turn: so that it is over before the next one is due."""
        now = self._clock.time()
        following = self._due_runs.next_run(name, now)
        return 0.0 if following is None else _MAX_WAIT * max(0.0, following - now)

    def _record_no_slot(self, canary: Canary, due: float, slots: RunSlots) -> None:
        if slots.is_closed:
            self._metrics.record_missed(canary, "shutdown")
        else:
            self._skipped.record_no_slot(canary, due, slots.limit)

    def _count_missed(self, name: str, due: float) -> None:
        """Record the runs missed since the last one: the process was suspended, or its event loop was blocked."""
        last, self._last_due[name] = self._last_due.get(name), due
        if last is None:
            return
        missed = self._due_runs.missed_between(name, last, due)
        if missed > 0:
            canary = self._runners[name].canary
            self._skipped.record(canary, due, "late", "the daemon did not run on time", missed)

    async def _watch_clocks(self) -> None:
        """Detect steps of the wall clock, and that the daemon is too slow."""
        lag, checked = LoopLag.of_running_loop(), asyncio.get_running_loop().time()
        lag.observe(self)
        offset = self._clock.time() - self._clock.monotonic()
        while True:
            await asyncio.sleep(_CLOCK_CHECK_INTERVAL)
            now_offset = self._clock.time() - self._clock.monotonic()
            if abs(step := now_offset - offset) > _CLOCK_STEP_THRESHOLD:
                _log.warning("clock step detected", extra={"seconds": round(step, 3)})
                self._last_due.clear()  # runs in the skipped or repeated time are not missed runs
                self._due_runs.realign(self._clock.time())
                self._on_clock_step()
            offset = now_offset
            share, late = self._shedder.share, lag.since(checked)
            checked = asyncio.get_running_loop().time()
            self._shedder.evaluate(checked, late)
            if self._shedder.share != share:
                self._metrics.record_shed_share(self._shedder.share)
                if not self._shedder.share:
                    _log.info("on schedule again")


def _log_defect(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("canaries not scheduled", exc_info=error)
