"""When canaries run."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from streamcanary.canary.metrics import CanaryMetrics
from streamcanary.canary.scheduler import AlignedIntervalTrigger, BudgetGuard, CronTrigger, Scheduler, phase_offset
from streamcanary.model.canary import Canary
from streamcanary.model.clock import SystemClock
from streamcanary.model.cron import Cron
from streamcanary.model.outcome import BudgetState, Outcome, OutcomeKind
from support.telemetry.in_memory import RecordedTelemetry

CLOCK = SystemClock()


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def test_the_grid_does_not_drift() -> None:
    """A thousand runs of a 60 s canary take 60,000 s, each on its phase."""
    trigger = AlignedIntervalTrigger(60.0, phase=7.5)
    first = previous = trigger.get_next_fire_time(None, at(1_800_000_000.25))
    for _ in range(1000):
        previous = trigger.get_next_fire_time(previous, previous)
    assert (60_000.0, 7.5) == ((previous - first).total_seconds(), previous.timestamp() % 60)


def test_the_grid_follows_the_previous_point_however_late_it_is_asked() -> None:
    """Points that were missed are still named one by one, so that they can be counted."""
    trigger = AlignedIntervalTrigger(10.0, phase=0.0)
    assert at(110) == trigger.get_next_fire_time(at(100), at(1000))


@pytest.mark.parametrize("moment", [1e9 + 0.1 * k for k in range(7)])
def test_a_point_is_always_later(moment: float) -> None:
    """Whatever rounding does, the next point is after the moment, and within one interval and a hair of it."""
    following = AlignedIntervalTrigger(0.1, phase=0.03).next_after(moment)
    assert True is (1e-6 < following - moment <= 0.1 + 2e-6)


def test_phases_are_stable_and_spread() -> None:
    """A canary keeps its phase for ever; many canaries, or many replicas of one, fill the interval evenly."""
    assert phase_offset("a", "chat", 60) == phase_offset("a", "chat", 60)
    for phases in (
        [phase_offset("pod", f"canary-{k}", 60.0) for k in range(600)],
        [phase_offset(f"pod-{k}", "canary", 60.0) for k in range(600)],
    ):
        tenths = [sum(1 for p in phases if k * 6 <= p < (k + 1) * 6) for k in range(10)]
        assert True is (min(tenths) > 30 and max(tenths) < 90)


class Probe:
    """A runner that notes when it was due and does what the test says."""

    def __init__(self, name: str, interval: float, work: Callable[[], Awaitable[None]] | None = None) -> None:
        self.canary = Canary(name=name, target="t", provider="p", interval=interval)
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
        return Outcome(
            run_id=f"{self.canary.name}-{len(self.due)}",
            canary=self.canary.name,
            target="t",
            provider="p",
            kind=OutcomeKind.OK,
            scheduled=scheduled,
            started=scheduled,
        )


def make_schedule(*probes: Probe, guard: BudgetGuard | None = None) -> tuple[Scheduler, list[Outcome]]:
    outcomes: list[Outcome] = []
    instruments = CanaryMetrics(CLOCK)
    schedule = Scheduler(
        probes, instance="test", clock=CLOCK, metrics=instruments, on_outcome=outcomes.append, guard=guard
    )
    return schedule, outcomes


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_runs_on_the_grid() -> None:
    """Runs follow each other by the interval, on the phase of the canary, and each outcome is handed over."""
    probe = Probe("a", 0.1)
    schedule, outcomes = make_schedule(probe)
    schedule.start()
    await until(lambda: len(outcomes) >= 5)
    assert True is schedule.is_running
    await schedule.drain(1)
    offsets = {round((due - phase_offset("test", "a", 0.1)) / 0.1 % 1, 3) % 1 for due in probe.due[1:]}
    assert {0.0} == offsets
    assert False is schedule.is_running


async def test_every_canary_is_asked_at_the_start() -> None:
    """The first answer does not wait for the first turn on the grid, which may be an hour off."""
    probes = [Probe(f"canary-{k}", 3600.0) for k in range(4)]
    schedule, _ = make_schedule(*probes)
    schedule.start()
    await until(lambda: all(probe.due for probe in probes))
    await schedule.drain(1)


def test_the_grid_takes_over_an_interval_later() -> None:
    """Between the first run and the first turn on the grid there is time for the first run to end."""
    trigger = AlignedIntervalTrigger(10.0, phase=0.0, not_before=103.0 + 10.0)
    assert at(120) == trigger.get_next_fire_time(at(103), at(103))


async def test_an_overlap_is_counted_and_told() -> None:
    """A run that would overlap the one before it does not start; it is an outcome, skipped, and the reason is told."""
    release = asyncio.Event()

    async def wait() -> None:
        await release.wait()

    probe = Probe("a", 0.05, wait)
    schedule, outcomes = make_schedule(probe)
    schedule.start()
    await until(lambda: bool(outcomes))
    release.set()
    await schedule.drain(1)
    assert (OutcomeKind.SKIPPED, "overlap") == (outcomes[0].kind, outcomes[0].reason)
    assert 1 == len(probe.due)


async def test_missed_runs_are_counted() -> None:
    """Points of the grid that passed while the loop stood still are told as missed, with their number."""
    probe = Probe("a", 0.05)
    schedule, outcomes = make_schedule(probe)
    schedule.start()
    await until(lambda: len(probe.due) >= 2)
    time.sleep(0.3)  # the whole point: the event loop stands still
    await until(lambda: any(o.kind is OutcomeKind.SKIPPED for o in outcomes))
    await schedule.drain(1)
    (skipped,) = [outcome for outcome in outcomes if outcome.kind is OutcomeKind.SKIPPED][:1]
    assert skipped.reason is not None
    assert True is skipped.reason.startswith("late: ")


async def test_drain_lets_runs_end() -> None:
    """A run under way at the end has its time, and its outcome counts."""
    started, release = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        started.set()
        await release.wait()

    schedule, outcomes = make_schedule(Probe("a", 0.05, wait))
    schedule.start()
    await started.wait()
    asyncio.get_running_loop().call_later(0.05, release.set)
    await schedule.drain(5)
    assert [OutcomeKind.OK] == [outcome.kind for outcome in outcomes if outcome.kind is not OutcomeKind.SKIPPED]


async def test_drain_cancels_what_does_not_end() -> None:
    """A run that outlasts the drain is cancelled and counts neither for nor against the target."""
    started = asyncio.Event()

    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    probe = Probe("a", 0.05, hang)
    schedule, outcomes = make_schedule(probe)
    schedule.start()
    await started.wait()
    await schedule.drain(0.05)
    assert (1, []) == (probe.cancelled, [o for o in outcomes if o.kind is not OutcomeKind.SKIPPED])


class SteppingClock(SystemClock):
    """A system clock whose wall time can be set back."""

    offset = 0.0

    def time(self) -> float:
        """Return the wall time, as it was set."""
        return super().time() + self.offset


async def test_a_clock_step_is_noticed(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """When wall time jumps, the runs are put back on the grid of the new time at once."""
    monkeypatch.setattr("streamcanary.canary.scheduler._CLOCK_CHECK_INTERVAL", 0.02)
    clock, probe = SteppingClock(), Probe("a", 0.2)
    schedule = Scheduler([probe], instance="test", clock=clock, metrics=CanaryMetrics(clock), on_outcome=lambda _: None)
    schedule.start()
    await until(lambda: bool(probe.due))
    clock.offset = -0.9
    await until(lambda: "clock step detected" in caplog.text)
    await schedule.drain(1)
    assert [-0.9] == [round(record.seconds, 1) for record in caplog.records if hasattr(record, "seconds")]


def test_cron_fires_at_its_points() -> None:
    """Friday is Friday, in the canary's own time zone; points that were missed are counted by the calendar."""
    trigger = CronTrigger(Cron.parse("0 17 * * 5", "Europe/Berlin"))
    monday = datetime(2026, 3, 23, 12, tzinfo=UTC)
    first = trigger.get_next_fire_time(None, monday)
    second = trigger.get_next_fire_time(first, monday)
    assert (datetime(2026, 3, 27, 16, tzinfo=UTC), datetime(2026, 4, 3, 15, tzinfo=UTC)) == (first, second)
    april = datetime(2026, 4, 17, 15, tzinfo=UTC).timestamp()
    assert [0, 2] == [trigger.missed_between(first.timestamp(), due) for due in (second.timestamp(), april)]
    trigger.not_before = april
    assert datetime(2026, 4, 24, 15, tzinfo=UTC) == trigger.get_next_fire_time(None, monday)


