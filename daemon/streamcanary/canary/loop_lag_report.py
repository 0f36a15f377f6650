"""Reports when the event loop of the daemon is late: as a metric, and in the log."""

import asyncio
import logging
from typing import Final, Self

from opentelemetry import metrics
from opentelemetry.context import Context

from streamcanary import __version__
from streamcanary.client.drivers.loop_lag import LoopLag
from streamcanary.model import names
from streamcanary.model.background_task import BackgroundTask
from streamcanary.model.lag import MIN_LAG

_log = logging.getLogger(__name__)

_INTERVAL: Final = 1.0  # seconds between two records of the metric
_LOG_INTERVAL: Final = 60.0  # seconds between two lines in the log; the second counts what was between


class LoopLagReport:
    """Measures and reports the lag of the running event loop. A context manager: leaving it ends the report."""

    def __init__(self) -> None:
        self._task = BackgroundTask("event loop lag")
        self._delays = 0  # not logged yet
        self._longest = 0.0  # seconds, of these
        self._logged_at = float("-inf")
        self._histogram = metrics.get_meter(names.INSTRUMENTATION_SCOPE, __version__).create_histogram(
            names.EVENT_LOOP_LAG.name,
            names.EVENT_LOOP_LAG.unit,
            names.EVENT_LOOP_LAG.description,
            explicit_bucket_boundaries_advisory=names.EVENT_LOOP_LAG.buckets,
        )

    async def __aenter__(self) -> Self:
        lag = LoopLag.of_running_loop()
        lag.observe(self)
        self._task.start(self._run(lag))
        return self

    async def __aexit__(self, *exc: object) -> None:
        LoopLag.of_running_loop().release(self)
        await self._task.stop()

    async def _run(self, lag: LoopLag) -> None:
        now = asyncio.get_running_loop().time
        start = now()
        while True:
            await asyncio.sleep(_INTERVAL)
            longest, start = lag.longest_since(start), now()
            self.record(longest, start)

    def record(self, longest: float, now: float) -> None:
        """Record the longest delay of an interval that ends at ``now`` (monotonic seconds)."""
        self._histogram.record(longest, context=Context())
        if longest >= MIN_LAG:
            self._delays += 1
            self._longest = max(self._longest, longest)
        if self._delays and now - self._logged_at >= _LOG_INTERVAL:
            # Runs that exceeded a time limit meanwhile are internal errors, and no rule takes a sample from them.
            _log.warning("event loop late", extra={"seconds": round(self._longest, 3), "delays": self._delays})
            self._delays, self._longest, self._logged_at = 0, 0.0, now
