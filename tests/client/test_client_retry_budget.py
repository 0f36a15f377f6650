"""The token bucket that limits retries."""

import threading

from streamcanary.client.retry_budget import RetryBudget


def test_retry_costs_and_refunds() -> None:
    """A retry costs 5, or 10 after a timeout; an answer refunds that cost, or 1, up to the capacity."""
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


def test_insufficient_budget_rejects_a_retry() -> None:
    """A retry that costs more than is available is rejected and takes nothing."""
    budget = RetryBudget(7)
    assert (None, 5, None, 2) == (
        budget.acquire(after_timeout=True),
        budget.acquire(after_timeout=False),
        budget.acquire(after_timeout=False),
        budget.available,
    )


def test_budget_is_thread_safe() -> None:
    """No token is spent twice by concurrent threads."""
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
