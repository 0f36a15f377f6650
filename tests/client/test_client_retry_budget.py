"""The token bucket for retries."""

import threading

from streamcanary.client.retry_budget import RetryBudget


def test_costs_and_refunds() -> None:
    """A retry costs 5, after a timeout 10; an answer gives back what it cost, or 1, never over the capacity."""
    budget = RetryBudget(30)
    levels = [budget.available]
    budget.acquire(after_timeout=False)
    levels.append(budget.available)
    budget.acquire(after_timeout=True)
    levels.append(budget.available)
    for spent in (10, 0, 5, 5):
        budget.release(spent)
        levels.append(budget.available)
    assert [30, 25, 15, 25, 26, 30, 30] == levels


def test_an_empty_bucket_refuses() -> None:
    """What is not there cannot be taken, and a refusal takes nothing."""
    budget = RetryBudget(7)
    assert (None, 5, None, 2) == (
        budget.acquire(after_timeout=True),
        budget.acquire(after_timeout=False),
        budget.acquire(after_timeout=False),
        budget.available,
    )


def test_threads_share_it() -> None:
    """No token is spent twice."""
    budget = RetryBudget(500)
    taken: list[int] = []

    def spend() -> None:
        while (cost := budget.acquire(after_timeout=False)) is not None:
            taken.append(cost)

    threads = [threading.Thread(target=spend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (500, 0) == (sum(taken), budget.available)
