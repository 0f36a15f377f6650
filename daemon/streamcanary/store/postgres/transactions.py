"""Transactions on a connection that is made when it is needed, and made again when it breaks."""

import contextlib
from collections.abc import Callable
from typing import Final

import psycopg
from psycopg.pq import TransactionStatus

from streamcanary.model.config_types.secret import SecretUnreadable
from streamcanary.store.errors import StoreError, StoreFailing, StoreUnwritable
from streamcanary.store.postgres.connection import WatchedConnection
from streamcanary.store.postgres.errors import is_server_error, opening_error
from streamcanary.store.postgres.server import Server
from streamcanary.store.schema_steps import known_version

READ: Final = "ISOLATION LEVEL REPEATABLE READ READ ONLY"
WRITE: Final = "ISOLATION LEVEL READ COMMITTED"  # each statement sees what was committed before it

_SELECT_SCHEMA: Final = " SELECT version, store_id FROM schema_version"
_MAX_IDLE: Final = 5_000  # milliseconds: a frozen process must not keep its locks until its connection breaks
_LOCK_TIMEOUT: Final = 5_000  # milliseconds

Prepare = Callable[[WatchedConnection], str]
"""Checks a new connection, and returns the id of the store; it raises the errors of the store and of psycopg."""


def begin_statements(server: Server, mode: str, *, max_idle: int = _MAX_IDLE) -> str:
    """Return the statements that begin a transaction: one message to the server.

    Settings are made within each transaction, because a pool of connections before the server may give each
    transaction another connection. The server ends one that is idle for ``max_idle`` milliseconds; never for 0.
    """
    return (
        f'BEGIN {mode}; SET LOCAL search_path TO "{server.schema}", pg_temp;'
        f" SET LOCAL statement_timeout TO {round(server.timeout * 1000)};"
        f" SET LOCAL lock_timeout TO {_LOCK_TIMEOUT};"
        f" SET LOCAL idle_in_transaction_session_timeout TO {max_idle};"
    )


class Transactions:
    """The transactions of one thread on ``server``, in ``mode``: :data:`READ` or :data:`WRITE`."""

    def __init__(self, server: Server, mode: str, prepare: Prepare) -> None:
        self._server = server
        self._prepare = prepare
        self._connection: WatchedConnection | None = None
        self._begin = begin_statements(server, mode)
        self._is_durable = True
        self._expected_schema: tuple[object, ...] = ()

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection; the server may have closed it."""
        return self._connection is not None

    def connect(self, is_over: Callable[[], bool]) -> WatchedConnection:
        """Return the connection, made and prepared if there is none. The wait for it ends if ``is_over``.

        Raises:
            StoreError: if it cannot be made, or not be used.
        """
        connection = self._connection
        if connection is None:
            try:
                connection = self._server.connect(is_over)
                self._connection = connection
                self._expected_schema = (known_version(), self._prepare(connection))
                row = connection.execute("SELECT current_setting('synchronous_commit')").fetchone()
                self._is_durable = row is not None and row[0] != "off"
            except (psycopg.Error, OSError, SecretUnreadable, StoreError) as error:
                self.disconnect()
                raise self._as_store_error(error) from None
        connection.is_over = is_over
        return connection

    def begin(self, is_over: Callable[[], bool]) -> WatchedConnection:
        """Begin a transaction; connect anew if the server has closed the connection, or the schema was replaced.

        Raises:
            StoreError: if there is no connection.
            psycopg.Error: if the transaction cannot begin.
        """
        for may_retry in (True, False):
            connection = self.connect(is_over)
            try:
                if self._begin_on(connection) == self._expected_schema:
                    return connection
            except (psycopg.OperationalError, psycopg.errors.UndefinedTable):
                if not may_retry or is_over():
                    raise
            self.disconnect()
        raise StoreFailing(f"the schema of the store {self._server.location} changes at the moment")

    def _begin_on(self, connection: WatchedConnection) -> tuple[object, ...] | None:
        """Begin, and return version and id of the schema, all with one message to the server."""
        durable = "" if self._is_durable else " SET LOCAL synchronous_commit TO on;"
        cursor = connection.execute((self._begin + durable + _SELECT_SCHEMA).encode())
        while cursor.nextset():
            pass
        return cursor.fetchone()

    def end(self, error: BaseException | None = None) -> None:
        """Roll back what is not committed, and disconnect if that fails or the connection caused ``error``."""
        connection = self._connection
        if connection is None:
            return
        with contextlib.suppress(psycopg.Error):
            if connection.info.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
                connection.execute("ROLLBACK")
        is_idle = connection.info.transaction_status == TransactionStatus.IDLE
        if not is_idle or is_server_error(error):
            self.disconnect()

    def disconnect(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
            self._connection = None

    def _as_store_error(self, error: Exception) -> StoreError:
        if isinstance(error, StoreError):
            return error
        if isinstance(error, psycopg.Error):
            return opening_error(error, self._server.location, self._server.schema)
        return StoreUnwritable(f"store.url: {error}")
