"""A real Kubernetes API server, started once for all tests of this folder."""

import asyncio
from collections.abc import Generator, Iterator

import pytest

from support.kubernetes.cluster import Cluster, running_cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Return the running API server."""
    with asyncio.Runner() as runner:
        context = running_cluster(tmp_path_factory.mktemp("cluster"))
        running = runner.run(context.__aenter__())
        try:
            yield running
        finally:
            runner.run(context.__aexit__(None, None, None))


@pytest.fixture
def namespace(cluster: Cluster) -> str:
    """Return the name of a new namespace, which enforces the level ``restricted``."""
    return cluster.create_namespace()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the logs of the servers with a failed test."""
    report = yield
    running = getattr(item, "funcargs", {}).get("cluster")
    if report.failed and running is not None:
        report.sections += running.logs().items()
    return report
