"""The spend guard: the budget of a running daemon, the saved spend, and the charges of real runs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.spend import saved_spend as module
from streamcanary.canary.spend.budget import BudgetConfig, utc_day
from streamcanary.canary.spend.guard import SpendGuard, prices_by_canary
from streamcanary.canary.targets.target import TargetSpec
from streamcanary.model.clock import Clock, SystemClock
from streamcanary.model.outcome import BudgetState, Outcome, OutcomeKind
from streamcanary.model.spend import Spend
from streamcanary.simulator import Simulator
from streamcanary.store.errors import StoreFailing, StoreLost
from support.servers.simulator import HANGING_TIMINGS, wait_until
from support.store.builders import NOON, FrozenClock, open_store
from support.telemetry.in_memory import RecordedTelemetry

PRICED = {"input": 1.0, "output": 10.0}
WHOLE = Spend(input_tokens=9, output_tokens=5, requests=1)
SHORT_TIMEOUTS = {
    "timeouts": {"connect": 2, "headers": 0.3, "first_token": 0.3, "stall": 0.3, "total": 5},
    "retry": {"max_attempts": 2, "base_delay": 0.001, "max_delay": 0.001},
}


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(timings=HANGING_TIMINGS) as simulator:
        yield simulator


class MemorySpendStore:
    """A spend store in memory that raises ``error`` if it is set."""

    def __init__(self) -> None:
        self.days: dict[str, Spend] = {}
        self.error: StoreFailing | None = None

    async def save_spend(self, days: Mapping[str, Spend]) -> None:
        """Set the spend of days."""
        if self.error:
            raise self.error
        self.days |= days

    async def load_spend(self) -> dict[str, Spend]:
        """Return the spend by day."""
        if self.error:
            raise self.error
        return dict(self.days)


def make_guard(spend_store: Any, clock: Clock, usd: float | None = 1.0) -> SpendGuard:
    """Return a guard of one canary, ``c``, whose runs have an expected cost of 0.0025 USD."""
    specs = {"c": CanarySpec.model_validate({"target": "t", "model": "m", "prompt": "x" * 30})}
    targets = {"t": TargetSpec.model_validate({"api_key": "x", "price": PRICED})}
    return SpendGuard(
        BudgetConfig(usd_per_day=usd),
        specs,
        prices_by_canary(BudgetConfig(usd_per_day=1), targets, specs),
        clock=clock,
        store=spend_store,
    )


def canary(guard: SpendGuard) -> Any:
    spec = CanarySpec.model_validate({"target": "t", "model": "m"})
    return spec.to_canary("c", TargetSpec.model_validate({"api_key": "x"}))


async def test_spend_is_kept_across_a_restart(tmp_path: Path) -> None:
    """The spend of a day counts after a restart on the same day, and not on the next."""
    clock, path = FrozenClock(), tmp_path / "canary.db"
    store = open_store(path, clock)
    async with make_guard(store, clock) as guard:
        assert BudgetState.WITHIN is guard.admit(canary(guard))
        guard.record_spend("c", Spend(output_tokens=1, output_usd=0.999, requests=1))
    await store.close()
    store = open_store(path, clock)
    async with make_guard(store, clock) as guard:
        assert (0.999, BudgetState.EXHAUSTED) == (guard.usd_spent_today, guard.admit(canary(guard)))
        clock.advance(86400)
        assert (0.0, BudgetState.WITHIN) == (guard.usd_spent_today, guard.admit(canary(guard)))
    await store.close()


async def test_spend_is_saved_when_it_changes() -> None:
    """The spend is saved within about a second, so that a killed daemon loses little of it."""
    spend_store = MemorySpendStore()
    async with make_guard(spend_store, FrozenClock()) as guard:
        guard.record_spend("c", WHOLE)
        await wait_until(lambda: spend_store.days == {utc_day(NOON): WHOLE})


def saving_failures(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return the log records about a spend that was not saved."""
    return [record for record in caplog.records if record.message == "spend not saved"]


