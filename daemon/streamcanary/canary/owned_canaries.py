"""Runs the canaries of the shards that this replica owns; other replicas run the others.

A canary keeps its phase when its shard goes to another replica: all of them have the same grid of due times. A run that
was due while the shard had no owner is caught up. Runs that have not ended when a shard is handed over have a few
seconds for it, and are cancelled without an outcome after that; when a lease is lost they are cancelled at once.
"""

import asyncio
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Final, Protocol
from uuid import uuid4

from msgspec import Struct

from streamcanary.canary.runners import RunHistory
from streamcanary.canary.scheduling.scheduler import Runner, Scheduler
from streamcanary.canary.scheduling.triggers import trigger_of
from streamcanary.model.canary import Canary
from streamcanary.model.clock import Clock
from streamcanary.model.outcome import Outcome, OutcomeKind
from streamcanary.model.replicas import SHARD_RESOURCES, shard_of

FINISH_TIMEOUT: Final = 7.0
"""Seconds that running runs have to end before their shard is handed over."""

_SHARDS: Final = frozenset(SHARD_RESOURCES)


class ResumableRunners(Protocol):
    """The runners of all canaries, which continue after recorded runs."""

    async def resume(self, store: RunHistory, names: Collection[str] | None = None) -> Mapping[str, float]:
        """Continue after the runs in ``store`` of the canaries ``names``; return when the last of each was due."""
        ...


class _LeasedRunner:
    """Runs a canary as long as the lease is valid, which is checked before each run.

    A process that was stopped may start a run before it has noticed that its lease ended. ``last_due`` is when the last
    run that has started was due, which the store need not have.
    """

    __slots__ = ("_is_valid", "_runner", "canary", "last_due")

    def __init__(self, runner: Runner, is_valid: Callable[[], bool]) -> None:
        self._runner = runner
        self._is_valid = is_valid
        self.canary = runner.canary
        self.last_due = -math.inf

    async def __call__(self, scheduled: float) -> Outcome:
        """Run once; without a lease, the run is skipped."""
        if self._is_valid():
            self.last_due = scheduled
            return await self._runner(scheduled)
        return Outcome(
            run_id=uuid4().hex,
            canary=self.canary.name,
            target=self.canary.target,
            provider=self.canary.provider,
            kind=OutcomeKind.SKIPPED,
            scheduled=scheduled,
            started=scheduled,
            reason="standby: the lease has ended",
        )


class _Schedule(Struct, frozen=True):
    """The canaries of one configuration with their shards, and the limits of their targets."""

    runners: Mapping[str, _LeasedRunner]
    shards: Mapping[str, str]
    instance: str
    max_concurrent_runs: Mapping[str, int | None]


