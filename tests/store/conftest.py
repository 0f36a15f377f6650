from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streamcanary.store.database import Store
from support.store.builders import FrozenClock, open_store


@pytest.fixture
def clock() -> FrozenClock:
    """Provide the clock of ``store``."""
    return FrozenClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name the file of ``store``."""
    return tmp_path / "canary.db"


@pytest.fixture
async def store(path: Path, clock: FrozenClock) -> AsyncIterator[Store]:
    """Provide an open store, and close it."""
    store = open_store(path, clock)
    yield store
    await store.close()
