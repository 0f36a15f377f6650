"""The fixtures of PostgreSQL, which ``tests/conftest.py`` offers to every test."""

from collections.abc import Iterator

import pytest

from support.postgresql.cluster import Cluster


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Cluster]:
    """Provide the PostgreSQL that all tests of this process share: they must leave it running as it is."""
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def postgres_url(postgresql: Cluster) -> Iterator[str]:
    """Provide the URL of an empty database, which is dropped after the test."""
    with postgresql.database() as url:
        yield url


@pytest.fixture
def own_postgresql() -> Iterator[Cluster]:
    """Provide a PostgreSQL for this test alone, which it may stop, kill and change; it takes a second to start."""
    with Cluster() as cluster:
        yield cluster
