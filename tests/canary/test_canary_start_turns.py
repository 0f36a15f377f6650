"""Tests of the order in which runs start that are due at the same time."""

import asyncio

from streamcanary.canary.scheduling.start_turns import StartTurns


async def test_one_start_in_each_turn_of_the_event_loop_in_order() -> None:
    """What has arrived for a run is handled before the next one starts."""
    turns, log = StartTurns(), []

    async def start(name: str) -> None:
        await turns.take()
        log.append(f"{name} starts")
        asyncio.get_running_loop().call_soon(log.append, f"{name} reads")

    await asyncio.gather(*(start(name) for name in "abcd"))
    await asyncio.sleep(0)
    assert ["a starts", "a reads", "b starts", "b reads", "c starts", "c reads", "d starts", "d reads"] == log


async def test_starts_that_have_waited_for_long_enough_start_together() -> None:
    """Nobody waits for longer than the limit: what a daemon cannot do in time must not pile up here, unseen."""
    turns, log = StartTurns(max_wait=0.0), []

    async def start(name: str) -> None:
        await turns.take()
        log.append(f"{name} starts")
        asyncio.get_running_loop().call_soon(log.append, f"{name} reads")

    await asyncio.gather(*(start(name) for name in "abc"))
    await asyncio.sleep(0)
    assert ["a starts", "b starts", "c starts", "a reads", "b reads", "c reads"] == log


async def test_a_cancelled_start_delays_nobody() -> None:
    """The turn of a run that was cancelled while it waited goes to the next one."""
    turns, started = StartTurns(), []

    async def start(name: str) -> None:
        await turns.take()
        started.append(name)

    tasks = [asyncio.create_task(start(name)) for name in "abc"]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert ["a", "c"] == started


async def test_turns_go_on_after_a_pause() -> None:
    """A run that is due after all others have started needs not wait for more of them."""
    turns = StartTurns()
    await turns.take()
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await turns.take()
