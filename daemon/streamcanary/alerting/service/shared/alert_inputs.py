"""The interface of a shared database to alerting: pending inputs, and the state with its revision.

The owner of alerting reads the pending inputs in the order of their ids, and deletes them in the transaction that
commits what they have changed. So each input is evaluated exactly once, also when the owner changes.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from streamcanary.model.alerts.pending_input import AlertCommit, AlertProgress, InputKind, PendingInput
from streamcanary.model.alerts.row_change import RowChange, StateTable
from streamcanary.model.replicas import Ownership


class AlertInputs(Protocol):
    """Pending inputs and the stored state of alerting.

    Each method may raise ``StoreFailing``; what it did is then unknown, and it may be called again.
    """

    async def add(self, kind: InputKind, value: bytes) -> int:
        """Add an input for the owner of alerting, and return its id. Runs are added by ``LeaseStore.commit_runs``."""
        ...

    async def pending(self, limit: int) -> list[PendingInput]:
        """Return the first ``limit`` pending inputs in the order of their ids.

        Ids become visible in any order: one that is lower than those returned before may come later.
        """
        ...

    async def count_pending(self) -> int:
        """Return the number of pending inputs, of which there may be many."""
        ...

    async def is_pending(self, id: int) -> bool:  # noqa: A002 - the field's name
        """Return whether the input of ``id`` waits for the owner of alerting."""
        ...

    async def progress(self) -> AlertProgress:
        """Return the revision of the state, and the first pending input."""
        ...

    async def load(self, tables: Collection[StateTable]) -> tuple[int, Mapping[StateTable, Mapping[str, bytes]]]:
        """Return the revision of the state, and the rows of ``tables`` by table and key, of that revision or newer."""
        ...

    async def load_detectors(self, keys: Collection[str]) -> Mapping[str, bytes]:
        """Return the rows of these detectors, by key."""
        ...

    async def commit(
        self,
        owner: Ownership,
        rows: Sequence[RowChange],
        consumed: Collection[int],
        *,
        known_revision: int = 0,
        is_restore: bool = False,
    ) -> AlertCommit:
        """Save ``rows``, delete the inputs ``consumed``, and increment the revision if it has to.

        It has to if a row is of another table than :data:`~streamcanary.model.alerts.row_change.RUN_TABLES`. All in one
        durable transaction, which is fenced by the session and by the epoch of ``owner``. It is idempotent: a commit
        whose result is unknown is repeated. Rows that the database rejects are left out, and returned.

        ``known_revision`` is that of the state which the rows change. ``is_restore``: they are all rows, for a database
        that has lost some; the revision is then larger than any that was known before.

        Raises:
            StoreLost: if the database has a lower revision than ``known_revision``, and it is no restore: it was
                replaced by an older one, or a failover has lost commits; nothing is changed.
            SessionLost: if the session was fenced, or is unknown; nothing is changed.
            LeaseLost: if the session does not own the resource ``alerts`` with that epoch, or it is a restore, and the
                database is not older than what is known: another replica has committed; nothing is changed.
        """
        ...
