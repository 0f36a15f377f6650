"""What becomes of one signal's exports: counted, told once, given up at the end."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from streamcanary.model.clock import Clock

_logger = logging.getLogger(__name__)
_REMINDER_INTERVAL = 300.0  # seconds between two warnings about the same trouble


class ExportTracker:
    """Keeps count of the batches that one signal loses.

    A first failure is a warning in the log, with a reminder every five minutes while it lasts; the end of the trouble
    is told once. An endpoint that flaps is told of no more often than that.
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
        """Give up at the next failure: from here on nobody has the time to find out again that nobody listens."""
        self._is_shutting_down = True

    def run_export(self, export: Callable[[], bool], reason: Callable[[], str]) -> bool:
        """Run ``export`` and return whether it succeeded; ``reason`` says why not.

        Once given up, the batch is lost without an attempt.
        """
        if self._has_given_up:
            self.lost_batches += 1
            return False
        try:
            is_exported = export()
        except Exception as error:  # noqa: BLE001 - a fault of the exporter costs its batch; it is told below
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
        _logger.warning(
            "OTLP export of %s to %s fails since %s (batches lost: %d): %s",
            self.signal,
            self.endpoint,
            _format_time(self._failing_since),
            self.lost_batches - self._lost_before,
            cause,
        )

    def _record_success(self) -> None:
        since, self._failing_since = self._failing_since, None
        if since is None or not self._has_warned:
            return
        self._has_warned = False
        lost = self.lost_batches - self._lost_before
        _logger.info(
            "OTLP export of %s to %s works again (batches lost: %d, since %s)",
            self.signal,
            self.endpoint,
            lost,
            _format_time(since),
        )


def _format_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
