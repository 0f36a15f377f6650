"""What a daemon has in addition when it shares its database with other replicas: leases, and what works under them.

    coordinator ─gained, releasing, lost─▶ canaries of owned shards ─outcomes─▶ recorder ─▶ database
                                        └▶ alerting, at the owner of the alerts ◀─pending inputs─┘

Each replica has runners of all canaries, and shows all of them: those of others as the database knows them.
"""

import os
import socket
from collections.abc import Callable, Collection, Sequence
from contextlib import AsyncExitStack
from typing import Final, Self

from msgspec import structs

from streamcanary.alerting.service.shared.shared_alerting import SharedAlerting
from streamcanary.app.config_digest import config_digest
from streamcanary.app.owned_series import OwnedSeries
from streamcanary.app.reloadable_parts import max_concurrent_runs
from streamcanary.app.replica_overview import ReplicaOverview
from streamcanary.app.shutdown import RUNS_DRAIN_TIMEOUT
from streamcanary.canary.owned_canaries import OwnedCanaries
from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.scheduling.scheduler import Scheduler
from streamcanary.canary.spend.guard import SpendGuard
from streamcanary.canary.spend.shared_spend import SharedSpend
from streamcanary.canary.status.recorded_runs import RecordedRunFollower
from streamcanary.canary.status.statuses import CanaryStatuses
from streamcanary.model.canary import Canary
from streamcanary.model.clock import Clock
from streamcanary.model.outcome import Outcome
from streamcanary.model.replicas import ALERTS, Membership, Ownership
from streamcanary.replicas.coordinator import Coordinator
from streamcanary.replicas.run_recorder import RunRecorder
from streamcanary.settings import Settings
from streamcanary.store.database import Store
from streamcanary.store.errors import SessionLost, StoreError
from streamcanary.store.postgres.backend import PostgresBackend
from streamcanary.store.postgres.replication.alert_inputs import PostgresAlertInputs
from streamcanary.store.postgres.replication.lease_store import PostgresLeaseStore
from streamcanary.store.postgres.replication.replica_spend import PostgresReplicaSpend
from streamcanary.telemetry.providers import Telemetry
from streamcanary.web.config import WebConfig
from streamcanary.web.health import Healthy

_USER_TIMEOUT: Final = 3.2  # seconds in which runs end and are recorded when the daemon stops
_RECORD_TIMEOUT: Final = 0.6  # seconds to record the last runs of a shard
_LATE_INPUTS: Final = 5.0  # seconds after the end of a lease in which a run may still reach the database
_WILDCARDS: Final = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


class ShardUser:
    """Runs the canaries of owned shards, and records their runs before a shard is handed over. A user of leases."""

    def __init__(self, canaries: OwnedCanaries, recorder: RunRecorder) -> None:
        self._canaries = canaries
        self._recorder = recorder

    async def gained(self, resources: Collection[str]) -> None:
        """Run the canaries of these shards."""
        await self._canaries.gained(resources)

    async def releasing(self, resources: Collection[str]) -> None:
        """Let runs of these shards end, and record them."""
        await self._canaries.releasing(resources)
        await self._recorder.drain(_RECORD_TIMEOUT, resources)

    def lost(self, resources: Collection[str]) -> None:
        """Stop the canaries of these shards, and drop runs that are not recorded."""
        self._canaries.lost(resources)
        self._recorder.lost(resources)


