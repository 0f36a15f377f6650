"""The scenario of ``make observe``, run once for all tests: ten minutes of outages compressed into one."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from msgspec import Struct
from tools.observe.stack import Stack, running_stack

from support.postgresql.cluster import Cluster
from support.programs.required_tools import require_tool

LENGTH = 70.0
"""Seconds: the timeline of the scenario once, and the start of its repetition."""


class Scenario(Struct, frozen=True):
    """The running programs, and the time from ``start`` to ``end`` in seconds since the epoch."""

    stack: Stack
    start: float
    end: float

    @property
    def addresses(self) -> dict[str, str]:
        """The Prometheus that scraped the daemon, and the one that received its metrics over OTLP."""
        return {"scrape": self.stack.prometheus, "otlp": self.stack.otlp_prometheus}


@pytest.fixture(scope="session")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenario]:
    """Return the finished scenario. Its programs keep running; the simulated provider stands still."""
    programs = {name: require_tool(name) for name in ("prometheus", "jaeger", "otelcol")}
    folder = tmp_path_factory.mktemp("observe")
    with Cluster() as cluster, cluster.database() as database, asyncio.Runner() as runner:
        context = running_stack(folder, programs, database=database, compare_ways=True, with_grafana=False)
        stack = runner.run(context.__aenter__())
        try:
            start = time.time()
            runner.run(asyncio.sleep(LENGTH))
            yield Scenario(stack, start, time.time())
        finally:
            runner.run(context.__aexit__(None, None, None))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests that wait for the scenario the time that it takes."""
    for item in items:
        if "scenario" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(300))
