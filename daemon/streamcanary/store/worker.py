"""Worker threads with a job queue, to which the event loop submits jobs without blocking."""

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from streamcanary.store.connection import Connection
from streamcanary.store.errors import StoreFailing

T = TypeVar("T")

MAX_WRITES_PER_COMMIT: Final = 256
MAX_QUEUED_WRITES: Final = 4096
MAX_QUEUED_READS: Final = 64


class Job(Generic[T]):
    """A function to be called with a connection, and the future of its result.

    ``is_abandoned`` turns true once the caller no longer waits for the result.
    """

    __slots__ = ("fn", "future", "is_abandoned")

    def __init__(self, fn: Callable[[Connection], T]) -> None:
        self.fn = fn
        self.future: Future[T] = Future()
        self.is_abandoned = False

    def fail(self, error: BaseException) -> None:
        """Set ``error`` as the result; an exception with a special meaning to a waiting coroutine is wrapped."""
        if isinstance(error, StopIteration) or not isinstance(error, Exception):
            error = RuntimeError(f"a function given to the store raised {error!r}")
        self.future.set_exception(error)


class JobResult(NamedTuple):
    """What a job returned, or the error it raised."""

    value: Any
    error: BaseException | None = None

    def deliver(self, job: Job[Any], database_errors: tuple[type[Exception], ...]) -> None:
        """Complete ``job`` with the result; one of ``database_errors`` is raised to its caller as ``StoreFailing``."""
        if self.error is None:
            job.future.set_result(self.value)
        elif isinstance(self.error, database_errors):
            reason = str(self.error).partition("\n")[0]  # PostgreSQL quotes the statement in further lines
            failure = StoreFailing(f"the write failed: {reason}")
            failure.__cause__ = self.error
            job.fail(failure)
        else:
            job.fail(self.error)


class JobHandler(Protocol):
    """Handles the jobs of a worker. Both methods are called in the thread only."""

    def handle(self, jobs: Sequence[Job[Any]]) -> None:
        """Set a result or an exception on the future of each job."""
        ...

    def close(self) -> None:
        """Release all resources, after the last job."""
        ...


class Worker:
    """A bounded queue of jobs, and one daemon thread for each of ``handlers``.

    ``max_batch`` bounds the jobs that are handled at once, ``max_queued`` those that wait; ``timeout`` is how many
    seconds a caller waits for a result. ``medium`` names what the jobs wait for, in errors. The threads do not keep the
    process alive, because an unresponsive disk must not prevent the daemon from exiting. ``is_stuck`` is whether a
    caller timed out since a thread last finished.
    """

    def __init__(
        self, name: str, *handlers: JobHandler, medium: str, max_batch: int, max_queued: int, timeout: float
    ) -> None:
        self._medium = medium
        self._max_batch = max_batch
        self._max_queued = max_queued
        self._timeout = timeout
        self._queue: queue.SimpleQueue[Job[Any] | None] = queue.SimpleQueue()  # None ends one thread
        self._ended: list[Future[None]] = [Future() for _ in handlers]
        self._is_closing = False
        self.is_stuck = False
        for handler, ended in zip(handlers, self._ended, strict=True):
            thread = threading.Thread(target=self._run, args=(handler, ended), name=f"streamcanary-{name}", daemon=True)
            thread.start()

    async def submit(self, fn: Callable[[Connection], T]) -> T:
        """Call ``fn`` in the thread and return its result.

        Cancelling the caller does not cancel the job.

        Raises:
            StoreFailing: if the worker is closed, its queue is full, or the timeout expires. After a timeout, a job
                that has not started is dropped, and a job that has started may still complete.
            Exception: the exception that was set on the future of the job.
        """
        if self._is_closing:
            raise StoreFailing("the store is closed")
        if self._queue.qsize() >= self._max_queued:
            raise StoreFailing(f"the queue is full: {self._max_queued} calls wait for {self._medium}")
        job = Job(fn)
        self._queue.put(job)
        result = asyncio.wrap_future(job.future)
        result.add_done_callback(_retrieve)
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.shield(result)
        except TimeoutError:
            job.future.cancel()
            self.is_stuck = True
            raise StoreFailing(f"{self._medium} did not respond within {self._timeout:g} s") from None
        finally:
            job.is_abandoned = True

    async def close(self, within: float) -> bool:
        """Complete the queued jobs, then end the threads; return whether they ended in ``within`` seconds."""
        if not self._is_closing:
            self._is_closing = True
            for _ in self._ended:
                self._queue.put(None)
        try:
            async with asyncio.timeout(within):
                await asyncio.shield(asyncio.gather(*map(asyncio.wrap_future, self._ended)))
        except TimeoutError:
            return False
        return True

    def _run(self, handler: JobHandler, ended: Future[None]) -> None:
        is_open = True
        while is_open:
            jobs, is_open = self._next_jobs()
            running = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            if running:
                _handle_jobs(handler, running)
            self.is_stuck = False
        try:
            handler.close()
        finally:
            ended.set_result(None)

    def _next_jobs(self) -> tuple[list[Job[Any]], bool]:
        """Wait for a job; return it with the jobs queued behind it, and whether more can follow."""
        job = self._queue.get()
        jobs: list[Job[Any]] = []
        while job is not None:
            jobs.append(job)
            if len(jobs) == self._max_batch:
                return jobs, True
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                return jobs, True
        return jobs, False


def _retrieve(result: "asyncio.Future[Any]") -> None:
    """Mark the exception of a job as retrieved: when its caller has given up, asyncio would log it with a traceback."""
    if not result.cancelled():
        result.exception()


def _handle_jobs(handler: JobHandler, jobs: Sequence[Job[Any]]) -> None:
    try:
        handler.handle(jobs)
    except BaseException as error:  # noqa: BLE001 - the thread must continue: the error is raised to the callers
        for job in jobs:
            if not job.future.done():
                job.fail(error)
