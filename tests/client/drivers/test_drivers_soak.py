"""Many concurrent streams that end in every possible way leak nothing. ``make bench`` runs this for a minute."""

from collections.abc import Iterator

import pytest
from bench.streams import OpenResources, provider, soak_tasks, soak_threads


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with provider() as url:
        yield url


async def test_async_streams_leak_no_resources(base_url: str) -> None:
    """Fifty tasks whose streams complete, fail, are closed early or cancelled leak no connection, task or timer."""
    soak = await soak_tasks(base_url, streams=50, seconds=1.5)
    assert {"answered", "failed", "left", "cancelled"} == set(soak.ends)
    assert OpenResources(connections=0, tasks=0, timers=0, threads=0) == soak.leaked


def test_sync_streams_leak_no_resources(base_url: str) -> None:
    """Twenty threads whose streams complete, fail or are closed early leak no connection, watched socket or thread."""
    soak = soak_threads(base_url, streams=20, seconds=1.5)
    assert {"answered", "failed", "left"} == set(soak.ends)
    assert OpenResources(connections=0, tasks=0, timers=0, threads=0) == soak.leaked
