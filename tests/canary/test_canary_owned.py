"""A replica runs the canaries of the shards that it owns, at the same times as any other replica would."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

import pytest

from streamcanary.canary.metrics import CanaryMetrics
from streamcanary.canary.owned_canaries import OwnedCanaries
from streamcanary.canary.scheduling.scheduler import Scheduler
from streamcanary.canary.scheduling.triggers import phase_offset
from streamcanary.model.clock import SystemClock
from streamcanary.model.outcome import Outcome, OutcomeKind
from streamcanary.model.replicas import ALERTS, SHARD_RESOURCES, shard_of
from support.recording_runner import RecordingRunner

CLOCK = SystemClock()
INTERVAL = 0.2


class Runners:
    """Records which canaries were resumed, and when ``go_on`` is set returns from it, with those that have runs."""

    def __init__(self) -> None:
        self.resumed: list[str] = []
        self.recorded: dict[str, float] = {}
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def resume(self, store: object, names: Collection[str] | None = None) -> dict[str, float]:
        """Resume the canaries ``names``."""
        self.resumed += sorted(names or ())
        await self.go_on.wait()
        return {name: due for name, due in self.recorded.items() if name in (names or ())}


class Replica:
    """A scheduler without canaries, which runs those of owned shards."""

    def __init__(self, *runners: RecordingRunner, limits: dict[str, int | None] | None = None) -> None:
        self.outcomes: list[Outcome] = []
        self.is_valid = True
        self.runners = Runners()
        self.changes: list[set[str]] = []
        self.scheduler = Scheduler(
            [],
            instance="i",
            clock=CLOCK,
            metrics=CanaryMetrics(CLOCK),
            on_outcome=self.outcomes.append,
            starts_at_phase=True,
        )
        self.owned = OwnedCanaries(
            self.scheduler,
            self.runners,
            None,  # type: ignore[arg-type] # the runners above read nothing
            clock=CLOCK,
            is_valid=lambda: self.is_valid,
            on_change=lambda names: self.changes.append(set(names)),
        )
        self.scheduler.start()
        self.reload(*runners, limits=limits)

    def reload(self, *runners: RecordingRunner, limits: dict[str, int | None] | None = None) -> None:
        """Replace the canaries of the configuration."""
        self.owned.prepare(runners, instance="i", max_concurrent_runs=limits or {})
        self.owned.apply()


@pytest.fixture
async def make_replica() -> AsyncIterator[Callable[..., Replica]]:
    replicas: list[Replica] = []

    def make(*runners: RecordingRunner, **more: Any) -> Replica:
        replicas.append(Replica(*runners, **more))
        return replicas[-1]

    yield make
    for replica in replicas:
        await replica.scheduler.drain(0.1)


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


def _is_on_grid(name: str, due: float) -> bool:
    distance = (due - phase_offset("i", name, INTERVAL)) % INTERVAL
    return min(distance, INTERVAL - distance) < 1e-3


def _last_due(name: str, interval: float) -> float:
    """Return the last due time until now."""
    phase = phase_offset("i", name, interval)
    return phase + (CLOCK.time() - phase) // interval * interval


async def test_only_canaries_of_owned_shards_run(make_replica: Callable[..., Replica]) -> None:
    """A replica runs the canaries of shards that it has gained, after they have resumed, and no others."""
    mine, other = RecordingRunner("mine", INTERVAL), RecordingRunner("other", INTERVAL)
    replica = make_replica(mine, other)
    await replica.owned.gained([ALERTS, shard_of("mine")])
    await _until(lambda: len(mine.due) > 2)
    assert (["mine"], [], [{"mine"}]) == (replica.runners.resumed, other.due, replica.changes)


async def test_a_canary_keeps_its_phase_at_another_replica(make_replica: Callable[..., Replica]) -> None:
    """Runs before and after a shard is handed over are due on one grid."""
    first, second = RecordingRunner("c", INTERVAL), RecordingRunner("c", INTERVAL)
    source, destination = make_replica(first), make_replica(second)
    await source.owned.gained(SHARD_RESOURCES)
    await _until(lambda: len(first.due) > 1)
    await source.owned.releasing(SHARD_RESOURCES)
    count = len(first.due)
    await destination.owned.gained(SHARD_RESOURCES)
    await _until(lambda: len(second.due) > 1)
    assert count == len(first.due)
    assert True is all(_is_on_grid("c", due) for due in first.due + second.due)


async def test_a_run_that_was_due_without_an_owner_is_caught_up(make_replica: Callable[..., Replica]) -> None:
    """It is due when it is scheduled, so that it is not late, and the runs after it are due at their phase."""
    interval = 3600.0
    missed, recorded, new = (RecordingRunner(name, interval) for name in ("missed", "recorded", "new"))
    replica = make_replica(missed, recorded, new)
    last = {runner.canary.name: _last_due(runner.canary.name, interval) for runner in (missed, recorded)}
    replica.runners.recorded = {"missed": last["missed"] - interval, "recorded": last["recorded"]}
    before = CLOCK.time()
    await replica.owned.gained(SHARD_RESOURCES)
    await _until(lambda: replica.outcomes)
    assert ("missed", True) == (replica.outcomes[0].canary, before - 1e-3 <= missed.due[0] <= CLOCK.time())
    following = (replica.owned.next_run("missed") or 0.0) - last["missed"]
    assert following / interval == pytest.approx(2.0 if missed.due[0] - last["missed"] > interval / 2 else 1.0)
    assert ([], [], 1) == (recorded.due, new.due, len(missed.due))


async def test_a_run_that_is_not_recorded_is_not_repeated_by_the_same_replica(
    make_replica: Callable[..., Replica],
) -> None:
    """A replica that loses its lease and gets it again knows which runs it has made, also after a reload."""
    interval = 3600.0
    runner = RecordingRunner("c", interval)
    replica = make_replica(runner)
    replica.runners.recorded = {"c": _last_due("c", interval) - interval}
    await replica.owned.gained(SHARD_RESOURCES)
    await _until(lambda: replica.outcomes)
    replica.owned.lost(SHARD_RESOURCES)
    replica.reload(runner)
    await replica.owned.gained(SHARD_RESOURCES)
    await asyncio.sleep(INTERVAL)
    assert 1 == len(runner.due)


async def test_a_replica_that_cannot_read_the_store_catches_nothing_up(make_replica: Callable[..., Replica]) -> None:
    """Others may have made the run since its own last one."""
    runner = RecordingRunner("c", INTERVAL)
    replica = make_replica(runner)
    await replica.owned.gained(SHARD_RESOURCES)
    await _until(lambda: runner.due)
    replica.owned.lost(SHARD_RESOURCES)
    await asyncio.sleep(2 * INTERVAL)
    count = len(runner.due)
    await replica.owned.gained(SHARD_RESOURCES)
    await _until(lambda: len(runner.due) > count)
    assert True is _is_on_grid("c", runner.due[count])


async def test_runs_that_are_caught_up_wait_for_no_other_shard(make_replica: Callable[..., Replica]) -> None:
    """Those of shards that are gained one after the other at once are all made."""
    interval = 3600.0
    runners = [RecordingRunner(f"c{number}", interval) for number in range(8)]
    replica = make_replica(*runners)
    replica.runners.recorded = {f"c{number}": _last_due(f"c{number}", interval) - interval for number in range(8)}
    await asyncio.gather(*(replica.owned.gained([shard_of(f"c{number}")]) for number in range(8)))
    await _until(lambda: all(runner.due for runner in runners))
    assert [1] * 8 == [len(runner.due) for runner in runners]


async def test_a_running_run_ends_before_its_shard_is_released(make_replica: Callable[..., Replica]) -> None:
    """A run that ends in time has an outcome, and its canary starts no other one."""
    runner = RecordingRunner("c", INTERVAL)
    replica = make_replica(runner)
    await replica.owned.gained(SHARD_RESOURCES)
    runner.go_on.clear()
    await _until(lambda: runner.due)
    releasing = asyncio.create_task(replica.owned.releasing(SHARD_RESOURCES))
    await asyncio.sleep(2 * INTERVAL)
    is_released_early = releasing.done()
    runner.go_on.set()
    await releasing
    assert (False, 1, 1) == (is_released_early, len(runner.due), len(replica.outcomes))


async def test_a_run_that_hangs_is_cancelled_without_an_outcome(make_replica: Callable[..., Replica]) -> None:
    """After the time limit the shard is released, and the run is no sample."""
    runner = RecordingRunner("c", INTERVAL)
    replica = make_replica(runner)
    replica.owned.finish_timeout = 0.05
    await replica.owned.gained(SHARD_RESOURCES)
    runner.go_on.clear()
    await _until(lambda: runner.due)
    await replica.owned.releasing(SHARD_RESOURCES)
    assert [] == replica.outcomes


async def test_a_lost_lease_cancels_runs_at_once(make_replica: Callable[..., Replica]) -> None:
    """A run of a shard that another replica may own now has no outcome."""
    runner = RecordingRunner("c", INTERVAL)
    replica = make_replica(runner)
    await replica.owned.gained(SHARD_RESOURCES)
    runner.go_on.clear()
    await _until(lambda: runner.due)
    replica.owned.lost(SHARD_RESOURCES)
    runner.go_on.set()
    await asyncio.sleep(2 * INTERVAL)
    assert ([], 1) == (replica.outcomes, len(runner.due))


async def test_no_run_starts_after_the_lease_has_ended(make_replica: Callable[..., Replica]) -> None:
    """A process that continues after it was stopped asks nobody, even before it knows that it lost its shards."""
    runner = RecordingRunner("c", INTERVAL)
    replica = make_replica(runner)
    replica.is_valid = False
    await replica.owned.gained(SHARD_RESOURCES)
    await _until(lambda: replica.outcomes)
    outcome = replica.outcomes[0]
    assert ([], OutcomeKind.SKIPPED, "standby: the lease has ended") == (runner.due, outcome.kind, outcome.reason)


async def test_less_time_is_left_when_the_daemon_stops(make_replica: Callable[..., Replica]) -> None:
    """A run that may end while its shard goes to another replica is cancelled when this one has to stop."""
    runner = RecordingRunner("c", INTERVAL)
    replica = make_replica(runner)
    await replica.owned.gained(SHARD_RESOURCES)
    runner.go_on.clear()
    await _until(lambda: runner.due)
    releasing = asyncio.create_task(replica.owned.releasing(SHARD_RESOURCES))
    await asyncio.sleep(0)
    replica.owned.hurry(0.05)
    async with asyncio.timeout(2):
        await releasing
    assert [] == replica.outcomes


async def test_a_shard_that_is_lost_while_its_canaries_resume_does_not_run(
    make_replica: Callable[..., Replica],
) -> None:
    """The canaries of a shard that is lost before they have read the store never run."""
    runner = RecordingRunner("c", INTERVAL)
    replica = make_replica(runner)
    replica.runners.go_on.clear()
    gaining = asyncio.create_task(replica.owned.gained(SHARD_RESOURCES))
    await _until(lambda: replica.runners.resumed)
    replica.owned.lost([shard_of("c")])
    replica.runners.go_on.set()
    await gaining
    await asyncio.sleep(2 * INTERVAL)
    assert ([], frozenset()) == (runner.due, replica.owned.names)


async def test_a_reload_adds_canaries_of_owned_shards_only(make_replica: Callable[..., Replica]) -> None:
    """A new canary runs at the replica that owns its shard; one that was renamed stays at the same."""
    replica = make_replica(RecordingRunner("former", INTERVAL))
    await replica.owned.gained([shard_of("former"), shard_of("new")])
    renamed = RecordingRunner("renamed", INTERVAL, renamed_from="former")
    new, other = RecordingRunner("new", INTERVAL), RecordingRunner("other", INTERVAL)
    replica.reload(renamed, new, other)
    await _until(lambda: renamed.due and new.due)
    assert (frozenset({"renamed", "new"}), []) == (replica.owned.names, other.due)
    assert shard_of("former") == replica.owned.shard_of("renamed") == replica.owned.shard_of("former")


async def test_the_next_run_of_a_canary_of_another_replica_follows_from_its_schedule(
    make_replica: Callable[..., Replica],
) -> None:
    """The next run is known of every canary of the configuration, and of no other."""
    replica = make_replica(RecordingRunner("mine", INTERVAL), RecordingRunner("other", INTERVAL))
    await replica.owned.gained([shard_of("mine")])
    now = CLOCK.time()
    mine, other = replica.owned.next_run("mine"), replica.owned.next_run("other")
    assert True is (mine is not None and other is not None and now <= other <= now + 1.1 * INTERVAL)
    assert True is _is_on_grid("other", other or 0.0)
    assert None is replica.owned.next_run("unknown")


async def test_the_limit_of_runs_at_once_is_divided(make_replica: Callable[..., Replica]) -> None:
    """Of a target with 8 canaries and 4 runs at once, 2 canaries may make one run at once."""
    runners = [RecordingRunner(f"c{number}", INTERVAL) for number in range(8)]
    replica = make_replica(*runners, limits={"t": 4})
    for runner in runners:
        runner.go_on.clear()
    await replica.owned.gained([shard_of("c0"), shard_of("c1")])
    await asyncio.sleep(2 * INTERVAL)
    assert 1 == sum(len(runner.due) for runner in runners)