async def test_spend_is_saved_after_a_store_failure(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The spend is kept in memory while the store fails, and added to the stored spend afterwards; one log event."""
    monkeypatch.setattr(module, "_RETRY_INTERVAL", 0.01)
    monkeypatch.setattr(module, "_SAVE_INTERVAL", 0.01)
    spend_store = MemorySpendStore()
    spend_store.days = {utc_day(NOON): WHOLE}
    spend_store.error = StoreFailing("the disk is full")
    async with make_guard(spend_store, FrozenClock()) as guard:
        guard.record_spend("c", WHOLE)
        await wait_until(lambda: "spend not saved" in caplog.messages)
        spend_store.error = None
        await wait_until(lambda: spend_store.days == {utc_day(NOON): WHOLE + WHOLE})
    assert ["the disk is full"] == [vars(record)["error"] for record in saving_failures(caplog)]


async def test_all_days_are_saved_after_store_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new store gets the spend of all days, not only of the last one."""
    monkeypatch.setattr(module, "_RETRY_INTERVAL", 0.01)
    spend_store = MemorySpendStore()
    spend_store.days = {"2026-01-31": WHOLE}
    async with make_guard(spend_store, FrozenClock()) as guard:
        spend_store.days, spend_store.error = {}, StoreLost("it was removed")
        guard.record_spend("c", WHOLE)
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.03, setattr, spend_store, "error", None)
        await wait_until(lambda: spend_store.days == {"2026-01-31": WHOLE, utc_day(NOON): WHOLE})


async def test_a_failing_store_does_not_delay_the_shutdown() -> None:
    """Leaving the context takes no longer than the time limit of a write, and raises nothing."""
    spend_store = MemorySpendStore()
    spend_store.error = StoreFailing("gone")
    async with asyncio.timeout(5), make_guard(spend_store, FrozenClock()) as guard:
        guard.record_spend("c", WHOLE)


async def test_an_exhausted_budget_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """An exhausted budget is logged once, not for each skipped run."""
    async with make_guard(MemorySpendStore(), FrozenClock()) as guard:
        guard.record_spend("c", Spend(output_usd=5.0, requests=1))
        assert [BudgetState.EXHAUSTED] * 3 == [guard.admit(canary(guard)) for _ in range(3)]
    assert 1 == caplog.text.count("budget exhausted")


