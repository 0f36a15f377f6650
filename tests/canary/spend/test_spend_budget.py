"""Who may run under a budget: pure, with both clocks handed in."""

from collections import Counter
from collections.abc import Mapping
from heapq import heapify, heappop, heappush
from itertools import pairwise

import pytest

from streamcanary.canary.spend.budget import MAX_SLOWDOWN, BudgetConfig, BudgetLimiter, ExpectedCost, utc_day
from streamcanary.model.outcome import BudgetState
from streamcanary.model.spend import Spend

WITHIN, SLOWED, EXHAUSTED = BudgetState.WITHIN, BudgetState.SLOWED, BudgetState.EXHAUSTED
RUN = (None, WITHIN, BudgetState.EXEMPT)
MIDNIGHT = 1_770_076_800.0
"""The first moment of 3 February 2026, UTC."""
DAY = 86400.0


def usd(amount: float) -> Spend:
    """Return what one request cost."""
    return Spend(input_tokens=100, output_tokens=10, output_usd=amount, requests=1)


def live(
    allowance: BudgetLimiter,
    shares: Mapping[str, ExpectedCost],
    start: float,
    end: float,
    *,
    cost: float | None = None,
    retries: int = 0,
) -> list[tuple[float, str, BudgetState | None]]:
    """Let canaries take their turns from ``start`` to ``end``, spread over an interval; return what became of each."""
    due = [(start + share.interval * k / len(shares), name) for k, (name, share) in enumerate(shares.items())]
    heapify(due)
    seen = []
    while due and due[0][0] < end:
        now, name = heappop(due)
        heappush(due, (now + shares[name].interval, name))
        standing = allowance.admit(name, now, now)
        seen.append((now, name, standing))
        if standing in RUN:
            for _ in range(retries):
                allowance.record_retry(now)
            allowance.record_spend(name, usd(shares[name].usd if cost is None else cost), now)
    return seen


def taken(seen: list[tuple[float, str, BudgetState | None]]) -> Counter[str]:
    """Count the turns that each canary took."""
    return Counter(name for _, name, standing in seen if standing in RUN)


def test_without_limits_everything_runs() -> None:
    """There is no budget until somebody sets one."""
    shares = {"a": ExpectedCost(60.0, 1000.0)}
    seen = live(BudgetLimiter(BudgetConfig(), shares), shares, MIDNIGHT, MIDNIGHT + DAY)
    assert {None} == {standing for *_, standing in seen}


def test_a_budget_that_suffices_slows_nobody() -> None:
    """Over 80 % are spent by evening, and the rest lasts until midnight as it is."""
    shares = {f"c{k}": ExpectedCost(60.0, 0.001) for k in range(4)}
    allowance = BudgetLimiter(BudgetConfig(usd_per_day=4 * 1440 * 0.001 * 1.02), shares)
    seen = live(allowance, shares, MIDNIGHT, MIDNIGHT + DAY)
    assert {WITHIN: 4 * 1440} == Counter(standing for *_, standing in seen)


@pytest.mark.parametrize("part", [0.4, 0.7, 0.95])
def test_near_the_limit_canaries_slow_down_evenly(part: float) -> None:
    """A budget for part of what would be spent lasts all day, is nearly used, and no canary is favoured."""
    shares = {f"c{k}": ExpectedCost(30.0, 0.001) for k in range(7)}
    limit = part * 7 * 2880 * 0.001
    allowance = BudgetLimiter(BudgetConfig(usd_per_day=limit), shares)
    seen = live(allowance, shares, MIDNIGHT, MIDNIGHT + DAY)
    counts = taken(seen)
    assert True is (max(counts.values()) - min(counts.values()) <= 1)
    assert {WITHIN, SLOWED} == {standing for *_, standing in seen}
    assert True is (0.97 * limit <= allowance.usd_spent(MIDNIGHT + DAY - 1) <= limit)
    last = max(now for now, _, standing in seen if standing is WITHIN)
    assert True is (last > MIDNIGHT + DAY - 30 * 2 * MAX_SLOWDOWN)
    slowed_from = min(now for now, _, standing in seen if standing is SLOWED)
    assert pytest.approx(MIDNIGHT + 0.8 * part * DAY, abs=60) == slowed_from


