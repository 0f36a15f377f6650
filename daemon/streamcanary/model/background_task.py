"""A task in the background of the component that starts it, and that waits for its end."""

import asyncio
from collections.abc import Coroutine


class BackgroundTask:
    """Runs a coroutine from :meth:`start` until :meth:`stop`, or until it ends by itself. ``name`` is for debuggers."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._task: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._task is not None and not self._task.done()

    def start(self, coroutine: Coroutine[None, None, None]) -> None:
        """Run ``coroutine``; the one before has ended."""
        self._task = asyncio.create_task(coroutine, name=self._name)

    async def stop(self) -> None:
        """Cancel it if it runs, and wait for its end; its error is dropped."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
