"""The scheduler of canary runs."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from msgspec import structs

from streamcanary.canary.metrics import CanaryMetrics
from streamcanary.canary.scheduling.scheduler import BudgetGuard, Scheduler
from streamcanary.canary.scheduling.triggers import AlignedIntervalTrigger, phase_offset
from streamcanary.model.canary import Canary
from streamcanary.model.clock import SystemClock
from streamcanary.model.outcome import BudgetState, Outcome, OutcomeKind
from streamcanary.model.schedules.cron import Cron
from support.recording_runner import ok_outcome
from support.telemetry.in_memory import RecordedTelemetry

CLOCK = SystemClock()


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


class Probe:
    """A runner that records its due times and awaits ``work``."""

    def __init__(
        self, name: str, interval: float, work: Callable[[], Awaitable[Any]] | None = None, target: str = "t"
    ) -> None:
        self.canary = Canary(name=name, target=target, provider="p", interval=interval)
        self.due: list[float] = []
        self.cancelled = 0
        self._work = work

    async def __call__(self, scheduled: float) -> Outcome:
        self.due.append(scheduled)
        try:
            if self._work:
                await self._work()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return ok_outcome(self.canary, scheduled)


def make_scheduler(
    *probes: Probe, guard: BudgetGuard | None = None, limits: dict[str, int | None] | None = None
) -> tuple[Scheduler, list[Outcome]]:
    outcomes: list[Outcome] = []
    canary_metrics = CanaryMetrics(CLOCK)
    scheduler = Scheduler(
        probes,
        instance="test",
        clock=CLOCK,
        metrics=canary_metrics,
        on_outcome=outcomes.append,
        guard=guard,
        max_concurrent_runs=limits or {},
    )
    return scheduler, outcomes


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_runs_follow_the_interval() -> None:
    """Runs follow each other by the interval, at the phase of the canary, and each outcome is passed on."""
    probe = Probe("a", 0.1)
    scheduler, outcomes = make_scheduler(probe)
    scheduler.start()
    await until(lambda: len(outcomes) >= 5)
    assert True is scheduler.is_running
    await scheduler.drain(1)
    offsets = {round((due - phase_offset("test", "a", 0.1)) / 0.1 % 1, 3) % 1 for due in probe.due[1:]}
    assert {0.0} == offsets
    assert False is scheduler.is_running


async def test_every_canary_runs_at_the_start() -> None:
    """The first run does not wait for the phase of the canary."""
    probes = [Probe(f"canary-{k}", 3600.0) for k in range(4)]
    scheduler, _ = make_scheduler(*probes)
    scheduler.start()
    await until(lambda: all(probe.due for probe in probes))
    await scheduler.drain(1)


def test_the_second_run_is_at_least_one_interval_later() -> None:
    """The second run is at least one interval after the first."""
    trigger = AlignedIntervalTrigger(10.0, phase=0.0, not_before=103.0 + 10.0)
    assert at(120) == trigger.get_next_fire_time(at(103), at(103))


async def test_an_overlapping_run_is_skipped() -> None:
    """A run that would overlap the previous one is a skipped outcome with its reason."""
    release = asyncio.Event()

    async def wait() -> None:
        await release.wait()

    probe = Probe("a", 0.05, wait)
    scheduler, outcomes = make_scheduler(probe)
    scheduler.start()
    await until(lambda: bool(outcomes))
    release.set()
    await scheduler.drain(1)
    assert (OutcomeKind.SKIPPED, "overlap") == (outcomes[0].kind, outcomes[0].reason)
    assert 1 == len(probe.due)


async def test_missed_runs_are_counted() -> None:
    """Runs that were missed while the event loop was blocked are reported with their number."""
    probe = Probe("a", 0.05)
    scheduler, outcomes = make_scheduler(probe)
    scheduler.start()
    await until(lambda: len(probe.due) >= 2)
    time.sleep(0.3)  # blocks the event loop
    await until(lambda: any(o.kind is OutcomeKind.SKIPPED for o in outcomes))
    await scheduler.drain(1)
    (skipped,) = [outcome for outcome in outcomes if outcome.kind is OutcomeKind.SKIPPED][:1]
    assert skipped.reason is not None
    assert True is skipped.reason.startswith("late: ")


async def test_drain_lets_runs_end() -> None:
    """A running run ends during the drain, and its outcome counts."""
    started, release = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        started.set()
        await release.wait()

    scheduler, outcomes = make_scheduler(Probe("a", 0.05, wait))
    scheduler.start()
    await started.wait()
    asyncio.get_running_loop().call_later(0.05, release.set)
    await scheduler.drain(5)
    assert [OutcomeKind.OK] == [outcome.kind for outcome in outcomes if outcome.kind is not OutcomeKind.SKIPPED]


async def test_drain_cancels_runs_after_its_timeout() -> None:
    """A run that takes longer than the drain is cancelled without an outcome."""
    started = asyncio.Event()

    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    probe = Probe("a", 0.05, hang)
    scheduler, outcomes = make_scheduler(probe)
    scheduler.start()
    await started.wait()
    await scheduler.drain(0.05)
    assert (1, []) == (probe.cancelled, [o for o in outcomes if o.kind is not OutcomeKind.SKIPPED])


class SteppingClock(SystemClock):
    """A system clock with an adjustable wall time."""

    offset = 0.0

    def time(self) -> float:
        """Return the wall time with ``offset``."""
        return super().time() + self.offset


async def test_a_clock_step_is_detected(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a step of the wall clock the runs are aligned to the new time at once."""
    monkeypatch.setattr("streamcanary.canary.scheduling.scheduler._CLOCK_CHECK_INTERVAL", 0.02)
    clock, probe = SteppingClock(), Probe("a", 0.2)
    scheduler = Scheduler(
        [probe], instance="test", clock=clock, metrics=CanaryMetrics(clock), on_outcome=lambda _: None
    )
    scheduler.start()
    await until(lambda: bool(probe.due))
    clock.offset = -0.9
    await until(lambda: "clock step detected" in caplog.text)
    await scheduler.drain(1)
    assert [-0.9] == [round(record.seconds, 1) for record in caplog.records if hasattr(record, "seconds")]


