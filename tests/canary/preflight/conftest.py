"""The endpoint that is diagnosed."""

from collections.abc import AsyncIterator

import pytest

from streamcanary.simulator import Simulator
from support.diagnosis import KEY
from support.servers.simulator import FAST_TIMINGS


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(timings=FAST_TIMINGS, api_key=KEY) as simulator:
        yield simulator
