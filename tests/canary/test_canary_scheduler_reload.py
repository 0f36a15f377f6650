"""What a reload keeps of the schedule of running canaries, and what it changes."""

import asyncio
import itertools
from collections.abc import Callable

from streamcanary.canary.metrics import CanaryMetrics
from streamcanary.canary.scheduling.run_slots import RunSlots
from streamcanary.canary.scheduling.scheduler import Scheduler
from streamcanary.canary.scheduling.triggers import phase_offset
from streamcanary.model.canary import Canary
from streamcanary.model.clock import SystemClock
from streamcanary.model.outcome import Outcome, OutcomeKind
from support.recording_runner import RecordingRunner

CLOCK = SystemClock()


def start(*runners: RecordingRunner, **limits: int | None) -> tuple[Scheduler, list[Outcome]]:
    """Return a running scheduler and the list of its outcomes."""
    outcomes: list[Outcome] = []
    metrics = CanaryMetrics(CLOCK)
    scheduler = Scheduler(
        runners, instance="i", clock=CLOCK, metrics=metrics, on_outcome=outcomes.append, max_concurrent_runs=limits
    )
    scheduler.start()
    return scheduler, outcomes


def reload(scheduler: Scheduler, *runners: RecordingRunner, instance: str = "i", **limits: int | None) -> None:
    """Replace the canaries."""
    scheduler.prepare(runners, instance=instance, max_concurrent_runs=limits)
    scheduler.apply()