async def test_a_cron_canary_does_not_run_at_the_start() -> None:
    """A canary with a cron expression waits for its first fire time."""
    probe, other = Probe("a", 3600.0), Probe("b", 3600.0)
    probe.canary = Canary(name="a", target="t", provider="p", interval=1.0, cron=Cron.parse("0 0 29 2 *"))
    scheduler, outcomes = make_scheduler(probe, other)
    scheduler.start()
    await until(lambda: bool(outcomes))
    await scheduler.drain(1)
    assert ([], ["b"]) == (probe.due, [outcome.canary for outcome in outcomes])


class FixedGuard:
    """A guard that returns the given states in order."""

    min_start_gap = 0.0

    def __init__(self, *states: BudgetState | None) -> None:
        self._states = list(states)

    def admit(self, canary: Canary) -> BudgetState | None:
        """Return the next state, and the last one for every further run."""
        return self._states.pop(0) if len(self._states) > 1 else self._states[0]


async def test_runs_beyond_the_budget_are_skipped(recorded: RecordedTelemetry) -> None:
    """A run that the budget forbids is skipped; outcome and metrics have the reason, the outcome the budget state."""
    labels = {"canary": "budgeted", "reason": "budget"}
    missed = recorded.value("streamcanary.runs.missed", **labels)
    skipped = recorded.value("streamcanary.runs", canary="budgeted", outcome="skipped")
    probe = Probe("budgeted", 0.05)
    guard = FixedGuard(None, BudgetState.WITHIN, BudgetState.SLOWED, BudgetState.EXHAUSTED)
    scheduler, outcomes = make_scheduler(probe, guard=guard)
    scheduler.start()
    await until(lambda: len(outcomes) >= 4)
    await scheduler.drain(1)
    assert [
        (OutcomeKind.OK, None, None),
        (OutcomeKind.OK, None, BudgetState.WITHIN),
        (OutcomeKind.SKIPPED, "budget", BudgetState.SLOWED),
        (OutcomeKind.SKIPPED, "budget", BudgetState.EXHAUSTED),
    ] == [(outcome.kind, outcome.reason, outcome.budget) for outcome in outcomes[:4]]
    assert (2, len(outcomes) - 2, len(outcomes) - 2) == (
        len(probe.due),
        recorded.value("streamcanary.runs.missed", **labels) - missed,
        recorded.value("streamcanary.runs", canary="budgeted", outcome="skipped") - skipped,
    )


async def test_first_runs_have_the_minimum_gap_of_the_budget() -> None:
    """At the start canaries run with the gap that the request limit requires."""
    probes = [Probe(f"canary-{k}", 3600.0) for k in range(3)]
    guard = FixedGuard(None)
    guard.min_start_gap = 0.3
    scheduler, _ = make_scheduler(*probes, guard=guard)
    scheduler.start()
    await until(lambda: all(probe.due for probe in probes))
    await scheduler.drain(1)
    times = [probe.due[0] for probe in probes]
    assert [0.3, 0.3] == [round(later - earlier, 3) for earlier, later in pairwise(times)]


