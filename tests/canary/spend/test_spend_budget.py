"""The budget limiter: which runs it admits, with times as arguments."""

from collections import Counter
from collections.abc import Mapping
from heapq import heapify, heappop, heappush
from itertools import pairwise

import pytest

from streamcanary.canary.spend.budget import MAX_SLOWDOWN, BudgetConfig, BudgetLimiter, ExpectedCost, utc_day
from streamcanary.model.outcome import BudgetState
from streamcanary.model.spend import Spend

WITHIN, SLOWED, EXHAUSTED = BudgetState.WITHIN, BudgetState.SLOWED, BudgetState.EXHAUSTED
ADMITTED = (None, WITHIN, BudgetState.EXEMPT)
MIDNIGHT = 1_770_076_800.0
"""The first moment of 3 February 2026, UTC."""
DAY = 86400.0


def usd(amount: float) -> Spend:
    """Return the spend of one request."""
    return Spend(input_tokens=100, output_tokens=10, output_usd=amount, requests=1)


def simulate(
    limiter: BudgetLimiter,
    costs: Mapping[str, ExpectedCost],
    start: float,
    end: float,
    *,
    cost: float | None = None,
    retries: int = 0,
) -> list[tuple[float, str, BudgetState | None]]:
    """Admit the runs of canaries from ``start`` to ``end``; return time, canary and budget state of each."""
    due = [(start + expected.interval * k / len(costs), name) for k, (name, expected) in enumerate(costs.items())]
    heapify(due)
    decisions = []
    while due and due[0][0] < end:
        now, name = heappop(due)
        heappush(due, (now + costs[name].interval, name))
        state = limiter.admit(name, now, now)
        decisions.append((now, name, state))
        if state in ADMITTED:
            for _ in range(retries):
                limiter.record_retry(now)
            limiter.record_spend(name, usd(costs[name].usd if cost is None else cost), now)
    return decisions


def count_runs(decisions: list[tuple[float, str, BudgetState | None]]) -> Counter[str]:
    """Count the runs of each canary."""
    return Counter(name for _, name, state in decisions if state in ADMITTED)


def test_without_limits_every_run_is_admitted() -> None:
    """Without limits there is no budget state."""
    costs = {"a": ExpectedCost(60.0, 1000.0)}
    decisions = simulate(BudgetLimiter(BudgetConfig(), costs), costs, MIDNIGHT, MIDNIGHT + DAY)
    assert {None} == {state for *_, state in decisions}


def test_a_sufficient_budget_slows_no_canary() -> None:
    """A budget that lasts until midnight slows no canary, even above 80 %."""
    costs = {f"c{k}": ExpectedCost(60.0, 0.001) for k in range(4)}
    limiter = BudgetLimiter(BudgetConfig(usd_per_day=4 * 1440 * 0.001 * 1.02), costs)
    decisions = simulate(limiter, costs, MIDNIGHT, MIDNIGHT + DAY)
    assert {WITHIN: 4 * 1440} == Counter(state for *_, state in decisions)


@pytest.mark.parametrize("part", [0.4, 0.7, 0.95])
def test_near_the_limit_canaries_are_slowed_evenly(part: float) -> None:
    """A budget for a part of the expected spend lasts all day, is nearly used up, and slows all canaries evenly."""
    costs = {f"c{k}": ExpectedCost(30.0, 0.001) for k in range(7)}
    limit = part * 7 * 2880 * 0.001
    limiter = BudgetLimiter(BudgetConfig(usd_per_day=limit), costs)
    decisions = simulate(limiter, costs, MIDNIGHT, MIDNIGHT + DAY)
    counts = count_runs(decisions)
    assert True is (max(counts.values()) - min(counts.values()) <= 1)
    assert {WITHIN, SLOWED} == {state for *_, state in decisions}
    assert True is (0.97 * limit <= limiter.usd_spent(MIDNIGHT + DAY - 1) <= limit)
    last = max(now for now, _, state in decisions if state is WITHIN)
    assert True is (last > MIDNIGHT + DAY - 30 * 2 * MAX_SLOWDOWN)
    slowed_from = min(now for now, _, state in decisions if state is SLOWED)
    assert pytest.approx(MIDNIGHT + 0.8 * part * DAY, abs=60) == slowed_from


