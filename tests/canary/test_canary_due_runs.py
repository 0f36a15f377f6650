"""The times at which runs are due, with a job of APScheduler for all canaries with the same times."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from streamcanary.canary.scheduling.due_runs import DueRuns
from streamcanary.canary.scheduling.triggers import AlignedIntervalTrigger, CronTrigger, FirstRun
from streamcanary.model.schedules.cron import Cron


class Recorded(DueRuns):
    """Due runs that are recorded in ``runs``, each with its canary and its time."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, float]] = []
        super().__init__(lambda name, due: self.runs.append((name, due)))

    def times_of(self, name: str) -> list[float]:
        """Return the times at which a canary was due."""
        return [due for other, due in self.runs if other == name]


@asynccontextmanager
async def started() -> AsyncIterator[Recorded]:
    due_runs = Recorded()
    due_runs.start()
    try:
        yield due_runs
    finally:
        due_runs.stop()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def at_phase(interval: float, after: float, not_before: float = 0.0) -> FirstRun:
    """Return a first run at the first multiple of ``interval`` later than ``after``."""
    trigger = AlignedIntervalTrigger(interval, 0.0, not_before)
    return FirstRun(trigger.next_after(after), trigger)


async def test_canaries_with_the_same_times_are_due_together() -> None:
    """Each of them is due at each of their times, and others at theirs."""
    async with started() as due_runs:
        now = time.time()
        for name in ("a", "b"):
            due_runs.add(name, at_phase(0.1, now))
        due_runs.add("c", at_phase(0.25, now))
        await until(lambda: len(due_runs.times_of("c")) >= 2)
        assert due_runs.times_of("a") == due_runs.times_of("b")
        assert {0.0} == {round(due / 0.1 % 1, 3) % 1 for due in due_runs.times_of("a")}
        assert {0.0} == {round(due / 0.25 % 1, 3) % 1 for due in due_runs.times_of("c")}


