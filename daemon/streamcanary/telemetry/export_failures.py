"""What becomes of one signal's exports: counted, told once, given up at the end."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from streamcanary.model.clock import Clock

_logger = logging.getLogger(__name__)
_REMIND_AFTER = 300.0  # seconds between two warnings about the same trouble


class Delivery:
    """Keeps count of the batches that one signal loses.

    A first failure is a warning in the log, with a reminder every five minutes while it lasts; the end of the trouble
    is told once. An endpoint that flaps is told of no more often than that.
    """

    def __init__(self, signal: str, clock: Clock) -> None:
        self.signal = signal
        self.endpoint = ""
        self.lost = 0
        self._clock = clock
        self._failing_since: float | None = None
        self._lost_before = 0
        self._warned: float | None = None
        self._told = False
        self._closing = False
        self._given_up = False

    def close(self) -> None:
        """Give up at the next failure: from here on nobody has the time to find out again that nobody listens."""
        self._closing = True

    def attempt(self, export: Callable[[], bool], reason: Callable[[], str]) -> bool:
        """Run ``export`` and return whether it succeeded; ``reason`` says why not.

        Once given up, the batch is lost without an attempt.
        """
        if self._given_up:
            self.lost += 1
            return False
        try:
            done = export()
        except Exception as error:  # noqa: BLE001 - a fault of the exporter costs its batch; it is told below
            done, cause = False, f"{type(error).__name__}: {error}"
        else:
            cause = "" if done else reason()
        if done:
            self._succeeded()
        else:
            self._failed(cause)
        return done

    def _failed(self, cause: str) -> None:
        if self._failing_since is None:
            self._failing_since, self._lost_before = self._clock.time(), self.lost
        self.lost += 1
        self._given_up = self._closing
        now = self._clock.monotonic()
        if self._warned is not None and now - self._warned < _REMIND_AFTER:
            return
        self._warned, self._told = now, True
        _logger.warning(
            "OTLP export of %s to %s fails since %s (batches lost: %d): %s",
            self.signal,
            self.endpoint,
            _stamp(self._failing_since),
            self.lost - self._lost_before,
            cause,
        )

    def _succeeded(self) -> None:
        since, self._failing_since = self._failing_since, None
        if since is None or not self._told:
            return
        self._told = False
        lost = self.lost - self._lost_before
        _logger.info(
            "OTLP export of %s to %s works again (batches lost: %d, since %s)",
            self.signal,
            self.endpoint,
            lost,
            _stamp(since),
        )


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
