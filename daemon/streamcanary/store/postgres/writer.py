"""The job handler of a thread that writes: combines writes into durable transactions."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from streamcanary.store.connection import Connection
from streamcanary.store.errors import StoreError, StoreFailing, StoreLost
from streamcanary.store.postgres.connection import PostgresConnection, WatchedConnection
from streamcanary.store.postgres.errors import failing, is_server_error, rejection
from streamcanary.store.postgres.migrations import lock_key, open_schema
from streamcanary.store.postgres.server import Server
from streamcanary.store.postgres.transactions import WRITE, Transactions
from streamcanary.store.pruning import Pruner
from streamcanary.store.worker import Job, JobResult

_log = logging.getLogger(__name__)


class _TransactionEnded(psycopg.ProgrammingError):
    """A function of the store ended the transaction."""


class Writer:
    """Owns one connection that writes. Only its thread uses the private attributes and methods.

    ``pruner`` is ``None`` for a writer that does not prune. ``is_writable`` is whether the last transaction was
    committed; ``loss_count`` counts how many times the schema was replaced by another one.
    """

    def __init__(self, server: Server, pruner: Pruner | None = None) -> None:
        self._server = server
        self._pruner = pruner
        self._transactions = Transactions(server, WRITE, self._open_schema)
        self._store_id: str | None = None
        self.is_writable = False
        self.loss_count = 0

    @property
    def is_open(self) -> bool:
        """Whether the schema was opened since the start."""
        return self._store_id is not None

    def open(self) -> None:
        """Connect, and create or migrate the schema. Called before the thread starts.

        Raises:
            StoreError: if that fails.
        """
        self._transactions.connect(self._deadline())
        self.is_writable = True

    def handle(self, jobs: Sequence[Job[Any]]) -> None:
        """Run all ``jobs`` in one durable transaction or, if that fails, each in a separate one."""
        losses = self.loss_count
        try:
            results = self._run_transaction(jobs, losses)
        except (StoreError, psycopg.Error, OSError) as error:
            self._transactions.end(error)
            if len(jobs) > 1 and self._transactions.is_connected:
                for job in jobs:
                    self.handle([job])
            else:
                self._fail_jobs(jobs, error)
            return
        failures = [result.error for result in results if is_server_error(result.error)]
        self.is_writable = not failures
        if failures:
            self._transactions.disconnect()
        for job, result in zip(jobs, results, strict=True):
            self._deliver(result, job)
        self._prune_if_due()

    def close(self) -> None:
        """Close the connection."""
        self._transactions.disconnect()

    def _run_transaction(self, jobs: Sequence[Job[Any]], losses: int) -> list[JobResult]:
        """Return the result or exception of each job once the transaction is durable.

        Each job has a savepoint, which is set and released together with the statements before and after it.
        """
        connection = self._transactions.begin(self._deadline())
        if self.loss_count != losses:
            raise StoreLost(f"the store {self._server.location} was lost; the one that is there now is used instead")
        results = []
        for number, job in enumerate(jobs):
            connection.execute("RELEASE SAVEPOINT job; SAVEPOINT job" if number else "SAVEPOINT job")
            results.append(_run_job(connection, job.fn))
        connection.execute("RELEASE SAVEPOINT job; COMMIT")
        return results

    def _prune_if_due(self) -> None:
        """Prune after the callers have their results, unless another replica does so at the moment."""
        if self._pruner is None or not self._pruner.is_due():
            return
        try:
            connection = PostgresConnection(self._transactions.begin(self._deadline()))
            key = lock_key(self._server.schema, "prune")
            if connection.execute("SELECT pg_try_advisory_xact_lock(?)", (key,)).fetchone() == (True,):
                self._pruner.prune(connection)
            connection.execute("COMMIT")
        except (StoreError, psycopg.Error, OSError) as error:
            self._transactions.end(error)
            self.is_writable = not is_server_error(error)
            failure = failing("pruned", error, self._server.location)
            _log.warning("store pruning failed", extra={"store": self._server.location, "error": str(failure)})

    def _open_schema(self, connection: WatchedConnection) -> str:
        """Create or migrate the schema, and count a loss if it is not the one of earlier connections."""
        store_id = open_schema(connection, self._server.schema, self._server.location)
        if self._store_id not in (None, store_id):
            self.loss_count += 1
            _log.warning("store lost", extra={"store": self._server.location, "error": "its schema was replaced"})
        if self._store_id != store_id and self._pruner is not None:  # once a process
            _log.info("store opened", extra={"store": self._server.location})
        self._store_id = store_id
        return store_id

    def _deliver(self, result: JobResult, job: Job[Any]) -> None:
        if is_server_error(result.error):
            job.fail(failing("written", result.error, self._server.location))
        elif (rejected := rejection(result.error, self._server.location)) is not None:
            job.fail(rejected)
        else:
            result.deliver(job, (psycopg.Error, OSError))

    def _fail_jobs(self, jobs: Sequence[Job[Any]], error: Exception) -> None:
        self.is_writable = isinstance(error, _TransactionEnded)
        for job in jobs:  # one instance each: a raised exception collects tracebacks
            if isinstance(error, StoreFailing):
                job.fail(type(error)(*error.args))
            elif isinstance(error, StoreError):
                job.fail(StoreFailing(str(error)))
            else:
                job.fail(failing("written", error, self._server.location))

    def _deadline(self) -> Callable[[], bool]:
        """Return whether the time for the calls of one transaction is over; the server should have ended it before."""
        end = time.monotonic() + 2 * self._server.timeout
        return lambda: time.monotonic() > end


def _run_job(connection: WatchedConnection, fn: Callable[[Connection], Any]) -> JobResult:
    try:
        result = JobResult(fn(PostgresConnection(connection)))
    except BaseException as error:  # raised to the caller of the job
        if connection.info.transaction_status not in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
            raise
        result = JobResult(None, error)
    status = connection.info.transaction_status
    if status == TransactionStatus.IDLE:
        raise _TransactionEnded("the function ended the transaction")
    if result.error is not None or status == TransactionStatus.INERROR:
        connection.execute("ROLLBACK TO SAVEPOINT job")
        return JobResult(
            None, result.error or psycopg.ProgrammingError("the function ignored the error of a statement")
        )
    return result