class Replication:
    """The part of this replica in the work of all. A context manager: while entered, it holds leases.

    :meth:`create_alerting` and :meth:`create_schedule` come before it is entered. ``on_change`` is called when this
    replica runs other canaries than before, or owns the alerts now, or no longer.
    """

    alerting: SharedAlerting
    canaries: OwnedCanaries
    _statuses: CanaryStatuses

    def __init__(self, settings: Settings, store: Store, clock: Clock) -> None:
        backend = store.backend
        if not isinstance(backend, PostgresBackend):
            raise TypeError("replicas share a store in PostgreSQL only")
        config, self._store, self._clock = settings.store, store, clock
        self.name = replica_name(settings)
        leases = PostgresLeaseStore(backend)
        self.coordinator = Coordinator(
            leases,
            name=self.name,
            generation=config.generation,
            config=config_digest(settings),
            address=replica_address(settings),
            ttl=config.lease,
        )
        self.spend = SharedSpend(PostgresReplicaSpend(backend, clock), lambda: self.coordinator.session)
        self.recorder = RunRecorder(leases, self.coordinator, self.spend.session_spend)
        self._inputs = PostgresAlertInputs(backend)
        self.follower = RecordedRunFollower(store, self._observe_recorded, clock)
        self.overview = ReplicaOverview(
            self.coordinator.status, lambda: self.follower.error, lambda: getattr(self, "alerting", None)
        )
        self.on_change: Callable[[], None] = lambda: None
        self._prepared: tuple[int, str, tuple[Canary, ...]] = (0, "", ())
        self._stack = AsyncExitStack()

    def create_alerting(self, settings: Settings, canaries: Sequence[Canary]) -> SharedAlerting:
        """Return what shows the alerts of ``canaries``, and evaluates them at their owner."""
        self.overview.configure(canaries)
        self.alerting = SharedAlerting(
            config=settings.alerts,
            instance=settings.member_instance,
            canaries=canaries,
            store=self._store,
            inputs=self._inputs,
            owner=self._owner_of_alerts,
            is_valid=self.coordinator.is_valid,
            clock=self._clock,
            input_delay=settings.store.lease + _LATE_INPUTS,
        )
        return self.alerting

    def create_schedule(
        self, settings: Settings, scheduler: Scheduler, runners: CanaryRunners, statuses: CanaryStatuses
    ) -> OwnedCanaries:
        """Return what lets ``scheduler`` run the canaries of owned shards; ``statuses`` get the runs of the others."""
        self.canaries = OwnedCanaries(
            scheduler,
            runners,
            self._store,
            clock=self._clock,
            is_valid=self.coordinator.is_valid,
            on_change=lambda _: self.on_change(),
        )
        self.canaries.prepare(
            runners.by_name.values(),
            instance=settings.member_instance,
            max_concurrent_runs=max_concurrent_runs(settings),
        )
        self.canaries.apply()
        self._statuses = statuses
        return self.canaries

    def create_series(self, telemetry: Telemetry, runners: CanaryRunners, spend_guard: SpendGuard) -> OwnedSeries:
        """Return what keeps the exported series at what this replica owns."""
        series = OwnedSeries(
            telemetry,
            runners,
            spend_guard,
            canaries=lambda: self.canaries.names,
            alerts=lambda: self.alerting.is_owner,
        )
        self.on_change = series.update
        series.update()
        return series

    def record(self, outcome: Outcome) -> Outcome | None:
        """Record a run for all replicas; ``None`` if it does not count, because its shard has been lost."""
        outcome = structs.replace(outcome, replica=self.name)
        if not self.recorder.add(outcome, self.canaries.shard_of(outcome.canary)):
            return None
        self.follower.skip(outcome)
        return outcome

    def prepare(self, settings: Settings, canaries: Sequence[Canary]) -> None:
        """Prepare another configuration. May be called in another thread."""
        self._prepared = settings.store.generation, config_digest(settings), tuple(canaries)

    def apply(self) -> None:
        """Announce the configuration of the last :meth:`prepare` to the others."""
        generation, digest, canaries = self._prepared
        self.overview.configure(canaries)
        self.coordinator.set_config(generation, digest)

    def readiness(self) -> str | None:
        """Return why this replica cannot work. One that stands by is ready, and says why it runs nothing."""
        status = self.coordinator.status()
        if status.session is None:
            return f"no lease: {status.problem}"
        return Healthy(f"standby: {status.standby}") if status.standby else None

    def liveness_checks(self) -> dict[str, Callable[[], str | None]]:
        """Return what must pass besides the checks of alerting before a heartbeat is sent."""
        return {
            "leases": lambda: None if self.coordinator.is_valid() else self.coordinator.status().problem,
            "database": lambda: self.alerting.store_error or None,
        }

    async def __aenter__(self) -> Self:
        self.alerting.on_owner_change = lambda _: self.on_change()
        self.alerting.on_lease_lost = self._report_lost
        self.coordinator.on_membership = self._observe_membership
        self.coordinator.add_user(ShardUser(self.canaries, self.recorder))
        self.coordinator.add_user(self.alerting)
        for part in (self.recorder, self.follower, self.coordinator):
            await self._stack.enter_async_context(part)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.canaries.hurry(RUNS_DRAIN_TIMEOUT)
        try:
            await self.coordinator.hand_over(_USER_TIMEOUT)
        finally:
            await self._stack.aclose()

    def _owner_of_alerts(self) -> Ownership | None:
        session, epoch = self.coordinator.session, self.coordinator.epoch(ALERTS)
        return None if session is None or epoch is None else Ownership(session, epoch)

    def _report_lost(self, error: StoreError, owner: Ownership) -> None:
        if isinstance(error, SessionLost):
            self.coordinator.report_session_lost(owner.session)
        else:
            self.coordinator.report_refused()

    def _observe_membership(self, membership: Membership) -> None:
        self.overview.observe(membership)
        self.alerting.observe_membership(membership)

    def _observe_recorded(self, outcome: Outcome) -> None:
        self._statuses.observe(outcome, is_recorded=True)


def replica_name(settings: Settings) -> str:
    """Return the name of this replica: ``store.replica``, or that of its host.

    Several on one host have other ports, which are in their names then; instead of any free port, it is the process id.
    """
    if settings.store.replica is not None:
        return settings.store.replica
    host, web = socket.gethostname(), settings.web
    is_usual = not web.enabled or web.port == WebConfig().port
    return host if is_usual else f"{host}:{web.port or os.getpid()}"


def replica_address(settings: Settings) -> str:
    """Return where the web server of this replica listens, for people; empty if it is not known."""
    web = settings.web
    if not web.enabled or not web.port:
        return ""
    return f"{socket.gethostname() if web.host in _WILDCARDS else web.host}:{web.port}"
