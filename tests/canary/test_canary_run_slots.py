"""The limit on the runs of one target at once."""

import asyncio

import pytest

from streamcanary.canary.scheduling.run_slots import LimitLog, RunSlots, default_limit
from streamcanary.model.canary import Canary

LONG = 30.0


async def settle() -> None:
    """Let all tasks run until they wait."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_runs_over_the_limit_wait_for_a_slot() -> None:
    """As many runs as the limit start at once; each further one starts when another has ended."""
    slots = RunSlots(2)
    waiting = [asyncio.create_task(slots.acquire(0.0, LONG)) for _ in range(4)]
    await settle()
    started = [sum(task.done() for task in waiting)]
    for _ in range(2):
        slots.release()
        await settle()
        started.append(sum(task.done() for task in waiting))
    assert [2, 3, 4] == started
    assert [True] * 4 == [task.result() for task in waiting]


async def test_the_canary_that_waited_longest_is_next() -> None:
    """The order is that of the last runs, and not of arrival: each canary of an overloaded target has its turn."""
    slots, order = RunSlots(1), []

    async def run(name: str, last_run: float) -> None:
        assert await slots.acquire(last_run, LONG)
        order.append(name)
        slots.release()

    assert await slots.acquire(0.0, LONG)
    tasks = [asyncio.create_task(run(name, last)) for name, last in (("b", 20.0), ("c", 30.0), ("a", 10.0))]
    await settle()
    slots.release()
    await asyncio.gather(*tasks)
    assert ["a", "b", "c"] == order


async def test_waiting_is_bounded() -> None:
    """A run that finds no slot in time gets none, and leaves nothing behind."""
    slots = RunSlots(1)
    assert await slots.acquire(0.0, LONG)
    assert [False] * 200 == await asyncio.gather(*(slots.acquire(0.0, 0.001) for _ in range(200)))
    assert len(slots._waiting) <= 130
    slots.release()
    assert await slots.acquire(0.0, 0.0)


async def test_cancelled_run_takes_no_slot() -> None:
    """A waiting run that is cancelled, even at the moment of its turn, does not keep the slot."""
    slots = RunSlots(1)
    assert await slots.acquire(0.0, LONG)
    waiting = asyncio.create_task(slots.acquire(0.0, LONG))
    await settle()
    slots.release()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert await slots.acquire(0.0, 0.0)


async def test_closed_slots_start_no_run() -> None:
    """At a shutdown waiting and later runs get no slot, although running ones end."""
    slots = RunSlots(1)
    assert await slots.acquire(0.0, LONG)
    waiting = asyncio.create_task(slots.acquire(0.0, LONG))
    await settle()
    slots.close()
    slots.release()
    assert [False, False] == [await waiting, await slots.acquire(0.0, LONG)]


@pytest.mark.parametrize(
    ("canaries", "interval", "timeout", "limit"),
    [(1, 60.0, 48.0, 100), (1000, 60.0, 48.0, 100), (10_000, 60.0, 48.0, 834), (10_000, 10.0, 2.0, 2000)],
)
def test_default_limit_follows_from_the_canaries(canaries: int, interval: float, timeout: float, limit: int) -> None:
    """The default is 100, or the number of runs at once when each takes 5 s, or its timeout if that is less."""
    canary = Canary(name="c", target="t", provider="p", interval=interval, timeout=timeout)
    assert limit == default_limit([canary] * canaries)


def test_missed_runs_are_logged_once_an_interval() -> None:
    """The first is logged, and later the number since."""
    log = LimitLog(60.0)
    assert [1, None, None, 3, None] == [log.add(now) for now in (0.0, 1.0, 59.0, 60.0, 61.0)]
