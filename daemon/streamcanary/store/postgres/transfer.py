"""The schema of the store as the source or the target of a copy. No replica may use it meanwhile."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Final

import psycopg

from streamcanary.model.config_types.secret import Secret
from streamcanary.store.connection import Connection
from streamcanary.store.errors import StoreLocked, StoreUnwritable
from streamcanary.store.postgres.connection import PostgresConnection, WatchedConnection
from streamcanary.store.postgres.errors import failing, opening_error
from streamcanary.store.postgres.migrations import check_schema, open_schema
from streamcanary.store.postgres.server import Server
from streamcanary.store.postgres.transactions import READ, WRITE, begin_statements

if TYPE_CHECKING:
    from streamcanary.store.transfer import Rows, Table

_TIMEOUT: Final = 600.0  # seconds of one statement
_ROWS_PER_FETCH: Final = 500
_LIVE_REPLICAS: Final = "SELECT min(name) FROM replicas WHERE NOT fenced AND expires > clock_timestamp()"
_SPEND: Final = (  # of replicas that have ended without leaving, too
    "SELECT day, sum(input_tokens)::bigint, sum(output_tokens)::bigint, sum(input_usd), sum(output_usd),"
    " sum(requests)::bigint FROM (SELECT day, input_tokens, output_tokens, input_usd, output_usd, requests FROM spend"
    " UNION ALL SELECT day, input_tokens, output_tokens, input_usd, output_usd, requests FROM replica_spend) AS each"
    " GROUP BY day ORDER BY day"
)


_MAX_UNEVALUATED: Final = 3  # runs of a canary: those that end while replicas stop, and not those of a backlog
_CHANGES: Final = "SELECT count(*) FROM pending_inputs WHERE kind NOT IN ('run', 'diagnosis')"
_UNEVALUATED: Final = (
    "SELECT coalesce(sum(number), 0)::bigint, coalesce(max(number), 0) FROM (SELECT count(*) AS number"
    " FROM pending_inputs LEFT JOIN runs USING (run_id) WHERE pending_inputs.kind = 'run' GROUP BY canary) AS each"
)


class _Schema:
    """An open schema within a transaction."""

    def __init__(self, connection: WatchedConnection, server: Server, unevaluated_runs: int = 0) -> None:
        self.unevaluated_runs = unevaluated_runs
        self._connection = connection
        self._server = server
        self._wrapped = PostgresConnection(connection)

    @property
    def connection(self) -> Connection:
        """The connection."""
        return self._wrapped

    def rows(self, table: "Table") -> "Rows":
        """Yield the rows of a table, a few at once, from a cursor of the server.

        Raises:
            StoreFailing: if they cannot be read.
        """
        query = f"SELECT {table.column_list} FROM {table.name} ORDER BY {table.order}"  # noqa: S608 - fixed names
        try:
            with self._connection.cursor(name="copy") as cursor:
                cursor.itersize = _ROWS_PER_FETCH
                cursor.format = psycopg.pq.Format.BINARY
                yield from cursor.execute((_SPEND if table.name == "spend" else query).encode())
        except psycopg.Error as error:
            raise failing("read", error, self._server.location) from None

    def check_unused(self) -> None:
        """Check that no replica has joined since the snapshot, which ends.

        Raises:
            StoreLocked: if one has.
        """
        self._connection.execute("ROLLBACK")
        self._connection.execute(begin_statements(self._server, READ).encode())
        _check_unused(self._connection, self._server)

    def finish(self) -> None:
        """Continue the numbers of runs after those that were copied, and commit."""
        self._connection.execute("SELECT setval(pg_get_serial_sequence('runs', 'id'), max(id)) FROM runs")
        self._connection.execute("COMMIT")


@contextmanager
def read_schema(url: Secret, schema: str) -> Iterator[_Schema]:
    """Open ``schema`` for the time of a ``with`` block, in one snapshot.

    Raises:
        StoreLocked: if a replica uses it.
        StoreMissing: if there is none.
        StoreTooNew: if a later version has written it.
        StoreUnwritable: if it belongs to another program, has another schema version, or inputs that wait to be
            evaluated; if the server refuses the connection.
        StoreFailing: if the server cannot be reached, or a statement fails.
    """
    server = Server(url, schema, _TIMEOUT)
    with _connection(server) as connection:
        check_schema(connection, schema, server.location)
        connection.execute(begin_statements(server, READ, max_idle=0).encode())
        _check_unused(connection, server)
        yield _Schema(connection, server, _unevaluated_runs(connection, server))


@contextmanager
def write_schema(url: Secret, schema: str) -> Iterator[_Schema]:
    """Open or create ``schema`` for the time of a ``with`` block; no replica can join meanwhile.

    Raises:
        StoreLocked: if a replica uses it.
        StoreTooNew: if a later version has written it.
        StoreUnwritable: if it belongs to another program, or the rights on it do not suffice; if the server refuses the
            connection.
        StoreFailing: if the server cannot be reached, or a statement fails.
    """
    server = Server(url, schema, _TIMEOUT)
    with _connection(server) as connection:
        open_schema(connection, schema, server.location)
        connection.execute(begin_statements(server, WRITE, max_idle=0).encode())
        connection.execute("LOCK TABLE replicas IN EXCLUSIVE MODE")
        _check_unused(connection, server)
        yield _Schema(connection, server)


@contextmanager
def _connection(server: Server) -> Iterator[WatchedConnection]:
    try:
        with closing(server.connect(lambda: False)) as connection:
            yield connection
    except psycopg.Error as error:
        raise opening_error(error, server.location, server.schema) from None


def _unevaluated_runs(connection: WatchedConnection, server: Server) -> int:
    """Return the number of runs that wait for evaluation, which are the last ones of a few seconds.

    Replicas that stop record runs that end meanwhile; then the owner of the alerts may have stopped already.

    Raises:
        StoreUnwritable: if they are more, or changes such as silences wait.
    """
    (changes,) = connection.execute(_CHANGES).fetchone() or (0,)
    total, of_one_canary = connection.execute(_UNEVALUATED).fetchone() or (0, 0)
    if changes or of_one_canary > _MAX_UNEVALUATED:
        raise StoreUnwritable(
            f"the store {server.location} has {total + changes} runs or changes that its rules have not evaluated: "
            "start its daemon once, which evaluates them, and stop it"
        )
    return int(total)


def _check_unused(connection: WatchedConnection, server: Server) -> None:
    (replica,) = connection.execute(_LIVE_REPLICAS).fetchone() or (None,)
    if replica is not None:
        raise StoreLocked(
            f"the store {server.location} is in use by the replica {replica}: stop all replicas first; one that was "
            "killed counts until its lease has ended"
        )
