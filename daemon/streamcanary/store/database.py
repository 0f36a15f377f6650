"""The store: what the daemon saves and reads, the same for each database."""

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from typing import TypeVar

from streamcanary.model.alerts.row_change import RowChange, StateTable
from streamcanary.model.outcome import Outcome
from streamcanary.model.spend import Spend
from streamcanary.model.statistics.rollup import Rollup, RunCounts
from streamcanary.model.status.alert_history import IncidentPage, PastIncident
from streamcanary.store.backend import Backend
from streamcanary.store.connection import Connection
from streamcanary.store.errors import StoreLost
from streamcanary.store.tables import alert_history, alert_rows, history, rollups, spend
from streamcanary.store.tables.rollups import Windows

T = TypeVar("T")


class Store:
    """The persistent state of the daemon in the database of ``backend``; see :func:`~.opening.open_store`."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._reported_losses: dict[str, int] = {}  # by caller: the number of losses that were raised to it

    @property
    def location(self) -> str:
        """Where the database is, for messages: a path, or a URL without its password."""
        return self.backend.location

    @property
    def may_be_incomplete(self) -> bool:
        """Whether an earlier process could not save all changes, and no :meth:`commit` has succeeded since."""
        return self.backend.may_be_incomplete

    def is_writable(self) -> bool:
        """Return whether the last write succeeded within the timeout. :meth:`probe` performs a write."""
        return self.backend.is_writable()

    async def write(self, fn: Callable[[Connection], T]) -> T:
        """Call ``fn`` in a durable transaction and return its result once the transaction is on the disk.

        Writes are made in the order of the calls; queued writes share a commit. ``fn`` runs in another thread. It must
        not end the transaction or keep the connection, and it may be called twice, with the first call rolled back.
        An exception of ``fn`` rolls back the changes of ``fn`` only, and is raised here. Cancelling the caller does
        not cancel the write.

        Raises:
            StoreFailing: if the database or the operating system reports an error; a later write may succeed.
            StoreLost: if the database was replaced by another one, without the earlier content.
        """
        return await self.backend.write(fn)

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Call ``fn`` in another thread, in a consistent snapshot of the last commit, and return its result.

        The read is aborted when the caller is cancelled or the timeout expires.

        Raises:
            StoreFailing: if the store cannot be read.
        """
        return await self.backend.read(fn)

    async def probe(self) -> bool:
        """Perform a write that changes nothing, and return :meth:`is_writable`."""
        return await self.backend.probe()

    async def commit(self, rows: Sequence[RowChange], outcomes: Sequence[Outcome]) -> None:
        """Save changes of the alerting state and record runs, all in one durable transaction.

        Raises:
            StoreFailing, StoreLost: as :meth:`write`. A loss is raised once to this caller, even if another caller met
                it first.
        """

        def save(connection: Connection) -> None:
            alert_rows.save_rows(connection, rows)
            recorded = [outcome for outcome in outcomes if history.record_run(connection, outcome)]
            rollups.add_runs(connection, recorded)

        await self._write_for("ledger", save)
        await self.backend.mark_complete()

    async def load_rows(self) -> dict[StateTable, dict[str, bytes]]:
        """Return the state of alerting, by table and key.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(alert_rows.load_rows)

    async def unfinished_incidents(self, ids: Collection[str]) -> list[PastIncident]:
        """Return the alerts of the history that have not resolved, and those of ``ids``.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(lambda connection: alert_history.read_unfinished(connection, ids))

    async def past_incidents(
        self, before: str | None = None, *, limit: int = 50, canary: str | None = None
    ) -> IncidentPage:
        """Return a page of the history of alerts, the newest first; see :func:`alert_history.read_page`.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(
            lambda connection: alert_history.read_page(connection, before, limit=limit, canary=canary)
        )

    async def past_incident(self, id: str) -> PastIncident | None:  # noqa: A002 - the field's name
        """Return the alert of ``id`` in the history; ``None`` if there is none.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(lambda connection: alert_history.read_incident(connection, id))

    async def save_spend(self, days: Mapping[str, Spend]) -> None:
        """Set the spend of canaries on these UTC days (``2026-02-02``).

        Raises:
            StoreFailing, StoreLost: as :meth:`commit`.
        """
        await self._write_for("spend", lambda connection: spend.save_spend(connection, days))

    async def load_spend(self) -> dict[str, Spend]:
        """Return the spend of canaries, by UTC day.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(spend.load_spend)

    async def last_answers(self, canaries: Sequence[str]) -> dict[str, Outcome]:
        """Return the last run of each of ``canaries`` that its primary route answered, by canary.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(lambda connection: history.last_answers(connection, canaries))

    async def last_outcomes(self, canaries: Sequence[str]) -> dict[str, Outcome]:
        """Return the last run of each of ``canaries``, also a skipped one, by canary.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(lambda connection: history.last_outcomes(connection, canaries))

    async def last_runs(self, canaries: Sequence[str]) -> dict[str, Outcome]:
        """Return the last run of each of ``canaries`` that was not skipped, by canary.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(lambda connection: history.last_runs(connection, canaries))

    async def last_runs_of(self, canaries: Sequence[str], limit: int) -> dict[str, list[Outcome]]:
        """Return the last ``limit`` runs of each of ``canaries``, in the order of their ends.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(lambda connection: history.last_runs_of(connection, canaries, limit))

    async def runs_of(
        self, names: Sequence[str], *, before: int | None = None, limit: int = 50, kinds: Sequence[str] = ()
    ) -> tuple[list[Outcome], int | None]:
        """Return up to ``limit`` runs of a canary before the row ``before``, latest end first.

        ``names`` are those under which its runs are recorded: its own, and its former one. The last runs
        if ``before`` is ``None``; only those of ``kinds``, if there are any. The second value is the row before which
        there may be more runs, ``None`` if there are none.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(
            lambda connection: history.runs_of(connection, names, before=before, limit=limit, kinds=kinds)
        )

    async def find_run(self, run_id: str) -> Outcome | None:
        """Return the recorded run of this id, ``None`` if there is none.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(lambda connection: history.find_run(connection, run_id))

    async def state_starts(
        self, canaries: Sequence[tuple[Sequence[str], Collection[str]]], limit: int
    ) -> list[float | None]:
        """Return for each of ``canaries``, its names and outcomes, since when all its runs have had one of these.

        See :func:`~streamcanary.store.tables.history.state_start`.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(
            lambda connection: [history.state_start(connection, *canary, limit) for canary in canaries]
        )

    async def row_before_last(self, count: int) -> int:
        """Return the row after which there are the last ``count`` runs, for :meth:`runs_after`.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(lambda connection: history.row_before_last(connection, count))

    async def runs_after(self, last: int, limit: int) -> tuple[list[Outcome], int | None]:
        """Return up to ``limit`` runs after the row ``last``, in the order of their ends, and the last row of these.

        The row is ``None`` if there are no more.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(lambda connection: history.runs_after(connection, last, limit))

    async def new_runs(
        self, after: int, known: Container[str], limit: int
    ) -> tuple[list[Outcome], list[tuple[int, str]]]:
        """Return the runs after the row ``after`` that are not ``known``, and the rows: :func:`history.new_runs`.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(lambda connection: history.new_runs(connection, after, known, limit))

    async def sum_counts(self, starts: Sequence[float], canaries: Mapping[str, str] | None = None) -> Windows:
        """Return the counts of each canary since each of ``starts``.

        See :func:`~streamcanary.store.tables.rollups.sum_counts`.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(lambda connection: rollups.sum_counts(connection, starts, canaries))

    async def first_periods(self, canaries: Mapping[str, str]) -> dict[str, int]:
        """Return when the first period of each canary began: :func:`~streamcanary.store.tables.rollups.first_periods`.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(lambda connection: rollups.first_periods(connection, canaries))

    async def read_counts(
        self, since: float, canaries: Mapping[str, str] | None = None
    ) -> list[tuple[str, int, int, RunCounts]]:
        """Return the counts of each period: :func:`~streamcanary.store.tables.rollups.read_counts`.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(lambda connection: list(rollups.read_counts(connection, since, canaries)))

    async def read_rollups(self, since: float, canaries: Mapping[str, str]) -> list[Rollup]:
        """Return the rollups of ``canaries``: :func:`~streamcanary.store.tables.rollups.read_rollups`.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(lambda connection: list(rollups.read_rollups(connection, since, canaries)))

    async def close(self, timeout: float = 5.0) -> None:  # noqa: ASYNC109 - the backend divides it between threads
        """Complete the queued writes and close the database; may be called twice.

        After ``timeout`` seconds it stays open; committed data is safe.
        """
        await self.backend.close(timeout)

    async def _write_for(self, caller: str, fn: Callable[[Connection], None]) -> None:
        """Write for ``caller``, and raise each loss once to it, even if another caller or a probe met it first."""

        def raise_if_lost(connection: Connection) -> None:
            if self._reported_losses.get(caller, 0) != self.backend.loss_count:
                raise StoreLost(f"the store {self.location} was lost; the one that is there now is used instead")
            fn(connection)

        try:
            await self.write(raise_if_lost)
        except StoreLost:
            self._reported_losses[caller] = self.backend.loss_count
            raise
