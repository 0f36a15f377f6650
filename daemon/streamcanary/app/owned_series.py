"""Exports the series of the canaries that this replica runs, and those of alerts if it evaluates them."""

import asyncio
from collections.abc import Callable
from typing import Final

from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.spend.guard import SpendGuard
from streamcanary.telemetry.providers import Telemetry

_DELAY: Final = 0.2  # seconds in which changes are collected: each visits all series


class OwnedSeries:
    """Keeps the exported series and the request limit at what this replica owns, as ``canaries`` and ``alerts`` say."""

    def __init__(
        self,
        telemetry: Telemetry,
        runners: CanaryRunners,
        spend_guard: SpendGuard,
        *,
        canaries: Callable[[], frozenset[str]],
        alerts: Callable[[], bool],
    ) -> None:
        self._telemetry = telemetry
        self._runners = runners
        self._spend_guard = spend_guard
        self._canaries = canaries
        self._alerts = alerts
        self._pending: asyncio.TimerHandle | None = None

    def update(self) -> None:
        """Follow a change: of the request limit at once, of the series soon."""
        self._spend_guard.set_owned(self._canaries())
        if self._pending is None:
            self._pending = asyncio.get_running_loop().call_later(_DELAY, self._show)

    def _show(self) -> None:
        self._pending = None
        owned, canaries = self._canaries(), self._runners.canaries
        self._runners.metrics.retain(owned)
        self._telemetry.show_canaries(
            [canary for canary in canaries if canary.name in owned], alerting=canaries if self._alerts() else ()
        )