def test_skipped_runs_are_spread_over_canaries() -> None:
    """With a slowdown factor of six, six canaries with an interval of 60 s make about one run each minute."""
    costs = {f"c{k}": ExpectedCost(60.0, 0.001) for k in range(6)}
    limiter = BudgetLimiter(BudgetConfig(usd_per_day=0.5 * 6 * 1440 * 0.001), costs)
    times = [now for now, _, state in simulate(limiter, costs, MIDNIGHT, MIDNIGHT + DAY) if state is WITHIN]
    assert True is (max(later - earlier for earlier, later in pairwise(times)) <= 2 * 60.0)


def test_a_budget_for_less_than_a_tenth_is_exhausted() -> None:
    """Canaries are slowed by a factor of at most 10; then paid canaries stop until the next day."""
    costs = {f"c{k}": ExpectedCost(30.0, 0.001) for k in range(5)} | {"free": ExpectedCost(30.0, 0.0)}
    limiter = BudgetLimiter(BudgetConfig(usd_per_day=0.1), costs)
    decisions = simulate(limiter, costs, MIDNIGHT, MIDNIGHT + DAY + 60)
    order = [state for now, name, state in decisions if name != "free" and now < MIDNIGHT + DAY]
    assert [WITHIN, SLOWED, EXHAUSTED] == list(dict.fromkeys(order))
    assert {EXHAUSTED} == set(order[order.index(EXHAUSTED) :])
    assert True is (0.1 - 2 * 0.001 <= limiter.usd_spent(MIDNIGHT + DAY - 1) <= 0.1 + 1e-9)
    assert {WITHIN} == {state for now, name, state in decisions if name != "free" and now >= MIDNIGHT + DAY}
    assert {BudgetState.EXEMPT} == {state for _, name, state in decisions if name == "free"}


def test_shortly_before_midnight_canaries_are_slowed_not_stopped() -> None:
    """The state is not ``exhausted`` if the next day begins within ten intervals."""
    costs = {"a": ExpectedCost(60.0, 0.1)}
    late = MIDNIGHT + DAY - MAX_SLOWDOWN * 60
    states = []
    for moment in (late - 1, late + 1):
        limiter = BudgetLimiter(BudgetConfig(usd_per_day=1.0), costs)
        limiter.add_spend_by_day({utc_day(MIDNIGHT): usd(0.95)})
        states.append(limiter.admit("a", moment, 0.0))
    assert [EXHAUSTED, SLOWED] == states


def test_running_runs_reserve_their_expected_cost() -> None:
    """Two concurrent runs cannot spend the same rest of the budget; what a run does not use is available again."""
    costs = {"a": ExpectedCost(60.0, 0.4), "b": ExpectedCost(60.0, 0.4)}
    limiter = BudgetLimiter(BudgetConfig(usd_per_day=0.7), costs)
    assert [WITHIN, SLOWED] == [limiter.admit(name, MIDNIGHT, 0.0) for name in ("a", "b")]
    limiter.record_spend("a", usd(0.1), MIDNIGHT)
    assert WITHIN is limiter.admit("b", MIDNIGHT + 1, 1.0)


def test_the_expected_cost_follows_the_actual_cost() -> None:
    """After a more expensive run than expected the budget is exhausted earlier."""
    costs = {"a": ExpectedCost(60.0, 0.1)}
    limiter = BudgetLimiter(BudgetConfig(usd_per_day=1.0), costs)
    assert WITHIN is limiter.admit("a", MIDNIGHT, 0.0)
    limiter.record_spend("a", usd(0.7), MIDNIGHT)
    assert EXHAUSTED is limiter.admit("a", MIDNIGHT + 60, 60.0)


def test_spend_before_a_restart_counts() -> None:
    """The spend of the day before a restart counts after it."""
    costs = {"a": ExpectedCost(60.0, 0.1)}
    before = BudgetLimiter(BudgetConfig(usd_per_day=1.0), costs)
    before.record_spend("a", usd(0.95), MIDNIGHT + 10)
    after = BudgetLimiter(BudgetConfig(usd_per_day=1.0), costs)
    after.add_spend_by_day(before.spend_by_day)
    assert (0.95, EXHAUSTED) == (after.usd_spent(MIDNIGHT + 20), after.admit("a", MIDNIGHT + 20, 0.0))


