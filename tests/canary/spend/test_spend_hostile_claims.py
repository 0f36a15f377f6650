"""The budget of a day against a provider that claims impossible token counts."""

import json
import logging
from typing import Any

import pytest

from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.spend.budget import BudgetConfig
from streamcanary.canary.spend.guard import SpendGuard, prices_by_canary
from streamcanary.canary.targets.target import TargetSpec
from streamcanary.model.clock import SystemClock
from streamcanary.model.outcome import BudgetState, OutcomeKind, Usage
from streamcanary.model.spend import Spend
from support.servers.hostile import HostileServer

BUDGET = BudgetConfig(usd_per_day=1.0)
REQUEST = {"max_completion_tokens": 64, "stream_options": {"include_usage": True}}
EVENT_STREAM = "HTTP/1.1 200 OK\nContent-Type: text/event-stream\nConnection: close"


class _SpendStore:
    """A spend store that keeps nothing."""

    async def save_spend(self, days: dict[str, Spend]) -> None:
        """Save nothing."""

    async def load_spend(self) -> dict[str, Spend]:
        """Return no spend."""
        return {}


def provider(counts: str) -> HostileServer:
    """Return a provider that answers ``pong`` and claims ``counts`` (JSON) as its prompt and completion tokens."""
    choices: list[dict[str, Any]] = [
        {"index": 0, "delta": {"content": "pong"}, "finish_reason": None},
        {"index": 0, "delta": {}, "finish_reason": "stop"},
    ]
    chunks = [json.dumps({"id": "c", "model": "m", "choices": [choice]}) for choice in choices]
    usage = f'{{"id":"c","choices":[],"usage":{{"prompt_tokens":{counts},"completion_tokens":{counts}}}}}'
    body = "".join(f"data: {data}\n\n" for data in (*chunks, usage, "[DONE]")).encode()
    return HostileServer(EVENT_STREAM, lambda: [body])


async def spend_of_runs(counts: str, runs: int = 3) -> tuple[float, BudgetState | None, list[Usage | None]]:
    """Return the USD of a day with ``runs`` runs, the budget state of the next run, and the usage of the outcomes."""
    clock = SystemClock()
    async with provider(counts) as server:
        targets = {
            "t": TargetSpec.model_validate(
                {"base_url": server.base_url, "api_key": "none", "price": {"input": 10.0, "output": 100.0}}
            )
        }
        spec = CanarySpec.model_validate({"target": "t", "model": "m", "every": "10s", "request": REQUEST})
        prices = prices_by_canary(BUDGET, targets, {"c": spec})
        async with (
            SpendGuard(BUDGET, {"c": spec}, prices, clock=clock, store=_SpendStore()) as guard,
            CanaryRunners(targets, {"c": spec}, clock=clock, spend_guard=guard) as runners,
        ):
            runner = runners.by_name["c"]
            outcomes = [await runner(clock.time()) for _ in range(runs)]
            assert {OutcomeKind.OK} == {outcome.kind for outcome in outcomes}, outcomes
            return guard.usd_spent_today, guard.admit(runner.canary), [outcome.usage for outcome in outcomes]


@pytest.mark.parametrize(
    "counts", ["10000000", "1e7", "1e30", str(10**30), "9007199254740993", "0", "-5", "1.5", "null", '"7"', "true"]
)
async def test_the_budget_of_a_day_survives_a_hostile_claim(counts: str) -> None:
    """Each run costs more than nothing and no more than its request allows, and the next run is within the budget."""
    usd, state, _ = await spend_of_runs(counts)
    highest = 3 * (60 * 10.0 + 64 * 100.0) / 1e6  # the estimated input, and the token limit
    assert (True, BudgetState.WITHIN) == (0 < usd <= highest, state)


async def test_an_impossible_claim_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """One log event for a canary has the claim and what was charged; each outcome has the charged counts."""
    caplog.set_level(logging.WARNING)
    _, _, usages = await spend_of_runs("10000000")
    [record] = [each for each in caplog.records if each.message == "token counts of the provider impossible"]
    fields = vars(record)
    assert ("c", 10_000_000, 64) == (fields["canary"], fields["claimed_output"], fields["charged_output"])
    assert [Usage(input_tokens=fields["charged_input"], output_tokens=64, is_estimated=True)] * 3 == usages
