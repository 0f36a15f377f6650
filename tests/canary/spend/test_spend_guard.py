"""The spend guard: the budget in a running daemon, its account in the store, and what real runs are charged."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.spend import guard as module
from streamcanary.canary.spend.budget import BudgetConfig, utc_day
from streamcanary.canary.spend.guard import SpendGuard, prices_by_canary
from streamcanary.canary.target import TargetSpec
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
QUICKLY = {
    "timeouts": {"connect": 2, "headers": 0.3, "first_token": 0.3, "stall": 0.3, "total": 5},
    "retry": {"max_attempts": 2, "base_delay": 0.001, "max_delay": 0.001},
}


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(timings=HANGING_TIMINGS) as simulator:
        yield simulator


class MemoryAccount:
    """An account that fails as it is told."""

    def __init__(self) -> None:
        self.days: dict[str, Spend] = {}
        self.error: StoreFailing | None = None

    async def save_spend(self, days: Mapping[str, Spend]) -> None:
        """Set sums."""
        if self.error:
            raise self.error
        self.days |= days

    async def load_spend(self) -> dict[str, Spend]:
        """Return sums."""
        if self.error:
            raise self.error
        return dict(self.days)


def make_guard(account: Any, clock: Clock, usd: float | None = 1.0) -> SpendGuard:
    """Build a guard of one canary, ``c``, whose runs are expected to cost 0.0025 USD."""
    specs = {"c": CanarySpec.model_validate({"target": "t", "model": "m", "prompt": "x" * 30})}
    targets = {"t": TargetSpec.model_validate({"api_key": "x", "price": PRICED})}
    return SpendGuard(
        BudgetConfig(usd_per_day=usd),
        specs,
        prices_by_canary(BudgetConfig(usd_per_day=1), targets, specs),
        clock=clock,
        store=account,
    )


def canary(guard: SpendGuard) -> Any:
    spec = CanarySpec.model_validate({"target": "t", "model": "m"})
    return spec.to_canary("c", TargetSpec.model_validate({"api_key": "x"}))


async def test_the_account_outlives_a_restart(tmp_path: Path) -> None:
    """What a daemon has spent its successor cannot spend again that day; on the next it can."""
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


async def test_the_account_is_written_as_it_grows() -> None:
    """A daemon that is killed has lost a second of it at most."""
    account = MemoryAccount()
    async with make_guard(account, FrozenClock()) as guard:
        guard.record_spend("c", WHOLE)
        await wait_until(lambda: account.days == {utc_day(NOON): WHOLE})


def saving_failures(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return the log records about a spend that was not saved."""
    return [record for record in caplog.records if record.message == "spend not saved"]


async def test_a_store_that_fails_is_caught_up_with(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The account goes on in memory; once the store can be read and written, both are added up."""
    monkeypatch.setattr(module, "_RETRY_INTERVAL", 0.01)
    monkeypatch.setattr(module, "_SAVE_INTERVAL", 0.01)
    account = MemoryAccount()
    account.days = {utc_day(NOON): WHOLE}
    account.error = StoreFailing("the disk is full")
    async with make_guard(account, FrozenClock()) as guard:
        guard.record_spend("c", WHOLE)
        await wait_until(lambda: "spend not saved" in caplog.messages)
        account.error = None
        await wait_until(lambda: account.days == {utc_day(NOON): WHOLE + WHOLE})
    assert ["the disk is full"] == [vars(record)["error"] for record in saving_failures(caplog)]


async def test_a_store_that_was_lost_is_written_again_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh file gets all days, not the last one alone."""
    monkeypatch.setattr(module, "_RETRY_INTERVAL", 0.01)
    account = MemoryAccount()
    account.days = {"2026-01-31": WHOLE}
    async with make_guard(account, FrozenClock()) as guard:
        account.days, account.error = {}, StoreLost("it was removed")
        guard.record_spend("c", WHOLE)
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.03, setattr, account, "error", None)
        await wait_until(lambda: account.days == {"2026-01-31": WHOLE, utc_day(NOON): WHOLE})


async def test_a_dead_store_does_not_hold_up_the_end() -> None:
    """Leaving takes no longer than a write may take, and raises nothing."""
    account = MemoryAccount()
    account.error = StoreFailing("gone")
    async with asyncio.timeout(5), make_guard(account, FrozenClock()) as guard:
        guard.record_spend("c", WHOLE)


async def test_the_end_of_the_budget_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Not at every turn that is left out."""
    async with make_guard(MemoryAccount(), FrozenClock()) as guard:
        guard.record_spend("c", Spend(output_usd=5.0, requests=1))
        assert [BudgetState.EXHAUSTED] * 3 == [guard.admit(canary(guard)) for _ in range(3)]
    assert 1 == caplog.text.count("budget exhausted")


def slowing(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the log events about slowdown."""
    events = ("canaries slowed down by budget", "canaries at full rate again")
    return [message for message in caplog.messages if message in events]


async def test_slowing_is_told_when_it_begins_and_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    """Once each, with what it is held to; what comes and goes within ten minutes is one slowing."""
    caplog.set_level("INFO")
    clock = FrozenClock()
    config = BudgetConfig(requests_per_minute=2)
    spec = CanarySpec.model_validate({"target": "t", "model": "m", "every": "30s"})
    async with SpendGuard(config, {"c": spec}, {"c": ()}, clock=clock, store=MemoryAccount()) as guard:
        turn = canary(guard)
        assert None is guard.admit(turn)
        assert [] == slowing(caplog)
        for _ in range(3):
            for _ in range(5):
                guard.record_retry()
            assert BudgetState.SLOWED is guard.admit(turn)
            clock.advance(300)
            assert None is guard.admit(turn)
        assert ["canaries slowed down by budget"] == slowing(caplog)
        told = vars(caplog.records[-1])
        assert ("requests_per_minute", 2) == (told["limit"], told["requests_per_minute"])
        clock.advance(299)
        guard.admit(turn)
        assert ["canaries slowed down by budget"] == slowing(caplog)
        clock.advance(60)
        guard.admit(turn)
        assert ["canaries slowed down by budget", "canaries at full rate again"] == slowing(caplog)


