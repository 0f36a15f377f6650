"""The state of each receiver: what it has accepted last, what is pending, and its last error."""

from collections.abc import Mapping, Sequence

from streamcanary.alerting.engine.state import State
from streamcanary.alerting.notify.receivers import Receiver
from streamcanary.alerting.service.liveness import DeliveryFailure
from streamcanary.model.alerts.incident import Notification, NotificationState
from streamcanary.model.redaction.redactor import scrub
from streamcanary.model.status.alert_history import ReceiverStatus

_MAX_ERROR = 300


class LastAccepted:
    """When each receiver last accepted something, in seconds since the epoch."""

    def __init__(self) -> None:
        self._times: dict[str, float] = {}

    def record(self, receiver: str, now: float) -> None:
        """Record that ``receiver`` has accepted a notification, or the active alerts, at ``now``."""
        self._times[receiver] = now

    def of(self, receiver: str, notifications: Sequence[Notification]) -> float | None:
        """Return the last time of ``receiver``: of this process, or that of a stored one of its ``notifications``."""
        stored = (
            one.last_attempt
            for one in notifications
            if one.state is NotificationState.ACCEPTED and one.last_attempt is not None
        )
        return max((*stored, *([self._times[receiver]] if receiver in self._times else [])), default=None)


def receiver_statuses(
    receivers: Mapping[str, Receiver],
    state: State,
    failures: Mapping[str, Sequence[DeliveryFailure | None]],
    accepted: LastAccepted,
) -> tuple[ReceiverStatus, ...]:
    """Return the status of each of ``receivers``, in the order of the configuration.

    ``failures`` are the delivery failures of the addresses of each state receiver, by its name.
    """
    by_receiver: dict[str, list[Notification]] = {name: [] for name in receivers}
    for notification in state.notifications.values():
        by_receiver.setdefault(notification.receiver, []).append(notification)
    return tuple(
        _status(name, receiver, by_receiver[name], [one for one in failures.get(name, ()) if one is not None], accepted)
        for name, receiver in receivers.items()
    )


def _status(
    name: str,
    receiver: Receiver,
    notifications: list[Notification],
    failures: list[DeliveryFailure],
    accepted: LastAccepted,
) -> ReceiverStatus:
    waiting = [one for one in notifications if one.state is not NotificationState.ACCEPTED]
    parked = [one for one in waiting if one.state is NotificationState.PARKED]
    failed = [one for one in waiting if one.last_error is not None]
    last = max(failed, key=lambda one: one.last_attempt or 0.0, default=None)
    error = failures[0].reason if failures else None if last is None else last.last_error
    last_accepted = accepted.of(name, notifications)
    return ReceiverStatus(
        name=name,
        type=receiver.type,
        state="refused" if parked else "retrying" if error else "unused" if last_accepted is None else "ok",
        last_accepted=last_accepted,
        pending=len(waiting) + len(failures),
        last_error=None if error is None else scrub(error, limit=_MAX_ERROR),
    )
