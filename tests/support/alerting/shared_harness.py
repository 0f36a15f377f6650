"""An engine harness whose inputs and commits go through a database that two replicas share."""

import asyncio
from collections.abc import Coroutine, Mapping, MutableMapping
from typing import Any, Protocol, TypeVar

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.inputs import DiagnosisFinished, Input, RunFinished, SilenceCreated, SilenceDeleted
from streamcanary.alerting.engine.state import TABLES, State
from streamcanary.alerting.engine.stored_rows import read_state
from streamcanary.alerting.service.shared.alert_inputs import AlertInputs
from streamcanary.alerting.service.shared.fenced_write_buffer import FencedWriteBuffer
from streamcanary.alerting.service.shared.input_codec import (
    decode_input,
    encode_diagnosis,
    encode_silence,
    encode_silence_id,
)
from streamcanary.alerting.service.shared.metrics import SharedAlertMetrics
from streamcanary.alerting.service.write_buffer import StoreFailing
from streamcanary.model.alerts.incident import Notification
from streamcanary.model.alerts.row_change import AlertTable
from streamcanary.model.canary import Canary
from streamcanary.model.outcome import Outcome
from streamcanary.model.replicas import Ownership
from support.alerting.builders import EngineHarness
from support.alerting.invariants import check_step_invariants
from support.alerting.memory_alerts import MemoryAlertInputs, MemoryAlerts, MemoryAlertStore

T = TypeVar("T")


class SharedDatabase(Protocol):
    """The database of the harness."""

    @property
    def inputs(self) -> AlertInputs:
        """The connection of all replicas."""
        ...

    async def take_over(self, *, fence: bool) -> Ownership:
        """Make another replica the owner; with ``fence``, the owner before has not released its lease."""
        ...

    async def record(self, outcome: Outcome) -> None:
        """Record a run, as the owner of its canary does."""
        ...

    def lose_answers(self, count: int) -> None:
        """Perform the next ``count`` commits, and answer them with an error."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class MemoryDatabase:
    """The database in memory."""

    def __init__(self) -> None:
        self.alerts = MemoryAlerts()
        self.inputs = MemoryAlertInputs(self.alerts)
        self._session = 0

    async def take_over(self, *, fence: bool) -> Ownership:
        """Make another replica the owner."""
        self._session += 1
        return self.alerts.take_over(self._session, fence=fence)

    async def record(self, outcome: Outcome) -> None:
        """Record a run."""
        self.alerts.add_run(outcome)

    def lose_answers(self, count: int) -> None:
        """Lose the answers of the next commits."""
        self.inputs.lost_answers = count

    async def close(self) -> None:
        """Do nothing."""


class DeposedOwner:
    """A replica that was stopped, and whose lease has expired: its state, what it has not committed, and its sends.

    ``may_send`` is what its own clock says about the lease when it continues.
    """

    def __init__(self, harness: "SharedHarness", in_flight: Mapping[str, Notification]) -> None:
        self.engine, self.state, self.buffer = harness.engine, harness.state, harness.buffer
        self.in_flight = dict(in_flight)
        self.may_send = False
        self._harness = harness

    def evaluate(self, input: Input) -> None:  # noqa: A002 - the field's name
        """Step the engine, without a commit."""
        self.state, rows = self.engine.step(self.state, input, self._harness.now)
        self.buffer.add(rows)

    def evaluate_pending(self) -> None:
        """Evaluate what is pending, without a commit."""
        for pending in self._harness.wait_for(self._harness.database.inputs.pending(1000)):
            self.evaluate(decode_input(pending))
            self.buffer.consume(pending.id)

    def commit(self) -> None:
        """Commit what it has evaluated.

        Raises:
            SessionLost, LeaseLost: if it is refused.
        """
        self._harness.wait_for(self.buffer.save())


class SharedHarness(EngineHarness):
    """Runs the engine of the owner of alerting. :meth:`crash` kills it: another replica takes over.

    Runs, silences and diagnoses are added to the database, and read from there.
    """

    def __init__(self, config: AlertsConfig, *canaries: Canary, database: SharedDatabase) -> None:
        self.database = database
        self._loop = asyncio.new_event_loop()
        self.failed_commits = 0
        super().__init__(config, *canaries)
        self._take_lease(fence=False)

    def close(self) -> None:
        """Close the connections and the event loop."""
        if not self._loop.is_closed():
            self.wait_for(self.database.close())
            self._loop.close()

    def wait_for(self, result: Coroutine[Any, Any, T]) -> T:
        """Return the result of a call of the database."""
        return self._loop.run_until_complete(result)

    @property
    def stored_rows(self) -> dict[AlertTable, dict[str, bytes]]:
        """The rows in the database."""
        _, rows = self.wait_for(self.database.inputs.load(TABLES))
        return {name: dict(rows[name]) for name in TABLES}

    @stored_rows.setter
    def stored_rows(self, rows: MutableMapping[AlertTable, dict[str, bytes]]) -> None:
        pass  # the database is empty at first

    def step(self, input: Input) -> None:  # noqa: A002 - the field's name
        """Let the owner evaluate ``input``, after what is pending, and commit; check the invariants of each step."""
        match input:
            case RunFinished(outcome):
                self.wait_for(self.database.record(outcome))
            case SilenceCreated(silence):
                self.wait_for(self.database.inputs.add("silence_created", encode_silence(silence)))
            case SilenceDeleted(id):
                self.wait_for(self.database.inputs.add("silence_deleted", encode_silence_id(id)))
            case DiagnosisFinished(canary, diagnosis):
                self.wait_for(self.database.inputs.add("diagnosis", encode_diagnosis(canary, diagnosis)))
            case _:
                self.evaluate_pending()
                self._apply(input)
                self._commit()
                return
        self.evaluate_pending()

    def evaluate_pending(self) -> None:
        """Evaluate what is pending, and commit."""
        for pending in self.wait_for(self.database.inputs.pending(1000)):
            self._apply(decode_input(pending))
            self.buffer.consume(pending.id)
        self._commit()

    def crash(self) -> None:
        """Kill the owner; another replica takes over."""
        self.take_over(fence=True)

    def take_over(self, *, fence: bool) -> None:
        """Let another replica take over, which knows what is stored; with ``fence``, the owner before has not ended."""
        self._take_lease(fence=fence)
        self.state, unreadable = self.load()
        assert unreadable == []

    def load(self) -> tuple[State, list[Any]]:
        """Return the stored state."""
        return read_state(self.stored_rows)  # type: ignore[arg-type]

    def _take_lease(self, *, fence: bool) -> None:
        self.owner = self.wait_for(self.database.take_over(fence=fence))
        store = MemoryAlertStore(MemoryAlerts())  # only the inputs are used to commit
        self.buffer = FencedWriteBuffer(store, self.database.inputs, self.owner, SharedAlertMetrics())

    def _apply(self, input: Input) -> None:  # noqa: A002 - the field's name
        before = self.state
        self.state, self.rows = self.engine.step(before, input, self.now)
        check_step_invariants(self.engine, self.config, before, input, self.state, self.now)
        self.buffer.add(self.rows)

    def _commit(self) -> None:
        while (failure := self.wait_for(self.buffer.save())) is not None:
            assert isinstance(failure, StoreFailing)
            self.failed_commits += 1
