"""The write buffer of the owner of alerting: each commit is fenced by its lease, and deletes the inputs it is about."""

import logging
from collections.abc import Iterable, Sequence

from streamcanary.alerting.service.shared.alert_inputs import AlertInputs
from streamcanary.alerting.service.shared.metrics import SharedAlertMetrics
from streamcanary.alerting.service.write_buffer import AlertStore, WriteBuffer
from streamcanary.model.alerts.pending_input import RejectedRow
from streamcanary.model.alerts.row_change import RowChange
from streamcanary.model.outcome import Outcome
from streamcanary.model.redaction.redactor import scrub
from streamcanary.model.replicas import Ownership

_log = logging.getLogger(__name__)

_MAX_LOGGED = 1000  # rejected rows


class FencedWriteBuffer(WriteBuffer):
    """Buffers rows and the ids of evaluated inputs, and commits them with the session and the epoch of ``owner``.

    Outcomes are not recorded here: the replica that made the run has recorded it with the pending input. ``revision``
    is that of the state in the database, as of the last read or commit.
    """

    def __init__(self, store: AlertStore, inputs: AlertInputs, owner: Ownership, metrics: SharedAlertMetrics) -> None:
        super().__init__(store)
        self._inputs = inputs
        self._owner = owner
        self._metrics = metrics
        self._consumed: list[int] = []
        self._is_restore = False
        self._rejected: set[tuple[str, str]] = set()
        self.revision = 0

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

    def restore(self, rows: Iterable[RowChange], known_revision: int) -> None:
        """Add all rows, for a database that has lost some since ``known_revision``."""
        self.add(rows)
        self.revision = max(self.revision, known_revision)
        self._is_restore = True

    async def _commit(self, rows: Sequence[RowChange]) -> None:
        result = await self._inputs.commit(
            self._owner, rows, tuple(self._consumed), known_revision=self.revision, is_restore=self._is_restore
        )
        if self._is_restore:
            self._metrics.record_restored()
            _log.error("alerts restored from memory", extra={"known_revision": self.revision})
        self.revision, self._is_restore = result.revision, False
        self._report_rejected(result.rejected)

    def _clear_inputs(self) -> None:
        self._consumed.clear()

    def _report_rejected(self, rows: Sequence[RejectedRow]) -> None:
        self._metrics.record_rejected(len(rows))
        for row in rows:
            if (row.table, row.key) not in self._rejected and len(self._rejected) < _MAX_LOGGED:
                self._rejected.add((row.table, row.key))
                _log.error(
                    "row of alerts not stored",
                    extra={"table": row.table, "key": scrub(row.key, limit=100), "error": row.error},
                )
