"""Fixtures of the tests of replicas."""

from collections.abc import Iterator

import pytest

from support.replicas import Cluster


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Return replicas in simulated time, which end with the test."""
    cluster = Cluster()
    yield cluster
    cluster.close()
    assert [] == [error for replica in cluster.replicas for error in replica.machine.errors]