async def until(condition: Callable[[], object]) -> None:
    """Wait until ``condition`` holds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def test_an_unchanged_schedule_keeps_its_grid_over_many_reloads() -> None:
    """Runs are due on the same grid, each once, although the runner is replaced between any two of them."""
    runners = [RecordingRunner("a", 0.2)]
    scheduler, _ = start(runners[0])
    await until(lambda: runners[0].due)
    for _ in range(20):
        await asyncio.sleep(0.05)
        runners.append(RecordingRunner("a", 0.2))
        reload(scheduler, runners[-1])
    await scheduler.drain(1)
    due = [at for runner in runners for at in runner.due][1:]
    phase = phase_offset("i", "a", 0.2)
    assert {0.0} == {round((at - phase) / 0.2, 3) % 1 for at in due}
    assert len(due) == len(set(due)) >= 3


async def test_a_reload_does_not_hasten_or_delay_the_next_run() -> None:
    """A canary that runs each hour, and has just run, does not run again because of a reload."""
    runner = RecordingRunner("a", 3600.0)
    scheduler, _ = start(runner)
    await until(lambda: runner.due)
    next_run = scheduler.next_run("a")
    changed = RecordingRunner("a", 3600.0, labels={"tier": "prod"})
    reload(scheduler, changed, RecordingRunner("b", 3600.0))
    assert next_run == scheduler.next_run("a")
    await until(lambda: scheduler._runners["b"].due)  # type: ignore[attr-defined]
    assert [] == changed.due
    await scheduler.drain(1)


async def test_a_running_run_ends_as_it_began() -> None:
    """The run of a canary that a reload changes or removes is not cancelled, and its outcome is passed on."""
    changed, removed = RecordingRunner("changed", 3600.0), RecordingRunner("removed", 3600.0)
    for runner in (changed, removed):
        runner.go_on.clear()
    scheduler, outcomes = start(changed, removed)
    await until(lambda: changed.due and removed.due)
    reload(scheduler, RecordingRunner("changed", 3600.0, timeout=9.0))
    for runner in (changed, removed):
        runner.go_on.set()
    await until(lambda: len(outcomes) == 2)
    assert (1, 1) == (changed.ended, removed.ended)
    await scheduler.drain(1)


async def test_a_removed_canary_stops_and_an_added_one_starts() -> None:
    """A removed canary has no further run. Added ones run at once, a quarter of a second apart."""
    removed, added = (
        RecordingRunner("removed", 0.1),
        [RecordingRunner(f"added-{number}", 3600.0) for number in range(3)],
    )
    scheduler, _ = start(removed)
    await until(lambda: removed.due)
    reload(scheduler, *added)
    runs = len(removed.due)
    await until(lambda: all(runner.due for runner in added))
    assert len(removed.due) <= runs + 1
    first = [runner.due[0] for runner in added]
    assert [0.25, 0.25] == [round(later - earlier, 2) for earlier, later in itertools.pairwise(first)]
    await scheduler.drain(1)


async def test_another_interval_has_another_schedule() -> None:
    """A canary that is to run more often runs soon, and then at the phase of the new interval."""
    scheduler, _ = start(before := RecordingRunner("a", 3600.0))
    await until(lambda: before.due)
    after = RecordingRunner("a", 0.1)
    reload(scheduler, after)
    await until(lambda: len(after.due) >= 3)
    phase = phase_offset("i", "a", 0.1)
    assert {0.0} == {round((at - phase) / 0.1, 3) % 1 for at in after.due[1:]}
    await scheduler.drain(1)


async def test_another_instance_has_other_phases() -> None:
    """The phase is a hash of instance and name, so that replicas are spread."""
    scheduler, _ = start(RecordingRunner("a", 0.1))
    after = RecordingRunner("a", 0.1)
    reload(scheduler, after, instance="other")
    await until(lambda: len(after.due) >= 3)
    phase = phase_offset("other", "a", 0.1)
    assert {0.0} == {round((at - phase) / 0.1, 3) % 1 for at in after.due[1:]}
    await scheduler.drain(1)


async def test_a_canary_that_comes_back_while_its_run_goes_on_does_not_overlap() -> None:
    """Removed and added again within one run, a canary runs next when that run has ended."""
    first, again = RecordingRunner("a", 0.1), RecordingRunner("a", 0.1)
    first.go_on.clear()
    scheduler, outcomes = start(first)
    await until(lambda: first.due)
    reload(scheduler)
    reload(scheduler, again)
    await until(lambda: [outcome.reason for outcome in outcomes if outcome.kind is OutcomeKind.SKIPPED])
    assert [] == again.due
    first.go_on.set()
    await until(lambda: again.due)
    await scheduler.drain(1)


async def test_a_removed_canary_that_waits_for_its_turn_does_not_run() -> None:
    """At a target that is at its limit, a waiting run of a removed canary gives its turn to the next."""
    busy, removed, waiting = (
        RecordingRunner("busy", 3600.0),
        RecordingRunner("removed", 3600.0),
        RecordingRunner("waiting", 3600.0),
    )
    busy.go_on.clear()
    scheduler, _ = start(busy, removed, waiting, t=1)
    await until(lambda: len(scheduler._slots["t"]._waiting) == 2)
    reload(scheduler, busy, waiting, t=1)
    busy.go_on.set()
    await until(lambda: waiting.due)
    assert [] == removed.due
    await scheduler.drain(1)


async def test_a_higher_limit_lets_waiting_runs_start() -> None:
    """``max_concurrent_runs`` takes effect at once; a lower one ends no run."""
    slots = RunSlots(1)
    assert await slots.acquire(0.0, 1.0)
    waiting = asyncio.create_task(slots.acquire(0.0, 10.0))
    await asyncio.sleep(0)
    slots.set_limit(2)
    assert await waiting
    slots.set_limit(1)
    slots.release()
    assert not await slots.acquire(0.0, 0.01)
    slots.release()
    assert await slots.acquire(0.0, 0.01)


async def test_a_drain_after_a_reload_cancels_the_run_of_a_removed_canary() -> None:
    """The shutdown does not depend on what was configured when the run began."""
    removed = RecordingRunner("removed", 3600.0)
    removed.go_on.clear()
    scheduler, outcomes = start(removed)
    await until(lambda: removed.due)
    reload(scheduler, RecordingRunner("other", 3600.0))
    await scheduler.drain(0.05)
    assert 0 == removed.ended
    assert [] == [outcome for outcome in outcomes if outcome.canary == "removed"]


class CountingMetrics(CanaryMetrics):
    """Metrics that count the canaries whose series were started: each that is scheduled."""

    started = 0

    def initialize_series(self, canary: Canary) -> None:
        """Start the series of ``canary``."""
        self.started += 1
        super().initialize_series(canary)


async def test_a_reload_schedules_one_canary_in_a_turn_of_the_event_loop() -> None:
    """Others run meanwhile. What a reload has left, the next one does; what that removes is not scheduled."""
    metrics, outcomes = CountingMetrics(CLOCK), list[Outcome]()
    scheduler = Scheduler([], instance="i", clock=CLOCK, metrics=metrics, on_outcome=outcomes.append)
    scheduler.start()
    names = [f"c{number}" for number in range(200)]
    reload(scheduler, *(RecordingRunner(name, 3600.0) for name in names))
    counts = [metrics.started]
    for _ in range(50):
        await asyncio.sleep(0)
        counts.append(metrics.started)
    assert 1 == max(after - before for before, after in itertools.pairwise(counts))
    kept = (
        RecordingRunner("c0", 3600.0),
        *(RecordingRunner(name, 3600.0, labels={"tier": "a"}) for name in names[10:150]),
    )
    reload(scheduler, *kept)
    await until(lambda: metrics.started == counts[-1] + 140)
    for _ in range(50):
        await asyncio.sleep(0)
    assert counts[-1] + 140 == metrics.started
    await scheduler.drain(1)
