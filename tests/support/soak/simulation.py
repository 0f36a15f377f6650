"""Runs a soak: starts replicas, lets faults happen, checks what must always be true, and returns figures."""

import gc
import logging
import resource
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

from msgspec import Struct, field

from streamcanary.model.alerts.pending_input import AlertCommit
from streamcanary.model.alerts.row_change import RowChange
from streamcanary.model.replicas import ALERTS, SHARDS, Ownership
from support.memory_lease_store import LeasedAlerts, MemoryDatabase
from support.simulated_time import START, World
from support.soak.checks import match_incidents
from support.soak.fleet import Fleet, RunLedger
from support.soak.pagerduty import PagerDutyEvents
from support.soak.replica import SoakReplica, Surroundings, many_in_one_process
from support.soak.scale import HOUR, Fault, Scale, plan_faults, plan_outages

_ROLL_EVERY = 20.0  # seconds between two replicas of a rolling update


class Figures(Struct):
    """What a soak has measured."""

    scale: Scale
    runs: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    sessions: int = 0
    moves: int = 0
    takeovers_of_alerts: int = 0
    evaluated: int = 0
    repeated_commits: int = 0
    incidents: int = 0
    events: int = 0
    refused: int = 0
    unanswered: int = 0
    repeated_events: int = 0
    longest_gap: float = 0.0
    longest_gap_in_intervals: float = 0.0
    longest_unowned: float = 0.0
    detection: dict[str, list[float]] = field(default_factory=dict)
    """Seconds from the start of an outage to its page, by rule."""
    turns: int = 0
    cpu: float = 0.0
    memory: list[tuple[float, float]] = field(default_factory=list)
    """Hours, and MB of memory that is in use."""
    violations: list[str] = field(default_factory=list)


class CheckedAlerts(LeasedAlerts):
    """Checks that each input is consumed once, by a commit that is made once."""

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__(database)
        self.evaluated = self.repeated = 0
        self.violations: list[str] = []
        self._last: tuple[Ownership, Sequence[RowChange], Collection[int]] | None = None

    def commit(
        self, owner: Ownership, rows: Sequence[RowChange], consumed: Collection[int], *options: Any
    ) -> AlertCommit:
        """Commit; a commit that is repeated after a lost answer must be the same as before."""
        before = len(self.inputs)
        result = super().commit(owner, rows, consumed, *options)
        count = before - len(self.inputs)
        if count == len(consumed):
            self.evaluated += count
        elif count == 0 and self._last == (owner, rows, consumed):
            self.repeated += 1
        else:
            self.violations.append(f"{len(consumed) - count} of {len(consumed)} inputs were consumed before")
        self._last = (owner, rows, consumed)
        return result


