"""The loop of the alert engine, which connects it to the clock, the store and the network.

It takes inputs from a queue, steps the engine, and saves the changed rows; only then do the dispatchers see the new
state. What it does while the store fails depends on whether the store is its own, or shared by replicas.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Final

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.inputs import ActiveAlertsSent, ConfigReloaded, Input, RunFinished, Started, Tick
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.engine.stored_rows import UnreadableRow
from streamcanary.alerting.service import alert_log
from streamcanary.alerting.service.baseline_learner import BaselineLearner
from streamcanary.alerting.service.dispatcher import delivery_failures
from streamcanary.alerting.service.dispatcher_set import DispatcherSet
from streamcanary.alerting.service.first_flush import FirstFlush
from streamcanary.alerting.service.input_queue import InputQueue, QueuedInput
from streamcanary.alerting.service.liveness import DeliveryFailure, LivenessTracker
from streamcanary.alerting.service.metrics import AlertMetrics
from streamcanary.alerting.service.setup import Setup, keep_open_alerts, rescheduled_canaries
from streamcanary.alerting.service.status.history import AlertHistory
from streamcanary.alerting.service.status.operator_view import OperatorView
from streamcanary.alerting.service.write_buffer import AlertStore, StoreFailing, WriteBuffer
from streamcanary.model.alerts.incident import Incident
from streamcanary.model.alerts.row_change import StateTable
from streamcanary.model.alerts.silence import Silence
from streamcanary.model.alerts.status_snapshot import StatusSnapshot
from streamcanary.model.clock import Clock

_log = logging.getLogger(__name__)

TICK_INTERVAL: Final = 5.0
"""Seconds after which time-based decisions are made at the latest."""

_MAX_INPUTS_PER_COMMIT = 256
_INPUTS_IN_A_TURN = 16  # of the event loop: some milliseconds, so that no probe is late
_COMMIT_DELAY = 0.25  # seconds for which outcomes that change no alert are collected before a commit
_DRAIN_POLL_INTERVAL = 0.02  # seconds


class EngineLoop(ABC):
    """The alert engine with its queue, its store and its dispatchers.

    ``on_transition`` is called after an incident has opened or resolved and is in the store; it must not block.
    ``history`` are the incidents of the last 30 days, ``view`` the rules, receivers and maintenance windows.
    """

    def __init__(
        self,
        *,
        setup: Setup,
        store: AlertStore,
        write_buffer: WriteBuffer,
        clock: Clock,
        random: Random | None = None,
        metrics: AlertMetrics | None = None,
    ) -> None:
        self.clock = clock
        self.random = random or Random()  # noqa: S311 - spreads retries, keeps no secret
        self.on_transition: Callable[[Incident], None] | None = None
        self._setup = setup
        self._write_buffer = write_buffer
        self.history = AlertHistory(store)
        self._state = self._published = State()
        self._unreadable_rows: tuple[tuple[StateTable, str], ...] = ()
        self._is_loaded = False
        self._queue = InputQueue()
        self._transitions: list[Incident] = []
        self._dispatchers = DispatcherSet(self, lambda name: self._engine.is_receiver_failing(self._published, name))
        self._dispatchers.configure(setup.config.receivers, setup.config.links)
        self.view = OperatorView(lambda: self.current, lambda: self.delivery_failures, clock)
        self._has_ended = self._is_busy = False
        self._liveness = LivenessTracker(setup.canaries, setup.config.receivers, clock)
        self._last_tick = clock.monotonic()
        self._first_flush = FirstFlush()
        self._store_error: StoreFailing | None = None  # the last error while the store fails
        self._last_save = 0.0  # time of the event loop
        self._metrics = metrics or AlertMetrics(self._engine, setup.config.receivers, clock)
        self._learner = BaselineLearner(store, clock, lambda: (self._engine.bindings, self._published), self.submit)

    # ---- for the rest of the daemon

    def install(self, setup: Setup) -> None:
        """Apply another configuration, after the inputs that are queued now."""
        self._queue.put(QueuedInput(ConfigReloaded(), setup=setup))

    @property
    def silences(self) -> tuple[Silence, ...]:
        """All silences, including expired ones that are still stored, the oldest first."""
        return sorted_silences(self._published)

    @property
    def status(self) -> StatusSnapshot:
        """The status snapshot: open incidents and undelivered notifications."""
        return self._setup.status_builder.snapshot(
            self._published, self.delivery_failures, self.clock.time(), self.clock.monotonic()
        )

    def liveness_checks(self) -> dict[str, Callable[[], str | None]]:
        """Return the liveness checks that must pass before a heartbeat is sent, by name."""
        return self._liveness.checks(lambda: self._published, lambda: self.delivery_failures)

    async def run(self) -> None:
        """Run until cancelled. Queued inputs are lost then, unless :meth:`drain` was called before."""
        self._has_ended, self._is_busy = False, True
        try:
            await self._save()  # loads the state
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
        await self._wait_until(lambda: self._is_drained(deadline), seconds)

    def wake(self) -> None:
        """Check the clock again at once, for example after a clock step."""
        self._queue.wake.set()
        self._dispatchers.wake()

    @property
    def open_incidents(self) -> tuple[Incident, ...]:
        """The open incidents, the oldest first."""
        return sorted_open_incidents(self._published)

    @property
    def current(self) -> tuple[AlertsConfig, Engine, State]:
        """The configuration, its engine, and the published state."""
        return self._setup.config, self._engine, self._published

    @property
    def delivery_failures(self) -> Mapping[str, list[DeliveryFailure | None]]:
        """The delivery failures of the addresses of each state receiver, by its name; ``None`` for a healthy one."""
        return delivery_failures(self._dispatchers)

    # ---- for the dispatchers

    @property
    def state(self) -> State:
        """The committed state; while a store of this daemon alone fails, the state in memory."""
        return self._published

    async def submit(self, input: Input) -> None:  # noqa: A002
        """Step the engine with ``input``; return once the result is in :attr:`state`."""
        done = asyncio.get_running_loop().create_future()
        self._queue.put(QueuedInput(input, done))
        await done

    def may_send(self) -> bool:
        """Return whether this daemon may send notifications now."""
        return True

    def record_active_alerts(self, receiver: str, incidents: tuple[Incident, ...]) -> None:
        """Record in the history that a state receiver has accepted ``incidents``."""
        self._queue.put(QueuedInput(ActiveAlertsSent(receiver, incidents)))

    def record_delivery(self, receiver: str, outcome: str) -> None:
        """Count a delivery with its outcome: ``accepted``, ``refused`` or ``retried``."""
        self._metrics.record_delivery(receiver, outcome)
        if outcome == "accepted":
            self.view.record_accepted(receiver)
        if outcome != "retried":
            self._liveness.record_delivery(receiver)

    # ---- for subclasses

    @abstractmethod
    async def _save(self) -> None:
        """Save the write buffer; at first, load the state before.

        When it returns, :meth:`_publish` is called.
        """

    @abstractmethod
    async def _load_state(self) -> tuple[State, list[UnreadableRow]]:
        """Return the stored state, and the rows that cannot be read.

        Raises:
            StoreFailing: if they cannot be read.
        """

    def _tick(self) -> Tick:
        return Tick()

    @property
    def _engine(self) -> Engine:
        return self._setup.engine

    async def _merge_stored_state(self) -> StoreFailing | None:
        """Merge the stored state into the state in memory, which is newer; return the error if the store fails."""
        try:
            stored, unreadable = await self._load_state()
            merged = self._state.merge(stored)
            self._write_buffer.add(await self.history.load(merged, self.clock.time()))
        except StoreFailing as error:
            return error
        alert_log.log_unreadable_rows(unreadable)
        self._unreadable_rows = tuple((row.table, row.key) for row in unreadable)
        self._state = merged
        self._is_loaded = True
        return None

    def _adapt_to_stored_state(self, started: Started) -> None:
        """Adapt the configuration and the state that was loaded to each other."""
        self._setup = keep_open_alerts(self._setup, self._state)
        self._metrics.configure(self._engine, self._setup.config.receivers)
        self._apply_config(started)

    def _process(self, entry: QueuedInput) -> None:
        """Process an entry of the queue."""
        if entry.setup is not None:
            self._install(entry.setup)
        elif entry.input is not None:
            self._apply(entry.input)

    def _apply(self, input: Input) -> None:  # noqa: A002
        """Step the engine, and add the changed rows to the write buffer."""
        before, now = self._state, self.clock.time()
        try:
            self._state, rows = self._engine.step(before, input, now)
        except Exception:  # noqa: BLE001 - an internal error is logged, and does not end alerting for other runs
            _log.exception("engine step failed", extra={"input": type(input).__name__})
            rows = ()
        self._write_buffer.add(rows, input.outcome if isinstance(input, RunFinished) else None)
        self._write_buffer.add(
            self.history.observe((before, self._state, input, rows, now), self._setup.status_builder.mute_reason)
        )
        self._transitions += alert_log.transitions(before, self._state, rows)

    async def _wait_until(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait until ``condition`` holds, at most ``seconds``, or until :meth:`run` has ended."""
        try:
            async with asyncio.timeout(seconds):
                while not self._has_ended and not condition():  # noqa: ASYNC110 - waits for many components, once
                    await asyncio.sleep(_DRAIN_POLL_INTERVAL)
        except TimeoutError:
            pass

    @property
    def _is_saved(self) -> bool:
        """Whether nothing waits to be evaluated or saved; what a failing store does not take is not waited for."""
        is_saved = self._write_buffer.is_empty or self._store_error is not None
        return not self._is_busy and not self._queue and is_saved

    def _seconds_until_tick(self) -> float:
        """Return the seconds until the next :class:`Tick`: when a group is due, at the latest after 5 seconds."""
        first_flush = self._first_flush.time(self._state.groups)
        return min(self._last_tick + TICK_INTERVAL - self.clock.monotonic(), first_flush - self.clock.time())

    def _seconds_until_save(self, entries: Sequence[QueuedInput] = ()) -> float:
        """Return the seconds until the write buffer is to be saved: 0 if it is urgent, or if a caller waits.

        Outcomes that change no alert are committed together, which saves most of the cost. A crash loses the last
        ``_COMMIT_DELAY`` seconds of these, and nothing else.
        """
        if self._write_buffer.is_urgent or any(entry.done for entry in entries):
            return 0.0
        return self._last_save + _COMMIT_DELAY - asyncio.get_running_loop().time()

    # ---- the loop

    async def _loop(self) -> None:
        while True:
            await self._wait_for_work()
            self._is_busy = True
            # More when many wait: a busy event loop has few turns, and evaluation must not fall behind the runs.
            entries = self._queue.take(max(_MAX_INPUTS_PER_COMMIT, len(self._queue) // 4))
            in_a_turn = max(_INPUTS_IN_A_TURN, len(entries) // 8)
            for number, entry in enumerate(entries, 1):
                self._process(entry)
                if number % in_a_turn == 0:
                    await asyncio.sleep(0)
            if self._seconds_until_tick() <= 0:
                self._last_tick = self.clock.monotonic()
                self._apply(self._tick())
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
            seconds = min(seconds, self._seconds_until_save_attempt())
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._queue.wake.wait()
        except TimeoutError:
            pass
        self._queue.wake.clear()

    def _seconds_until_save_attempt(self) -> float:
        return self._seconds_until_save()

    def _install(self, setup: Setup) -> None:
        """Replace the configuration, and adapt the state to it."""
        before, self._setup = self._setup, keep_open_alerts(setup, self._state)
        self._metrics.configure(self._engine, setup.config.receivers)
        self._liveness.configure(setup.canaries, setup.config.receivers)
        self._dispatchers.configure(setup.config.receivers, setup.config.links)
        self._apply_config(ConfigReloaded(rescheduled_canaries(before, setup)))
        self._learner.request()

    def _apply_config(self, input: Started | ConfigReloaded) -> None:  # noqa: A002
        """Adapt the state to the configuration, and log which notifications are cancelled or retried."""
        before = self._state.notifications
        self._apply(input)
        alert_log.log_config_effects(before, self._state.notifications, self._engine.receivers)

    def _publish(self) -> None:
        """Publish the state to dispatchers and listeners."""
        before, self._published = self._published, self._state
        self._metrics.update(self._state)
        transitions, self._transitions = self._transitions, []
        for incident in transitions:
            alert_log.report_transition(incident, self._engine.groups.receivers_for(incident), self.on_transition)
        if before.notifications is not self._state.notifications or before.groups is not self._state.groups:
            self._dispatchers.wake()

    def _is_drained(self, deadline: float) -> bool:
        return self._is_saved and all(dispatcher.is_drained(deadline) for dispatcher in self._dispatchers)


def sorted_silences(state: State) -> tuple[Silence, ...]:
    """Return all silences of ``state``, the oldest first."""
    return tuple(sorted(state.silences.values(), key=lambda silence: (silence.starts, silence.id)))


def sorted_open_incidents(state: State) -> tuple[Incident, ...]:
    """Return the open incidents of ``state``, the oldest first."""
    firing = (incident for incident in state.incidents.values() if incident.is_firing)
    return tuple(sorted(firing, key=lambda incident: (incident.opened, incident.key)))
