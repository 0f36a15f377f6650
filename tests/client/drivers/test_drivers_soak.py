"""Many streams at once, that end in every way there is: nothing is left open. ``make bench`` does it for a minute."""

from collections.abc import Iterator

import pytest
from bench.streams import Left, provider, soak_tasks, soak_threads


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with provider() as url:
        yield url


async def test_tasks_leave_nothing_open(base_url: str) -> None:
    """Fifty tasks whose streams are answered, fail, are left or cancelled: no connection, task or timer stays."""
    soak = await soak_tasks(base_url, streams=50, seconds=1.5)
    assert {"answered", "failed", "left", "cancelled"} == set(soak.ends)
    assert Left(connections=0, tasks=0, timers=0, threads=0) == soak.left


def test_threads_leave_nothing_open(base_url: str) -> None:
    """Twenty threads whose streams are answered, fail or are left: no connection, watched socket or thread stays."""
    soak = soak_threads(base_url, streams=20, seconds=1.5)
    assert {"answered", "failed", "left"} == set(soak.ends)
    assert Left(connections=0, tasks=0, timers=0, threads=0) == soak.left
