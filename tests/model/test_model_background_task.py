"""A background task runs from its start until it is stopped."""

import asyncio

from streamcanary.model.background_task import BackgroundTask


async def test_a_task_runs_until_it_is_stopped() -> None:
    """Its cancellation is waited for; it may be stopped again, and started again."""
    events: list[str] = []

    async def work() -> None:
        events.append("started")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            events.append("ended")

    task = BackgroundTask("work")
    await task.stop()
    for _ in range(2):
        task.start(work())
        await asyncio.sleep(0)
        assert task.is_running
        await task.stop()
        await task.stop()
        assert not task.is_running
    assert ["started", "ended"] * 2 == events


async def test_an_error_of_the_task_is_not_raised_when_it_is_stopped() -> None:
    """A task that has failed has ended."""

    async def fail() -> None:
        raise OSError("broken")

    task = BackgroundTask("failing")
    task.start(fail())
    await asyncio.sleep(0)
    assert not task.is_running
    await task.stop()