class OwnedCanaries:
    """Lets ``scheduler`` run the canaries of owned shards, a user of leases.

    ``prepare`` and ``apply`` replace the canaries, as those of the scheduler do. Runners of gained shards ``resume``
    from ``history`` before they run; the run that was due last is made soon if it is not there. ``is_valid`` returns
    whether the lease is valid; without it, no run starts. ``on_change`` is called with the names of the canaries that
    this replica runs when these are others.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        runners: ResumableRunners,
        history: RunHistory,
        *,
        clock: Clock,
        is_valid: Callable[[], bool],
        on_change: Callable[[Collection[str]], None],
        finish_timeout: float = FINISH_TIMEOUT,
    ) -> None:
        self._scheduler = scheduler
        self._runners = runners
        self._history = history
        self._clock = clock
        self._is_valid = is_valid
        self._on_change = on_change
        self.finish_timeout = finish_timeout
        self._schedule = self._prepared = _Schedule({}, {}, "", {})
        self._former_shards: Mapping[str, str] = {}
        self._owned: set[str] = set()
        self._gaining: set[str] = set()
        self.names: frozenset[str] = frozenset()

    def prepare(
        self,
        runners: Iterable[Runner],
        *,
        instance: str,
        max_concurrent_runs: Mapping[str, int | None] = MappingProxyType({}),
        starts_at_phase: bool = True,
    ) -> None:
        """Prepare other canaries; they take effect at :meth:`apply`. May be called in another thread."""
        by_name = {runner.canary.name: _LeasedRunner(runner, self._is_valid) for runner in runners}
        shards = {name: shard_of(runner.canary.identity) for name, runner in by_name.items()}
        self._prepared = _Schedule(by_name, shards, instance, max_concurrent_runs)

    def apply(self) -> None:
        """Apply what the last :meth:`prepare` has prepared, to the canaries of owned shards."""
        for name, runner in self._prepared.runners.items():
            if (former := self._schedule.runners.get(name)) is not None:
                runner.last_due = former.last_due
        self._former_shards, self._schedule = self._schedule.shards, self._prepared
        self._apply_owned()

    def shard_of(self, canary: str) -> str:
        """Return the shard of a canary by its name, also of one that the last reload has removed."""
        shard = self._schedule.shards.get(canary) or self._former_shards.get(canary)
        return shard or shard_of(canary)

    def next_run(self, name: str) -> float | None:
        """Return when a canary is due next in seconds since the epoch, also if another replica runs it."""
        if name in self.names:
            return self._scheduler.next_run(name)
        runner = self._schedule.runners.get(name)
        if runner is None:
            return None
        return trigger_of(runner.canary, self._schedule.instance).next_after(self._clock.time())

    async def gained(self, resources: Collection[str]) -> None:
        """Run the canaries of these shards from now on, and catch up the run that each has missed, if one was due."""
        shards = _SHARDS.intersection(resources)
        self._gaining |= shards
        recorded: Mapping[str, float] = {}
        if names := self._names_in(shards):
            recorded = await self._runners.resume(self._history, names)
        shards &= self._gaining  # some may be lost by now
        self._gaining -= shards
        self._owned |= shards
        runners = self._schedule.runners
        self._apply_owned({name: max(due, runners[name].last_due) for name, due in recorded.items() if name in runners})

    async def releasing(self, resources: Collection[str]) -> None:
        """Start no more runs of the canaries of these shards, and let those that run end."""
        names = self._names_in(resources)
        self._remove(resources)
        await self._scheduler.finish(names, self.finish_timeout)

    def hurry(self, seconds: float) -> None:
        """Give runs at most ``seconds`` to end from now on, also those whose shards are being handed over already."""
        self.finish_timeout = min(self.finish_timeout, seconds)
        running = list(self._schedule.runners)
        asyncio.get_running_loop().call_later(seconds, self._scheduler.cancel, running)

    def lost(self, resources: Collection[str]) -> None:
        """Stop the canaries of these shards at once."""
        names = self._names_in(resources)
        self._remove(resources)
        self._scheduler.cancel(names)

    def _remove(self, resources: Collection[str]) -> None:
        self._gaining.difference_update(resources)
        self._owned.difference_update(resources)
        self._apply_owned()

    def _names_in(self, resources: Collection[str]) -> list[str]:
        return [name for name, shard in self._schedule.shards.items() if shard in resources]

    def _apply_owned(self, last_due: Mapping[str, float] = MappingProxyType({})) -> None:
        schedule = self._schedule
        names = self._names_in(self._owned)
        owned = [schedule.runners[name] for name in names]
        limits = _share_limits(
            (runner.canary for runner in schedule.runners.values()),
            [runner.canary for runner in owned],
            schedule.max_concurrent_runs,
        )
        self._scheduler.prepare(
            owned,
            instance=schedule.instance,
            max_concurrent_runs=limits,
            starts_at_phase=True,
            last_due=last_due,
        )
        self._scheduler.apply()
        before, self.names = self.names, frozenset(names)
        if before != self.names:
            self._on_change(self.names)


def _share_limits(
    canaries: Iterable[Canary], owned: Collection[Canary], configured: Mapping[str, int | None]
) -> dict[str, int | None]:
    """Return the part of each configured limit of runs at once that the ``owned`` canaries of its target have."""
    runs, owned_runs = (_runs_per_second(some) for some in (canaries, owned))
    return {
        target: max(1, math.ceil(limit * owned_runs.get(target, 0.0) / runs[target]))
        for target, limit in configured.items()
        if limit is not None and runs.get(target)
    }


def _runs_per_second(canaries: Iterable[Canary]) -> dict[str, float]:
    runs: dict[str, float] = {}
    for canary in canaries:
        runs[canary.target] = runs.get(canary.target, 0.0) + 1 / canary.interval
    return runs
