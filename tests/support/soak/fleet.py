"""The canaries of a soak, the truth about their provider, and a record of what was run, recorded and evaluated."""

import bisect
import hashlib
import math
from array import array
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from msgspec import Struct

from streamcanary.model.canary import Canary
from streamcanary.model.faults import FaultKind, Phase, make_fault
from streamcanary.model.outcome import Attempt, Outcome, OutcomeKind
from streamcanary.model.replicas import SHARD_RESOURCES, shard_of
from support.simulated_time import START
from support.soak.scale import Outage, Scale

_WATCHED: Final = 500  # canaries for which NoData is on
_EDGE: Final = 0.1  # seconds after a shard was gained, and before it was lost, in which a due time may be missed
_OWNERS_KEPT: Final = 100  # of each shard
_FAULT = make_fault(FaultKind.STALLED, Phase.STREAM, "no token for 5 s after 11 chunks", status=200)


class Fleet:
    """The canaries, by number. Times are those of the world, in seconds since its beginning."""

    def __init__(self, scale: Scale, outages: Iterable[Outage]) -> None:
        self.canaries = [_a_canary(number, scale) for number in range(scale.canaries)]
        self.shards = [shard_of(canary.identity) for canary in self.canaries]
        self.of_shard: dict[str, list[int]] = {shard: [] for shard in SHARD_RESOURCES}
        for number, shard in enumerate(self.shards):
            self.of_shard[shard].append(number)
        self.phases = array("d", (_phase(canary) for canary in self.canaries))
        self._of_targets = [sorted(one for one in outages if one.target == target) for target in range(scale.targets)]
        self._of_canaries = {one.canary: one for one in outages if one.canary is not None}

    def number(self, canary: str) -> int:
        """Return the number of the canary with this name."""
        return int(canary.removeprefix("canary-"))

    def due(self, number: int, slot: int) -> float:
        """Return when the run of a canary in the interval ``slot`` is due, by the clock of its replica."""
        return self.phases[number] + slot * self.canaries[number].interval

    def is_failing(self, number: int, now: float) -> bool:
        """Return whether the provider of a canary fails now."""
        outages = self._of_targets[number % len(self._of_targets)]
        before = bisect.bisect(outages, (now,)) - 1
        if before >= 0 and now < outages[before].end:
            return True
        outage = self._of_canaries.get(number)
        return outage is not None and outage.start <= now < outage.end

    def outcome(self, number: int, run_id: str, started: float, duration: float, *, failed: bool) -> Outcome:
        """Build the outcome of a run; ``started`` is by the clock of the replica."""
        canary = self.canaries[number]
        return Outcome(
            run_id=run_id,
            canary=canary.name,
            target=canary.target,
            provider=canary.provider,
            kind=OutcomeKind.FAILED if failed else OutcomeKind.OK,
            scheduled=started,
            started=started,
            duration=duration,
            fault=_FAULT if failed else None,
            attempts=(
                Attempt(number=1, route="m", started=started, duration=duration, fault=_FAULT if failed else None),
            ),
        )


class ShardRunner(Protocol):
    """Runs the canaries of shards. ``offsets`` are the least and the greatest error of its clock, in seconds."""

    @property
    def offsets(self) -> tuple[float, float]:
        """The least and the greatest error of its clock so far, in seconds."""
        ...


class Owned(Struct):
    """A shard was owned from ``start`` to ``end``, by the time of the world; ``offsets`` as of :class:`ShardRunner`."""

    start: float
    end: float
    owner: ShardRunner | None
    offsets: tuple[float, float]


