"""The budget of a member of a fleet: limits of less than one request a minute."""

import pytest

from streamcanary.canary.fleet import share_budget
from streamcanary.canary.spend.budget import BudgetConfig, BudgetLimiter, ExpectedCost
from streamcanary.model.outcome import BudgetState

SLOWED = BudgetState.SLOWED
HOUR = 3600.0


def runs_at(limiter: BudgetLimiter, interval: float, hours: float, retries: int = 0) -> list[float]:
    """Return the times of the runs that ``limiter`` admits of a canary ``a``, each with ``retries``."""
    admitted = []
    for number in range(int(hours * HOUR / interval)):
        now = number * interval
        if limiter.admit("a", 0.0, now) is None:
            admitted.append(now)
            for _ in range(retries):
                limiter.record_retry(now)
    return admitted


def test_a_share_of_both_limits() -> None:
    """Each member has its share, also of less than one request a minute; a limit that is not set stays so."""
    budget = share_budget(BudgetConfig(usd_per_day=5, requests_per_minute=5), 100)
    assert (0.05, 0.05) == (budget.usd_per_day, budget.requests_per_minute)
    assert BudgetConfig() == share_budget(BudgetConfig(), 100)
    assert BudgetConfig(usd_per_day=0.5) == share_budget(BudgetConfig(usd_per_day=5), 10)


@pytest.mark.parametrize("interval", [1200.0, 3000.0])
def test_runs_within_a_fraction_of_a_request_a_minute_are_not_slowed(interval: float) -> None:
    """At exactly one request in 20 minutes, or at fewer, every run is made."""
    limiter = BudgetLimiter(BudgetConfig(requests_per_minute=0.05), {"a": ExpectedCost(interval, 0.0)})
    assert 200 * HOUR // interval == len(runs_at(limiter, interval, 200))


def test_runs_beyond_a_fraction_of_a_request_a_minute_are_slowed() -> None:
    """Of a run a minute, as many are made as the limit allows: in no 200 minutes more than ten."""
    limiter = BudgetLimiter(BudgetConfig(requests_per_minute=0.05), {"a": ExpectedCost(60.0, 0.0)})
    times = runs_at(limiter, 60.0, 200)
    assert max(sum(1 for other in times if now <= other < now + 200 * 60) for now in times) <= 10
    assert len(times) >= 0.8 * 200 * HOUR / 1200


def test_retries_count_in_a_fraction_of_a_request_a_minute() -> None:
    """An outage with three requests in each run costs no more than the limit, but for the retries of one run."""
    limiter = BudgetLimiter(BudgetConfig(requests_per_minute=0.05), {"a": ExpectedCost(1200.0, 0.0)})
    times = runs_at(limiter, 1200.0, 200, retries=2)
    assert max(sum(3 for other in times if now <= other < now + 200 * 60) for now in times) <= 10 + 2
    assert 3 * len(times) >= 0.7 * 200 * HOUR / 1200


def test_a_reload_to_another_number_of_replicas_keeps_what_was_counted() -> None:
    """The runs that were made count against the new limit, too."""
    costs = {"a": ExpectedCost(60.0, 0.0)}
    limiter = BudgetLimiter(BudgetConfig(requests_per_minute=1), costs)
    first = limiter.admit("a", 0.0, 0.0)
    limiter.configure(BudgetConfig(requests_per_minute=0.1), costs)
    later = [limiter.admit("a", 0.0, 60.0 * minute) for minute in range(1, 101)]
    assert (None, True) == (first, later.count(None) <= 9)
