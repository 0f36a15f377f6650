"""What every test shares."""

import pytest

from support.telemetry import Recorded, install


@pytest.fixture(scope="session")
def _recorder() -> Recorded:
    return install()


@pytest.fixture
def recorded(_recorder: Recorded) -> Recorded:
    """Return the spans and metrics that are recorded from here on, kept in memory."""
    _recorder.clear()
    return _recorder