async def test_an_internal_error_of_one_canary_costs_the_others_no_run(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the other canaries with the same times are due nevertheless."""

    def on_due(name: str, due: float) -> None:
        if name == "a":
            raise ZeroDivisionError
        runs.append(name)

    runs: list[str] = []
    due_runs = DueRuns(on_due)
    due_runs.start()
    now = time.time()
    for name in ("a", "b"):
        due_runs.add(name, at_phase(0.1, now))
    await until(lambda: runs)
    due_runs.stop()
    assert {"b"} == set(runs)
    assert {("canary run failed internally", "a")} == {(record.message, record.canary) for record in caplog.records}  # type: ignore[attr-defined] # an extra


async def test_first_run_at_a_time_of_its_own() -> None:
    """A first run before the phase is due once, and the times up to ``not_before`` are skipped."""
    async with started() as due_runs:
        first = time.time() + 0.05
        due_runs.add("a", FirstRun(first, AlignedIntervalTrigger(0.1, 0.0, not_before=first + 0.1)))
        assert round(first, 5) == round(due_runs.next_run("a", first - 0.05) or 0.0, 5)
        await until(lambda: len(due_runs.runs) >= 3)
        times = due_runs.times_of("a")
        assert round(first, 5) == round(times[0], 5)
        assert 0.1 <= round(times[1] - times[0], 5) <= 0.2


async def test_first_run_needs_no_time_zone_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image need not have one; APScheduler would warn of it."""

    def get_localzone() -> None:
        raise LookupError

    monkeypatch.setattr("apscheduler.triggers.date.get_localzone", get_localzone)
    async with started() as due_runs:
        due_runs.add("a", FirstRun(time.time() - 0.01, AlignedIntervalTrigger(3600.0, 0.0)))
        await until(lambda: due_runs.runs)
    assert ["a"] == [name for name, _ in due_runs.runs]


async def test_first_run_whose_time_has_passed_is_due_at_once() -> None:
    """Others with the same times have run already: the first run of an added canary is not lost, theirs not doubled."""
    async with started() as due_runs:
        due_runs.add("a", at_phase(0.5, time.time()))
        await until(lambda: due_runs.runs)
        (passed,) = due_runs.times_of("a")
        due_runs.add("b", FirstRun(passed, AlignedIntervalTrigger(0.5, 0.0)))
        await until(lambda: len(due_runs.times_of("b")) >= 2)
        assert [passed, passed + 0.5] == due_runs.times_of("b")
        assert due_runs.times_of("b") == due_runs.times_of("a")


async def test_late_first_run_of_one_does_not_delay_another() -> None:
    """A budget can let the first run of one canary wait for hours; others with the same times start before."""
    async with started() as due_runs:
        now = time.time()
        due_runs.add("late", FirstRun(now + 3600.05, AlignedIntervalTrigger(0.1, 0.0, not_before=now + 3600.1)))
        due_runs.add("a", at_phase(0.1, now))
        await until(lambda: len(due_runs.runs) >= 3)
        first = due_runs.times_of("a")[0]
        assert [round(first + k * 0.1, 3) for k in range(3)] == [round(due, 3) for due in due_runs.times_of("a")[:3]]
        assert [] == due_runs.times_of("late")


async def test_of_several_missed_times_only_the_last_is_due() -> None:
    """After a pause of the process, a canary is due once."""
    async with started() as due_runs:
        due_runs.add("a", at_phase(0.05, time.time()))
        await until(lambda: due_runs.runs)
        before, blocked = len(due_runs.runs), time.time()
        time.sleep(0.3)  # blocks the event loop
        resumed = time.time()
        await until(lambda: len(due_runs.runs) > before)
        due = due_runs.times_of("a")[before]
        assert blocked < due <= time.time()
        assert resumed - due < 0.1
        assert due_runs.missed_between("a", due_runs.times_of("a")[before - 1], due) >= 3


async def test_removed_canary_is_not_due_any_more() -> None:
    """Neither at its times, nor for the first time; others with the same times are."""
    async with started() as due_runs:
        now = time.time()
        for name in ("a", "b"):
            due_runs.add(name, at_phase(0.1, now))
        due_runs.add("first", FirstRun(now + 0.05, AlignedIntervalTrigger(0.1, 0.0, not_before=now + 0.15)))
        for name in ("a", "first", "unknown"):
            due_runs.remove(name)
        await until(lambda: len(due_runs.runs) >= 2)
        assert {"b"} == {name for name, _ in due_runs.runs}
        assert None is due_runs.next_run("a", now)


async def test_all_wait_for_their_times_after_a_clock_step() -> None:
    """First runs that were due at times of their own are dropped."""
    async with started() as due_runs:
        now = time.time()
        trigger = AlignedIntervalTrigger(0.1, 0.0, not_before=now + 7200.0)
        due_runs.add("a", FirstRun(now + 3600.0, trigger))
        due_runs.realign(now)
        assert round(AlignedIntervalTrigger(0.1, 0.0).next_after(now), 6) == round(
            due_runs.next_run("a", now) or 0.0, 6
        )
        await until(lambda: due_runs.runs)


async def test_cron_expressions_share_their_times() -> None:
    """A canary with a cron expression is due next when the expression says, in its time zone."""
    async with started() as due_runs:
        trigger = CronTrigger(Cron.parse("0 17 * * 5", "Europe/Berlin"))
        now = 1_774_267_200.0  # Monday, 23 March 2026, 12:00 UTC
        for name in ("a", "b"):
            due_runs.add(name, FirstRun(trigger.next_after(now), CronTrigger(trigger.cron, now)))
        assert {1_774_627_200.0} == {due_runs.next_run(name, now) for name in ("a", "b")}
        await until(lambda: len(due_runs.runs) >= 2)  # long ago by the clock of the machine: due at once
        assert {"a", "b"} == {name for name, _ in due_runs.runs}
