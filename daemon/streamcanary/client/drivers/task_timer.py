"""A deadline over many short waits of one task, for the price of one timer.

``asyncio.timeout`` costs as much as all of our parsing: a stream waits once for every chunk, and its deadline moves
with each. Here the timer is left where it is when the deadline moves back, and looks again when it fires. Between two
waits it does nothing: a deadline that passes while the caller works is not the stream's.
"""

import asyncio


class Alarm:
    """Cancels the waiting task when its deadline passes, and tells its own cancellation from others'.

    Around a wait: ``alarm.arm(deadline)``, and in the end ``alarm.disarm()``. A ``CancelledError`` from the wait is the
    alarm's if :meth:`rang` says so. ``deadline`` is in seconds of the loop's clock.
    """

    __slots__ = ("_cancelling", "_deadline", "_fired", "_loop", "_task", "_timer")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._deadline = 0.0
        self._cancelling = 0
        self._fired = False

    def arm(self, deadline: float) -> None:
        """Cancel the current task, unless it is disarmed before ``deadline``."""
        self._deadline = deadline
        self._fired = False
        task = self._task = asyncio.current_task(self._loop)
        if task is None:
            raise RuntimeError("a stream is read from within a task")
        self._cancelling = task.cancelling()
        timer = self._timer
        if timer is None or timer.when() > deadline:
            if timer is not None:
                timer.cancel()
            self._timer = self._loop.call_at(deadline, self._look)

    def disarm(self) -> None:
        """Let the current wait be; the timer stays for the next."""
        self._task = None

    def rang(self) -> bool:
        """Tell, once, whether the cancellation that ended the wait was the alarm's alone; then it is taken back."""
        if not self._fired:
            return False
        self._fired = False
        task = asyncio.current_task()
        return task is not None and task.uncancel() <= self._cancelling

    def close(self) -> None:
        """Drop the timer."""
        self._task = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._task is None:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._look)
        else:
            self._fired = True
            self._task.cancel()
