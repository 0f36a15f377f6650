"""Alerting of one of several replicas that share a database, with the interface of ``AlertingService``.

The replica that owns the resource ``alerts`` evaluates the runs of all replicas, and notifies. The others show what it
has stored. Silences may be created at any of them.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from random import Random
from typing import Final

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.former_keys import FormerKeys, former_keys
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.service.engine_loop import sorted_open_incidents, sorted_silences
from streamcanary.alerting.service.liveness import DeliveryFailure
from streamcanary.alerting.service.metrics import AlertMetrics
from streamcanary.alerting.service.setup import Setup, create_setup
from streamcanary.alerting.service.shared import input_requests
from streamcanary.alerting.service.shared.alert_inputs import AlertInputs
from streamcanary.alerting.service.shared.canaries_by_shard import CanariesByShard
from streamcanary.alerting.service.shared.input_codec import encode_silence, encode_silence_id
from streamcanary.alerting.service.shared.input_requests import InputRequests
from streamcanary.alerting.service.shared.leased_service import LeasedAlertingService
from streamcanary.alerting.service.shared.metrics import SharedAlertMetrics
from streamcanary.alerting.service.shared.replica_view import ReplicaView, SharedAlertHistory
from streamcanary.alerting.service.shared.stored_alerts import KnownAlerts, StoredAlerts
from streamcanary.alerting.service.write_buffer import AlertStore
from streamcanary.model.alerts.incident import Incident
from streamcanary.model.alerts.silence import Silence, check_silence_limits
from streamcanary.model.alerts.status_snapshot import StatusSnapshot
from streamcanary.model.canary import Canary
from streamcanary.model.clock import Clock
from streamcanary.model.replicas import ALERTS, Membership, Ownership
from streamcanary.model.status.alert_history import PastIncident
from streamcanary.store.errors import LeaseLost, SessionLost, StoreError, StoreFailing

_log = logging.getLogger(__name__)

INPUT_DELAY: Final = 20.0
"""Default time by which a run may reach the database late: the lease of a replica, and a second takeover attempt."""

RELEASE_TIMEOUT: Final = 8.0
"""Seconds for which a delivery in progress is waited for before the lease is released."""

_LIVENESS_CHECKS: Final = ("runs", "evaluation", "outbox", "pages", "levels")


class SharedAlerting:
    """Alerting of one replica: it evaluates while it owns the resource ``alerts``, and otherwise shows what is stored.

    ``owner`` returns the session of this replica and the epoch of its lease of ``alerts``, ``None`` if it has none; it
    is called at :meth:`gained`. ``is_valid`` returns whether that lease still holds by the clock of this machine; it is
    called from several threads. ``input_delay`` (seconds) is how late runs may reach the database: the length of a
    lease and some seconds. ``store`` reads runs and history.

    ``on_transition`` is called at the owner, as in ``AlertingService``. ``on_owner_change`` is called with whether this
    replica owns alerting now (:attr:`is_owner`), and ``on_lease_lost`` if a commit finds that it does not any longer,
    with ``SessionLost`` or ``LeaseLost``, and what it had; neither may block.

    It is a user of leases: :meth:`gained`, :meth:`releasing` and :meth:`lost` are called with names of resources.
    """

    def __init__(
        self,
        *,
        config: AlertsConfig,
        instance: str,
        canaries: Sequence[Canary],
        store: AlertStore,
        inputs: AlertInputs,
        owner: Callable[[], Ownership | None],
        is_valid: Callable[[], bool],
        clock: Clock,
        input_delay: float = INPUT_DELAY,
        random: Random | None = None,
    ) -> None:
        self.on_transition: Callable[[Incident], None] | None = None
        self.on_owner_change: Callable[[bool], None] | None = None
        self.on_lease_lost: Callable[[StoreError, Ownership], None] | None = None
        self._setup = self._prepared = create_setup(config, instance, canaries)
        self._store = store
        self._inputs = inputs
        self._owner = owner
        self._is_valid = is_valid
        self._clock = clock
        self._input_delay = input_delay
        self._random = random
        self._requests = InputRequests(inputs)
        self._stored = StoredAlerts(store, inputs, clock, lambda: not self.is_owner)
        self._metrics = AlertMetrics(self._setup.engine, config.receivers, clock)
        self._metrics.end()
        self._shared_metrics = SharedAlertMetrics()
        self._former_keys: FormerKeys = {}
        self._epochs: Mapping[str, int] = {}
        self._has_successor = True
        self._shards = CanariesByShard()
        self._config_problem: str | None = None
        self._service: LeasedAlertingService | None = None
        self._task: asyncio.Task[None] | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._has_started = asyncio.Event()
        self.history = SharedAlertHistory(store, self._unfinished)
        self.view = ReplicaView(self._current, self._failures, clock, self._stored.request_detectors)

    # ---- the interface of AlertingService

    def prepare(self, config: AlertsConfig, instance: str, canaries: Sequence[Canary]) -> None:
        """Prepare another configuration; it takes effect at :meth:`apply`. May be called in another thread."""
        self._prepared = create_setup(config, instance, canaries)

    def apply(self) -> None:
        """Apply the configuration of the last :meth:`prepare`."""
        self._setup, self._former_keys = self._prepared, {}
        if self._service is not None:
            self._service.install(self._prepared)

    def report_config(self, problem: str | None) -> None:
        """Report whether the configuration file is applied, or the ``problem`` because of which it is not.

        ``ReloadFailed`` is about the file of the owner.
        """
        self._config_problem = problem
        if self._service is not None:
            self._service.report_config(problem)

    def enqueue_diagnosis(self, canary: str, diagnosis: str) -> None:
        """Enqueue the diagnosis made after the first failure of ``canary`` without blocking."""
        self._requests.enqueue_diagnosis(canary, diagnosis)

    async def create_silence(self, silence: Silence) -> None:
        """Create ``silence``; return once the owner of alerting has applied it.

        Raises:
            ValueError: if there are too many silences already.
            StoreFailing: if it could not be stored, or was not applied within 5 seconds.
        """
        await self._refresh()
        check_silence_limits(self.silences, silence)
        await self._requests.add_and_wait("silence_created", encode_silence(silence))
        await self._show_change()
        if silence not in self.silences:  # others were created at the same time
            check_silence_limits(self.silences, silence)

    async def delete_silence(self, id: str) -> bool:  # noqa: A002 - the field's name
        """End the silence ``id``; return whether it existed.

        Raises:
            StoreFailing: as :meth:`create_silence`.
        """
        await self._refresh()
        if all(silence.id != id for silence in self.silences):
            return False
        await self._requests.add_and_wait("silence_deleted", encode_silence_id(id))
        await self._show_change()
        return True

    @property
    def silences(self) -> tuple[Silence, ...]:
        """All silences, including expired ones that are still stored, the oldest first."""
        return sorted_silences(self._state)

    @property
    def open_incidents(self) -> tuple[Incident, ...]:
        """The open incidents, the oldest first."""
        return sorted_open_incidents(self._state)

    @property
    def status(self) -> StatusSnapshot:
        """The status snapshot: open incidents and undelivered notifications."""
        if (service := self._published_service) is not None:
            return service.status
        builder = self._current_setup().status_builder
        return builder.snapshot(self._state, {}, self._clock.time(), self._clock.monotonic())

    def liveness_checks(self) -> dict[str, Callable[[], str | None]]:
        """Return the liveness checks that must pass before a heartbeat is sent, by name.

        The owner of alerting sends it, for all replicas: see :attr:`is_owner`. At the others, the checks pass.
        """

        def check(name: str) -> str | None:
            service = self._service
            return None if service is None else service.liveness_checks()[name]()

        return {name: lambda name=name: check(name) for name in _LIVENESS_CHECKS}  # type: ignore[misc]

    async def drain(self, seconds: float) -> None:
        """At the owner, wait at most ``seconds`` for pending notifications to be sent; the others are kept stored."""
        if self._service is not None:
            await self._service.drain(seconds)

    def wake(self) -> None:
        """Check the clock and the database again at once."""
        self._stored.wake()
        if self._service is not None:
            self._service.feed.wake()
            self._service.wake()

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._has_started.set()
            tasks.create_task(self._stored.run(), name="stored alerts")
            tasks.create_task(self._requests.run(), name="diagnoses")

    # ---- replicas

    @property
    def is_owner(self) -> bool:
        """Whether this replica owns alerting, and has loaded its state."""
        return self._published_service is not None

    @property
    def as_of(self) -> float:
        """The time of the shown state, in seconds since the epoch; 0 before it was read."""
        return self._clock.time() if self.is_owner else self._stored.as_of

    @property
    def store_error(self) -> str:
        """Why the database cannot be read or written now; empty if it can."""
        if self._service is not None:
            return "" if self._service.store_error is None else str(self._service.store_error)
        return self._stored.error

    async def gained(self, resources: Collection[str]) -> None:
        """Begin to evaluate and to notify, if ``alerts`` is among ``resources``."""
        if ALERTS not in resources:
            return
        await self._has_started.wait()
        self._cancel()
        if (owner := self._owner()) is None:
            return  # the lease has expired meanwhile
        service = LeasedAlertingService(
            setup=self._setup,
            store=self._store,
            inputs=self._inputs,
            owner=owner,
            is_valid=lambda: self._is_valid() and self._owner() == owner,
            input_delay=self._input_delay,
            config_problem=self._config_problem,
            clock=self._clock,
            metrics=self._metrics,
            shared_metrics=self._shared_metrics,
            known=self._stored.known,
            random=self._random,
        )
        service.view = self.view
        service.on_transition = self._report_transition
        service.on_published = lambda: self._report_owner(is_owner=True)
        self._service = service
        if self._tasks is not None:
            self._task = self._tasks.create_task(
                self._evaluate(service, owner, self._task), name="evaluation of alerts"
            )

    async def releasing(self, resources: Collection[str]) -> None:
        """Commit what was evaluated, let a delivery in progress end, and stop, if ``alerts`` is among ``resources``.

        What is pending is sent by the successor; if no other replica is there, as much as possible is sent before.
        """
        service, task = self._service, self._task
        if ALERTS not in resources or service is None or task is None:
            return
        if not self._has_successor:
            await service.drain(RELEASE_TIMEOUT / 2)
        await service.finish(RELEASE_TIMEOUT / 2)
        self._cancel()
        await asyncio.wait({task})

    def lost(self, resources: Collection[str]) -> None:
        """Stop at once, if ``alerts`` is among ``resources``."""
        if ALERTS in resources:
            self._cancel()

    def observe_membership(self, membership: Membership) -> None:
        """Observe who is alive, and who owns which shard: a run that nobody was there to make is not missing."""
        epochs = {resource: owner.epoch for resource, owner in membership.owners.items()}
        changed = {resource for resource, epoch in epochs.items() if self._epochs.get(resource, epoch) != epoch}
        self._epochs = {**self._epochs, **epochs}
        own = self._owner()
        others = (replica for replica in membership.replicas if own is None or replica.session != own.session)
        self._has_successor = any(not replica.draining for replica in others)
        if self._service is not None and changed:
            self._service.report_owners_changed(self._shards.identities(self._setup.canaries, changed))

    # ---- while it owns alerting

    async def _evaluate(
        self, service: LeasedAlertingService, owner: Ownership, former: "asyncio.Task[None] | None"
    ) -> None:
        """Run ``service`` once the ``former`` one has ended."""
        if former is not None:
            await asyncio.wait({former})
            former = None  # an ended task refers to what it ran by its error: to all the state
        error: StoreError | None = None
        try:
            await service.run()
        except* (SessionLost, LeaseLost) as group:
            error = _first(group)
        finally:
            if self._task is asyncio.current_task():
                self._task = None  # for the same reason
            if self._service is service:
                self._show_stored()
            self._metrics.end()
            self._shared_metrics.record_pending_inputs(0)
            if service.is_published:
                self._report_owner(is_owner=False)
        _log.warning("alerts owned by another replica", extra={"error": str(error)})
        if error is not None and self.on_lease_lost is not None:
            self.on_lease_lost(error, owner)

    def _cancel(self) -> None:
        self._show_stored()
        if self._task is not None:
            self._task.cancel()

    def _show_stored(self) -> None:
        """Show the stored state from now on, beginning with what this replica has committed."""
        service, self._service = self._published_service, None
        if service is not None:
            self._stored.take(KnownAlerts(service.revision, service.state), service.history.unfinished)

    def _report_owner(self, *, is_owner: bool) -> None:
        if self.on_owner_change is not None:
            self.on_owner_change(is_owner)

    def _report_transition(self, incident: Incident) -> None:
        if self.on_transition is not None:
            self.on_transition(incident)

    # ---- what is shown

    async def _refresh(self) -> None:
        """Read what is stored.

        Raises:
            StoreFailing: if it cannot be read, or takes longer than 5 seconds.
        """
        if self.is_owner:
            return
        try:
            async with asyncio.timeout(input_requests.TIMEOUT):
                await self._stored.refresh()
        except TimeoutError as error:
            raise input_requests.unanswered() from error

    async def _show_change(self) -> None:
        """Show a change that has been made; if it cannot be read now, it is shown later."""
        with contextlib.suppress(StoreFailing):
            await self._refresh()

    @property
    def _published_service(self) -> LeasedAlertingService | None:
        service = self._service
        return service if service is not None and service.is_published else None

    @property
    def _state(self) -> State:
        service = self._published_service
        return self._stored.state if service is None else service.state

    def _unfinished(self) -> Sequence[PastIncident]:
        service = self._published_service
        return self._stored.unfinished if service is None else service.history.unfinished

    def _current_setup(self) -> Setup:
        """Return the configuration of this replica, with the keys of the alerts that are open."""
        engine = self._setup.engine
        if keys := former_keys(self._stored.state.incidents.values(), engine.bindings, engine.instance):
            self._former_keys = {**self._former_keys, **keys}
            self._setup = create_setup(self._setup.config, engine.instance, self._setup.canaries, self._former_keys)
        return self._setup

    def _current(self) -> tuple[AlertsConfig, Engine, State]:
        if (service := self._published_service) is not None:
            return service.current
        setup = self._current_setup()
        return setup.config, setup.engine, self._stored.state

    def _failures(self) -> Mapping[str, Sequence[DeliveryFailure | None]]:
        service = self._published_service
        return {} if service is None else service.delivery_failures


def _first(group: BaseExceptionGroup[StoreError]) -> StoreError:
    """Return the first error in ``group``."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
