"""Extends a timeout that passed while the process itself was late, so that what arrived in time is still read."""

from collections.abc import Callable

from streamcanary.model.lag import explains_excess, min_explaining_lag

LagSince = Callable[[float], float]
"""Returns the seconds by which this process was late after a time (monotonic seconds)."""


def no_lag(start: float) -> float:
    """Return 0: the process was never late."""
    return 0.0


def lag_at_deadline(limit: float, deadline: float, lag_since: LagSince, *, started: float, sent: float | None) -> float:
    """Return the lag that can have kept an answer from being complete at a ``deadline`` that cannot be extended.

    ``started`` and ``sent`` are when the attempt started and when its request was sent, ``None`` if it was not. Until
    then, lag delays the request itself. Afterwards it does not delay the provider, and between two delays everything
    that has arrived is read: only the lag shortly before the deadline can hide what the provider has sent. Small delays
    over the whole time would otherwise excuse a provider that sends nothing at all.
    """
    if sent is None:
        return lag_since(started)
    recently = max(sent, deadline - 2 * min_explaining_lag(limit))
    return lag_since(started) - lag_since(sent) + lag_since(recently)


class DeadlineExtension:
    """The extensions of the timeouts of an attempt. Times are monotonic seconds.

    A timeout counts the time in which the process was on time: when it has passed, it is extended by the lag, and again
    by the lag during the extension, up to twice its length. A provider that stalls is noticed later then, and blamed as
    on any other day. If even that is used up, the process was late for most of the time, and nothing is known about the
    provider.
    """

    __slots__ = ("_checked_at", "_deadline", "_explanation", "_lag", "_until", "_used", "is_used")

    def __init__(self) -> None:
        self.is_used = False  # a deadline was extended
        self._deadline: float | None = None  # the one that was extended
        self._checked_at = 0.0
        self._until = 0.0
        self._used = 0.0  # seconds of extension
        self._lag = 0.0  # seconds
        self._explanation: float | None = None

    def apply(self, deadline: float) -> float:
        """Return the later end of ``deadline``, if it was extended."""
        return self._until if deadline == self._deadline else deadline

    def extend(self, deadline: float, timeout: float, now: float, lag_since: LagSince) -> bool:
        """Extend the ``timeout`` (seconds) that ended at ``deadline``; return whether it continues."""
        if deadline == self._deadline:
            lag = lag_since(self._checked_at)
        else:
            lag = lag_since(deadline - timeout)
            if not explains_excess(lag, timeout):
                return False
            self._deadline, self._used, self._lag, self.is_used = deadline, 0.0, 0.0, True
        seconds = min(lag, timeout - self._used)
        self._used += seconds
        self._lag += lag
        self._explanation = self._lag if lag > 0 and seconds <= 0 else None
        self._checked_at, self._until = now, now + seconds
        return seconds > 0

    def explaining_lag(self, deadline: float, timeout: float, lag_since: LagSince) -> float | None:
        """Return the lag that explains why ``deadline`` has passed, in seconds; ``None`` if lag does not explain it."""
        if deadline == self._deadline:
            return self._explanation
        lag = lag_since(deadline - timeout)
        return lag if explains_excess(lag, timeout) else None
