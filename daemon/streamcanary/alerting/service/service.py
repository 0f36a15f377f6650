"""The alerting service: runs the alert engine, and connects it to the clock, the store and the network.

One loop takes inputs from a queue, steps the engine, and commits the changed rows together with the outcomes in one
transaction; only then do the dispatchers see the new state. So each notification is in the store before it is sent.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.inputs import (
    ActiveAlertsSent,
    ConfigAccepted,
    ConfigRejected,
    ConfigReloaded,
    DiagnosisFinished,
    Input,
    RunFinished,
    SilenceCreated,
    SilenceDeleted,
    Started,
    StoreFailed,
    StoreRecovered,
    Tick,
)
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.engine.stored_rows import read_state
from streamcanary.alerting.service import alert_log
from streamcanary.alerting.service.baseline_learner import BaselineLearner
from streamcanary.alerting.service.dispatcher import delivery_failures
from streamcanary.alerting.service.dispatcher_set import DispatcherSet
from streamcanary.alerting.service.first_flush import FirstFlush
from streamcanary.alerting.service.liveness import LivenessTracker
from streamcanary.alerting.service.metrics import AlertMetrics
from streamcanary.alerting.service.setup import Setup, create_setup, keep_open_alerts, rescheduled_canaries
from streamcanary.alerting.service.status.history import AlertHistory
from streamcanary.alerting.service.status.operator_view import OperatorView
from streamcanary.alerting.service.write_buffer import AlertStore, StoreFailing, StoreLost, WriteBuffer
from streamcanary.model.alerts.incident import Incident
from streamcanary.model.alerts.row_change import StateTable
from streamcanary.model.alerts.silence import Silence, check_silence_limits
from streamcanary.model.alerts.status_snapshot import StatusSnapshot
from streamcanary.model.canary import Canary
from streamcanary.model.clock import Clock
from streamcanary.model.outcome import Outcome

_log = logging.getLogger(__name__)

MAX_QUEUED_OUTCOMES = 10_000
"""How many outcomes may wait in the queue; further ones are dropped and counted."""

_MAX_INPUTS_PER_COMMIT = 256
_TICK_INTERVAL = 5.0  # seconds
_STORE_RETRY_INTERVAL = 3.0  # seconds
_COMMIT_DELAY = 0.25  # seconds for which outcomes that change no alert are collected before a commit
_DRAIN_POLL_INTERVAL = 0.02  # seconds


class _QueuedInput(NamedTuple):
    """An input of the engine. ``done`` is set after the step; ``setup`` replaces the current one before it."""

    input: Input
    done: asyncio.Future[None] | None = None
    setup: Setup | None = None


class AlertingService:
    """The alert engine with its queue, its store and its dispatchers.

    ``on_transition`` is called after an incident has opened or resolved and is in the store; it must not block.
    ``history`` are the incidents of the last 30 days, ``view`` the rules, receivers and maintenance windows.
    ``prepare`` and ``apply`` replace the configuration; runs that ended before are evaluated under the former one.
    """

    def __init__(
        self,
        *,
        config: AlertsConfig,
        instance: str,
        canaries: Sequence[Canary],
        store: AlertStore,
        clock: Clock,
        random: Random | None = None,
    ) -> None:
        self.clock = clock
        self.random = random or Random()  # noqa: S311 - spreads retries, keeps no secret
        self.on_transition: Callable[[Incident], None] | None = None
        self.dropped_outcomes = 0
        self._setup = self._prepared = create_setup(config, instance, canaries)
        self._store = store
        self._write_buffer = WriteBuffer(store)
        self.history = AlertHistory(store)
        self._state = self._published = State()
        self._unreadable_rows: tuple[tuple[StateTable, str], ...] = ()
        self._is_loaded = False
        self._queue: deque[_QueuedInput] = deque()
        self._queued_outcomes = 0
        self._wake = asyncio.Event()
        self._transitions: list[Incident] = []
        self._dispatchers = DispatcherSet(self, lambda name: self._engine.is_receiver_failing(self._published, name))
        self._dispatchers.configure(config.receivers, config.links)
        self.view = OperatorView(
            lambda: (self._setup.config, self._engine, self._published),
            lambda: delivery_failures(self._dispatchers),
            clock,
        )
        self._has_ended = self._is_busy = False
        self._liveness = LivenessTracker(canaries, config.receivers, clock)
        self._last_tick = clock.monotonic()
        self._first_flush = FirstFlush()
        self._store_error: StoreFailing | None = None  # the last error while the store fails
        self._next_save_attempt = 0.0
        self._last_save = 0.0  # time of the event loop
        self._metrics = AlertMetrics(self._engine, config.receivers, clock)
        self._learner = BaselineLearner(store, clock, lambda: (self._engine.bindings, self._published), self.submit)

    # ---- for the rest of the daemon

    def prepare(self, config: AlertsConfig, instance: str, canaries: Sequence[Canary]) -> None:
        """Prepare another configuration; it takes effect at :meth:`apply`. May be called in another thread."""
        self._prepared = create_setup(config, instance, canaries)

    def apply(self) -> None:
        """Apply the configuration of the last :meth:`prepare`, after the inputs that are queued now."""
        self._enqueue(_QueuedInput(ConfigReloaded(), setup=self._prepared))

    def report_config(self, problem: str | None) -> None:
        """Report whether the configuration file is applied, or the ``problem`` because of which it is not."""
        self._enqueue(_QueuedInput(ConfigAccepted() if problem is None else ConfigRejected(problem)))

    def enqueue_outcome(self, outcome: Outcome) -> None:
        """Enqueue the outcome of a run without blocking; over :data:`MAX_QUEUED_OUTCOMES` it is dropped and logged."""
        if self._queued_outcomes >= MAX_QUEUED_OUTCOMES:
            self.dropped_outcomes += 1
            if self.dropped_outcomes % 1000 == 1:
                _log.error("outcomes dropped: alerting queue is full", extra={"count": self.dropped_outcomes})
            return
        self._queued_outcomes += 1
        self._liveness.record_run(outcome)
        self._enqueue(_QueuedInput(RunFinished(outcome)))

    def enqueue_diagnosis(self, canary: str, diagnosis: str) -> None:
        """Enqueue the diagnosis made after the first failure of ``canary`` without blocking."""
        if len(self._queue) < MAX_QUEUED_OUTCOMES:
            self._enqueue(_QueuedInput(DiagnosisFinished(canary, diagnosis)))

    async def create_silence(self, silence: Silence) -> None:
        """Create ``silence``; return once it is in the store.

        Raises:
            ValueError: if there are too many silences already.
        """
        check_silence_limits(self._state.silences.values(), silence)
        await self.submit(SilenceCreated(silence))

    async def delete_silence(self, id: str) -> bool:  # noqa: A002 - the field's name
        """End the silence ``id``; return whether it existed."""
        existed = id in self._state.silences
        await self.submit(SilenceDeleted(id))
        return existed

    @property
    def silences(self) -> tuple[Silence, ...]:
        """All silences, including expired ones that are still stored, the oldest first."""
        return tuple(sorted(self._published.silences.values(), key=lambda silence: (silence.starts, silence.id)))

    @property
    def status(self) -> StatusSnapshot:
        """The status snapshot: open incidents and undelivered notifications."""
        return self._setup.status_builder.snapshot(
            self._published, delivery_failures(self._dispatchers), self.clock.time(), self.clock.monotonic()
        )

    def liveness_checks(self) -> dict[str, Callable[[], str | None]]:
        """Return the liveness checks that must pass before a heartbeat is sent, by name."""
        return self._liveness.checks(lambda: self._published, lambda: delivery_failures(self._dispatchers))

    async def run(self) -> None:
        """Run until cancelled. Queued inputs are lost then, unless :meth:`drain` was called before."""
        self._has_ended, self._is_busy = False, True
        try:
            await self._save()  # loads the state; if it cannot be read, start without it
            self._publish()
            self._is_busy = False
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._loop(), name="alerting")
                tasks.create_task(self._learner.run(), name="learning of baselines")
                tasks.create_task(self._metrics.run(), name="series of alerts")
                self._dispatchers.start(tasks)
        finally:
            self._has_ended = True
            self._dispatchers.stop()

    async def drain(self, seconds: float) -> None:
        """Commit queued inputs and wait at most ``seconds`` for pending notifications to be sent.

        The others stay in the store for the next start. Call it while :meth:`run` runs; it returns at once when that
        has ended.
        """
        deadline = self.clock.time() + seconds
        try:
            async with asyncio.timeout(seconds):
                while not self._has_ended and not self._is_drained(deadline):  # noqa: ASYNC110 - waits for many components, once
                    await asyncio.sleep(_DRAIN_POLL_INTERVAL)
        except TimeoutError:
            pass

    def wake(self) -> None:
        """Check the clock again at once, for example after a clock step."""
        self._wake.set()
        self._dispatchers.wake()

    @property
    def open_incidents(self) -> tuple[Incident, ...]:
        """The open incidents, the oldest first."""
        firing = (incident for incident in self._published.incidents.values() if incident.is_firing)
        return tuple(sorted(firing, key=lambda incident: (incident.opened, incident.key)))

    # ---- for the dispatchers

    @property
    def state(self) -> State:
        """The committed state; while the store fails, the state in memory."""
        return self._published

    async def submit(self, input: Input) -> None:  # noqa: A002
        """Step the engine with ``input``; return once the result is in :attr:`state`."""
        done = asyncio.get_running_loop().create_future()
        self._enqueue(_QueuedInput(input, done))
        await done

    def record_active_alerts(self, receiver: str, incidents: tuple[Incident, ...]) -> None:
        """Record in the history that a state receiver has accepted ``incidents``."""
        self._enqueue(_QueuedInput(ActiveAlertsSent(receiver, incidents)))

    def record_delivery(self, receiver: str, outcome: str) -> None:
        """Count a delivery with its outcome: ``accepted``, ``refused`` or ``retried``."""
        self._metrics.record_delivery(receiver, outcome)
        if outcome == "accepted":
            self.view.record_accepted(receiver)
        if outcome != "retried":
            self._liveness.record_delivery(receiver)

    @property
    def _engine(self) -> Engine:
        return self._setup.engine

    def _install(self, setup: Setup) -> None:
        """Replace the configuration, and adapt the state to it."""
        before, self._setup = self._setup, keep_open_alerts(setup, self._state)
        self._metrics.configure(self._engine, setup.config.receivers)
        self._liveness.configure(setup.canaries, setup.config.receivers)
        self._dispatchers.configure(setup.config.receivers, setup.config.links)
        self._apply_config(ConfigReloaded(rescheduled_canaries(before, setup)))
        self._learner.request()

    def _enqueue(self, entry: _QueuedInput) -> None:
        self._queue.append(entry)
        self._wake.set()

    def _apply_config(self, input: Started | ConfigReloaded) -> None:  # noqa: A002
        """Adapt the state to the configuration, and log which notifications are cancelled or retried."""
        before = self._state.notifications
        self._apply(input)
        alert_log.log_config_effects(before, self._state.notifications, self._engine.receivers)

    async def _merge_stored_state(self) -> StoreFailing | None:
        """Merge the stored state into the state in memory, which is newer; return the error if the store fails."""
        try:
            stored, unreadable = read_state(await self._store.load_rows())
            merged = self._state.merge(stored)
            self._write_buffer.add(await self.history.load(merged, self.clock.time()))
        except StoreFailing as error:
            return error
        alert_log.log_unreadable_rows(unreadable)
        self._unreadable_rows = tuple((row.table, row.key) for row in unreadable)
        self._state = merged
        self._is_loaded = True
        return None

    async def _loop(self) -> None:
        while True:
            await self._wait_for_work()
            self._is_busy = True
            entries = [self._queue.popleft() for _ in range(min(len(self._queue), _MAX_INPUTS_PER_COMMIT))]
            for entry in entries:
                if entry.setup is None:
                    self._apply(entry.input)
                else:
                    self._install(entry.setup)
            if self._seconds_until_tick() <= 0:
                self._last_tick = self.clock.monotonic()
                self._apply(Tick())
                self._liveness.track_pending(self._published.notifications)
            if self._seconds_until_save(entries) <= 0:
                await self._save()
                self._last_save = asyncio.get_running_loop().time()
                self._publish()
            for entry in entries:
                if entry.done is not None and not entry.done.done():
                    entry.done.set_result(None)
            self._liveness.record_evaluation()
            self._is_busy = False

    async def _wait_for_work(self) -> None:
        """Wait until there is an input, a tick is due, or rows are to be saved."""
        if self._queue:
            return
        seconds = self._seconds_until_tick()
        if not self._write_buffer.is_empty:
            seconds = min(seconds, max(self._seconds_until_save(), self._next_save_attempt - self.clock.monotonic()))
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    def _seconds_until_save(self, entries: Sequence[_QueuedInput] = ()) -> float:
        """Return the seconds until the write buffer is to be saved: 0 if it is urgent, or if a caller waits.

        Outcomes that change no alert are committed together, which saves most of the cost. A crash loses the last
        ``_COMMIT_DELAY`` seconds of these, and nothing else.
        """
        if self._write_buffer.is_urgent or any(entry.done for entry in entries):
            return 0.0
        return self._last_save + _COMMIT_DELAY - asyncio.get_running_loop().time()

    def _seconds_until_tick(self) -> float:
        """Return the seconds until the next :class:`Tick`: when a group is due, at the latest after 5 seconds."""
        first_flush = self._first_flush.time(self._state.groups)
        return min(self._last_tick + _TICK_INTERVAL - self.clock.monotonic(), first_flush - self.clock.time())

    def _apply(self, input: Input) -> None:  # noqa: A002
        """Step the engine, and add the changed rows to the write buffer."""
        outcome = input.outcome if isinstance(input, RunFinished) else None
        self._queued_outcomes -= outcome is not None
        before, now = self._state, self.clock.time()
        try:
            self._state, rows = self._engine.step(before, input, now)
        except Exception:  # noqa: BLE001 - an internal error is logged, and does not end alerting for other runs
            _log.exception("engine step failed", extra={"input": type(input).__name__})
            rows = ()
        self._write_buffer.add(rows, outcome)
        self._write_buffer.add(
            self.history.observe((before, self._state, input, rows, now), self._setup.status_builder.mute_reason)
        )
        self._transitions += alert_log.transitions(before, self._state, rows)

    async def _save(self) -> None:
        """Save the write buffer; while the store fails, keep it, and let ``StoreFailing`` fire from memory.

        The incident of ``StoreFailing`` does not show whether the store fails: the rule may be disabled, and the
        incident may have been stored before a restart.
        """
        if self._store_error is not None and self.clock.monotonic() < self._next_save_attempt:
            return
        failure = None
        if not self._is_loaded:
            failure = await self._merge_stored_state()
            if failure is None:
                self._setup = keep_open_alerts(self._setup, self._state)
                self._metrics.configure(self._engine, self._setup.config.receivers)
                self._apply_config(Started(self._store.may_be_incomplete, self._unreadable_rows))
        failure = failure or await self._write_buffer.save()
        store_incident = self._state.incidents.get(self._engine.store_incident_key)
        if failure is None and store_incident is not None and store_incident.is_firing:
            self._apply(StoreRecovered())
            failure = await self._write_buffer.save()
        before, self._store_error = self._store_error, failure
        if failure is None:
            return
        if before is None:
            event = "store cannot be written" if self._is_loaded else "store cannot be read"
            _log.error(event, extra={"error": str(failure)})
        self._next_save_attempt = self.clock.monotonic() + _STORE_RETRY_INTERVAL
        if isinstance(failure, StoreLost):
            self._write_buffer.add((*self._state.rows(), *self.history.rows()))
        self._apply(StoreFailed(str(failure)))

    def _publish(self) -> None:
        """Publish the state to dispatchers and listeners."""
        before, self._published = self._published, self._state
        self._metrics.update(self._state)
        transitions, self._transitions = self._transitions, []
        for incident in transitions:
            alert_log.report_transition(incident, self._state, self.on_transition)
        if before.notifications is not self._state.notifications or before.groups is not self._state.groups:
            self._dispatchers.wake()

    def _is_drained(self, deadline: float) -> bool:
        is_busy = self._is_busy or self._queue or not (self._write_buffer.is_empty or self._store_error is not None)
        return not is_busy and all(dispatcher.is_drained(deadline) for dispatcher in self._dispatchers)
