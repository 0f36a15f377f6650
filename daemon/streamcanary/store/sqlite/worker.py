"""A thread that does jobs one after the other, and the way to ask it for one without blocking the event loop."""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, Protocol, TypeVar

from streamcanary.store.errors import StoreFailing

T = TypeVar("T")


class Job(Generic[T]):
    """A function to be called with a connection, and the future of its answer.

    ``abandoned`` turns true once nobody waits for the answer any more.
    """

    __slots__ = ("fn", "future", "is_abandoned")

    def __init__(self, fn: Callable[[sqlite3.Connection], T]) -> None:
        self.fn = fn
        self.future: Future[T] = Future()
        self.is_abandoned = False

    def fail(self, error: BaseException) -> None:
        """Answer with ``error``; one that would mean something else to the coroutine that waits is wrapped."""
        if isinstance(error, StopIteration) or not isinstance(error, Exception):
            error = RuntimeError(f"a function given to the store raised {error!r}")
        self.future.set_exception(error)


class JobHandler(Protocol):
    """What the thread does with jobs. Both methods are called in the thread only."""

    def handle(self, jobs: Sequence[Job[Any]]) -> None:
        """Give each job's future a result or an exception."""
        ...

    def close(self) -> None:
        """Let go of everything, after the last job."""
        ...


class Worker:
    """One daemon thread with a bounded queue in front of it.

    ``batch`` is the most jobs that are handed over at once, ``backlog`` the most that wait; ``patience`` is how many
    seconds a caller waits for an answer. The thread does not keep the process alive: a disk that never answers must
    not keep the daemon from ending. ``stuck`` is whether a caller had to give up since the thread last finished.
    """

    def __init__(self, name: str, handler: JobHandler, *, max_batch: int, max_queued: int, timeout: float) -> None:
        self._handler = handler
        self._max_batch = max_batch
        self._max_queued = max_queued
        self._timeout = timeout
        self._queue: queue.SimpleQueue[Job[Any] | None] = queue.SimpleQueue()  # None: the end
        self._ended: Future[None] = Future()
        self._is_closing = False
        self.is_stuck = False
        self._thread = threading.Thread(target=self._run, name=f"streamcanary-{name}", daemon=True)
        self._thread.start()

    async def submit(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Have ``fn`` called in the thread and return what it returns.

        A caller that is cancelled stops waiting; the job goes on.

        Raises:
            StoreFailing: if the worker is closed, has too much to do, or does not answer in time. In that last case
                a job that has not begun is dropped, and one that has begun may still be done.
            Exception: what the job's future was given.
        """
        if self._is_closing:
            raise StoreFailing("the store is closed")
        if self._queue.qsize() >= self._max_queued:
            raise StoreFailing(f"{self._max_queued} calls already wait for the disk")
        job = Job(fn)
        self._queue.put(job)
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.shield(asyncio.wrap_future(job.future))
        except TimeoutError:
            job.future.cancel()
            self.is_stuck = True
            raise StoreFailing(f"the disk has not answered within {self._timeout:g} s") from None
        finally:
            job.is_abandoned = True

    async def close(self, within: float) -> bool:
        """Do what is in the queue, then end the thread; return whether it ended ``within`` so many seconds."""
        if not self._is_closing:
            self._is_closing = True
            self._queue.put(None)
        try:
            async with asyncio.timeout(within):
                await asyncio.shield(asyncio.wrap_future(self._ended))
        except TimeoutError:
            return False
        return True

    def _run(self) -> None:
        is_open = True
        while is_open:
            jobs, is_open = self._next_jobs()
            running = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            if running:
                self._handle_jobs(running)
            self.is_stuck = False
        try:
            self._handler.close()
        finally:
            self._ended.set_result(None)

    def _handle_jobs(self, jobs: Sequence[Job[Any]]) -> None:
        try:
            self._handler.handle(jobs)
        except BaseException as error:  # noqa: BLE001 - the thread must live on: the error goes to those who wait
            for job in jobs:
                if not job.future.done():
                    job.fail(error)

    def _next_jobs(self) -> tuple[list[Job[Any]], bool]:
        """Wait for a job, and return it with those behind it, and whether any can follow."""
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