def slowdown_events(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the log events about slowdown."""
    events = ("canaries slowed down by budget", "canaries at full rate again")
    return [message for message in caplog.messages if message in events]


async def test_begin_and_end_of_a_slowdown_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Begin and end are logged once, with the limit; interruptions below ten minutes are not logged."""
    caplog.set_level("INFO")
    clock = FrozenClock()
    config = BudgetConfig(requests_per_minute=2)
    spec = CanarySpec.model_validate({"target": "t", "model": "m", "every": "30s"})
    async with SpendGuard(config, {"c": spec}, {"c": ()}, clock=clock, store=MemorySpendStore()) as guard:
        chat = canary(guard)
        assert None is guard.admit(chat)
        assert [] == slowdown_events(caplog)
        for _ in range(3):
            for _ in range(5):
                guard.record_retry()
            assert BudgetState.SLOWED is guard.admit(chat)
            clock.advance(300)
            assert None is guard.admit(chat)
        assert ["canaries slowed down by budget"] == slowdown_events(caplog)
        fields = vars(caplog.records[-1])
        assert ("requests_per_minute", 2) == (fields["limit"], fields["requests_per_minute"])
        clock.advance(299)
        guard.admit(chat)
        assert ["canaries slowed down by budget"] == slowdown_events(caplog)
        clock.advance(60)
        guard.admit(chat)
        assert ["canaries slowed down by budget", "canaries at full rate again"] == slowdown_events(caplog)


async def test_a_slowdown_by_usd_per_day_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The log event has the spend; an exhausted budget afterwards does not end the slowdown."""
    caplog.set_level("INFO")
    clock, spend_store = FrozenClock(), MemorySpendStore()
    spend_store.days = {utc_day(NOON): Spend(output_usd=0.9)}
    async with make_guard(spend_store, clock) as guard:
        assert BudgetState.SLOWED is guard.admit(canary(guard))
        [record] = [record for record in caplog.records if record.message == "canaries slowed down by budget"]
        fields = vars(record)
        assert ("usd_per_day", 1.0, 0.9) == (fields["limit"], fields["usd_per_day"], fields["usd"])
        guard.record_spend("c", Spend(output_usd=5.0, requests=1))
        clock.advance(3600)
        assert BudgetState.EXHAUSTED is guard.admit(canary(guard))
        assert ["canaries slowed down by budget"] == slowdown_events(caplog)


async def run_canary(
    simulator: Simulator, spend_store: MemorySpendStore, model: str, price: Any = PRICED, **spec: Any
) -> Outcome:
    """Run a canary once against ``simulator``, and record its spend."""
    clock = SystemClock()
    targets = {
        "sim": TargetSpec.model_validate(
            {"base_url": simulator.base_url, "api_key": "sk-x", "provider": "sim", "price": price}
        )
    }
    specs = {
        "c": CanarySpec.model_validate({"target": "sim", "model": model, "every": "10s", **SHORT_TIMEOUTS, **spec})
    }
    async with (
        SpendGuard(
            BudgetConfig(), specs, prices_by_canary(BudgetConfig(), targets, specs), clock=clock, store=spend_store
        ) as guard,
        CanaryRunners(targets, specs, clock=clock, spend_guard=guard) as runners,
    ):
        return await runners.by_name["c"](clock.time())


async def test_usage_of_the_provider_is_charged(simulator: Simulator, recorded: RecordedTelemetry) -> None:
    """The token counts of the provider are on the outcome, in the spend and on the metrics."""
    spend_store = MemorySpendStore()
    before = {kind: recorded.value("streamcanary.tokens", canary="c", type=kind) for kind in ("input", "output")}
    spent = recorded.value("streamcanary.spend", canary="c", type="output")
    outcome = await run_canary(simulator, spend_store, "sim-ok", request={"stream_options": {"include_usage": True}})
    (spend,) = spend_store.days.values()
    assert outcome.usage is not None
    tokens = (outcome.usage.input_tokens, outcome.usage.output_tokens, 1)
    assert tokens == (spend.input_tokens, spend.output_tokens, spend.requests)
    usd = tokens[0] * 1e-6 + tokens[1] * 10e-6
    assert (pytest.approx(usd), pytest.approx(usd)) == (outcome.cost, spend.usd)
    assert tokens[:2] == tuple(
        recorded.value("streamcanary.tokens", canary="c", type=kind) - before[kind] for kind in before
    )
    assert pytest.approx(tokens[1] * 10e-6) == recorded.value("streamcanary.spend", canary="c", type="output") - spent


async def test_a_cut_stream_is_charged_by_estimate(simulator: Simulator) -> None:
    """Each of two cut attempts is charged its input and the maximum output."""
    spend_store = MemorySpendStore()
    outcome = await run_canary(simulator, spend_store, "sim-cut", request={"max_tokens": 50})
    (spend,) = spend_store.days.values()
    assert (OutcomeKind.FAILED, 2, 100) == (outcome.kind, spend.requests, spend.output_tokens)
    assert True is (spend.input_tokens > 2 * 16)
    assert pytest.approx(spend.usd) == outcome.cost


async def test_fallback_attempts_are_charged(simulator: Simulator) -> None:
    """All attempts on the primary route and on fallbacks are charged and counted as requests."""
    spend_store = MemorySpendStore()
    outcome = await run_canary(
        simulator, spend_store, "sim-500", fallbacks=[{"model": "sim-ok"}, {"non_streaming": True}]
    )
    (spend,) = spend_store.days.values()
    assert (OutcomeKind.FAILED_OVER, len(outcome.attempts)) == (outcome.kind, spend.requests)
    assert spend.requests == len(simulator.requests)


async def test_without_a_price_only_tokens_are_recorded(simulator: Simulator) -> None:
    """Without a known price the cost is ``None``, and the tokens are recorded."""
    spend_store = MemorySpendStore()
    outcome = await run_canary(simulator, spend_store, "sim-ok", price="auto")
    (spend,) = spend_store.days.values()
    assert (None, 0.0, True) == (outcome.cost, spend.usd, spend.input_tokens > 0)


async def test_a_cancelled_run_is_charged(simulator: Simulator) -> None:
    """A run that is cancelled at shutdown is charged for its request."""
    spend_store = MemorySpendStore()
    task = asyncio.create_task(
        run_canary(simulator, spend_store, "sim-stall", request={"max_tokens": 50}, timeouts={"total": 9})
    )
    await wait_until(lambda: bool(simulator.requests))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await wait_until(lambda: simulator.connection_count == 0)
    (spend,) = spend_store.days.values()
    assert (1, 50) == (spend.requests, spend.output_tokens)
