"""A deadline for many short waits of one task that needs only one timer of the event loop.

``asyncio.timeout`` costs as much as the parsing of a stream: a stream waits once per chunk, and its deadline moves with
each. Here the loop's timer stays unchanged when the deadline moves later, and is rescheduled when it fires. Between
two waits it has no effect: the time that the caller takes does not count. What is at hand takes no timer at all: most
chunks have arrived with an earlier one.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Generator
from types import coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class TaskTimer:
    """Cancels the waiting task when the deadline passes, and distinguishes that from other cancellations.

    A ``CancelledError`` of ``await timer.limit(…)`` comes from the timer if :meth:`pop_expired` returns ``True``.

    ``extension`` is called when the deadline has passed. It returns a later deadline to wait on, or ``None`` to cancel.
    """

    __slots__ = ("_deadline", "_extension", "_handle", "_has_fired", "_loop", "_prior_cancellations", "_task", "_when")

    def __init__(self, extension: Callable[[], float | None] = lambda: None) -> None:
        self._extension = extension
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._when = math.inf  # of the handle
        self._task: asyncio.Task[object] | None = None
        self._deadline = 0.0
        self._prior_cancellations = 0
        self._has_fired = False

    @coroutine
    def limit(self, awaitable: Awaitable[Result], deadline: Callable[[], float]) -> Generator[Any, Any, Result]:
        """Return the result of ``awaitable``; wait for it until ``deadline()``, in seconds of the loop's clock.

        ``deadline`` is called if the result is not at hand.

        Raises:
            RuntimeError: if it is not at hand, and nothing runs the wait as a task.
        """
        steps = awaitable.__await__()
        try:
            waiting = next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        self._arm(deadline())
        try:
            while True:
                try:
                    yield waiting
                except BaseException as error:  # noqa: BLE001 - thrown into the awaitable, which handles or raises it
                    waiting = steps.throw(error)
                else:
                    return (yield from steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        finally:
            self._task = None  # the timer of the loop stays for the next wait

    def pop_expired(self) -> bool:
        """Return whether the timer alone cancelled the wait; if so, undo the cancellation and reset the state."""
        if not self._has_fired:
            return False
        self._has_fired = False
        task = asyncio.current_task()
        return task is not None and task.uncancel() <= self._prior_cancellations

    def close(self) -> None:
        """Cancel the timer of the loop."""
        self._task = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle, self._when = None, math.inf

    def _arm(self, deadline: float) -> None:
        self._deadline = deadline
        self._has_fired = False
        task = self._task = asyncio.current_task(self._loop)
        if task is None:
            raise RuntimeError("a stream must be read from within an asyncio task")
        self._prior_cancellations = task.cancelling()
        if deadline < self._when:
            if self._handle is not None:
                self._handle.cancel()
            self._schedule(deadline)

    def _schedule(self, when: float) -> None:
        self._handle, self._when = self._loop.call_at(when, self._on_timer), when

    def _on_timer(self) -> None:
        self._handle, self._when = None, math.inf
        if self._task is None:
            return
        now = self._loop.time()
        if now >= self._deadline:
            extended = self._extension()
            if extended is None or extended <= now:
                self._has_fired = True
                self._task.cancel()
                return
            self._deadline = extended
        self._schedule(self._deadline)
