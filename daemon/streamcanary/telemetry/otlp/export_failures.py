"""Tracks the exports of one signal: counts what is lost, and logs failure and recovery."""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Literal

from streamcanary.model.clock import Clock

_logger = logging.getLogger(__name__)
_REMINDER_INTERVAL = 300.0  # seconds between two warnings about the same failure


LossReason = Literal["failed", "rejected", "queue_full"]
LOSS_REASONS: Final[tuple[LossReason, ...]] = ("failed", "rejected", "queue_full")
"""Why data is lost: the export failed, the receiver rejected a part, or the queue was full before the export."""


class ExportTracker:
    """Counts what one signal loses, and logs failures and recovery.

    :attr:`lost_items` has the spans, data points or log records by reason, :attr:`lost_batches` the failed exports.
    The items of metrics are cumulative: the next export that succeeds makes up for a lost one.

    The first failure is logged as ``telemetry export failed`` (warning), repeated every five minutes while the failure
    lasts. The recovery is logged once as ``telemetry export recovered`` (info). A flapping endpoint is logged no more
    often than every five minutes. A part that the receiver rejects (OTLP, partial success) is logged as ``telemetry
    partially rejected``, as often.
    """

    def __init__(self, signal: str, clock: Clock) -> None:
        self.signal = signal
        self.endpoint = ""
        self.lost_batches = 0
        self.lost_items: dict[LossReason, int] = dict.fromkeys(LOSS_REASONS, 0)
        self._clock = clock
        self._failing_since: float | None = None
        self._lost_before = 0
        self._last_warning: float | None = None
        self._last_rejection: float | None = None
        self._has_warned = False
        self._queued = 0
        self._queue_lock = threading.Lock()  # items are added and taken by different threads
        self._is_shutting_down = False
        self._has_given_up = False

    def begin_shutdown(self) -> None:
        """Stop exporting after the next failure: during shutdown there is no time for further attempts."""
        self._is_shutting_down = True

    def run_export(self, export: Callable[[], bool], reason: Callable[[], str], items: int = 0) -> bool:
        """Run ``export`` of ``items`` and return whether it succeeded; ``reason`` returns the cause of a failure.

        After a failure during shutdown, further batches are dropped without an attempt.
        """
        if self._has_given_up:
            self.lost_batches += 1
            self.lost_items["failed"] += items
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
            self.lost_items["failed"] += items
            self._record_failure(cause)
        return is_exported

    def record_rejection(self, items: int, message: str) -> None:
        """Count ``items`` of a successful export that the receiver rejected, with its ``message``."""
        self.lost_items["rejected"] += items
        now = self._clock.monotonic()
        if self._last_rejection is not None and now - self._last_rejection < _REMINDER_INTERVAL:
            return
        self._last_rejection = now
        _logger.warning(
            "telemetry partially rejected",
            extra={"signal": self.signal, "endpoint": self.endpoint, "rejected_items": items, "error": message},
        )

    def record_queued(self, capacity: int) -> None:
        """Count an item that is added to the queue, which drops its oldest one if it has ``capacity`` items."""
        with self._queue_lock:
            if self._queued < capacity:
                self._queued += 1
            else:
                self.lost_items["queue_full"] += 1

    def record_taken(self, items: int) -> None:
        """Count ``items`` that left the queue for an export."""
        with self._queue_lock:
            self._queued = max(0, self._queued - items)

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
