"""The alerting service learns baselines from the recorded runs, off the event loop, at the start and after a reload."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
import pytest

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.inputs import BaselinesLearned
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.learning.baseline import DAY, LearnedRate, LearnedValues, RequestSince
from streamcanary.alerting.service.baseline_learner import LEARNING_INTERVAL, RETRY_INTERVAL, BaselineLearner
from streamcanary.model.canary import Canary
from streamcanary.model.outcome import Outcome
from streamcanary.model.statistics.rollup import HOUR, Rollup
from streamcanary.store.database import Store
from streamcanary.store.errors import StoreFailing
from support.alerting.builders import CHAT, NOON, EngineHarness, a_run, alerts
from support.alerting.histories import answer_times
from support.alerting.service import UnreliableStore, running_service, wait_until
from support.clock import ManualClock

RULES: dict[str, Any] = {"Slower": {"measure": "first_token", "detector": {"type": "shift"}}}
CONFIG = alerts(rules=RULES, receivers={})


def recorded_runs(days: float, canary: str = "chat") -> list[Outcome]:
    """Return the runs of ``days`` days, one each two minutes, with a median time to the first token of 0.5 s."""
    return [
        a_run(number, run_id=f"{canary}-{number}", canary=canary, started=NOON + at, time_to_first_token=value)
        for number, (at, value) in enumerate(answer_times(days, every=120.0))
    ]


TWO_RULES = RULES | {"Errors": {"detector": {"type": "spike", "normal": "learned"}}}


class Learning:
    """A learner with its engine, over a store."""

    def __init__(self, store: Any, config: AlertsConfig = CONFIG, canary: Canary = CHAT) -> None:
        self.harness = EngineHarness(config, canary)
        self.clock = ManualClock()
        self.results: list[BaselinesLearned] = []
        self.learner = BaselineLearner(store, self.clock, self._current, self._submit)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the learner until the block ends."""
        task = asyncio.create_task(self.learner.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def advance(self, seconds: float) -> None:
        """Advance the clock."""
        self.clock.advance(seconds)
        self.learner.wake()

    def _current(self) -> tuple[Any, State]:
        return self.harness.engine.bindings, self.harness.state

    async def _submit(self, result: BaselinesLearned) -> None:
        self.results.append(result)
        self.harness.step(result)


async def test_baselines_are_learned_from_recorded_runs(store: Store) -> None:
    """A day and a half of runs teaches the limit of the canary."""
    await store.commit((), recorded_runs(1.5))
    learning = Learning(store)

    assert await learning.learner.learn() is True
    [baseline] = learning.results[0].baselines.values()
    assert isinstance(baseline, LearnedValues)
    assert baseline.limits["chat"] == (pytest.approx(0.73, abs=0.06),)
    assert baseline.learned_at == learning.clock.time()


async def test_too_few_runs_are_no_baseline(store: Store) -> None:
    """A history of an hour teaches nothing, and the learner says that something is missing."""
    await store.commit((), recorded_runs(0.04))
    learning = Learning(store)

    assert await learning.learner.learn() is False
    assert list(learning.results[0].baselines.values()) == [None]


async def test_runs_of_another_request_are_left_out(store: Store) -> None:
    """Only runs count that started since the canary sends its current request: here half a day, which is too little."""
    await store.commit((), recorded_runs(3))
    learning = Learning(store)
    since = RequestSince(digest="", since=NOON + 2.5 * DAY)
    learning.harness.state = State(baselines={"canary:chat": since})

    assert await learning.learner.learn() is False


async def test_runs_under_the_former_name_count(store: Store) -> None:
    """Runs that were recorded before a canary was renamed are its runs."""
    await store.commit((), recorded_runs(1.5, "old"))
    learning = Learning(store, canary=msgspec.structs.replace(CHAT, renamed_from="old"))

    assert await learning.learner.learn() is True


async def test_without_rules_that_learn_nothing_is_read() -> None:
    """A configuration without such rules does not read the history."""
    learning = Learning(UnreliableStore(None), config=alerts())

    assert await learning.learner.learn() is True
    assert learning.results == []


async def test_a_store_that_cannot_be_read_is_reported_and_tried_again(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """While the store fails nothing is learned, the log says why, and it is tried again after an hour, then daily."""
    await store.commit((), recorded_runs(1.5))
    unreliable = UnreliableStore(store)
    unreliable.failure = StoreFailing("disk on fire")
    learning = Learning(unreliable)
    with caplog.at_level(logging.WARNING):
        async with learning.running():
            await wait_until(lambda: caplog.records)
            unreliable.failure = None
            learning.advance(RETRY_INTERVAL)
            await wait_until(lambda: len(learning.results) == 1)
            learning.advance(LEARNING_INTERVAL)
            await wait_until(lambda: len(learning.results) == 2)

    assert [record.__dict__["error"] for record in caplog.records] == ["disk on fire"]


async def test_a_reload_lets_it_learn_again(store: Store) -> None:
    """A request makes it learn at once, also while it learns."""
    await store.commit((), recorded_runs(1.5))
    learning = Learning(store)
    async with learning.running():
        await wait_until(lambda: len(learning.results) == 1)
        learning.learner.request()
        await wait_until(lambda: len(learning.results) == 2)


async def test_an_internal_error_ends_nothing(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """An internal error is logged, and it is tried again later."""
    learning = Learning(store)
    learning.harness.engine.bindings = None  # type: ignore[assignment]
    async with learning.running():
        await wait_until(lambda: caplog.records)

    assert [(record.message, record.exc_info is not None) for record in caplog.records] == [
        ("learning of baselines failed", True)
    ]


async def test_the_service_stores_what_it_has_learned(store: Store) -> None:
    """After a start with a history, and after a reload, the store has the baselines of the configuration."""
    await store.commit((), recorded_runs(1.5))
    async with running_service(store, CONFIG) as alerting:
        await wait_until(lambda: len(alerting.state.baselines) == 2)
        rows = (await store.load_rows())["baselines"]
        alerting.prepare(alerts(rules=TWO_RULES, receivers={}), "default", [CHAT])
        alerting.apply()
        await wait_until(lambda: len(alerting.state.baselines) == 3)

    assert sorted(key if key.startswith("canary") else "rule" for key in rows) == ["canary:chat", "rule"]


async def test_a_fleet_whose_runs_are_few_learns_from_rollups(store: Store) -> None:
    """When the store no longer has the runs of a day, both rules learn from their sums by hour."""
    await store.commit([], recorded_runs(1.2))
    await store.write(lambda connection: connection.execute("DELETE FROM runs WHERE id < 700"))
    learning = Learning(store, alerts(rules=TWO_RULES, receivers={}))
    learning.clock.advance(1.2 * DAY)

    assert await learning.learner.learn()

    rates = {type(each).__name__: each for each in learning.results[0].baselines.values()}
    values, rate = rates["LearnedValues"], rates["LearnedRate"]
    assert isinstance(values, LearnedValues)
    assert isinstance(rate, LearnedRate)
    assert values.limit("chat", NOON) == pytest.approx(0.734, rel=0.15)
    assert rate.total > 800


class CountingStore(UnreliableStore):
    """Counts the canaries whose rollups are read."""

    rollup_reads = 0

    async def read_rollups(self, since: float, canaries: Mapping[str, str]) -> list[Rollup]:
        """Return the rollups, and count."""
        self.rollup_reads += 1
        return await super().read_rollups(since, canaries)


async def test_rollups_are_read_of_canaries_that_have_some_only(store: Store) -> None:
    """At a first start no hour is complete, and ten thousand canaries are not read one after the other."""
    counting = CountingStore(store)
    learning = Learning(counting)
    assert (False, 0) == (await learning.learner.learn(), counting.rollup_reads)
    assert [None] == list(learning.results[0].baselines.values())

    await store.commit((), recorded_runs(0.04))
    assert (False, 0) == (await learning.learner.learn(), counting.rollup_reads)
    learning.clock.advance(HOUR)
    assert (False, 1) == (await learning.learner.learn(), counting.rollup_reads)
