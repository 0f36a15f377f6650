"""One reusable timer for many waits of a task."""

import asyncio

import pytest

from streamcanary.client.drivers.task_timer import TaskTimer


async def wait(timer: TaskTimer, seconds: float, deadline: float) -> str:
    """Wait under a timer, and return how the wait ended."""
    expires_at = asyncio.get_running_loop().time() + deadline
    try:
        await timer.limit(asyncio.sleep(seconds), lambda: expires_at)
    except asyncio.CancelledError:
        if not timer.pop_expired():
            raise
        return "expired"
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


async def at_hand(value: str) -> str:
    """Return ``value`` without a wait."""
    return value


async def test_what_is_at_hand_needs_no_timer() -> None:
    """The deadline is not asked for, and nothing is scheduled."""

    def deadline() -> float:
        raise AssertionError("not needed")

    timer = TaskTimer()
    assert "x" == await timer.limit(at_hand("x"), deadline)
    assert None is timer._handle


async def several_waits() -> str:
    """Wait three times, and survive an interruption of the second."""
    await asyncio.sleep(0)
    try:
        await asyncio.sleep(5)
    except asyncio.CancelledError:
        await asyncio.sleep(0)
    return "survived"


async def test_the_deadline_is_that_of_all_waits_together() -> None:
    """A coroutine that waits several times is interrupted once, and decides itself what becomes of it."""
    timer = TaskTimer()
    expires_at = asyncio.get_running_loop().time() + 0.01
    assert "survived" == await timer.limit(several_waits(), lambda: expires_at)
    assert timer.pop_expired()


async def failing(error: Exception, waits: int) -> None:
    """Raise ``error`` after some waits."""
    for _ in range(waits):
        await asyncio.sleep(0)
    raise error


@pytest.mark.parametrize("waits", [0, 1, 2])
@pytest.mark.parametrize("error", [ValueError("x"), StopAsyncIteration()])
async def test_errors_are_those_of_the_awaitable(error: Exception, waits: int) -> None:
    """An error is raised as it is, before a wait and after it."""
    timer = TaskTimer()
    with pytest.raises(type(error)) as raised:
        await timer.limit(failing(error, waits), lambda: asyncio.get_running_loop().time() + 5)
    assert error is raised.value


def test_a_wait_needs_a_task() -> None:
    """A coroutine that is not run as a task cannot be interrupted."""

    async def wait_outside() -> None:
        await TaskTimer().limit(asyncio.sleep(1), lambda: 0.0)

    async def main() -> None:
        with pytest.raises(RuntimeError, match="within an asyncio task"):
            asyncio.get_running_loop().call_soon(step)
            await asyncio.sleep(0.01)
            raise errors[0]

    def step() -> None:
        waiting = wait_outside()
        try:
            waiting.send(None)
        except RuntimeError as error:
            errors.append(error)

    errors: list[RuntimeError] = []
    asyncio.run(main())
