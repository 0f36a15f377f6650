"""The budget at a reload: what was spent stays, and limits and canaries change."""

from typing import Any

from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.spend.budget import BudgetConfig, BudgetLimiter, ExpectedCost
from streamcanary.canary.spend.guard import SpendGuard, prices_by_canary
from streamcanary.canary.targets.target import TargetSpec
from streamcanary.model.canary import Canary
from streamcanary.model.outcome import BudgetState
from streamcanary.model.spend import Spend
from support.clock import ManualClock

COSTS = {"a": ExpectedCost(60.0, 0.1)}
NOON = 1_800_014_400.0
SPENT = Spend(input_usd=0.95, requests=1)
TARGETS = {"t": TargetSpec.model_validate({"api_key": "x", "price": {"input": 1.0, "output": 10.0}})}
CANARY = Canary(name="a", target="t", provider="p", interval=60.0)


def spec(**more: Any) -> CanarySpec:
    """Build a canary."""
    return CanarySpec.model_validate({"target": "t", "model": "m", "prompt": "x" * 30, **more})


class SpendStore:
    """A store that keeps nothing."""

    async def save_spend(self, days: Any) -> None:
        """Do nothing."""

    async def load_spend(self) -> dict[str, Spend]:
        """Return nothing."""
        return {}


def make_guard(usd: float, **canaries: CanarySpec) -> SpendGuard:
    """Build a guard."""
    config = BudgetConfig(usd_per_day=usd)
    return SpendGuard(
        config, canaries, prices_by_canary(config, TARGETS, canaries), clock=ManualClock(), store=SpendStore()
    )


def reload(guard: SpendGuard, usd: float, **canaries: CanarySpec) -> None:
    """Replace the budget and the canaries."""
    config = BudgetConfig(usd_per_day=usd)
    guard.prepare(config, canaries, prices_by_canary(config, TARGETS, canaries))
    guard.apply()


def test_a_larger_budget_is_available_at_once() -> None:
    """What was spent today counts for both."""
    limiter = BudgetLimiter(BudgetConfig(usd_per_day=1.0), COSTS)
    limiter.record_spend("a", SPENT, NOON)
    assert BudgetState.EXHAUSTED is limiter.admit("a", NOON, 0.0)
    limiter.configure(BudgetConfig(usd_per_day=100.0), limiter.expected_costs)
    assert 0.95 == limiter.usd_spent(NOON)
    assert BudgetState.WITHIN is limiter.admit("a", NOON, 0.0)


def test_a_smaller_budget_counts_what_was_spent() -> None:
    """Canaries stop if more was spent than it allows."""
    limiter = BudgetLimiter(BudgetConfig(usd_per_day=100.0), COSTS)
    limiter.record_spend("a", SPENT, NOON)
    limiter.configure(BudgetConfig(usd_per_day=1.0), limiter.expected_costs)
    assert BudgetState.EXHAUSTED is limiter.admit("a", NOON, 0.0)


def test_a_request_limit_counts_the_last_minute() -> None:
    """Reloads do not allow more requests a minute."""
    limiter = BudgetLimiter(BudgetConfig(requests_per_minute=1), {"a": ExpectedCost(60.0, 0.0)})
    assert None is limiter.admit("a", NOON, 0.0)
    limiter.configure(BudgetConfig(requests_per_minute=1), limiter.expected_costs)
    assert BudgetState.SLOWED is limiter.admit("a", NOON, 1.0)


def test_unchanged_canaries_keep_the_cost_of_their_runs() -> None:
    """The expected cost that runs have corrected stays; that of a changed canary is estimated again."""
    guard = make_guard(1.0, a=spec(), b=spec())
    for name in ("a", "b"):
        guard.record_spend(name, Spend(input_usd=0.5, requests=1))
    corrected, estimated = guard._limiter.expected_costs["a"], guard._books.expected_costs["b"]
    reload(guard, 1.0, a=spec(), b=spec(prompt="y" * 30), c=spec())
    costs = guard._limiter.expected_costs
    assert (corrected, estimated, estimated) == (costs["a"], costs["b"], costs["c"])


def test_a_run_that_ends_after_its_canary_was_removed_is_charged() -> None:
    """Its spend counts for the day."""
    guard = make_guard(1.0, a=spec(), b=spec())
    assert BudgetState.WITHIN is guard.admit(CANARY)
    reload(guard, 1.0, b=spec())
    guard.record_spend("a", Spend(input_usd=0.25, requests=1))
    assert 0.25 == guard.usd_spent_today
    assert {} == guard._limiter._reserved_usd
