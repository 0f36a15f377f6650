"""One reusable timer for many waits of a task."""

import asyncio

import pytest

from streamcanary.client.drivers.task_timer import TaskTimer


async def wait(timer: TaskTimer, seconds: float, deadline: float) -> str:
    """Wait under a timer, and return how the wait ended."""
    timer.arm(asyncio.get_running_loop().time() + deadline)
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        if not timer.pop_expired():
            raise
        return "expired"
    finally:
        timer.disarm()
    return "done"


async def test_wait_is_interrupted_at_its_deadline() -> None:
    """A wait past its deadline is interrupted, and the task is not left cancelled."""
    timer = TaskTimer()
    assert ["done", "expired", "done"] == [
        await wait(timer, 0.001, 5),
        await wait(timer, 5, 0.01),
        await wait(timer, 0.001, 5),
    ]
    task = asyncio.current_task()
    assert task is not None
    assert 0 == task.cancelling()


async def test_deadline_may_move_later_or_earlier() -> None:
    """A later deadline reuses the scheduled callback, an earlier deadline replaces it."""
    timer = TaskTimer()
    assert ["done", "done", "expired"] == [
        await wait(timer, 0.001, 0.02),
        await wait(timer, 0.05, 5),
        await wait(timer, 5, 0.01),
    ]


async def test_disarmed_timer_cancels_nothing() -> None:
    """A deadline that passes between two waits cancels nothing."""
    timer = TaskTimer()
    await wait(timer, 0.001, 0.01)
    await asyncio.sleep(0.03)
    assert "done" == await wait(timer, 0.001, 5)


async def test_external_cancellation_propagates() -> None:
    """A cancellation from outside propagates, even when the timer expires at the same time."""
    timer = TaskTimer()
    task = asyncio.create_task(wait(timer, 5, 5))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    def cancel_both() -> None:
        both_task.cancel()

    async def both() -> str:
        asyncio.get_running_loop().call_later(0.01, cancel_both)
        return await wait(TaskTimer(), 5, 0.01)

    both_task = asyncio.create_task(both())
    with pytest.raises(asyncio.CancelledError):
        await both_task


async def test_close_cancels_the_callback() -> None:
    """After close no callback remains scheduled in the event loop."""
    timer = TaskTimer()
    await wait(timer, 0.001, 5)
    timer.close()
    assert None is timer._handle
