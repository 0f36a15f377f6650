"""Outcomes are collected for a moment, and passed on together."""

import asyncio
from collections.abc import Callable

import pytest

from streamcanary.app.outcome_batches import OutcomeBatches
from streamcanary.model.canary import Canary
from streamcanary.model.outcome import Outcome
from support.recording_runner import ok_outcome

CANARY = Canary(name="a", target="t", provider="p", interval=60.0)


def outcomes(count: int) -> list[Outcome]:
    """Return the outcomes of runs that were due one after another."""
    return [ok_outcome(CANARY, float(number)) for number in range(count)]


async def until(condition: Callable[[], object]) -> None:
    """Wait until ``condition`` holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_outcomes_are_passed_on_in_their_order() -> None:
    """They are not passed on when they are added, but together a little later; those added after that, too."""
    handled: list[tuple[Outcome, Outcome | None]] = []
    batches = OutcomeBatches(lambda outcome, recorded: handled.append((outcome, recorded)))
    first, second, third = outcomes(3)
    batches.add(first, first)
    batches.add(second, None)
    assert [] == handled
    await until(lambda: handled)
    assert [(first, first), (second, None)] == handled
    batches.add(third, third)
    await until(lambda: len(handled) == 3)
    assert (third, third) == handled[2]


async def test_many_outcomes_take_several_turns_of_the_event_loop() -> None:
    """Others have their turn meanwhile."""
    handled: list[Outcome] = []
    batches = OutcomeBatches(lambda outcome, _: handled.append(outcome))
    added = outcomes(40)
    for outcome in added:
        batches.add(outcome, outcome)
    counts = set()
    async with asyncio.timeout(10):
        while len(handled) < len(added):
            await asyncio.sleep(0)
            counts.add(len(handled))
    assert {0, 16, 32, 40} == counts
    assert added == handled


async def test_flush_passes_all_on_at_once() -> None:
    """At a shutdown nothing is lost, and each is passed on once."""
    handled: list[Outcome] = []
    batches = OutcomeBatches(lambda outcome, _: handled.append(outcome))
    batches.flush()
    *added, later = outcomes(41)
    for outcome in added:
        batches.add(outcome, outcome)
    batches.flush()
    assert added == handled
    batches.add(later, later)
    await until(lambda: later in handled)
    assert [*added, later] == handled


async def test_defect_with_one_outcome_keeps_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, with the canary."""
    handled: list[Outcome] = []

    def handle(outcome: Outcome, recorded: Outcome | None) -> None:
        if recorded is None:
            raise ValueError("a defect")
        handled.append(outcome)

    batches = OutcomeBatches(handle)
    bad, good = outcomes(2)
    batches.add(bad, None)
    batches.add(good, good)
    batches.flush()
    assert [good] == handled
    assert [("outcome not handled", "a")] == [
        (record.getMessage(), record.__dict__["canary"]) for record in caplog.records
    ]
