"""A deadline over many short waits of one task, for the price of one timer.

``asyncio.timeout`` costs as much as all of our parsing: a stream waits once for every chunk, and its deadline moves
with each. Here the timer is left where it is when the deadline moves back, and looks again when it fires. Between two
waits it does nothing: a deadline that passes while the caller works is not the stream's.
"""

import asyncio


class TaskTimer:
    """Cancels the waiting task when its deadline passes, and tells its own cancellation from others'.

    Around a wait: ``alarm.arm(deadline)``, and in the end ``alarm.disarm()``. A ``CancelledError`` from the wait is the
    alarm's if :meth:`rang` says so. ``deadline`` is in seconds of the loop's clock.
    """

    __slots__ = ("_deadline", "_handle", "_has_fired", "_loop", "_prior_cancellations", "_task")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._deadline = 0.0
        self._prior_cancellations = 0
        self._has_fired = False

    def arm(self, deadline: float) -> None:
        """Cancel the current task, unless it is disarmed before ``deadline``."""
        self._deadline = deadline
        self._has_fired = False
        task = self._task = asyncio.current_task(self._loop)
        if task is None:
            raise RuntimeError("a stream is read from within a task")
        self._prior_cancellations = task.cancelling()
        handle = self._handle
        if handle is None or handle.when() > deadline:
            if handle is not None:
                handle.cancel()
            self._handle = self._loop.call_at(deadline, self._on_timer)

    def disarm(self) -> None:
        """Let the current wait be; the timer stays for the next."""
        self._task = None

    def pop_expired(self) -> bool:
        """Tell, once, whether the cancellation that ended the wait was the alarm's alone; then it is taken back."""
        if not self._has_fired:
            return False
        self._has_fired = False
        task = asyncio.current_task()
        return task is not None and task.uncancel() <= self._prior_cancellations

    def close(self) -> None:
        """Drop the timer."""
        self._task = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _on_timer(self) -> None:
        self._handle = None
        if self._task is None:
            return
        if self._loop.time() < self._deadline:
            self._handle = self._loop.call_at(self._deadline, self._on_timer)
        else:
            self._has_fired = True
            self._task.cancel()