async def test_a_canary_of_office_hours_is_not_asked_at_the_start() -> None:
    """It waits for its first point: what is outside of it may well be switched off."""
    probe, other = Probe("a", 3600.0), Probe("b", 3600.0)
    probe.canary = Canary(name="a", target="t", provider="p", interval=1.0, cron=Cron.parse("0 0 29 2 *"))
    schedule, outcomes = make_schedule(probe, other)
    schedule.start()
    await until(lambda: bool(outcomes))
    await schedule.drain(1)
    assert ([], ["b"]) == (probe.due, [outcome.canary for outcome in outcomes])


class Strict:
    """A guard that answers with what it is given, one after the other."""

    min_start_gap = 0.0

    def __init__(self, *standings: BudgetState | None) -> None:
        self._standings = list(standings)

    def admit(self, canary: Canary) -> BudgetState | None:
        """Return the next standing, and the last one for ever."""
        return self._standings.pop(0) if len(self._standings) > 1 else self._standings[0]


async def test_what_the_budget_forbids_is_skipped_and_counted(recorded: RecordedTelemetry) -> None:
    """The run does not start; the outcome and the metrics say why, and the outcome how the budget stands."""
    labels = {"canary": "budgeted", "reason": "budget"}
    missed = recorded.value("streamcanary.runs.missed", **labels)
    skipped = recorded.value("streamcanary.runs", canary="budgeted", outcome="skipped")
    probe = Probe("budgeted", 0.05)
    guard = Strict(None, BudgetState.WITHIN, BudgetState.SLOWED, BudgetState.EXHAUSTED)
    schedule, outcomes = make_schedule(probe, guard=guard)
    schedule.start()
    await until(lambda: len(outcomes) >= 4)
    await schedule.drain(1)
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


async def test_first_runs_keep_the_gap_that_the_budget_asks_for() -> None:
    """At a start canaries do not use up the requests of a minute in one instant."""
    probes = [Probe(f"canary-{k}", 3600.0) for k in range(3)]
    guard = Strict(None)
    guard.min_start_gap = 0.3
    schedule, _ = make_schedule(*probes, guard=guard)
    schedule.start()
    await until(lambda: all(probe.due for probe in probes))
    await schedule.drain(1)
    times = [probe.due[0] for probe in probes]
    assert [0.3, 0.3] == [round(later - earlier, 3) for earlier, later in pairwise(times)]
