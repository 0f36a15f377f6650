"""Fixtures for tests of alerting."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streamcanary.store.database import Store
from support.store.builders import open_store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """Provide an open store that is closed after the test."""
    store = open_store(tmp_path / "canary.db")
    yield store
    await store.close()
