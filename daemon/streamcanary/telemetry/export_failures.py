"""Tracks the export failures of one signal: counts lost batches, and logs failure and recovery."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from streamcanary.model.clock import Clock

_logger = logging.getLogger(__name__)
_REMINDER_INTERVAL = 300.0  # seconds between two warnings about the same failure


class ExportTracker:
    """Counts the batches that one signal loses, and logs failures and recovery.

    The first failure is logged as ``telemetry export failed`` (warning), repeated every five minutes while the failure
    lasts. The recovery is logged once as ``telemetry export recovered`` (info). A flapping endpoint is logged no more
    often than every five minutes.
    """

    def __init__(self, signal: str, clock: Clock) -> None:
        self.signal = signal
        self.endpoint = ""
        self.lost_batches = 0
        self._clock = clock
        self._failing_since: float | None = None
        self._lost_before = 0
        self._last_warning: float | None = None
        self._has_warned = False
        self._is_shutting_down = False
        self._has_given_up = False

    def begin_shutdown(self) -> None:
        """Stop exporting after the next failure: during shutdown there is no time for further attempts."""
        self._is_shutting_down = True

    def run_export(self, export: Callable[[], bool], reason: Callable[[], str]) -> bool:
        """Run ``export`` and return whether it succeeded; ``reason`` returns the cause of a failure.

        After a failure during shutdown, further batches are dropped without an attempt.
        """
        if self._has_given_up:
            self.lost_batches += 1
            return False
        try:
            is_exported = export()
        except Exception as error:  # noqa: BLE001 - an error of the exporter loses its batch, and is logged below
            is_exported, cause = False, f"{type(error).__name__}: {error}"
        else:
            cause = "" if is_exported else reason()
        if is_exported:
            self._record_success()
        else:
            self._record_failure(cause)
        return is_exported

    def _record_failure(self, cause: str) -> None:
        if self._failing_since is None:
            self._failing_since, self._lost_before = self._clock.time(), self.lost_batches
        self.lost_batches += 1
        self._has_given_up = self._is_shutting_down
        now = self._clock.monotonic()
        if self._last_warning is not None and now - self._last_warning < _REMINDER_INTERVAL:
            return
        self._last_warning, self._has_warned = now, True
        _logger.warning("telemetry export failed", extra={**self._log_fields(self._failing_since), "error": cause})

    def _record_success(self) -> None:
        since, self._failing_since = self._failing_since, None
        if since is None or not self._has_warned:
            return
        self._has_warned = False
        _logger.info("telemetry export recovered", extra=self._log_fields(since))

    def _log_fields(self, failing_since: float) -> dict[str, object]:
        return {
            "signal": self.signal,
            "endpoint": self.endpoint,
            "failing_since": _format_time(failing_since),
            "lost_batches": self.lost_batches - self._lost_before,
        }


def _format_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
