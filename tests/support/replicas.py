"""Replicas with real coordinators in simulated time, over one database in memory."""

import asyncio
from collections.abc import Callable, Collection
from typing import Any

from streamcanary.model.replicas import ALERTS, RESOURCES
from streamcanary.replicas.coordinator import Coordinator
from support.memory_lease_store import MemoryConnection, MemoryDatabase, MemoryLeaseStore
from support.simulated_time import START, Machine, World

TTL = 15.0


class RecordingUser:
    """A lease user that records its calls with their time, and what it may work on."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.calls: list[tuple[float, str, frozenset[str]]] = []
        self.working: set[str] = set()
        self.seconds_to_begin = self.seconds_to_finish = 0.0
        self.failure: Exception | None = None
        self.ignores_cancellation = False

    async def gained(self, resources: Collection[str]) -> None:
        """Begin."""
        self._record("gained", resources)
        await self._take(self.seconds_to_begin)
        self.working |= set(resources)

    async def releasing(self, resources: Collection[str]) -> None:
        """Finish."""
        self._record("releasing", resources)
        await self._take(self.seconds_to_finish)
        self.working -= set(resources)

    def lost(self, resources: Collection[str]) -> None:
        """Stop."""
        self._record("lost", resources)
        self.working -= set(resources)
        if self.failure is not None:
            raise self.failure

    def names(self) -> list[str]:
        """Return the names of the calls."""
        return [name for _, name, _ in self.calls]

    def times(self, name: str) -> list[float]:
        """Return when ``name`` was called."""
        return [at for at, called, _ in self.calls if called == name]

    async def _take(self, seconds: float) -> None:
        if self.failure is not None:
            raise self.failure
        end = self._machine.world.now + seconds
        while self._machine.world.now < end:
            try:
                await asyncio.sleep(end - self._machine.world.now)
            except asyncio.CancelledError:
                if not self.ignores_cancellation:
                    raise

    def _record(self, name: str, resources: Collection[str]) -> None:
        self.calls.append((self._machine.world.now, name, frozenset(resources)))


class SimulatedReplica:
    """A replica on a machine of its own."""

    def __init__(self, cluster: "Cluster", name: str, **options: Any) -> None:
        self.name = name
        self.machine = Machine(cluster.world)
        self.connection = MemoryConnection(cluster.database, latency=0.01)
        self.user = RecordingUser(self.machine)
        self.coordinator = Coordinator(
            MemoryLeaseStore(self.connection), name=name, ttl=TTL, clock=self.machine, **options
        )
        self.coordinator.add_user(self.user)

    @property
    def owned(self) -> frozenset[str]:
        """What this replica owns, as it knows."""
        return self.coordinator.owned

    def start(self) -> "SimulatedReplica":
        """Start the process."""
        self.machine.start(self.coordinator.__aenter__())
        return self

    def stop(self) -> "asyncio.Task[None]":
        """Stop the process, as SIGTERM does."""
        return self.machine.start(self.coordinator.hand_over())

    def kill(self) -> None:
        """End the process at once."""
        self.connection.is_cut = True
        self.machine.crash()


class Cluster:
    """Replicas and their database."""

    def __init__(self) -> None:
        self.world = World()
        self.database = MemoryDatabase(lambda: START + self.world.now)
        self.replicas: list[SimulatedReplica] = []

    def start(self, *names: str, **options: Any) -> list[SimulatedReplica]:
        """Start a replica of each name, one after the other, and run for three seconds."""
        replicas = [SimulatedReplica(self, name, **options).start() for name in names]
        self.replicas += replicas
        self.world.run_for(3)
        return replicas

    def close(self) -> None:
        """End all replicas."""
        for replica in self.replicas:
            replica.connection.is_cut = True
        self.world.close()

    def run_until(self, condition: Callable[[], object], within: float = 60.0) -> float:
        """Run until ``condition`` holds; return how many seconds that took, to a tenth."""
        start = self.world.now
        while not condition():
            assert self.world.now - start < within, f"not within {within} s"
            self.world.run_for(0.1)
        return self.world.now - start


def check_owned_once(*replicas: SimulatedReplica) -> None:
    """Check that each resource has one owner, who works on it."""
    owned = [resource for replica in replicas for resource in replica.owned]
    assert sorted(RESOURCES) == sorted(owned)
    for replica in replicas:
        assert replica.owned == replica.user.working


def owner_of_alerts(*replicas: SimulatedReplica) -> SimulatedReplica:
    """Return the replica that owns the alerts."""
    (owner,) = (replica for replica in replicas if ALERTS in replica.owned)
    return owner