def test_turns_left_out_are_spread() -> None:
    """Slowed sixfold, six canaries of 60 s take turns: one is asked each minute, give or take one."""
    shares = {f"c{k}": ExpectedCost(60.0, 0.001) for k in range(6)}
    allowance = BudgetLimiter(BudgetConfig(usd_per_day=0.5 * 6 * 1440 * 0.001), shares)
    times = [now for now, _, standing in live(allowance, shares, MIDNIGHT, MIDNIGHT + DAY) if standing is WITHIN]
    assert True is (max(later - earlier for earlier, later in pairwise(times)) <= 2 * 60.0)


def test_a_budget_far_too_small_ends_rather_than_trickle() -> None:
    """Slower than tenfold is no watching: the money runs out, everything that costs stops, and a new day begins."""
    shares = {f"c{k}": ExpectedCost(30.0, 0.001) for k in range(5)} | {"free": ExpectedCost(30.0, 0.0)}
    allowance = BudgetLimiter(BudgetConfig(usd_per_day=0.1), shares)
    seen = live(allowance, shares, MIDNIGHT, MIDNIGHT + DAY + 60)
    order = [standing for now, name, standing in seen if name != "free" and now < MIDNIGHT + DAY]
    assert [WITHIN, SLOWED, EXHAUSTED] == list(dict.fromkeys(order))
    assert {EXHAUSTED} == set(order[order.index(EXHAUSTED) :])
    assert True is (0.1 - 2 * 0.001 <= allowance.usd_spent(MIDNIGHT + DAY - 1) <= 0.1 + 1e-9)
    assert {WITHIN} == {standing for now, name, standing in seen if name != "free" and now >= MIDNIGHT + DAY}
    assert {BudgetState.EXEMPT} == {standing for _, name, standing in seen if name == "free"}


def test_shortly_before_midnight_the_end_is_a_pause() -> None:
    """Nobody is told that the budget is used up when the next one begins within ten turns."""
    shares = {"a": ExpectedCost(60.0, 0.1)}
    late = MIDNIGHT + DAY - MAX_SLOWDOWN * 60
    standings = []
    for moment in (late - 1, late + 1):
        allowance = BudgetLimiter(BudgetConfig(usd_per_day=1.0), shares)
        allowance.add_spend_by_day({utc_day(MIDNIGHT): usd(0.95)})
        standings.append(allowance.admit("a", moment, 0.0))
    assert [EXHAUSTED, SLOWED] == standings


def test_runs_under_way_are_reckoned_with() -> None:
    """Two runs at a time cannot spend the same money; what they did not need is there again."""
    shares = {"a": ExpectedCost(60.0, 0.4), "b": ExpectedCost(60.0, 0.4)}
    allowance = BudgetLimiter(BudgetConfig(usd_per_day=0.7), shares)
    assert [WITHIN, SLOWED] == [allowance.admit(name, MIDNIGHT, 0.0) for name in ("a", "b")]
    allowance.record_spend("a", usd(0.1), MIDNIGHT)
    assert WITHIN is allowance.admit("b", MIDNIGHT + 1, 1.0)


def test_a_dearer_run_than_expected_ends_the_day() -> None:
    """Expectations follow what runs really cost."""
    shares = {"a": ExpectedCost(60.0, 0.1)}
    allowance = BudgetLimiter(BudgetConfig(usd_per_day=1.0), shares)
    assert WITHIN is allowance.admit("a", MIDNIGHT, 0.0)
    allowance.record_spend("a", usd(0.7), MIDNIGHT)
    assert EXHAUSTED is allowance.admit("a", MIDNIGHT + 60, 60.0)


def test_what_was_spent_before_a_restart_counts() -> None:
    """The account of the day is handed over."""
    shares = {"a": ExpectedCost(60.0, 0.1)}
    before = BudgetLimiter(BudgetConfig(usd_per_day=1.0), shares)
    before.record_spend("a", usd(0.95), MIDNIGHT + 10)
    after = BudgetLimiter(BudgetConfig(usd_per_day=1.0), shares)
    after.add_spend_by_day(before.spend_by_day)
    assert (0.95, EXHAUSTED) == (after.usd_spent(MIDNIGHT + 20), after.admit("a", MIDNIGHT + 20, 0.0))


