"""The write buffer of the owner of alerting: each commit is fenced by its lease, and deletes the inputs it is about."""

from collections.abc import Iterable, Sequence

from streamcanary.alerting.service.shared.alert_inputs import AlertInputs
from streamcanary.alerting.service.write_buffer import AlertStore, WriteBuffer
from streamcanary.model.alerts.row_change import RowChange
from streamcanary.model.outcome import Outcome
from streamcanary.model.replicas import Ownership


class FencedWriteBuffer(WriteBuffer):
    """Buffers rows and the ids of evaluated inputs, and commits them with the session and the epoch of ``owner``.

    Outcomes are not recorded here: the replica that made the run has recorded it with the pending input.
    """

    def __init__(self, store: AlertStore, inputs: AlertInputs, owner: Ownership) -> None:
        super().__init__(store)
        self._inputs = inputs
        self._owner = owner
        self._consumed: list[int] = []

    @property
    def is_empty(self) -> bool:
        """Whether the database has all changes."""
        return super().is_empty and not self._consumed

    def add(self, rows: Iterable[RowChange], outcome: Outcome | None = None) -> None:
        """Add changed rows."""
        super().add(rows)

    def consume(self, id: int) -> None:  # noqa: A002 - the field's name
        """Delete the pending input ``id`` with the next commit."""
        self._consumed.append(id)

    async def _commit(self, rows: Sequence[RowChange]) -> None:
        await self._inputs.commit(self._owner, rows, tuple(self._consumed))

    def _clear_inputs(self) -> None:
        self._consumed.clear()
