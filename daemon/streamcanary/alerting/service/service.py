"""Alerting as a running part of the daemon: the only place where the engine meets time, the store and the network.

One loop takes what has happened, steps the engine, and commits the rows of all of it in one transaction together with
the outcomes; only then do the senders see the result. So what a receiver was told is always in the store already.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from random import Random
from typing import NamedTuple

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.inputs import (
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
from streamcanary.alerting.engine.state import State, read_state
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.notify.receivers import StateReceiver
from streamcanary.alerting.notify.receivers.http import open_http_client
from streamcanary.alerting.service.dispatcher import EventDispatcher, PeerHealth, StateDispatcher, delivery_failures
from streamcanary.alerting.service.liveness import LivenessTracker
from streamcanary.alerting.service.metrics import AlertMetrics
from streamcanary.alerting.service.status import StatusBuilder
from streamcanary.alerting.service.write_buffer import AlertStore, StoreFailing, StoreLost, WriteBuffer
from streamcanary.model.alerts.incident import Group, Incident, NotificationState
from streamcanary.model.alerts.silence import Silence
from streamcanary.model.alerts.status_snapshot import StatusSnapshot
from streamcanary.model.canary import Canary
from streamcanary.model.clock import Clock
from streamcanary.model.outcome import Outcome

_log = logging.getLogger(__name__)

MAX_QUEUED_OUTCOMES = 10_000
"""How many outcomes may wait; the loop is far behind by then, and further ones are dropped and counted."""

MAX_SILENCES = 1000
"""How many silences there can be at a time."""

_MAX_INPUTS_PER_COMMIT = 256  # inputs that share a transaction
_TICK_INTERVAL = 5.0  # seconds
_STORE_RETRY_INTERVAL = 3.0  # seconds
_COMMIT_DELAY = 0.25  # seconds that outcomes without consequences are gathered for
_DRAIN_POLL_INTERVAL = 0.02  # seconds between two looks while draining


class _QueuedInput(NamedTuple):
    input: Input
    done: asyncio.Future[None] | None


class AlertingService:
    """The alert engine with its queue, its ledger and its senders.

    ``on_transition`` is called when an incident has opened or resolved, once that is in the store; it returns at once.
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
        self._engine = Engine(config, instance, canaries)
        self._receivers = config.receivers
        self._trace_url = config.trace_url
        self._store = store
        self._write_buffer = WriteBuffer(store)
        self._state = self._published = State()
        self._is_loaded = False
        self._queue: deque[_QueuedInput] = deque()
        self._queued_outcomes = 0
        self._wake = asyncio.Event()
        self._transitions: list[Incident] = []
        self._dispatchers: list[EventDispatcher | StateDispatcher] = []
        self._has_ended = self._is_busy = False
        self._liveness = LivenessTracker(canaries, config.receivers, clock)
        self._last_tick = clock.monotonic()
        self._next_flush_cache: tuple[Mapping[str, Group], float] = (
            {},
            math.inf,
        )  # the groups, and when the first of them is due
        self._store_error: StoreFailing | None = None  # what the store says while it fails
        self._next_save_attempt = 0.0
        self._last_save = 0.0  # when, by the loop's clock
        self._status_builder = StatusBuilder(config, self._engine)
        self._metrics = AlertMetrics(self._engine, lambda: self._published.incidents)

    # ---- for the rest of the daemon

    def enqueue_outcome(self, outcome: Outcome) -> None:
        """Hand over what became of a run. Never blocks; over :data:`MOST_QUEUED` it is dropped, counted and logged."""
        if self._queued_outcomes >= MAX_QUEUED_OUTCOMES:
            self.dropped_outcomes += 1
            if self.dropped_outcomes % 1000 == 1:
                _log.error("alerting is behind: %d outcomes dropped", self.dropped_outcomes)
            return
        self._queued_outcomes += 1
        self._liveness.record_run(outcome)
        self._enqueue(_QueuedInput(RunFinished(outcome), None))

    def enqueue_diagnosis(self, canary: str, diagnosis: str) -> None:
        """Hand over what a preflight found after the first failure of ``canary``. Never blocks."""
        if len(self._queue) < MAX_QUEUED_OUTCOMES:
            self._enqueue(_QueuedInput(DiagnosisFinished(canary, diagnosis), None))

    async def create_silence(self, silence: Silence) -> None:
        """Mute what ``silence`` covers; returns once it is in the store.

        Raises:
            ValueError: if there are :data:`MOST_SILENCES` already.
        """
        if silence.id not in self._state.silences and len(self._state.silences) >= MAX_SILENCES:
            raise ValueError(f"there are {MAX_SILENCES} silences; end some of them")
        await self.submit(SilenceCreated(silence))

    async def delete_silence(self, id: str) -> bool:  # noqa: A002 - the field's name
        """End the silence ``id``; tell whether there was one."""
        existed = id in self._state.silences
        await self.submit(SilenceDeleted(id))
        return existed

    @property
    def silences(self) -> tuple[Silence, ...]:
        """The silences that there are, those that are over among them, the oldest first."""
        return tuple(sorted(self._published.silences.values(), key=lambda silence: (silence.starts, silence.id)))

    @property
    def status(self) -> StatusSnapshot:
        """What fires and who has not heard of it, to be looked at."""
        return self._status_builder.snapshot(
            self._published, delivery_failures(self._dispatchers), self.clock.time(), self.clock.monotonic()
        )

    def liveness_checks(self) -> dict[str, Callable[[], str | None]]:
        """Return what must make progress for the heartbeat to go out, by name."""
        return {
            "runs": self._liveness.check_runs,
            "evaluation": self._liveness.check_evaluation,
            "outbox": lambda: self._liveness.check_outbox(self._published.notifications),
            "pages": lambda: self._liveness.check_refused_notifications(
                self._published.groups, self._published.notifications
            ),
            "levels": lambda: self._liveness.check_state_receivers(delivery_failures(self._dispatchers)),
        }

    async def run(self) -> None:
        """Run until cancelled. What is queued then is lost, unless :meth:`drain` was called before."""
        self._has_ended, self._is_busy = False, True
        async with AsyncExitStack() as exit_stack:
            try:
                await self._load_state()
                self._is_busy = False
                async with asyncio.TaskGroup() as tasks:
                    await self._create_dispatchers(exit_stack)
                    tasks.create_task(self._loop(), name="alerting")
                    for dispatcher in self._dispatchers:
                        tasks.create_task(dispatcher.run(), name=f"receiver {dispatcher.name}")
            finally:
                self._has_ended = True
                self._dispatchers.clear()

    async def drain(self, seconds: float) -> None:
        """Commit what is queued, and give notices ``seconds`` to go out; the rest is in the store for the next start.

        Call it while :meth:`run` runs; it returns at once when that has ended.
        """
        deadline = self.clock.time() + seconds
        try:
            async with asyncio.timeout(seconds):
                while not self._has_ended and not self._is_drained(deadline):  # noqa: ASYNC110 - many parts settle, and only once
                    await asyncio.sleep(_DRAIN_POLL_INTERVAL)
        except TimeoutError:
            pass

    def wake(self) -> None:
        """Look at the clock again, at once: it may have jumped."""
        self._wake.set()
        for dispatcher in self._dispatchers:
            dispatcher.wake.set()

    @property
    def open_incidents(self) -> tuple[Incident, ...]:
        """The incidents that are open, the oldest first."""
        firing = (incident for incident in self._published.incidents.values() if incident.is_firing)
        return tuple(sorted(firing, key=lambda incident: (incident.opened, incident.key)))

    # ---- for the senders

    @property
    def state(self) -> State:
        """The state as the store has it, or while the store fails, as it is."""
        return self._published

    async def submit(self, input: Input) -> None:  # noqa: A002
        """Have ``input`` stepped; returns once the result is in :attr:`state`."""
        done = asyncio.get_running_loop().create_future()
        self._enqueue(_QueuedInput(input, done))
        await done

    def record_delivery(self, receiver: str, outcome: str) -> None:
        """Count a delivery."""
        self._metrics.record_delivery(receiver, outcome)
        if outcome != "retried":
            self._liveness.record_delivery(receiver)

    # ---- the loop

    def _enqueue(self, entry: _QueuedInput) -> None:
        self._queue.append(entry)
        self._wake.set()

    async def _load_state(self) -> None:
        """Take up the state that the store has; while it cannot be read, begin without."""
        await self._save()
        self._publish()

    def _apply_config(self) -> None:
        """Bring the state into line with the configuration, and say what that means for what was to be delivered."""
        before = self._state.notifications
        self._apply(Started(may_be_incomplete=self._store.may_be_incomplete))
        for notification in before.values():
            after = self._state.notifications.get(notification.id)
            if notification.state is NotificationState.PENDING and after is None:
                _log.warning(
                    "%s of group %s is given up: no receiver %s",
                    notification.action,
                    notification.group,
                    notification.receiver,
                )
            elif (
                notification.state is NotificationState.PARKED
                and after is not None
                and after.state is NotificationState.PENDING
            ):
                _log.info(
                    "%s of group %s, refused by %s, is tried again",
                    notification.action,
                    notification.group,
                    notification.receiver,
                )

    async def _merge_stored_state(self) -> StoreFailing | None:
        """Put what the store has under what is in memory, which is newer; return what it says if it fails."""
        try:
            rows_by_table = await self._store.load_rows()
        except StoreFailing as error:
            return error
        stored, errors = read_state(rows_by_table)
        for line in errors:
            _log.warning("the store has a row that cannot be read, it starts afresh: %s", line)
        self._state = self._state.merge(stored)
        self._is_loaded = True
        return None

    async def _loop(self) -> None:
        while True:
            await self._wait_for_work()
            self._is_busy = True
            entries = [self._queue.popleft() for _ in range(min(len(self._queue), _MAX_INPUTS_PER_COMMIT))]
            for entry in entries:
                self._apply(entry.input)
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
        """Wait for something to do."""
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
        """Return for how many seconds what is held may wait for more: not at all if somebody waits for it.

        What was merely seen is committed together, which saves most of the cost; a crash loses the last moment of it,
        and of nothing else.
        """
        if self._write_buffer.is_urgent or any(entry.done for entry in entries):
            return 0.0
        return self._last_save + _COMMIT_DELAY - asyncio.get_running_loop().time()

    def _seconds_until_tick(self) -> float:
        """Return the seconds until the engine is to be told the time: when a group is due, and now and then."""
        groups = self._state.groups
        if groups is not self._next_flush_cache[0]:
            flush_times = (group.next_flush for group in groups.values() if group.next_flush is not None)
            self._next_flush_cache = groups, min(flush_times, default=math.inf)
        return min(
            self._last_tick + _TICK_INTERVAL - self.clock.monotonic(), self._next_flush_cache[1] - self.clock.time()
        )

    def _apply(self, input: Input) -> None:  # noqa: A002
        """Step the engine, and hold the rows for the next transaction."""
        outcome = input.outcome if isinstance(input, RunFinished) else None
        self._queued_outcomes -= outcome is not None
        before = self._state
        try:
            self._state, rows = self._engine.step(before, input, self.clock.time())
        except Exception:  # noqa: BLE001 - a defect of ours ends in the log, not the alerting for all other runs
            _log.exception("alerting cannot make sense of %s", type(input).__name__)
            rows = ()
        self._write_buffer.add(rows, outcome)
        for row in rows:
            if row.table == "incidents" and (incident := self._state.incidents.get(row.key)) is not None:
                known = before.incidents.get(row.key)
                if known is None or (known.opened, known.is_firing) != (incident.opened, incident.is_firing):
                    self._transitions.append(incident)

    async def _save(self) -> None:
        """Bring everything into the store; while that fails, keep it, and have ``StoreFailing`` told from memory.

        That rule may be switched off, so whether the store fails is not to be seen by its incident. That may be left
        over from before a restart, too.
        """
        if self._store_error is not None and self.clock.monotonic() < self._next_save_attempt:
            return
        failure = None
        if not self._is_loaded:
            failure = await self._merge_stored_state()
            if failure is None:
                self._apply_config()
        failure = failure or await self._write_buffer.save()
        store_incident = self._state.incidents.get(self._engine.store_incident_key)
        if failure is None and store_incident is not None and store_incident.is_firing:
            self._apply(StoreRecovered())
            failure = await self._write_buffer.save()
        before, self._store_error = self._store_error, failure
        if failure is None:
            return
        if before is None:
            how = "written, alerting goes on from" if self._is_loaded else "read, alerting begins without its"
            _log.error("the store cannot be %s memory: %s", how, failure)
        self._next_save_attempt = self.clock.monotonic() + _STORE_RETRY_INTERVAL
        if isinstance(failure, StoreLost):
            self._write_buffer.add(self._state.rows())
        self._apply(StoreFailed(str(failure)))

    def _publish(self) -> None:
        """Let the senders and listeners see the state."""
        before, self._published = self._published, self._state
        transitions, self._transitions = self._transitions, []
        for incident in transitions:
            self._report_transition(incident)
        if before.notifications is not self._state.notifications or before.groups is not self._state.groups:
            for dispatcher in self._dispatchers:
                dispatcher.wake.set()

    def _report_transition(self, incident: Incident) -> None:
        what = f"alert {incident.rule} for {incident.subject}"
        if incident.is_firing:
            _log.debug("%s fires: %s", what, incident.evidence.message or "no message")
            groups = [group for group in self._state.groups.values() if incident.key in group.members]
            if not any(group.receivers for group in groups):
                _log.warning("%s goes to nobody: no route matches it", what)
        else:
            _log.debug("%s is resolved: %s", what, incident.resolve_reason)
        if self.on_transition is not None:
            try:
                self.on_transition(incident)
            except Exception:  # noqa: BLE001 - whatever listens must not stop pages; it ends in the log
                _log.exception("a listener failed at %s", what)

    # ---- around it

    async def _create_dispatchers(self, exit_stack: AsyncExitStack) -> None:
        """Make a sender for each edge receiver and for each address of a level receiver, each on a way of its own."""
        for name, receiver in self._receivers.items():
            http = await exit_stack.enter_async_context(open_http_client(receiver.connection_settings))
            if isinstance(receiver, StateReceiver):
                receiver_incident = self._published.incidents.get(self._engine.receiver_incident_key(name))
                peer_health = PeerHealth(
                    receiver.urls if receiver_incident is not None and receiver_incident.is_firing else ()
                )
                self._dispatchers += [
                    StateDispatcher(name, receiver, url, self, http, peer_health, self._trace_url)
                    for url in receiver.urls
                ]
            else:
                self._dispatchers.append(EventDispatcher(name, receiver, self, http, self._trace_url))

    def _is_drained(self, deadline: float) -> bool:
        is_busy = self._is_busy or self._queue or not (self._write_buffer.is_empty or self._store_error is not None)
        return not is_busy and all(dispatcher.is_drained(deadline) for dispatcher in self._dispatchers)