class Simulation:
    """A soak of ``scale``; :meth:`run` returns its figures.

    ``on_sample`` is called 24 times, with the simulated hours and the memory in MB.
    """

    def __init__(self, scale: Scale, on_sample: Callable[[float, float], None] = lambda *_: None) -> None:
        self._scale, self._on_sample = scale, on_sample
        self._random = Random(scale.seed)  # noqa: S311 - a simulation
        self.outages = plan_outages(scale, self._random)
        self._faults = plan_faults(scale, self._random)
        self._world = World()
        self._database = MemoryDatabase(lambda: START + self._world.now)
        self._alerts = self._database.alerts = CheckedAlerts(self._database)
        self._fleet = Fleet(scale, self.outages)
        self._ledger = RunLedger(self._fleet, max_unowned=scale.max_unowned)
        self._events = PagerDutyEvents(self._world, self._may_send, self._random)
        self._database.on_commit = lambda _, runs: self._ledger.commit(runs)
        self._replicas: list[SoakReplica] = []
        self._stopping: list[SoakReplica] = []
        self._dropped = 0
        self._later: list[tuple[float, str, SoakReplica | None]] = []  # what ends or follows a fault
        self._last_name = 0
        self.figures = Figures(scale)

    def run(self) -> Figures:
        """Run the soak."""
        cpu = time.process_time()
        with _without_logs(), many_in_one_process(self._scale, self._events):
            self._around = Surroundings(self._scale, self._world, self._database, self._fleet, self._ledger)
            for _ in range(self._scale.replicas):
                self._start()
            for at, fault in self._timeline():
                self._world.run_until(at)
                self._happen(fault)
            self._finish()
        self._collect(time.process_time() - cpu)
        return self.figures

    # ---- faults

    def _timeline(self) -> Iterator[tuple[float, Fault | None]]:
        """Yield the faults, and every minute something to look at what follows from earlier ones."""
        faults = list(reversed(self._faults))
        step = 1.0
        while self._world.now < self._scale.seconds:
            at = self._world.now + step
            if self._later:
                at = min(at, max(self._world.now, min(self._later, key=lambda one: one[0])[0]))
            if faults and faults[-1].at <= at:
                fault = faults.pop()
                yield max(fault.at, self._world.now), fault
            else:
                yield at, None

    def _happen(self, fault: Fault | None) -> None:
        now = self._world.now
        due = [one for one in self._later if one[0] <= now]
        self._later = [one for one in self._later if one[0] > now]
        for _, kind, replica in due:
            self._follow(kind, replica)
        self._sample()
        if fault is None:
            return
        self.figures.faults[fault.kind] = self.figures.faults.get(fault.kind, 0) + 1
        if fault.kind == "rolling update":
            for number in range(len(self._replicas)):
                self._later.append((now + number * _ROLL_EVERY, "start one", None))
                self._later.append((now + (number + 0.5) * _ROLL_EVERY, "stop the oldest", None))
        elif fault.kind == "database":
            for replica in self._replicas:
                replica.connection.lost_answers = 1
            self._later.append((now + 0.05, "database fails", None))
            self._later.append((now + fault.seconds, "database works", None))
            self._ledger.database_failed(now, now + fault.seconds)
        elif (replica := self._pick(fault)) is not None:
            self._hit(fault, replica)

    def _hit(self, fault: Fault, replica: SoakReplica) -> None:
        end = self._world.now + fault.seconds
        match fault.kind:
            case "crash":
                self._replicas.remove(replica)
                self._kill(replica)
                self._later.append((end, "start again", replica))
            case "pause":
                replica.canaries.interrupt()
                replica.machine.pause()
                self._later.append((end, "continue", replica))
            case "cut":
                replica.connection.is_cut = True
                self._later.append((end, "connect", replica))
            case "hang":
                replica.connection.hangs = True
                self._later.append((end, "connect", replica))
            case "clock":
                replica.machine.offset += fault.seconds
                replica.alerting.wake()
                replica.machine.wake()
            case "stop":
                self._stop(replica)
                self._later.append((end, "start one", None))
            case "doubt":
                replica.connection.lost_answers = int(fault.chance * 4)
                replica.connection.lost_commits = 3

    def _follow(self, kind: str, replica: SoakReplica | None) -> None:
        """Let something happen that follows from an earlier fault."""
        if kind in ("database fails", "database works"):
            self._database_fails = kind == "database fails"
            for one in self._replicas:
                one.connection.is_cut = self._database_fails
        elif kind == "start one":
            self._start()
        elif kind == "stop the oldest":
            self._stop(self._replicas[0])
        elif kind == "close" and replica is not None:
            self._stopping.remove(replica)
            self._kill(replica)
        elif kind == "start again" and replica is not None:
            self._start(replica.name)
        elif kind == "continue" and replica is not None and replica in self._replicas:
            replica.canaries.resume()
            replica.machine.resume()
        elif kind == "connect" and replica is not None and replica in self._replicas:
            replica.connection.is_cut = self._database_fails
            replica.connection.hangs = False

    _database_fails = False

    def _pick(self, fault: Fault) -> SoakReplica | None:
        """Return the replica that a fault hits: one that runs, and is hit by no other fault."""
        healthy = [
            one
            for one in self._replicas
            if not (one.machine.is_paused or one.connection.is_cut or one.connection.hangs)
        ]
        if len(healthy) < 2:
            return None
        owners = [one for one in healthy if one.owns_alerts()]
        if fault.hits_owner and owners:
            return owners[0]
        return healthy[int(fault.chance * len(healthy))]

    # ---- replicas

    def _start(self, name: str = "") -> None:
        if not name:
            self._last_name += 1
            name = f"replica-{self._last_name}"
        replica = SoakReplica(self._around, name, Random(self._random.random()))  # noqa: S311 - a simulation
        replica.connection.is_cut = self._database_fails
        self._replicas.append(replica.start())

    def _stop(self, replica: SoakReplica) -> None:
        self._replicas.remove(replica)
        self._stopping.append(replica)
        replica.machine.resume()
        replica.stop()
        self._later.append((self._world.now + 30.0, "close", replica))

    def _kill(self, replica: SoakReplica) -> None:
        """End a process, and keep nothing of it but its counts."""
        replica.kill()
        self._dropped += replica.dropped + replica.recorder.dropped
        self.figures.violations += [f"error on a machine: {error}" for error in replica.machine.errors]

    # ---- checks and figures

    def _may_send(self, machine: object) -> bool:
        """Return whether the replica on ``machine`` owns the alerts, by the database."""
        running = (*self._replicas, *self._stopping)
        return any(one.machine is machine and one.owns_alerts() for one in running)

    def _sample(self) -> None:
        hours = self._world.now / HOUR
        if not self.figures.memory or hours >= self.figures.memory[-1][0] + self._scale.hours / 24:
            gc.collect()
            self._forget_old_runs()
            self.figures.memory.append((hours, _memory()))
            self._on_sample(*self.figures.memory[-1])

    def _forget_old_runs(self) -> None:
        """Forget the ids of runs that nobody can commit again, as the database deletes old runs."""
        keep = 10_000
        for run_id in list(self._database.runs)[:-keep]:
            del self._database.runs[run_id]

    def _finish(self) -> None:
        """Let everything come to rest, and end all replicas."""
        self._ledger.close(self._world.now)
        for replica in self._replicas:
            replica.canaries.finish()
        self._world.run_for(60)
        figures = self.figures
        if self._alerts.inputs:
            figures.violations.append(f"{len(self._alerts.inputs)} runs were not evaluated")
        owned = [resource for replica in self._replicas for resource in replica.coordinator.owned]
        if sorted(owned) != sorted(self._database.leases) or len(owned) != SHARDS + 1:
            figures.violations.append(f"{len(owned)} resources are owned at the end")
        for replica in (*self._replicas, *self._stopping):
            self._kill(replica)

    def _collect(self, cpu: float) -> None:
        figures, counts, database = self.figures, self._ledger.counts, self._database
        figures.runs = {**counts, "dropped": self._dropped}
        lost = counts["ended"] - counts["recorded"]
        if lost > self._dropped:
            figures.violations.append(f"{lost} runs were not recorded, and {self._dropped} were dropped")
        if counts["recorded"] != self._alerts.evaluated:
            figures.violations.append(f"{counts['recorded']} runs were recorded, {self._alerts.evaluated} evaluated")
        figures.sessions = database.last_session
        figures.moves = sum(lease.epoch - 1 for name, lease in database.leases.items() if name != ALERTS)
        figures.takeovers_of_alerts = database.leases[ALERTS].epoch - 1
        figures.evaluated, figures.repeated_commits = self._alerts.evaluated, self._alerts.repeated
        events = self._events
        figures.incidents, figures.events = len(events.incidents), events.events
        figures.refused, figures.unanswered, figures.repeated_events = (
            events.refused,
            events.unanswered,
            events.repeated,
        )
        figures.longest_gap = self._ledger.longest_gap
        figures.longest_unowned = self._ledger.longest_unowned
        figures.longest_gap_in_intervals = self._ledger.longest_gap_in_intervals
        figures.detection, unmatched = match_incidents(self.outages, events.incidents, self._fleet)
        figures.turns, figures.cpu = self._world.turns, cpu
        for found in (self._ledger.violations, events.violations, self._alerts.violations, unmatched):
            figures.violations += found


def _memory() -> float:
    """Return the memory of this process in MB."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - a file of the kernel
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


@contextmanager
def _without_logs() -> Iterator[None]:
    """Make no log lines: thousands of faults are meant."""
    log = logging.getLogger("streamcanary")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)
