"""The pending inputs and the state of alerting in PostgreSQL, with commits that are fenced by the lease of alerts."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Protocol, TypeVar

from streamcanary.model.alerts.pending_input import AlertCommit, AlertProgress, InputKind, PendingInput, RejectedRow
from streamcanary.model.alerts.row_change import RUN_TABLES, RowChange, StateTable
from streamcanary.model.replicas import ALERTS, Ownership
from streamcanary.store.connection import Connection
from streamcanary.store.errors import LeaseLost, StoreLost, StoreRejected
from streamcanary.store.postgres.errors import is_rejection, one_line
from streamcanary.store.postgres.replication.fencing import check_owner
from streamcanary.store.tables import alert_rows

T = TypeVar("T")
SaveRows = Callable[[Connection, Sequence[RowChange]], list[RejectedRow]]

RESTORE_STEP: Final = 1000
"""By how much a restore increases the revision: other replicas may know some that the restoring one has not read."""


class InputBackend(Protocol):
    """The part of :class:`~streamcanary.store.postgres.backend.PostgresBackend` that alerting uses."""

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Call ``fn`` in a consistent snapshot."""
        ...

    async def write(self, fn: Callable[[Connection], T]) -> T:
        """Call ``fn`` in a durable transaction, after the writes that were queued before."""
        ...

    async def write_apart(self, fn: Callable[[Connection], T]) -> T:
        """Call ``fn`` in a durable transaction of its own, without waiting for other writes."""
        ...


class PostgresAlertInputs:
    """Pending inputs and the stored state in the database of ``backend``.

    The contract is that of ``alerting/service/shared/alert_inputs.py``; each method may raise ``StoreFailing``.
    """

    def __init__(self, backend: InputBackend) -> None:
        self._backend = backend

    async def add(self, kind: InputKind, value: bytes) -> int:
        """Add an input for the owner of alerting, and return its id."""

        def insert(connection: Connection) -> int:
            query = "INSERT INTO pending_inputs (kind, value) VALUES (?, ?) RETURNING id"
            (number,) = connection.execute(query, (kind, value)).fetchone()
            return int(number)

        return await self._backend.write_apart(insert)

    async def pending(self, limit: int) -> list[PendingInput]:
        """Return the first ``limit`` pending inputs in the order of their ids."""

        def select(connection: Connection) -> list[PendingInput]:
            query = "SELECT id, kind, value FROM pending_inputs ORDER BY id LIMIT ?"
            return [PendingInput(*row) for row in connection.execute(query, (limit,))]

        return await self._backend.read(select)

    async def count_pending(self) -> int:
        """Return the number of pending inputs; of 100,000, that takes some ten milliseconds."""

        def select(connection: Connection) -> int:
            (count,) = connection.execute("SELECT count(*) FROM pending_inputs").fetchone()
            return int(count)

        return await self._backend.read(select)

    async def is_pending(self, id: int) -> bool:  # noqa: A002 - the field's name
        """Return whether the input of ``id`` waits for the owner of alerting."""

        def select(connection: Connection) -> bool:
            return connection.execute("SELECT 1 FROM pending_inputs WHERE id = ?", (id,)).fetchone() is not None

        return await self._backend.read(select)

    async def progress(self) -> AlertProgress:
        """Return the revision of the state, and the first pending input."""

        def select(connection: Connection) -> AlertProgress:
            query = "SELECT revision, (SELECT min(id) FROM pending_inputs) FROM alert_revision"
            return AlertProgress(*connection.execute(query).fetchone())

        return await self._backend.read(select)

    async def load(self, tables: Collection[StateTable]) -> tuple[int, Mapping[StateTable, Mapping[str, bytes]]]:
        """Return the revision of the state, and the rows of ``tables`` by table and key, in one snapshot."""

        def select(connection: Connection) -> tuple[int, Mapping[StateTable, Mapping[str, bytes]]]:
            return _read_revision(connection), alert_rows.load_rows(connection, tables)

        return await self._backend.read(select)

    async def load_detectors(self, keys: Collection[str]) -> Mapping[str, bytes]:
        """Return the rows of these detectors, by key."""

        def select(connection: Connection) -> dict[str, bytes]:
            return dict(connection.execute("SELECT key, value FROM detectors WHERE key = ANY(?)", (list(keys),)))

        return await self._backend.read(select)

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

        Raises:
            StoreLost: if the database has a lower revision than ``known_revision``, and it is no restore.
            SessionLost: if the session was fenced, or is unknown; nothing is changed.
            LeaseLost: if the session does not own the resource ``alerts`` with that epoch, or it is a restore, and the
                database is not older; nothing is changed.
        """
        by_statement = sorted(rows, key=lambda row: (row.table, row.value is None))  # there is one row for each key
        changes_state = is_restore or any(row.table not in RUN_TABLES for row in rows)

        def save(connection: Connection, save_rows: SaveRows) -> AlertCommit:
            check_owner(connection, owner.session, ALERTS, owner.epoch)
            revision = _read_revision(connection)
            if revision < known_revision and not is_restore:
                raise StoreLost(
                    f"the database has revision {revision} of the alerts, and revision {known_revision} was committed: "
                    "it was replaced by an older one, or a failover has lost commits"
                )
            if is_restore and known_revision <= revision < known_revision + RESTORE_STEP:
                raise LeaseLost(
                    f"the database has revision {revision} of the alerts, which is not older than {known_revision}: "
                    "that was read from a standby that lags behind"
                )
            rejected = save_rows(connection, by_statement)
            if consumed:
                connection.execute("DELETE FROM pending_inputs WHERE id = ANY(?)", (list(consumed),))
            if changes_state:
                revision = max(revision, known_revision) + RESTORE_STEP if is_restore else revision + 1
                connection.execute("UPDATE alert_revision SET revision = ?", (revision,))
            return AlertCommit(revision, tuple(rejected))

        try:
            return await self._backend.write(lambda connection: save(connection, _save_all))
        except (StoreRejected, UnicodeError):
            return await self._backend.write(lambda connection: save(connection, _save_accepted))


def _read_revision(connection: Connection) -> int:
    (revision,) = connection.execute("SELECT revision FROM alert_revision").fetchone()
    return int(revision)


def _save_all(connection: Connection, rows: Sequence[RowChange]) -> list[RejectedRow]:
    """Save ``rows``.

    Raises:
        psycopg.Error, UnicodeError: if one is rejected, or the database fails.
    """
    alert_rows.save_rows(connection, rows)
    return []


def _save_accepted(connection: Connection, rows: Sequence[RowChange]) -> list[RejectedRow]:
    """Save ``rows``, in halves if the database rejects one of them, and return those that it rejects.

    Raises:
        psycopg.Error: if the database fails.
    """
    connection.execute("SAVEPOINT rows")
    try:
        alert_rows.save_rows(connection, rows)
    except Exception as error:
        if not (is_rejection(error) or isinstance(error, UnicodeError)):
            raise
        connection.execute("ROLLBACK TO SAVEPOINT rows")
        if len(rows) == 1:
            return [RejectedRow(rows[0].table, rows[0].key, one_line(error))]
        middle = len(rows) // 2
        return [*_save_accepted(connection, rows[:middle]), *_save_accepted(connection, rows[middle:])]
    connection.execute("RELEASE SAVEPOINT rows")
    return []
