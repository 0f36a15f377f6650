"""Reads recorded runs, their rollups, and alerts in another process than the daemon that records them."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from streamcanary.model.outcome import Outcome
from streamcanary.model.statistics.rollup import Rollup
from streamcanary.model.status.alert_history import PastIncident
from streamcanary.store.config import StoreConfig
from streamcanary.store.connection import Connection, ReadOnlyDatabase
from streamcanary.store.errors import RunsUnreadable
from streamcanary.store.postgres import driver
from streamcanary.store.sqlite.read_only import read_only_file
from streamcanary.store.tables import rollups
from streamcanary.store.tables.alert_history import MAX_PAGE, read_page
from streamcanary.store.tables.history import MAX_RUN_BYTES, RUN_COLUMNS, UnreadableRun, decode_run

_ROWS_PER_QUERY = 500
_MAX_BASELINES = 10_000
_TIMEOUT = 60.0  # seconds of one query


def read_runs(config: StoreConfig, *, limit: int | None = None) -> Iterator[Outcome | UnreadableRun]:
    """Yield the runs in the store, all or the last ``limit``, in the order of their ends.

    The store is opened read-only; a daemon may have it open and write to it. At most 500 rows are held in memory.

    Raises:
        RunsUnreadable: if the store is missing, empty, of another program, too new, locked, or corrupt; if its server
            cannot be reached.
    """
    with _read_only(config) as database:
        yield from _read_rows(database.connection, limit)


def read_alert_history(config: StoreConfig, since: float) -> list[PastIncident]:
    """Return the alerts in the store that fired or resolved after ``since``, the newest first.

    ``since`` is seconds since the epoch. The store has those of 30 days; that of an older daemon has none.

    Raises:
        RunsUnreadable: as :func:`read_runs` does.
    """
    found: list[PastIncident] = []
    with _read_only(config) as database:
        if "alert_history" not in database.tables:
            return []
        page = read_page(database.connection, limit=MAX_PAGE)
        found += page.incidents
        while page.cursor is not None:
            page = read_page(database.connection, page.cursor, limit=MAX_PAGE)
            found += page.incidents
    return [one for one in found if one.resolved is None or max(one.opened, one.resolved) >= since]


def read_baselines(config: StoreConfig) -> dict[str, bytes]:
    """Return the rows of what the daemon has learned about its alerts, by key; none of an older daemon.

    Rows after the first 10,000 are left out.

    Raises:
        RunsUnreadable: as :func:`read_runs` does.
    """
    with _read_only(config) as database:
        if "baselines" not in database.tables:
            return {}
        query = "SELECT key, value FROM baselines WHERE length(value) <= ? LIMIT ?"
        rows = database.connection.execute(query, (MAX_RUN_BYTES, _MAX_BASELINES)).fetchall()
        return {key: value for key, value in rows if isinstance(key, str) and isinstance(value, bytes)}


def sum_recorded_counts(
    config: StoreConfig, starts: Iterable[float], canaries: Mapping[str, str] | None = None
) -> rollups.Windows:
    """Return the counts of each canary since each of ``starts``: :func:`~streamcanary.store.tables.rollups.sum_counts`.

    A store of an older daemon has none.

    Raises:
        RunsUnreadable: as :func:`read_runs` does.
    """
    with _read_only(config) as database:
        return rollups.sum_counts(database.connection, starts, canaries) if "rollups" in database.tables else {}


def read_recorded_rollups(config: StoreConfig, since: float, canaries: Mapping[str, str]) -> list[Rollup]:
    """Return the rollups of ``canaries`` since a time: :func:`~streamcanary.store.tables.rollups.read_rollups`.

    All are read in one transaction and held in memory: read those of many canaries in several calls. A store of an
    older daemon has none.

    Raises:
        RunsUnreadable: as :func:`read_runs` does.
    """
    with _read_only(config) as database:
        if "rollups" not in database.tables:
            return []
        return list(rollups.read_rollups(database.connection, since, canaries))


@contextmanager
def _read_only(config: StoreConfig) -> Iterator[ReadOnlyDatabase]:
    """Open the store for the time of a ``with`` block; errors of the database become :class:`RunsUnreadable`."""
    url = config.database_url
    if url is None:
        with read_only_file(config.path) as database:
            yield database
        return
    if not driver.is_installed():
        raise RunsUnreadable(f"the store is in PostgreSQL, which {driver.INSTALL}")
    from streamcanary.store.postgres.read_only import read_only_schema
    from streamcanary.store.postgres.server import Server

    with read_only_schema(Server(url, config.schema_name, _TIMEOUT)) as database:
        yield database


def _read_rows(connection: Connection, limit: int | None) -> Iterator[Outcome | UnreadableRun]:
    end: int = connection.execute("SELECT coalesce(max(id), 0) FROM runs").fetchone()[0]
    last = 0 if limit is None else max(0, end - limit)
    while last < end:
        rows = connection.execute(
            f"SELECT {RUN_COLUMNS} FROM runs WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",  # noqa: S608 - fixed text
            (MAX_RUN_BYTES, last, end, _ROWS_PER_QUERY),
        ).fetchall()
        if not rows:
            return
        for number, run_id, value in rows:
            last = number
            yield decode_run(run_id, value)
