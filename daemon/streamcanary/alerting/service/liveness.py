"""Liveness checks of alerting, which must pass before a heartbeat is sent.

Waiting times are measured by the monotonic clock from the moment at which an item was first seen to wait, so that
neither a step of the wall clock nor a long queue that makes progress fails a check.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from streamcanary.alerting.engine.state import State
from streamcanary.alerting.notify.receivers.base import BaseReceiver
from streamcanary.model.alerts.incident import Action, Group, Notification, NotificationState
from streamcanary.model.canary import Canary
from streamcanary.model.clock import Clock
from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.outcome import Outcome, OutcomeKind

MAX_MISSED_RUNS = 3
"""How many runs of the most frequent canary may be due while no run of any canary ends."""

DELIVERY_STALL_TIMEOUT = 15 * 60.0
"""Seconds for which a receiver may accept none of its notifications, or all receivers may refuse one."""

_EVALUATION_STALL_TIMEOUT = 60.0  # seconds that an outcome may wait to be evaluated
_MIN_ATTEMPTS_TO_TRACK = 5  # after as many attempts a notification is tracked on its own
_RUN_GRACE = 10.0  # seconds

PendingKey = tuple[str, str]
"""A receiver, and the id of a notification that is tracked on its own; an empty id for all that is pending."""


class DeliveryFailure(NamedTuple):
    """Since when deliveries to an address of a state receiver fail (monotonic seconds), and the last error."""

    since: float
    reason: str


class LivenessTracker:
    """Tracks the progress of runs, evaluation and deliveries."""

    def __init__(self, canaries: Iterable[Canary], receivers: Mapping[str, BaseReceiver], clock: Clock) -> None:
        self._clock = clock
        self._canaries: tuple[Canary, ...] = ()
        self.configure(canaries, receivers)
        self._last_evaluation = clock.monotonic()
        self._pending_since: dict[PendingKey, float] = {}  # monotonic seconds

    def configure(self, canaries: Iterable[Canary], receivers: Mapping[str, BaseReceiver]) -> None:
        """Replace canaries and receivers. With other canaries, runs are due only from now on."""
        before, self._canaries = self._canaries, tuple(canaries)
        self._state_receivers = frozenset(name for name, receiver in receivers.items() if receiver.is_state_receiver)
        if before != self._canaries:
            self._last_run = self._clock.time()

    def record_run(self, outcome: Outcome) -> None:
        """Record the end of a run, if its outcome is a sign of liveness."""
        if is_sign_of_liveness(outcome):
            self._last_run = self._clock.time()

    def record_evaluation(self) -> None:
        """Record that the queue was processed."""
        self._last_evaluation = self._clock.monotonic()

    def record_delivery(self, receiver: str) -> None:
        """Record that an event receiver accepted or refused a notification, so that its queue makes progress."""
        if (receiver, "") in self._pending_since:
            self._pending_since[receiver, ""] = self._clock.monotonic()

    def track_pending(self, notifications: Mapping[str, Notification]) -> None:
        """Track the pending notifications; call it every few seconds."""
        pending_notifications = [
            notification for notification in notifications.values() if notification.state is NotificationState.PENDING
        ]
        pending: dict[PendingKey, None] = dict.fromkeys((each.receiver, "") for each in pending_notifications)
        pending |= dict.fromkeys(
            (each.receiver, each.id) for each in pending_notifications if each.attempts >= _MIN_ATTEMPTS_TO_TRACK
        )
        now = self._clock.monotonic()
        self._pending_since = {key: self._pending_since.get(key, now) for key in pending}
        self._last_run = min(self._last_run, self._clock.time())  # the clock may have been set back

    def checks(
        self, state: Callable[[], State], failures: Callable[[], Mapping[str, list[DeliveryFailure | None]]]
    ) -> dict[str, Callable[[], str | None]]:
        """Return all checks by name; ``state`` and ``failures`` of state receivers are read when a check is called."""
        return {
            "runs": self.check_runs,
            "evaluation": self.check_evaluation,
            "outbox": lambda: self.check_outbox(state().notifications),
            "pages": lambda: self.check_refused_notifications(state().groups, state().notifications),
            "levels": lambda: self.check_state_receivers(failures()),
        }

    def check_runs(self) -> str | None:
        """Return a reason if no run has ended although some were due."""
        return stalled_runs_reason(self._canaries, self._last_run, self._clock.time())

    def check_evaluation(self) -> str | None:
        """Return a reason if outcomes are not evaluated."""
        return stalled_evaluation_reason(self._last_evaluation, self._clock.monotonic())

    def check_outbox(self, notifications: Mapping[str, Notification]) -> str | None:
        """Return a reason if an event receiver accepts none of its pending notifications, or not a certain one."""
        self.track_pending(notifications)
        now = self._clock.monotonic()
        for (receiver, id), since in self._pending_since.items():  # noqa: A001 - the field's name
            if now - since > DELIVERY_STALL_TIMEOUT:
                pending = [each for each in notifications.values() if each.receiver == receiver and id in ("", each.id)]
                errors = [
                    each.last_error for each in pending if each.state is NotificationState.PENDING and each.last_error
                ]
                duration = _format_seconds(now - since)
                return f"receiver {receiver} has accepted no notification for {duration}{_format_last_error(errors)}"
        return None

    def check_refused_notifications(
        self, groups: Mapping[str, Group], notifications: Mapping[str, Notification]
    ) -> str | None:
        """Return a reason if all receivers of a firing group have refused its trigger."""
        return refused_notification_reason(groups, notifications, self._state_receivers, self._clock.time())

    def check_state_receivers(self, failures: Mapping[str, list[DeliveryFailure | None]]) -> str | None:
        """Return a reason if deliveries to all addresses of a state receiver fail; ``failures`` are by receiver."""
        return failing_state_receiver_reason(failures, self._clock.monotonic())


def is_sign_of_liveness(outcome: Outcome) -> bool:
    """Return whether ``outcome`` shows that runs make progress.

    It does if the run has ended, or was skipped on purpose: by the budget, or on standby. A run that was skipped
    because the previous run has not ended, or because the daemon was late, shows no progress.
    """
    return (
        outcome.kind is not OutcomeKind.SKIPPED
        or outcome.budget is not None
        or (outcome.reason or "").startswith("standby")
    )


def stalled_runs_reason(canaries: Iterable[Canary], last: float, now: float) -> str | None:
    """Return a reason if no run has ended since ``last`` although some were due (epoch seconds)."""
    due = min((canary.nth_run_after(last, MAX_MISSED_RUNS) + canary.timeout for canary in canaries), default=now)
    return f"no run has ended for {_format_seconds(now - last)}" if now > due + _RUN_GRACE else None


def stalled_evaluation_reason(last: float, now: float) -> str | None:
    """Return a reason if outcomes are not evaluated; ``last`` is when the queue was last processed (monotonic)."""
    if now - last <= _EVALUATION_STALL_TIMEOUT:
        return None
    return f"no outcome has been evaluated for {_format_seconds(now - last)}"


def refused_notification_reason(
    groups: Mapping[str, Group], notifications: Mapping[str, Notification], state_receivers: Collection[str], now: float
) -> str | None:
    """Return a reason if all event receivers of a firing group have refused its trigger (epoch seconds).

    ``ReceiverFailing`` notifies other receivers, but there may be none, or they may refuse it as well. A group that one
    of ``state_receivers`` is also sent is not checked here, but by :func:`failing_state_receiver_reason`.
    """
    notifications_by_group: dict[str, list[Notification]] = {}
    for notification in notifications.values():
        group = groups.get(notification.group)
        if (
            group is None
            or not group.is_firing
            or (notification.action, notification.opened) != (Action.TRIGGER, group.opened)
        ):
            continue
        if not any(name in state_receivers for name in group.receivers):
            notifications_by_group.setdefault(group.key, []).append(notification)
    for group_notifications in notifications_by_group.values():
        age = abs(now - min(each.created for each in group_notifications))  # the clock may have been set back
        if age > DELIVERY_STALL_TIMEOUT and all(
            each.park_count and each.state is not NotificationState.ACCEPTED for each in group_notifications
        ):
            receivers = ", ".join(each.receiver for each in group_notifications)
            labels = ", ".join(f"{name}={value}" for name, value in sorted(group_notifications[0].labels.items()))
            error = _format_last_error([each.last_error for each in group_notifications if each.last_error])
            return (
                f"no receiver has accepted the notification of {labels} for {_format_seconds(age)}; "
                f"refused by {receivers}{error}"
            )
    return None


def failing_state_receiver_reason(failures: Mapping[str, list[DeliveryFailure | None]], now: float) -> str | None:
    """Return a reason if deliveries to all addresses of a state receiver fail; ``failures`` are by receiver."""
    for name, addresses in failures.items():
        failed_addresses = [address for address in addresses if address is not None]
        since = max((failure.since for failure in failed_addresses), default=now)
        if len(failed_addresses) == len(addresses) and now - since > DELIVERY_STALL_TIMEOUT:
            error = _format_last_error([failure.reason for failure in failed_addresses])
            return f"no address of receiver {name} has accepted alerts for {_format_seconds(now - since)}{error}"
    return None


def _format_seconds(seconds: float) -> str:
    return format_duration(round(seconds))


def _format_last_error(errors: list[str]) -> str:
    return f" ({errors[-1]})" if errors else ""