class RunLedger:
    """What became of each run. ``violations`` are sentences about runs that must not be.

    A canary runs once in each interval, at its due time. It is missed only if its shard has no owner at that time, and
    run again in the same interval only by another owner. A shard has no owner for at most ``max_unowned`` seconds, not
    counting those in which the database fails.
    """

    def __init__(self, fleet: Fleet, max_unowned: float = math.inf) -> None:
        self._fleet = fleet
        self._max_unowned = max_unowned
        self._outages: list[tuple[float, float]] = []  # of the database
        self.longest_unowned = 0.0
        count = len(fleet.canaries)
        self._last_slot = array("l", [-1]) * count
        self._last_session = array("l", [-1]) * count
        self._last_start = array("d", fleet.phases)
        self._last_recorded = array("d", [-math.inf]) * count  # when it was due, by the clock of its replica
        self.counts: Counter[str] = Counter()
        self.longest_gap = 0.0
        self.longest_gap_in_intervals = 0.0
        self.violations: list[str] = []
        self._owned: dict[str, deque[Owned]] = {}  # by shard

    def start(self, number: int, slot: int, session: int, now: float) -> None:
        """Record that the run of a canary that is due in the interval ``slot`` starts."""
        self.counts["started"] += 1
        last, name = self._last_slot[number], self._fleet.canaries[number].name
        if slot <= last:
            self.counts["repeated"] += 1
            if session == self._last_session[number]:
                self.violations.append(f"{name} was run twice in interval {slot} by session {session}, at {now:.1f}")
            if slot < last:
                self.violations.append(f"{name} was run in interval {slot} after {last}, at {now:.1f}")
        elif last >= 0:
            self._check_missed(number, range(last + 1, slot), now)
        gap = now - self._last_start[number]
        self.longest_gap = max(self.longest_gap, gap)
        self.longest_gap_in_intervals = max(self.longest_gap_in_intervals, gap / self._fleet.canaries[number].interval)
        self._last_slot[number], self._last_session[number] = slot, session
        self._last_start[number] = now

    def commit(self, runs: Mapping[str, Sequence[Outcome]]) -> None:
        """Record that runs are in the database."""
        for shard in runs.values():
            self.counts["recorded"] += len(shard)
            for run in shard:
                number = self._fleet.number(run.canary)
                self._last_recorded[number] = max(self._last_recorded[number], run.scheduled)

    def last_due(self, number: int, session: int | None) -> float | None:
        """Return when the last run of a canary was due that is recorded, or that ``session`` has started."""
        recorded = self._last_recorded[number]
        if recorded == -math.inf:
            return None
        if self._last_session[number] != session:
            return recorded
        return max(recorded, START + self._fleet.due(number, self._last_slot[number]))

    def own(self, shards: Iterable[str], owner: ShardRunner, now: float) -> None:
        """Record that ``owner`` runs the canaries of ``shards`` from now on."""
        for shard in shards:
            owned = self._owned.setdefault(shard, deque(maxlen=_OWNERS_KEPT))
            if owned:
                self._check_unowned(shard, max(one.end for one in owned), now)
            owned.append(Owned(now, math.inf, owner, owner.offsets))

    def disown(self, shards: Iterable[str], owner: ShardRunner, now: float) -> None:
        """Record that it does not any longer: it was released, lost, or its process was stopped."""
        for shard in shards:
            for one in self._owned.get(shard, ()):
                if one.owner is owner:
                    one.end, one.owner, one.offsets = now, None, owner.offsets

    def database_failed(self, start: float, end: float) -> None:
        """Record that no replica could reach the database from ``start`` to ``end``."""
        self._outages.append((start, end))

    def close(self, now: float) -> None:
        """Check that every canary has run until ``now``."""
        for number, canary in enumerate(self._fleet.canaries):
            end = math.floor((now - self._fleet.phases[number]) / canary.interval) + 1
            self._check_missed(number, range(self._last_slot[number] + 1, end), now)

    def _check_missed(self, number: int, slots: Iterable[int], until: float) -> None:
        """Count the intervals in which a canary was not run; each time, its shard must have had no owner."""
        for slot in slots:
            self.counts["missed"] += 1
            due = self._fleet.due(number, slot)
            for one in self._owned.get(self._fleet.shards[number], ()):
                least, greatest = one.offsets if one.owner is None else one.owner.offsets
                # By the clock of the owner it was due between these two times.
                if one.start + _EDGE <= due - greatest and due - least <= min(one.end, until) - _EDGE:
                    name = self._fleet.canaries[number].name
                    self.violations.append(f"{name} was not run in interval {slot}, at {due:.1f}, but had an owner")

    def _check_unowned(self, shard: str, start: float, end: float) -> None:
        """Check that a shard was not without an owner for too long."""
        outages = sum(max(0.0, min(end, until) - max(start, since)) for since, until in self._outages)
        seconds = end - start - outages
        self.longest_unowned = max(self.longest_unowned, seconds)
        if seconds > self._max_unowned:
            self.violations.append(f"{shard} had no owner for {seconds:.0f} s until {end:.0f}")


def _a_canary(number: int, scale: Scale) -> Canary:
    target = number % scale.targets
    return Canary(
        name=f"canary-{number}",
        target=f"target-{target}",
        provider=f"provider-{target % 10}",
        interval=scale.interval * (1 + (number // scale.targets) % 2),
        labels={"watched": "yes"} if number % (1 + scale.canaries // _WATCHED) == 0 else {},
    )


def _phase(canary: Canary) -> float:
    digest = hashlib.blake2b(canary.name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 * canary.interval
