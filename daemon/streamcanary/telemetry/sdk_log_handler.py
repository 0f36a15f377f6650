"""What the OpenTelemetry SDK logs, kept from flooding ours with one stack trace a failed export."""

import logging
import threading

from streamcanary.model.clock import Clock
from streamcanary.model.config_types.secret import scrub

_logger = logging.getLogger(__name__)
_SDK_LOGGER = "opentelemetry"
_EXPORTER_LOGGERS = "opentelemetry.exporter."
_REPEAT_INTERVAL = 300.0  # seconds before the same message is passed on once more
_MAX_LENGTH = 400  # characters of a reason or line
_MAX_MESSAGES = 100  # distinct messages that are told apart; the SDK has a few dozen


class SdkLogHandler(logging.Handler):
    """Stands in for the root logger under ``opentelemetry``.

    What an exporter says is the reason of a failed export, remembered for the thread that exports: :meth:`take`
    it there. (The gRPC exporter says the same thing once for all threads: a thread that has no reason of its own
    takes the last one of all.) Anything else is passed on to our log as one line, and the same thing not more often
    than every five minutes.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(logging.WARNING)
        self._clock = clock
        self._reasons = threading.local()
        self._last_reason = ""
        self._last_logged: dict[tuple[str, str], float] = {}

    def install(self) -> None:
        """Take the place of whatever listened to the SDK's loggers before."""
        logger = logging.getLogger(_SDK_LOGGER)
        logger.handlers[:] = [self]
        logger.propagate = False
        logger.setLevel(logging.WARNING)

    def record_failure_reason(self, reason: str) -> None:
        """Remember why the export that is running in this thread fails; the last note counts."""
        self._last_reason = self._reasons.text = scrub(reason, limit=_MAX_LENGTH)

    def pop_failure_reason(self) -> str:
        """Return why the last export in this thread failed, and forget it."""
        reason: str = self._reasons.__dict__.pop("text", "") or self._last_reason or "no reason given"
        return reason

    def emit(self, record: logging.LogRecord) -> None:
        """Remember or pass on what the SDK has to say."""
        text = scrub(record.getMessage(), limit=_MAX_LENGTH)
        if record.exc_info and record.exc_info[1] is not None:
            text = f"{text} {scrub(repr(record.exc_info[1]), limit=_MAX_LENGTH)}"
        if record.name.startswith(_EXPORTER_LOGGERS):
            if "text" not in self._reasons.__dict__:  # the transport's own note is plainer
                self.record_failure_reason(text)
        elif self._should_log((record.name, str(record.msg)[:200])):
            _logger.log(record.levelno, "OpenTelemetry: %s", text)

    def _should_log(self, message: tuple[str, str]) -> bool:
        now = self._clock.monotonic()
        last = self._last_logged.get(message)
        if last is not None and now - last < _REPEAT_INTERVAL:
            return False
        if len(self._last_logged) >= _MAX_MESSAGES:
            self._last_logged.clear()
        self._last_logged[message] = now
        return True
