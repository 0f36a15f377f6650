"""The job handler of a thread that reads: each read sees a consistent snapshot."""

from collections.abc import Sequence
from typing import Any

import psycopg

from streamcanary.store.errors import StoreError, StoreFailing
from streamcanary.store.postgres.connection import PostgresConnection, WatchedConnection
from streamcanary.store.postgres.errors import failing
from streamcanary.store.postgres.migrations import check_schema
from streamcanary.store.postgres.server import Server
from streamcanary.store.postgres.transactions import READ, Transactions
from streamcanary.store.worker import Job


class Reader:
    """Owns a connection that reads; the writer has created the schema."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._transactions = Transactions(server, READ, self._check)

    def handle(self, jobs: Sequence[Job[Any]]) -> None:
        """Run each job in a separate transaction; abort a job whose caller no longer waits."""
        for job in jobs:
            error: BaseException | None = None
            try:
                connection = self._transactions.begin(lambda job=job: job.is_abandoned)  # type: ignore[misc]
                result = job.fn(PostgresConnection(connection))
            except StoreError as failure:
                job.fail(failure if isinstance(failure, StoreFailing) else StoreFailing(str(failure)))
            except (psycopg.Error, OSError) as failure:
                error = failure
                job.fail(failing("read", error, self._server.location))
            except BaseException as failure:  # noqa: BLE001 - raised to the caller
                job.fail(failure)
            else:
                job.future.set_result(result)
            self._transactions.end(error)

    def close(self) -> None:
        """Close the connection."""
        self._transactions.disconnect()

    def _check(self, connection: WatchedConnection) -> str:
        return check_schema(connection, self._server.schema, self._server.location)
