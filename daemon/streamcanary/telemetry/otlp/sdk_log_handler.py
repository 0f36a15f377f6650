"""Handles the log records of the OpenTelemetry SDK, which would log a stack trace for each failed export."""

import logging
import threading

from streamcanary.model.clock import Clock
from streamcanary.model.redaction.redactor import scrub

_logger = logging.getLogger(__name__)
_SDK_LOGGER = "opentelemetry"
_EXPORTER_LOGGERS = "opentelemetry.exporter."
_REPEAT_INTERVAL = 300.0  # seconds before the same message is logged again
_MAX_LENGTH = 400  # characters of a reason or line
_MAX_MESSAGES = 100  # distinct messages that are remembered; the SDK has a few dozen


class SdkLogHandler(logging.Handler):
    """Replaces the handlers of the logger ``opentelemetry``.

    A record of an exporter is the reason of a failed export. It is stored for the exporting thread, which reads it with
    :meth:`pop_failure_reason`. (The gRPC exporter logs a message once for all threads: a thread without a reason
    uses the last one of any thread.) Other records are logged as one line, ``OpenTelemetry SDK message``, the same
    message at most every five minutes.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(logging.WARNING)
        self._clock = clock
        self._reasons = threading.local()
        self._last_reason = ""
        self._last_logged: dict[tuple[str, str], float] = {}

    def install(self) -> None:
        """Replace the handlers of the SDK's logger by this one."""
        logger = logging.getLogger(_SDK_LOGGER)
        logger.handlers[:] = [self]
        logger.propagate = False
        logger.setLevel(logging.WARNING)

    def record_failure_reason(self, reason: str) -> None:
        """Store why the current export of this thread fails; a later reason replaces an earlier one."""
        self._last_reason = self._reasons.text = scrub(reason, limit=_MAX_LENGTH)

    def pop_failure_reason(self) -> str:
        """Return and clear the reason why the last export in this thread failed."""
        reason: str = self._reasons.__dict__.pop("text", "") or self._last_reason or "unknown reason"
        return reason

    def record_rejection(self, items: int, message: str) -> None:
        """Store how many items of the current export of this thread the receiver rejected, and its message."""
        self._reasons.rejection = (items, scrub(message, limit=_MAX_LENGTH))

    def pop_rejection(self) -> tuple[int, str] | None:
        """Return and clear what the receiver rejected of the last export in this thread."""
        rejection: tuple[int, str] | None = self._reasons.__dict__.pop("rejection", None)
        return rejection

    def emit(self, record: logging.LogRecord) -> None:
        """Store the record as a failure reason, or log it."""
        text = scrub(record.getMessage(), limit=_MAX_LENGTH)
        if record.exc_info and record.exc_info[1] is not None:
            text = f"{text} {scrub(repr(record.exc_info[1]), limit=_MAX_LENGTH)}"
        if record.name.startswith(_EXPORTER_LOGGERS):
            if "text" not in self._reasons.__dict__:  # the reason from the transport is clearer
                self.record_failure_reason(text)
        elif self._should_log((record.name, str(record.msg)[:200])):
            _logger.log(record.levelno, "OpenTelemetry SDK message", extra={"detail": text})

    def _should_log(self, message: tuple[str, str]) -> bool:
        now = self._clock.monotonic()
        last = self._last_logged.get(message)
        if last is not None and now - last < _REPEAT_INTERVAL:
            return False
        if len(self._last_logged) >= _MAX_MESSAGES:
            self._last_logged.clear()
        self._last_logged[message] = now
        return True
