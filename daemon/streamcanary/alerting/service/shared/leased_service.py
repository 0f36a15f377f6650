"""The alerting service of the replica that owns alerting, for as long as its lease lasts.

Nothing is decided or sent from memory: while the database cannot be written, the loop waits, and repeats the commit.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from random import Random

from streamcanary.alerting.engine.inputs import (
    ConfigAccepted,
    ConfigRejected,
    Input,
    OwnersChanged,
    RunFinished,
    SilenceCreated,
    Started,
    StoreRecovered,
    Tick,
)
from streamcanary.alerting.engine.state import TABLES, State
from streamcanary.alerting.engine.stored_rows import UnreadableRow, read_state
from streamcanary.alerting.service.engine_loop import TICK_INTERVAL, EngineLoop
from streamcanary.alerting.service.input_queue import QueuedInput
from streamcanary.alerting.service.metrics import AlertMetrics
from streamcanary.alerting.service.setup import Setup
from streamcanary.alerting.service.shared.alert_inputs import AlertInputs
from streamcanary.alerting.service.shared.fenced_write_buffer import FencedWriteBuffer
from streamcanary.alerting.service.shared.input_codec import decode_input
from streamcanary.alerting.service.shared.input_feed import InputFeed
from streamcanary.alerting.service.shared.metrics import SharedAlertMetrics
from streamcanary.alerting.service.shared.stored_alerts import KnownAlerts
from streamcanary.alerting.service.write_buffer import AlertStore, StoreFailing, StoreLost
from streamcanary.model.alerts.pending_input import PendingInput
from streamcanary.model.alerts.row_change import RowChange
from streamcanary.model.alerts.silence import check_silence_limits
from streamcanary.model.clock import Clock
from streamcanary.model.replicas import Ownership

_log = logging.getLogger(__name__)

_COMMIT_RETRY_INTERVAL = 0.5  # seconds
_TICK_CHECK_INTERVAL = 1.0  # seconds between two checks while inputs have not been read
_DECODED_IN_A_TURN = 50  # of the event loop


class LeasedAlertingService(EngineLoop):
    """Evaluates the pending inputs of all replicas while this one is the ``owner`` of alerting.

    ``is_valid`` is whether its lease still holds by its own clock: otherwise nothing is sent. Runs may reach the
    database up to ``input_delay`` seconds after they ended. ``known`` is what this replica knows of the state: if the
    database has an older revision, because it was replaced or has lost commits, the known state is written again.
    ``config_problem`` is why the configuration file of this replica is not applied; ``None`` if it is.

    ``is_published`` is whether the state was loaded; ``on_published`` is called then. :meth:`run` raises
    ``SessionLost`` or ``LeaseLost``, in a group of exceptions, at the first commit after another replica has become the
    owner.
    """

    def __init__(
        self,
        *,
        setup: Setup,
        store: AlertStore,
        inputs: AlertInputs,
        owner: Ownership,
        is_valid: Callable[[], bool],
        input_delay: float,
        config_problem: str | None,
        clock: Clock,
        metrics: AlertMetrics,
        shared_metrics: SharedAlertMetrics,
        known: KnownAlerts | None = None,
        random: Random | None = None,
    ) -> None:
        self._buffer = FencedWriteBuffer(store, inputs, owner, shared_metrics)
        super().__init__(
            setup=setup, store=store, write_buffer=self._buffer, clock=clock, random=random, metrics=metrics
        )
        self._inputs = inputs
        self._is_valid = is_valid
        self._input_delay = input_delay
        self._config_problem = config_problem
        self._known = known
        self.is_published = False
        self.on_published: Callable[[], None] = lambda: None
        self.feed = InputFeed(inputs, self._evaluate, self._queue.wake.set, shared_metrics.record_pending_inputs, clock)

    @property
    def store_error(self) -> StoreFailing | None:
        """The error because of which the database cannot be read or written; ``None`` if it can."""
        return self._store_error

    def report_config(self, problem: str | None) -> None:
        """Report whether the configuration file is applied, or the ``problem`` because of which it is not."""
        self._queue.put(QueuedInput(ConfigAccepted() if problem is None else ConfigRejected(problem)))

    def report_owners_changed(self, canaries: frozenset[str]) -> None:
        """Report that another replica makes the runs of ``canaries`` (identities) from now on."""
        self._queue.put(QueuedInput(OwnersChanged(canaries)))

    def may_send(self) -> bool:
        """Return whether the lease still holds."""
        return self._is_valid()

    async def run(self) -> None:
        """Load the state, and evaluate and notify until cancelled, or until the lease is lost."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(super().run(), name="alerting")
            tasks.create_task(self.feed.run(), name="inputs of alerting")

    async def finish(self, seconds: float) -> None:
        """Commit what was evaluated, and let deliveries in progress end, for at most ``seconds``.

        The successor sends what is pending. Then :meth:`run` is to be cancelled.
        """
        self.feed.stop()
        self._dispatchers.retire()
        await self._wait_until(lambda: self._is_saved and self._dispatchers.have_ended, seconds)

    async def _evaluate(self, batch: Sequence[PendingInput]) -> None:
        """Evaluate ``batch``; return once the result is committed, and the inputs are deleted."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for number, pending in enumerate(batch, 1):
            self._queue.put(QueuedInput(_decode(pending), done if number == len(batch) else None, id=pending.id))
            if number % _DECODED_IN_A_TURN == 0:
                await asyncio.sleep(0)
        await done

    def _process(self, entry: QueuedInput) -> None:
        if entry.id is not None:
            self._buffer.consume(entry.id)
        if isinstance(entry.input, RunFinished):
            self._liveness.record_run(entry.input.outcome)
        super()._process(entry)

    def _apply(self, input: Input) -> None:  # noqa: A002
        if isinstance(input, SilenceCreated):
            try:
                check_silence_limits(self._state.silences.values(), input.silence)
            except ValueError as error:  # others were created at the same time, at other replicas
                _log.warning("silence rejected", extra={"silence": input.silence.id, "error": str(error)})
                return
        super()._apply(input)

    def _tick(self) -> Tick:
        return Tick(self._input_delay)

    def _seconds_until_tick(self) -> float:
        """Return the seconds until the next tick: none is made while there may be runs that were not evaluated."""
        if not self.feed.is_current(TICK_INTERVAL):
            return _TICK_CHECK_INTERVAL
        return super()._seconds_until_tick()

    @property
    def revision(self) -> int:
        """The revision of :attr:`state`."""
        return self._buffer.revision

    async def _load_state(self) -> tuple[State, list[UnreadableRow]]:
        self._buffer.revision, rows = await self._inputs.load(TABLES)
        return await asyncio.to_thread(read_state, rows)  # runs go on meanwhile: there may be 50,000 rows

    async def _merge_stored_state(self) -> StoreFailing | None:
        """Load the state; if it is older than what is known, merge it into that, and let all rows be written."""
        known, self._known = self._known, None
        try:
            revision = (await self._inputs.progress()).revision
            if known is None or revision >= known.revision:
                return await super()._merge_stored_state()
            self._state = known.state
            failure = await super()._merge_stored_state() or await self._restore(known.revision)
        except StoreFailing as error:
            failure = error
        if failure is not None:
            self._known, self._is_loaded, self._state = known, False, State()
        return failure

    async def _restore(self, known_revision: int) -> StoreFailing | None:
        """Let all rows be written, and those be deleted that the state does not have; return why that is impossible."""
        try:
            _, rows = await self._inputs.load(TABLES)
        except StoreFailing as error:
            return error
        deleted = (
            RowChange(table, key, None)
            for table, stored in rows.items()
            for key in stored.keys() - self._state.table(table).keys()
        )
        self._buffer.restore((*deleted, *self._state.rows(), *self.history.rows()), known_revision)
        return None

    async def _save(self) -> None:
        """Save the write buffer, after loading the state at first. It is repeated until it succeeds.

        Raises:
            SessionLost, LeaseLost: if another replica owns alerting.
        """
        if not self._is_loaded:
            await self._repeat(self._merge_stored_state)
            self._adapt_to_stored_state(
                Started(unreadable_rows=self._unreadable_rows, is_config_applied=self._config_problem is None)
            )
            if self._config_problem is not None:
                self._apply(ConfigRejected(self._config_problem))
        await self._repeat(self._write_buffer.save)
        incident = self._state.incidents.get(self._engine.store_incident_key)
        if incident is not None and incident.is_firing:  # it was stored by a daemon that had a store of its own
            self._apply(StoreRecovered())
            await self._repeat(self._write_buffer.save)

    def _publish(self) -> None:
        super()._publish()
        if not self.is_published:
            self.is_published = True
            self.on_published()

    async def _repeat(self, attempt: Callable[[], Awaitable[StoreFailing | None]]) -> None:
        while (failure := await attempt()) is not None:
            if isinstance(failure, StoreLost) and self._is_loaded:
                await self._restore(self._buffer.revision)
            if self._store_error is None:
                event = "store cannot be written" if self._is_loaded else "store cannot be read"
                _log.error(event, extra={"error": str(failure)})
            self._store_error = failure
            await asyncio.sleep(_COMMIT_RETRY_INTERVAL)
        self._store_error = None


def _decode(pending: PendingInput) -> Input | None:
    """Return the input of a row; ``None`` for a damaged one, which is logged and deleted."""
    try:
        return decode_input(pending)
    except ValueError as error:
        _log.warning(
            "input of alerting cannot be read", extra={"input": pending.id, "kind": pending.kind, "error": str(error)}
        )
        return None
