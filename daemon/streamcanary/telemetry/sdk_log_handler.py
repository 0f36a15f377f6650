"""What the OpenTelemetry SDK logs, kept from flooding ours with one stack trace a failed export."""

import logging
import threading

from streamcanary.model.clock import Clock
from streamcanary.model.config_types.secret import scrub

_logger = logging.getLogger(__name__)
_ROOT = "opentelemetry"
_EXPORTERS = "opentelemetry.exporter."
_AGAIN_AFTER = 300.0  # seconds before the same message is passed on once more
_LONGEST = 400  # characters of a reason or line
_MOST_MESSAGES = 100  # distinct messages that are told apart; the SDK has a few dozen


class SdkLog(logging.Handler):
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
        self._last = ""
        self._told: dict[tuple[str, str], float] = {}

    def install(self) -> None:
        """Take the place of whatever listened to the SDK's loggers before."""
        logger = logging.getLogger(_ROOT)
        logger.handlers[:] = [self]
        logger.propagate = False
        logger.setLevel(logging.WARNING)

    def note(self, reason: str) -> None:
        """Remember why the export that is running in this thread fails; the last note counts."""
        self._last = self._reasons.text = scrub(reason, limit=_LONGEST)

    def take(self) -> str:
        """Return why the last export in this thread failed, and forget it."""
        reason: str = self._reasons.__dict__.pop("text", "") or self._last or "no reason given"
        return reason

    def emit(self, record: logging.LogRecord) -> None:
        """Remember or pass on what the SDK has to say."""
        text = scrub(record.getMessage(), limit=_LONGEST)
        if record.exc_info and record.exc_info[1] is not None:
            text = f"{text} {scrub(repr(record.exc_info[1]), limit=_LONGEST)}"
        if record.name.startswith(_EXPORTERS):
            if "text" not in self._reasons.__dict__:  # the transport's own note is plainer
                self.note(text)
        elif self._may_tell((record.name, str(record.msg)[:200])):
            _logger.log(record.levelno, "OpenTelemetry: %s", text)

    def _may_tell(self, message: tuple[str, str]) -> bool:
        now = self._clock.monotonic()
        last = self._told.get(message)
        if last is not None and now - last < _AGAIN_AFTER:
            return False
        if len(self._told) >= _MOST_MESSAGES:
            self._told.clear()
        self._told[message] = now
        return True
