"""The alerting service of a daemon that has a store of its own.

The changed rows and the outcomes that caused them are committed in one transaction; only then are notifications sent.
So each notification is in the store before it is sent. While the store fails, they are sent from memory.
"""

import logging
from collections.abc import Sequence
from random import Random

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.inputs import (
    ConfigAccepted,
    ConfigRejected,
    DiagnosisFinished,
    RunFinished,
    SilenceCreated,
    SilenceDeleted,
    Started,
    StoreFailed,
    StoreRecovered,
)
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.engine.stored_rows import UnreadableRow, read_state
from streamcanary.alerting.service.engine_loop import EngineLoop
from streamcanary.alerting.service.input_queue import MAX_QUEUED_OUTCOMES, QueuedInput
from streamcanary.alerting.service.setup import create_setup
from streamcanary.alerting.service.write_buffer import AlertStore, StoreLost, WriteBuffer
from streamcanary.model.alerts.silence import Silence, check_silence_limits
from streamcanary.model.canary import Canary
from streamcanary.model.clock import Clock
from streamcanary.model.outcome import Outcome

_log = logging.getLogger(__name__)

_STORE_RETRY_INTERVAL = 3.0  # seconds


class AlertingService(EngineLoop):
    """The alert engine with its queue, its store and its dispatchers.

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
        setup = self._prepared = create_setup(config, instance, canaries)
        super().__init__(setup=setup, store=store, write_buffer=WriteBuffer(store), clock=clock, random=random)
        self._store = store
        self._next_save_attempt = 0.0

    def prepare(self, config: AlertsConfig, instance: str, canaries: Sequence[Canary]) -> None:
        """Prepare another configuration; it takes effect at :meth:`apply`. May be called in another thread."""
        self._prepared = create_setup(config, instance, canaries)

    def apply(self) -> None:
        """Apply the configuration of the last :meth:`prepare`, after the inputs that are queued now."""
        self.install(self._prepared)

    def report_config(self, problem: str | None) -> None:
        """Report whether the configuration file is applied, or the ``problem`` because of which it is not."""
        self._queue.put(QueuedInput(ConfigAccepted() if problem is None else ConfigRejected(problem)))

    @property
    def dropped_outcomes(self) -> int:
        """The number of outcomes that were dropped because too many waited."""
        return self._queue.dropped_outcomes

    def enqueue_outcome(self, outcome: Outcome) -> None:
        """Enqueue the outcome of a run without blocking; over :data:`MAX_QUEUED_OUTCOMES` it is dropped and logged."""
        if self._queue.put_outcome(RunFinished(outcome)):
            self._liveness.record_run(outcome)

    def enqueue_diagnosis(self, canary: str, diagnosis: str) -> None:
        """Enqueue the diagnosis made after the first failure of ``canary`` without blocking."""
        if len(self._queue) < MAX_QUEUED_OUTCOMES:
            self._queue.put(QueuedInput(DiagnosisFinished(canary, diagnosis)))

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

    async def _load_state(self) -> tuple[State, list[UnreadableRow]]:
        return read_state(await self._store.load_rows())

    async def _save(self) -> None:
        """Save the write buffer; while the store fails, keep it, and let ``StoreFailing`` fire from memory.

        If the state cannot be loaded, start without it. The incident of ``StoreFailing`` does not show whether the
        store fails: the rule may be disabled, and the incident may have been stored before a restart.
        """
        if self._store_error is not None and self.clock.monotonic() < self._next_save_attempt:
            return
        failure = None
        if not self._is_loaded:
            failure = await self._merge_stored_state()
            if failure is None:
                self._adapt_to_stored_state(Started(self._store.may_be_incomplete, self._unreadable_rows))
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

    def _seconds_until_save_attempt(self) -> float:
        return max(self._seconds_until_save(), self._next_save_attempt - self.clock.monotonic())