async def test_slowing_for_money_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """With what is spent; at the end of the day's budget it is not called over."""
    caplog.set_level("INFO")
    clock, account = FrozenClock(), MemoryAccount()
    account.days = {utc_day(NOON): Spend(output_usd=0.9)}
    async with make_guard(account, clock) as guard:
        assert BudgetState.SLOWED is guard.admit(canary(guard))
        [record] = [record for record in caplog.records if record.message == "canaries slowed down by budget"]
        told = vars(record)
        assert ("usd_per_day", 1.0, 0.9) == (told["limit"], told["usd_per_day"], told["usd"])
        guard.record_spend("c", Spend(output_usd=5.0, requests=1))
        clock.advance(3600)
        assert BudgetState.EXHAUSTED is guard.admit(canary(guard))
        assert ["canaries slowed down by budget"] == slowing(caplog)


async def ask(simulator: Simulator, account: MemoryAccount, model: str, price: Any = PRICED, **spec: Any) -> Outcome:
    """Run a canary once against ``simulator``, and keep account of it."""
    clock = SystemClock()
    targets = {
        "sim": TargetSpec.model_validate(
            {"base_url": simulator.base_url, "api_key": "sk-x", "provider": "sim", "price": price}
        )
    }
    specs = {"c": CanarySpec.model_validate({"target": "sim", "model": model, "every": "10s", **QUICKLY, **spec})}
    async with (
        SpendGuard(
            BudgetConfig(), specs, prices_by_canary(BudgetConfig(), targets, specs), clock=clock, store=account
        ) as guard,
        CanaryRunners(targets, specs, clock=clock, spend_guard=guard) as fleet,
    ):
        return await fleet.by_name["c"](clock.time())


async def test_usage_that_the_provider_counts_is_charged(simulator: Simulator, recorded: RecordedTelemetry) -> None:
    """Tokens and USD are those that it tells, on the outcome, in the account and on the metrics."""
    account = MemoryAccount()
    before = {kind: recorded.value("streamcanary.tokens", canary="c", type=kind) for kind in ("input", "output")}
    spent = recorded.value("streamcanary.spend", canary="c", type="output")
    outcome = await ask(simulator, account, "sim-ok", request={"stream_options": {"include_usage": True}})
    (spend,) = account.days.values()
    assert outcome.usage is not None
    tokens = (outcome.usage.input_tokens, outcome.usage.output_tokens, 1)
    assert tokens == (spend.input_tokens, spend.output_tokens, spend.requests)
    usd = tokens[0] * 1e-6 + tokens[1] * 10e-6
    assert (pytest.approx(usd), pytest.approx(usd)) == (outcome.cost, spend.usd)
    assert tokens[:2] == tuple(
        recorded.value("streamcanary.tokens", canary="c", type=kind) - before[kind] for kind in before
    )
    assert pytest.approx(tokens[1] * 10e-6) == recorded.value("streamcanary.spend", canary="c", type="output") - spent


async def test_a_stream_that_is_cut_is_charged_by_estimate(simulator: Simulator) -> None:
    """Two attempts are sent and both are cut: each has its input, and all the output that was asked for."""
    account = MemoryAccount()
    outcome = await ask(simulator, account, "sim-cut", request={"max_tokens": 50})
    (spend,) = account.days.values()
    assert (OutcomeKind.FAILED, 2, 100) == (outcome.kind, spend.requests, spend.output_tokens)
    assert True is (spend.input_tokens > 2 * 16)
    assert pytest.approx(spend.usd) == outcome.cost


async def test_a_fallback_is_charged_with_the_rest(simulator: Simulator) -> None:
    """The attempts on the own route and the fallback's are all in the account, and counted as requests."""
    account = MemoryAccount()
    outcome = await ask(simulator, account, "sim-500", fallbacks=[{"model": "sim-ok"}, {"non_streaming": True}])
    (spend,) = account.days.values()
    assert (OutcomeKind.FAILED_OVER, len(outcome.attempts)) == (outcome.kind, spend.requests)
    assert spend.requests == len(simulator.requests)


async def test_without_a_price_tokens_count_and_usd_do_not(simulator: Simulator) -> None:
    """Nobody knows what it costs, so nothing is said of it."""
    account = MemoryAccount()
    outcome = await ask(simulator, account, "sim-ok", price="auto")
    (spend,) = account.days.values()
    assert (None, 0.0, True) == (outcome.cost, spend.usd, spend.input_tokens > 0)


async def test_a_run_that_is_cancelled_is_charged(simulator: Simulator) -> None:
    """What was sent before the daemon stopped costs all the same."""
    account = MemoryAccount()
    task = asyncio.create_task(ask(simulator, account, "sim-stall", request={"max_tokens": 50}, timeouts={"total": 9}))
    await wait_until(lambda: bool(simulator.requests))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await wait_until(lambda: simulator.connection_count == 0)
    (spend,) = account.days.values()
    assert (1, 50) == (spend.requests, spend.output_tokens)