async def test_slow_target_takes_no_slots_of_another(recorded: RecordedTelemetry) -> None:
    """At most the limit of runs of a slow target are open; its other runs are missed with a reason, others' are not."""
    before = recorded.value("streamcanary.runs.missed", target="slow", reason="concurrency")
    hang, most_open, open_runs = asyncio.Event(), 0, 0

    async def hanging() -> None:
        nonlocal most_open, open_runs
        open_runs += 1
        most_open = max(most_open, open_runs)
        await hang.wait()

    slow = [Probe(f"slow-{k}", 0.4, hanging, target="slow") for k in range(6)]
    well = Probe("well", 0.1, target="well")
    scheduler, outcomes = make_scheduler(*slow, well, limits={"slow": 2})
    scheduler.start()
    await until(lambda: len([one for one in outcomes if one.reason == "concurrency"]) >= 4 and len(well.due) >= 5)
    missed = [outcome for outcome in outcomes if outcome.reason == "concurrency"]
    hang.set()
    await scheduler.drain(1)
    assert 2 == most_open
    assert {"slow"} == {outcome.target for outcome in missed}
    assert {OutcomeKind.SKIPPED} == {outcome.kind for outcome in missed}
    assert 4 <= recorded.value("streamcanary.runs.missed", target="slow", reason="concurrency") - before
    assert [] == [outcome for outcome in outcomes if outcome.canary == "well" and outcome.kind is not OutcomeKind.OK]


async def test_late_turn_of_a_run_is_part_of_its_schedule_lag() -> None:
    """A run that waits for its turn keeps its due time, so that the wait is visible."""
    release = asyncio.Event()
    first, second = Probe("first", 3600.0, release.wait), Probe("second", 3600.0)
    scheduler, _ = make_scheduler(first, second, limits={"t": 1})
    scheduler.start()
    await until(lambda: bool(first.due))
    await asyncio.sleep(0.4)
    assert [] == second.due
    release.set()
    await until(lambda: bool(second.due))
    await scheduler.drain(1)
    assert 0.25 == round(second.due[0] - first.due[0], 3)


async def test_no_run_starts_during_a_drain() -> None:
    """Runs that wait for their turn do not start when others end at a shutdown."""
    release = asyncio.Event()
    probes = [Probe(f"canary-{k}", 3600.0, release.wait) for k in range(3)]
    scheduler, outcomes = make_scheduler(*probes, limits={"t": 1})
    scheduler.start()
    await until(lambda: len(scheduler._slots["t"]._waiting) >= 1)
    asyncio.get_running_loop().call_later(0.05, release.set)
    await scheduler.drain(2)
    assert 1 == len(outcomes) == sum(len(probe.due) for probe in probes)


async def test_defect_of_a_run_is_logged_and_the_next_one_starts(caplog: pytest.LogCaptureFixture) -> None:
    """A runner never raises; if it does, its slot and its turn are free again."""

    async def fail() -> None:
        raise RuntimeError("a defect")

    probe = Probe("a", 0.05, fail)
    scheduler, outcomes = make_scheduler(probe, limits={"t": 1})
    scheduler.start()
    await until(lambda: len(probe.due) >= 2)
    await scheduler.drain(1)
    assert [] == [outcome for outcome in outcomes if outcome.kind is not OutcomeKind.SKIPPED]
    assert {("canary run failed internally", "a")} == {
        (record.getMessage(), record.__dict__["canary"]) for record in caplog.records if record.exc_info
    }


async def test_time_until_the_turn_of_a_run_is_a_delay_of_the_daemon() -> None:
    """Runs that are due together start one after another: if they take too long to start, the daemon is late."""

    async def block() -> None:
        time.sleep(0.02)  # blocks the event loop

    probes = [Probe(f"canary-{k}", 3600.0, block) for k in range(20)]
    for probe in probes:
        probe.canary = structs.replace(probe.canary, cron=Cron.parse("* * * * *"))
    scheduler, _ = make_scheduler(*probes)
    scheduler.start()
    scheduler._due_runs.realign(time.time() - 120.0)  # the last minute has passed: all are due now
    await until(lambda: all(probe.due for probe in probes))
    delays = sorted(scheduler._shedder._delays)
    await scheduler.drain(1)
    assert delays[-1] - delays[0] >= 19 * 0.02