def test_each_utc_day_has_its_own_spend() -> None:
    """At midnight UTC the budget is available again; a clock set back finds the spend of the earlier day."""
    costs = {"a": ExpectedCost(60.0, 0.1)}
    limiter = BudgetLimiter(BudgetConfig(usd_per_day=1.0), costs)
    limiter.record_spend("a", usd(1.0), MIDNIGHT - 1)
    assert [EXHAUSTED, WITHIN] == [
        limiter.admit("a", MIDNIGHT - DAY / 2, 0.0),
        limiter.admit("a", MIDNIGHT, 1.0),
    ]
    limiter.record_spend("a", usd(0.1), MIDNIGHT)
    assert EXHAUSTED is limiter.admit("a", MIDNIGHT - DAY / 2, 2.0)
    assert (1.0, 0.1) == (limiter.usd_spent(MIDNIGHT - 1), limiter.usd_spent(MIDNIGHT + 1))


def test_requests_of_any_minute_are_limited() -> None:
    """Of 40 scheduled runs a minute at most 15 are admitted in any 60 s, evenly over the canaries."""
    costs = {f"c{k}": ExpectedCost(30.0, 0.0) for k in range(20)}
    decisions = simulate(BudgetLimiter(BudgetConfig(requests_per_minute=15), costs), costs, 0.0, 3600.0)
    times = [now for now, _, state in decisions if state is None]
    most = max(sum(1 for other in times if now <= other < now + 60) for now in times)
    counts = count_runs(decisions)
    assert True is (most <= 15)
    assert {None, SLOWED} == {state for *_, state in decisions}
    assert True is (max(counts.values()) - min(counts.values()) <= 2)
    assert True is (sum(counts.values()) >= 0.85 * 15 * 60)


def test_requests_within_the_limit_are_not_slowed() -> None:
    """Runs at exactly the limit are all admitted."""
    costs = {f"c{k}": ExpectedCost(30.0, 0.0) for k in range(20)}
    decisions = simulate(BudgetLimiter(BudgetConfig(requests_per_minute=40), costs), costs, 0.0, 3600.0)
    assert {None} == {state for *_, state in decisions}


def test_retries_count_as_requests() -> None:
    """With three requests per run fewer runs are admitted, evenly over the canaries."""
    costs = {f"c{k}": ExpectedCost(30.0, 0.0) for k in range(10)}
    decisions = simulate(BudgetLimiter(BudgetConfig(requests_per_minute=20), costs), costs, 0.0, 3600.0, retries=2)
    times = [now for now, _, state in decisions if state is None]
    most = max(sum(3 for other in times if now <= other < now + 60) for now in times)
    counts = count_runs(decisions)
    assert True is (most <= 20 + 2)
    assert True is (max(counts.values()) - min(counts.values()) <= 2)
    assert True is (sum(counts.values()) * 3 >= 0.85 * 20 * 60)


def test_the_request_limit_uses_the_monotonic_clock() -> None:
    """A step of the wall clock does not reset the request limit."""
    limiter = BudgetLimiter(BudgetConfig(requests_per_minute=1), {"a": ExpectedCost(60.0, 0.0)})
    assert [None, SLOWED, None] == [
        limiter.admit("a", MIDNIGHT, 0.0),
        limiter.admit("a", MIDNIGHT + 3600, 1.0),
        limiter.admit("a", MIDNIGHT + 3600, 60.0),
    ]


def test_at_most_400_days_are_kept() -> None:
    """At most 400 days of spend are kept, also with a wrong clock."""
    limiter = BudgetLimiter(BudgetConfig(usd_per_day=1.0), {"a": ExpectedCost(60.0, 0.1)})
    for day in range(1000):
        limiter.record_spend("a", usd(0.1), MIDNIGHT + day * DAY)
    assert 400 == len(limiter.spend_by_day)
