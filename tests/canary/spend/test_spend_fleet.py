"""The budget of a member of a fleet: limits of less than one request a minute, and of less than one run a day."""

import pytest

from streamcanary.canary.spend.budget import BudgetConfig, BudgetLimiter, ExpectedCost
from streamcanary.model.outcome import BudgetState
from streamcanary.model.spend import Spend

SLOWED = BudgetState.SLOWED
HOUR = 3600.0
DAY = 24 * HOUR


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
    budget = BudgetConfig(usd_per_day=5, requests_per_minute=5).share(100)
    assert (0.05, 0.05) == (budget.usd_per_day, budget.requests_per_minute)
    assert {"usd_per_day": None, "requests_per_minute": None} == BudgetConfig().share(100).model_dump()
    assert {"usd_per_day": 0.5, "requests_per_minute": None} == BudgetConfig(usd_per_day=5).share(10).model_dump()


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


def usd_runs(usd_per_day: float, interval: float, cost: float, days: int, members: int = 1000) -> list[float]:
    """Return the times of the runs, one each ``interval``, that the share of a member admits in ``days``."""
    costs = {"a": ExpectedCost(interval, cost)}
    limiter, admitted = BudgetLimiter(BudgetConfig(usd_per_day=usd_per_day).share(members), costs), []
    for number in range(int(days * DAY / interval)):
        now = number * interval
        if limiter.admit("a", now, now) is BudgetState.WITHIN:
            admitted.append(now)
            limiter.record_spend("a", Spend(output_usd=cost, requests=1), now)
    return admitted


@pytest.mark.parametrize("every", [30.0, 300.0, 3600.0])
def test_a_budget_that_is_enough_for_the_fleet_is_enough_for_each_member(every: float) -> None:
    """A thousand members make every run, also if one runs once in weeks: its share of a day does not pay for a run."""
    cost, interval, days = 0.082 * every / DAY, 1000 * every, 1200
    assert days * DAY // interval == len(usd_runs(0.1, interval, cost, days))


@pytest.mark.parametrize("every", [300.0, 3600.0])
def test_a_member_spends_no_more_than_its_share(every: float) -> None:
    """With half of the budget that its runs need, a member makes half of them over the years."""
    cost, interval, days = 0.2 * every / DAY, 1000 * every, 4000
    spent = cost * len(usd_runs(0.1, interval, cost, days))
    assert 0.7 <= spent / (0.1 / 1000 * days) <= 1.0


def test_the_budget_of_a_daemon_that_is_alone_is_that_of_a_day() -> None:
    """Without a fleet, a day's budget has to pay for a run, however seldom that is."""
    assert [] == usd_runs(0.1, 3 * DAY, 0.2, 30, members=1)