def test_another_day_has_its_own_account() -> None:
    """At midnight UTC the budget is whole again; a clock that is set back finds the old account as it was."""
    shares = {"a": ExpectedCost(60.0, 0.1)}
    allowance = BudgetLimiter(BudgetConfig(usd_per_day=1.0), shares)
    allowance.record_spend("a", usd(1.0), MIDNIGHT - 1)
    assert [EXHAUSTED, WITHIN] == [
        allowance.admit("a", MIDNIGHT - DAY / 2, 0.0),
        allowance.admit("a", MIDNIGHT, 1.0),
    ]
    allowance.record_spend("a", usd(0.1), MIDNIGHT)
    assert EXHAUSTED is allowance.admit("a", MIDNIGHT - DAY / 2, 2.0)
    assert (1.0, 0.1) == (allowance.usd_spent(MIDNIGHT - 1), allowance.usd_spent(MIDNIGHT + 1))


def test_requests_of_any_minute_are_limited() -> None:
    """Of 40 requests a minute that 20 canaries want, 15 are sent; in no 60 s more, and all canaries have their part."""
    shares = {f"c{k}": ExpectedCost(30.0, 0.0) for k in range(20)}
    seen = live(BudgetLimiter(BudgetConfig(requests_per_minute=15), shares), shares, 0.0, 3600.0)
    times = [now for now, _, standing in seen if standing is None]
    most = max(sum(1 for other in times if now <= other < now + 60) for now in times)
    counts = taken(seen)
    assert True is (most <= 15)
    assert {None, SLOWED} == {standing for *_, standing in seen}
    assert True is (max(counts.values()) - min(counts.values()) <= 2)
    assert True is (sum(counts.values()) >= 0.85 * 15 * 60)


def test_requests_that_fit_are_not_slowed() -> None:
    """As many as are allowed are as many as are sent."""
    shares = {f"c{k}": ExpectedCost(30.0, 0.0) for k in range(20)}
    seen = live(BudgetLimiter(BudgetConfig(requests_per_minute=40), shares), shares, 0.0, 3600.0)
    assert {None} == {standing for *_, standing in seen}


def test_retries_take_the_place_of_runs() -> None:
    """In an outage each run sends three requests: fewer runs begin, and still all canaries have their turn."""
    shares = {f"c{k}": ExpectedCost(30.0, 0.0) for k in range(10)}
    seen = live(BudgetLimiter(BudgetConfig(requests_per_minute=20), shares), shares, 0.0, 3600.0, retries=2)
    times = [now for now, _, standing in seen if standing is None]
    most = max(sum(3 for other in times if now <= other < now + 60) for now in times)
    counts = taken(seen)
    assert True is (most <= 20 + 2)
    assert True is (max(counts.values()) - min(counts.values()) <= 2)
    assert True is (sum(counts.values()) * 3 >= 0.85 * 20 * 60)


def test_the_wall_clock_does_not_matter_to_requests() -> None:
    """A wall clock that jumps ahead an hour opens no new minute."""
    allowance = BudgetLimiter(BudgetConfig(requests_per_minute=1), {"a": ExpectedCost(60.0, 0.0)})
    assert [None, SLOWED, None] == [
        allowance.admit("a", MIDNIGHT, 0.0),
        allowance.admit("a", MIDNIGHT + 3600, 1.0),
        allowance.admit("a", MIDNIGHT + 3600, 60.0),
    ]


def test_the_account_is_bounded() -> None:
    """A clock that runs wild leaves at most four hundred days behind."""
    allowance = BudgetLimiter(BudgetConfig(usd_per_day=1.0), {"a": ExpectedCost(60.0, 0.1)})
    for day in range(1000):
        allowance.record_spend("a", usd(0.1), MIDNIGHT + day * DAY)
    assert 400 == len(allowance.spend_by_day)
