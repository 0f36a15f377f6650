"""Runs the canaries of the shards that a replica owns, at the phases that all replicas share.

What was due while a shard had no owner is caught up, as the scheduler does it.
"""

import asyncio
import heapq
from collections import Counter
from collections.abc import Collection, Sequence
from random import Random

from streamcanary.canary.scheduling.catch_up import catch_up
from streamcanary.canary.scheduling.triggers import AlignedIntervalTrigger, FirstRun
from streamcanary.model.replicas import ALERTS
from streamcanary.replicas.coordinator import Coordinator
from streamcanary.replicas.run_recorder import RunRecorder
from support.simulated_time import START, Machine
from support.soak.fleet import Fleet, RunLedger

_DRAIN = 8.0  # seconds for runs in progress, at a hand-over
_RECORD = 1.5  # seconds to record them


class CanaryLoop:
    """A lease user, in place of the scheduler and the runners: a run takes some seconds, and asks nobody.

    One timer is set for the next run that starts or ends.
    """

    def __init__(
        self,
        fleet: Fleet,
        ledger: RunLedger,
        machine: Machine,
        coordinator: Coordinator,
        recorder: RunRecorder,
        random: Random,
    ) -> None:
        self._fleet, self._ledger, self._machine = fleet, ledger, machine
        self._coordinator, self._recorder, self._random = coordinator, recorder, random
        # when, number of the canary, interval, token of the shard, and for one in progress: start, result
        self._queue: list[tuple[float, int, int, int, tuple[float, bool] | None]] = []
        self._tokens: dict[str, int] = {}  # by owned shard; another one each time that it is gained
        self._running: Counter[str] = Counter()
        self._releasing: set[str] = set()
        self._last_token = 0
        self._timer: asyncio.TimerHandle | None = None
        self.offsets = (machine.offset, machine.offset)

    async def gained(self, resources: Collection[str]) -> None:
        """Schedule the canaries of these shards."""
        shards = set(resources) - {ALERTS}
        for shard in shards:
            self._last_token += 1
            self._tokens[shard] = self._last_token
            self._running[shard] = 0
            self._releasing.discard(shard)
        self._schedule_first([number for shard in sorted(shards) for number in self._fleet.of_shard[shard]])
        self._ledger.own(shards, self, self._machine.world.now)
        self._set_timer()

    async def releasing(self, resources: Collection[str]) -> None:
        """Start nothing more, let runs end, and record them."""
        shards = set(resources) - {ALERTS}
        self._releasing |= shards
        self._ledger.disown(shards, self, self._machine.world.now)
        end = self._machine.world.now + _DRAIN
        while any(self._running[shard] for shard in shards) and self._machine.world.now < end:
            await asyncio.sleep(0.5)
        await self._recorder.drain(_RECORD)
        self._forget(shards)

    def lost(self, resources: Collection[str]) -> None:
        """Forget runs in progress, and drop those that are not recorded."""
        self._forget(resources)
        self._recorder.lost(resources)

    def interrupt(self) -> None:
        """Record that nothing runs for a while, or for ever: the process is stopped."""
        self._ledger.disown(self._tokens, self, self._machine.world.now)

    def resume(self) -> None:
        """Record that the process goes on with the shards that it had; it will notice if it has lost them."""
        self._ledger.own(self._tokens, self, self._machine.world.now)

    def end(self) -> None:
        """Forget everything: the process has ended."""
        self._queue.clear()

    def finish(self) -> None:
        """Start nothing more."""
        self._releasing |= set(self._tokens)

    def _forget(self, shards: Collection[str]) -> None:
        self._ledger.disown(shards, self, self._machine.world.now)
        for shard in shards:
            self._tokens.pop(shard, None)

    def _schedule_first(self, numbers: Sequence[int]) -> None:
        """Schedule the first runs of canaries: at the next interval, by the clock of this machine, or to catch up."""
        wall, session = self._machine.time() - START, self._coordinator.session
        names = {self._fleet.canaries[number].name: number for number in numbers}
        triggers = {
            name: AlignedIntervalTrigger(self._fleet.canaries[number].interval, self._fleet.phases[number])
            for name, number in names.items()
        }
        due = {name: self._ledger.last_due(number, session) for name, number in names.items()}
        runs = catch_up(
            {name: FirstRun(trigger.next_after(wall), trigger) for name, trigger in triggers.items()},
            [self._fleet.canaries[number] for number in numbers],
            wall,
            last_due={name: last - START for name, last in due.items() if last is not None},
            min_gap=0.0,
        )
        for name, run in runs.items():
            number = names[name]
            # One in the second half of an interval is that of the next one, which is skipped.
            slot = round((run.due - self._fleet.phases[number]) / self._fleet.canaries[number].interval)
            token = self._tokens[self._fleet.shards[number]]
            heapq.heappush(self._queue, (run.due - self._machine.offset, number, slot, token, None))

    def _schedule(self, number: int, slot: int, token: int) -> None:
        least, greatest = self.offsets
        self.offsets = min(least, self._machine.offset), max(greatest, self._machine.offset)
        heapq.heappush(self._queue, (self._fleet.due(number, slot) - self._machine.offset, number, slot, token, None))

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._queue:
            self._timer = self._machine.loop.call_at(self._queue[0][0], self._run_due)

    def _run_due(self) -> None:
        now = self._machine.world.now
        while self._queue and self._queue[0][0] <= now + 1e-6:
            _, number, slot, token, run = heapq.heappop(self._queue)
            shard = self._fleet.shards[number]
            if self._tokens.get(shard) != token:
                continue
            if run is not None:
                self._finish(number, slot, token, *run)
                continue
            self._schedule(number, slot + 1, token)
            session = self._coordinator.session
            if session is not None and shard not in self._releasing and self._coordinator.epoch(shard) is not None:
                self._running[shard] += 1
                self._ledger.start(number, slot, session, now)
                run = (self._machine.time(), self._fleet.is_failing(number, now))
                heapq.heappush(self._queue, (now + self._random.uniform(0.5, 6.0), number, slot, token, run))
        self._set_timer()

    def _finish(self, number: int, slot: int, token: int, started: float, failed: bool) -> None:
        shard = self._fleet.shards[number]
        self._running[shard] -= 1
        run_id = f"{number}-{slot}-{self._coordinator.session}-{token}"
        outcome = self._fleet.outcome(number, run_id, started, self._machine.time() - started, failed=failed)
        self._ledger.counts["ended"] += 1
        if not self._recorder.add(outcome, shard):
            self._ledger.counts["dropped at once"] += 1
