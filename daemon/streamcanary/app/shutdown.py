"""Limits the time that the components take to stop."""

import asyncio
import logging
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Final, TypeVar

from streamcanary.telemetry.providers import SHUTDOWN_TIMEOUT, Telemetry

_log = logging.getLogger(__name__)
T = TypeVar("T")

# Shutdown time limits, in seconds. A component that exceeds its limit is left behind, so that the store is closed in
# time whatever hangs. Telemetry has the rest of the whole time, at most 4 s. The command line ends a hanging process.
RUNS_DRAIN_TIMEOUT: Final = 2.5
ALERTING_DRAIN_TIMEOUT: Final = 1.2
STORE_CLOSE_TIMEOUT: Final = 0.8
WEB_STOP_TIMEOUT: Final = 1.2
HAND_OVER_TIMEOUT: Final = 5.5  # of replicas: runs end, they are recorded, and the leases are free
_SHUTDOWN_TIMEOUT = 8.0
_STOP_TIMEOUT = 0.4  # of each other component
_MIN_EXPORT_TIMEOUT = 0.5


class Shutdown:
    """Limits the time that each component takes to stop, and the time of all."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._now = asyncio.get_running_loop().time
        self._began: float | None = None
        self.has_hanging_component = False

    def begin(self) -> None:
        """Start the time limit of the whole shutdown."""
        self._began = self._now()

    async def enter(self, component: AbstractAsyncContextManager[T], limit: float = _STOP_TIMEOUT) -> T:
        """Start ``component``; when the daemon stops, it has ``limit`` seconds."""
        started = await component.__aenter__()

        async def stop(
            kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
        ) -> None:
            try:
                async with asyncio.timeout(limit):
                    await component.__aexit__(kind, error, traceback)
            except TimeoutError:
                self.has_hanging_component = True
                _log.warning(
                    "component did not stop in time", extra={"component": type(component).__name__, "seconds": limit}
                )

        self._stack.push_async_exit(stop)
        return started

    async def close_telemetry(self, telemetry: Telemetry) -> None:
        """Export what is pending, in the time that is left."""
        elapsed = 0.0 if self._began is None else self._now() - self._began
        await telemetry.close(min(SHUTDOWN_TIMEOUT, max(_MIN_EXPORT_TIMEOUT, _SHUTDOWN_TIMEOUT - elapsed)))
