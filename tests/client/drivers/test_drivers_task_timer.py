"""One timer for many waits."""

import asyncio

import pytest

from streamcanary.client.drivers.task_timer import TaskTimer


async def wait(alarm: TaskTimer, seconds: float, deadline: float) -> str:
    """Wait, under an alarm, and say how it ended."""
    alarm.arm(asyncio.get_running_loop().time() + deadline)
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        if not alarm.pop_expired():
            raise
        return "rang"
    finally:
        alarm.disarm()
    return "done"


async def test_rings_at_its_deadline() -> None:
    """A wait that outlasts its deadline is cancelled, and the task goes on as if it never had been."""
    alarm = TaskTimer()
    assert ["done", "rang", "done"] == [
        await wait(alarm, 0.001, 5),
        await wait(alarm, 5, 0.01),
        await wait(alarm, 0.001, 5),
    ]
    task = asyncio.current_task()
    assert task is not None
    assert 0 == task.cancelling()


async def test_a_deadline_may_move_both_ways() -> None:
    """A later deadline is kept by the timer that stands, an earlier one by a new one."""
    alarm = TaskTimer()
    assert ["done", "done", "rang"] == [
        await wait(alarm, 0.001, 0.02),
        await wait(alarm, 0.05, 5),
        await wait(alarm, 5, 0.01),
    ]


async def test_between_two_waits_it_is_silent() -> None:
    """A deadline that passes while nobody waits cancels nobody."""
    alarm = TaskTimer()
    await wait(alarm, 0.001, 0.01)
    await asyncio.sleep(0.03)
    assert "done" == await wait(alarm, 0.001, 5)


async def test_somebody_elses_cancellation_goes_through() -> None:
    """A cancellation from outside is not the alarm's, even when both come at once."""
    alarm = TaskTimer()
    task = asyncio.create_task(wait(alarm, 5, 5))
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


async def test_closing_drops_the_timer() -> None:
    """After close no timer is left in the loop."""
    alarm = TaskTimer()
    await wait(alarm, 0.001, 5)
    alarm.close()
    assert None is alarm._handle
