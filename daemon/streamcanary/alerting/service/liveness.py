"""Whether alerting gets on: what the heartbeat asks before it goes out.

What waits is measured by the monotonic clock, and from when it was first seen to wait: a wall clock that jumps, or a
long queue that moves, is no standstill.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from streamcanary.alerting.notify.receivers.base import BaseReceiver
from streamcanary.model.alerts.incident import Action, Group, Notification, NotificationState
from streamcanary.model.canary import Canary
from streamcanary.model.clock import Clock
from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.outcome import Outcome, OutcomeKind

MAX_MISSED_RUNS = 3
"""How many runs of the most frequent canary may be due without any run of any canary having ended."""

DELIVERY_STALL_TIMEOUT = 15 * 60.0
"""Seconds for which a receiver may take nothing of what it is owed, or a page may be refused by all."""

_EVALUATION_STALL_TIMEOUT = 60.0  # seconds that an outcome may wait to be evaluated
_MIN_ATTEMPTS_TO_TRACK = 5  # tries, after which a notice counts on its own, whatever else its receiver takes
_RUN_GRACE = 10.0

PendingKey = tuple[str, str]
"""A receiver, and the id of a notice that it was tried with often, or nothing for all that waits for it."""


class DeliveryFailure(NamedTuple):
    """Since when an address of a level receiver takes nothing (monotonic seconds), and what it says."""

    since: float
    reason: str


class LivenessTracker:
    """How far runs, evaluation and deliveries have come."""

    def __init__(self, canaries: Iterable[Canary], receivers: Mapping[str, BaseReceiver], clock: Clock) -> None:
        self._canaries = tuple(canaries)
        self._state_receivers = frozenset(name for name, receiver in receivers.items() if receiver.is_state_receiver)
        self._clock = clock
        self._last_run = clock.time()
        self._last_evaluation = clock.monotonic()
        self._pending_since: dict[PendingKey, float] = {}  # and since when, in monotonic seconds

    def record_run(self, outcome: Outcome) -> None:
        """Take note of what became of a run, if that shows that runs go on."""
        if is_sign_of_liveness(outcome):
            self._last_run = self._clock.time()

    def record_evaluation(self) -> None:
        """Take note that the queue was worked on."""
        self._last_evaluation = self._clock.monotonic()

    def record_delivery(self, receiver: str) -> None:
        """Take note that an edge receiver took a notice, or refused it: the next one has its turn."""
        if (receiver, "") in self._pending_since:
            self._pending_since[receiver, ""] = self._clock.monotonic()

    def track_pending(self, notifications: Mapping[str, Notification]) -> None:
        """Take note of what waits; it is to be called every few seconds."""
        pending_notifications = [
            notification for notification in notifications.values() if notification.state is NotificationState.PENDING
        ]
        pending: dict[PendingKey, None] = dict.fromkeys((notice.receiver, "") for notice in pending_notifications)
        pending |= dict.fromkeys(
            (notice.receiver, notice.id)
            for notice in pending_notifications
            if notice.attempts >= _MIN_ATTEMPTS_TO_TRACK
        )
        now = self._clock.monotonic()
        self._pending_since = {one: self._pending_since.get(one, now) for one in pending}
        self._last_run = min(self._last_run, self._clock.time())  # the clock may have been set back

    def check_runs(self) -> str | None:
        """Say that no run has ended although some were due; ``None`` if they go on."""
        return stalled_runs_reason(self._canaries, self._last_run, self._clock.time())

    def check_evaluation(self) -> str | None:
        """Say that outcomes are not evaluated."""
        return stalled_evaluation_reason(self._last_evaluation, self._clock.monotonic())

    def check_outbox(self, notifications: Mapping[str, Notification]) -> str | None:
        """Say which receiver is owed something and takes nothing, or not this; for how long, and why."""
        self.track_pending(notifications)
        now = self._clock.monotonic()
        for (receiver, id), since in self._pending_since.items():  # noqa: A001 - the field's name
            if now - since > DELIVERY_STALL_TIMEOUT:
                pending = [one for one in notifications.values() if one.receiver == receiver and id in ("", one.id)]
                errors = [
                    one.last_error for one in pending if one.state is NotificationState.PENDING and one.last_error
                ]
                return (
                    f"{receiver} has not taken a notice for {_format_seconds(now - since)}{_format_last_reason(errors)}"
                )
        return None

    def check_refused_notifications(
        self, groups: Mapping[str, Group], notifications: Mapping[str, Notification]
    ) -> str | None:
        """Say which page was refused by all who were to get it, for how long, and why."""
        return refused_notification_reason(groups, notifications, self._state_receivers, self._clock.time())

    def check_state_receivers(self, failures: Mapping[str, list[DeliveryFailure | None]]) -> str | None:
        """Say which level receiver takes nothing at any of its addresses, of which ``failing`` tells by name."""
        return failing_state_receiver_reason(failures, self._clock.monotonic())


def is_sign_of_liveness(outcome: Outcome) -> bool:
    """Tell whether runs go on by what became of this one.

    It ended, or was left out on purpose: by the budget, or on standby. One that was left out because the run before it
    has not ended, or because the daemon was late, shows the contrary.
    """
    return (
        outcome.kind is not OutcomeKind.SKIPPED
        or outcome.budget is not None
        or (outcome.reason or "").startswith("standby")
    )


def stalled_runs_reason(canaries: Iterable[Canary], last: float, now: float) -> str | None:
    """Say that no run has ended since ``last`` although some were due; ``None`` if they go on (epoch seconds)."""
    due = min((canary.nth_run_after(last, MAX_MISSED_RUNS) + canary.timeout for canary in canaries), default=now)
    return f"no run has ended for {_format_seconds(now - last)}" if now > due + _RUN_GRACE else None


def stalled_evaluation_reason(last: float, now: float) -> str | None:
    """Say that outcomes are not evaluated; ``last`` is when the queue was last worked on (monotonic seconds)."""
    return (
        f"nothing was evaluated for {_format_seconds(now - last)}" if now - last > _EVALUATION_STALL_TIMEOUT else None
    )


def refused_notification_reason(
    groups: Mapping[str, Group], notifications: Mapping[str, Notification], state_receivers: Collection[str], now: float
) -> str | None:
    """Say which page of a group that fires was refused by all edge receivers that were to get it (epoch seconds).

    Whoever else could be told that they fail was told; but if that is nobody, or no better, it is said here. Where one
    of ``levels`` is told of the group too, that one counts: see :func:`levels_stand_still`.
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
        age = abs(now - min(notice.created for notice in group_notifications))  # the clock may have been set back
        if age > DELIVERY_STALL_TIMEOUT and all(
            notice.park_count and notice.state is not NotificationState.ACCEPTED for notice in group_notifications
        ):
            names = ", ".join(notice.receiver for notice in group_notifications)
            about = ", ".join(f"{name}={value}" for name, value in sorted(group_notifications[0].labels.items()))
            why = _format_last_reason([notice.last_error for notice in group_notifications if notice.last_error])
            return f"nobody has taken the page of {about} for {_format_seconds(age)}, it was refused by {names}{why}"
    return None


def failing_state_receiver_reason(failures: Mapping[str, list[DeliveryFailure | None]], now: float) -> str | None:
    """Say which level receiver takes nothing at any of its addresses, of which ``failing`` tells by name."""
    for name, addresses in failures.items():
        failed_addresses = [address for address in addresses if address is not None]
        since = max((failure.since for failure in failed_addresses), default=now)
        if len(failed_addresses) == len(addresses) and now - since > DELIVERY_STALL_TIMEOUT:
            return f"{name} has taken nothing for {_format_seconds(now - since)}{_format_last_reason([one.reason for one in failed_addresses])}"
    return None


def _format_seconds(seconds: float) -> str:
    return format_duration(round(seconds))


def _format_last_reason(reasons: list[str]) -> str:
    return f" ({reasons[-1]})" if reasons else ""
