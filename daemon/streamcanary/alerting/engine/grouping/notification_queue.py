"""Creates notifications, orders them, and applies delivery results. Pure: it sends nothing.

Notifications of one group go to a receiver in order, one at a time. Notifications of other groups do not wait for them.
"""

from collections.abc import Iterable

import msgspec

from streamcanary.alerting.engine.keys import notification_id
from streamcanary.alerting.engine.state import Draft, State
from streamcanary.alerting.notify.delivery.result import Accepted, DeliveryResult, Refused, Retry
from streamcanary.model.alerts.incident import MAX_MEMBERS, Action, Group, Incident, Notification, NotificationState

RETENTION = 7 * 86400.0
"""Seconds for which an undelivered notification of a resolved group is kept."""

FAILING_AFTER = 300.0
"""Seconds of failed attempts after which a receiver counts as failing."""

_MIN_ATTEMPTS_TO_FAIL = 5  # so that a clock jump does not make a receiver count as failing
_MAX_PARKED = 3  # refusals of a notification after which a recovered receiver does not get it again
_BASE_BACKOFF = 1.0
_MAX_BACKOFF = 60.0


def enqueue(draft: Draft, group: Group, members: tuple[Incident, ...], receivers: Iterable[str], now: float) -> None:
    """Enqueue a notification to event ``receivers`` that ``group`` fires, with firing and resolved ``members``.

    The first notification to a receiver is the trigger, later ones are updates. A pending notification that was not
    sent yet gets the new content instead of a second notification. A refused trigger is sent again with the new
    content.
    """
    for receiver in receivers:
        trigger = draft.notifications.get(notification_id(receiver, group.key, group.opened, Action.TRIGGER))
        if trigger is None:
            _add(draft, receiver, group, members, Action.TRIGGER, now)
        elif trigger.was_never_received:
            parked = trigger.state is NotificationState.PARKED
            _drop(draft, _undelivered_updates(draft, receiver, group))
            _replace_content(draft, trigger, members, now if parked else trigger.next_attempt)
        else:
            ordered, new_count = _new_first(group, members, undelivered := _undelivered_updates(draft, receiver, group))
            if unattempted := next((update for update in undelivered if not update.attempts), None):
                _replace_content(draft, unattempted, ordered, unattempted.next_attempt, new_count)
            else:  # the new update contains all that a refused or unanswered update had
                _drop(draft, undelivered)
                _add(draft, receiver, group, ordered, Action.UPDATE, now, new_count)


def never_notified(draft: Draft, group: Group, receivers: Iterable[str]) -> list[str]:
    """Return those of ``receivers`` that have no trigger of ``group``."""
    return [
        name
        for name in receivers
        if notification_id(name, group.key, group.opened, Action.TRIGGER) not in draft.notifications
    ]


def cancel(draft: Draft, group: Group, receivers: Iterable[str]) -> list[str]:
    """Remove the notifications of ``group`` to those of ``receivers`` that received none; return these receivers."""
    not_notified = []
    for receiver in receivers:
        trigger = draft.notifications.get(notification_id(receiver, group.key, group.opened, Action.TRIGGER))
        if trigger is not None and trigger.was_never_received:
            _drop(draft, [trigger, *_undelivered_updates(draft, receiver, group)])
            not_notified.append(receiver)
    return not_notified


def remove_all(draft: Draft, group: Group, receivers: Iterable[str]) -> set[str]:
    """Remove the trigger and the updates of ``group`` to ``receivers``; return those that certainly received none."""
    never_received = set()
    for receiver in receivers:
        trigger = draft.notifications.get(notification_id(receiver, group.key, group.opened, Action.TRIGGER))
        if trigger is None or trigger.was_never_received:
            never_received.add(receiver)
        _drop(draft, [*([trigger] if trigger is not None else []), *_undelivered_updates(draft, receiver, group)])
    return never_received


def enqueue_resolve(
    draft: Draft, group: Group, members: tuple[Incident, ...], receivers: Iterable[str], now: float
) -> set[str]:
    """Enqueue the resolve of ``group`` to those of the event ``receivers`` that may be notified; return the others.

    A trigger that was certainly not received is removed, and gets no resolve. Undelivered updates are removed.
    """
    not_notified = set()
    for receiver in receivers:
        trigger = draft.notifications.get(notification_id(receiver, group.key, group.opened, Action.TRIGGER))
        if trigger is None:
            not_notified.add(receiver)
            continue
        _drop(draft, _undelivered_updates(draft, receiver, group))
        if trigger.was_never_received:
            not_notified.add(receiver)
            draft.remove("notifications", trigger.id)
        else:
            _add(draft, receiver, group, members, Action.RESOLVE, now)
    return not_notified


def enqueue_reconciling_resolve(
    draft: Draft, group: Group, members: tuple[Incident, ...], receivers: Iterable[str], now: float
) -> None:
    """Enqueue a resolve of ``group`` to ``receivers`` although the store has no trigger, as part of reconciliation."""
    for receiver in receivers:
        _add(draft, receiver, group, members, Action.RESOLVE, now)


def retry_refused_trigger(
    draft: Draft, group: Group, members: tuple[Incident, ...], receivers: Iterable[str], now: float
) -> None:
    """Enqueue the trigger of ``group`` again to those of ``receivers`` that refused it and may have been repaired.

    Without this they would never get the alert. It applies to definite refusals only: after an attempt without an
    answer the receiver may have got the trigger, and must not get it twice.
    """
    for receiver in receivers:
        trigger = draft.notifications.get(notification_id(receiver, group.key, group.opened, Action.TRIGGER))
        if trigger is not None and trigger.state is NotificationState.PARKED and trigger.was_never_received:
            _replace_content(draft, trigger, members, now)


def retry_refused_resolves(draft: Draft, notifications: Iterable[Notification], now: float) -> None:
    """Enqueue refused resolves among ``notifications`` again, because their receivers still have an open alert.

    As with triggers, this applies to definite refusals only.
    """
    for notification in notifications:
        if (
            notification.action is Action.RESOLVE
            and notification.state is NotificationState.PARKED
            and notification.was_never_received
        ):
            draft.put(msgspec.structs.replace(notification, state=NotificationState.PENDING, next_attempt=now))


def refused_notifications(draft: Draft, receiver: str) -> list[Notification]:
    """Return the notifications that ``receiver`` refused, and that were parked fewer than three times."""
    return [
        notification
        for notification in draft.notifications.values()
        if notification.receiver == receiver
        and notification.state is NotificationState.PARKED
        and notification.park_count < _MAX_PARKED
    ]


def has_undelivered(draft: Draft, receiver: str) -> bool:
    """Return whether ``receiver`` has undelivered notifications."""
    return any(
        notification.receiver == receiver and notification.state is not NotificationState.ACCEPTED
        for notification in draft.notifications.values()
    )


def is_failing(notification: Notification, now: float) -> bool:
    """Return whether a pending notification has failed for so long that its receiver counts as failing."""
    return notification.attempts >= _MIN_ATTEMPTS_TO_FAIL and not 0 <= now - notification.created < FAILING_AFTER


def start_send(draft: Draft, id: str, now: float) -> None:  # noqa: A002 - the field's name
    """Count an attempt of notification ``id`` that is about to start. Do nothing if it is no longer pending."""
    notification = draft.notifications.get(id)
    if notification is not None and notification.state is NotificationState.PENDING:
        draft.put(msgspec.structs.replace(notification, attempts=notification.attempts + 1, last_attempt=now))


def finish_send(draft: Draft, id: str, result: DeliveryResult, jitter: float, now: float) -> Notification | None:  # noqa: A002
    """Apply the delivery result of notification ``id``; return the new notification, ``None`` if it is not pending."""
    notification = draft.notifications.get(id)
    if notification is None or notification.state is not NotificationState.PENDING:
        return None
    match result:
        case Accepted():
            notification = msgspec.structs.replace(notification, state=NotificationState.ACCEPTED, last_error=None)
            draft.put(notification)
            if notification.action is Action.RESOLVE:
                _remove_delivered(draft, notification)
            elif notification.action is Action.UPDATE:
                _record_accepted_update(draft, notification)
                draft.remove("notifications", notification.id)
        case Refused(reason):
            notification = msgspec.structs.replace(
                notification,
                state=NotificationState.PARKED,
                refusals=notification.refusals + 1,
                park_count=notification.park_count + 1,
                last_error=reason,
            )
            draft.put(notification)
            if notification.action is Action.TRIGGER and notification.was_never_received:
                _drop_following(draft, notification)
            elif notification.action is Action.RESOLVE and _is_superseded(draft, notification):
                _remove_delivered(draft, notification)
        case Retry(reason=reason, retry_after=retry_after, is_definitely_undelivered=is_definitely_undelivered):
            notification = msgspec.structs.replace(
                notification,
                refusals=notification.refusals + is_definitely_undelivered,
                next_attempt=now + backoff(notification.attempts, jitter),
                last_error=reason,
            )
            draft.put(notification)
            if retry_after:
                _defer(draft, notification.receiver, now + retry_after)
    return notification


def backoff(attempts: int, jitter: float) -> float:
    """Return the seconds until the attempt after ``attempts``: 1, 2, 4 … 60, less up to half by ``jitter`` (0 to 1)."""
    delay = min(_MAX_BACKOFF, _BASE_BACKOFF * 2.0 ** min(attempts - 1, 16))
    return delay * (1 - jitter / 2)


def next_notification(state: State, receiver: str, now: float) -> Notification | None:
    """Return the notification that ``receiver`` gets next, at ``now`` (seconds since the epoch) or later.

    Only the oldest notification of each group is a candidate. Among those that are due, triggers go first.
    """
    heads: dict[str, Notification] = {}
    for notification in state.notifications.values():
        if notification.receiver == receiver and notification.state is NotificationState.PENDING:
            head = heads.get(notification.group)
            if head is None or notification.sequence < head.sequence:
                heads[notification.group] = notification
    due = [head for head in heads.values() if not seconds_until_due(head, now)]
    if due:
        return min(due, key=lambda head: (head.action is not Action.TRIGGER, head.next_attempt, head.sequence))
    return min(heads.values(), key=lambda head: (head.next_attempt, head.sequence), default=None)


def seconds_until_due(notification: Notification, now: float) -> float:
    """Return the seconds until ``notification`` is due; 0 if it is due now.

    It is due if the clock was set back before its last attempt, or before its creation if there was no attempt.
    """
    if now < (notification.created if notification.last_attempt is None else notification.last_attempt):
        return 0.0
    return max(0.0, notification.next_attempt - now)


def adjust_for_clock_step(draft: Draft, seconds: float, now: float) -> None:
    """Shift the times of notifications after the clock was set back by ``seconds`` to ``now``.

    No notification waits longer because of the clock step. The ``Retry-After`` of one that was sent holds for its
    receiver.
    """
    for notification in list(draft.notifications.values()):
        is_pending = notification.state is NotificationState.PENDING
        if notification.not_before > now or (is_pending and notification.next_attempt > now):
            next_attempt = max(now, notification.next_attempt - seconds)
            not_before = max(0.0, notification.not_before - seconds)
            draft.put(msgspec.structs.replace(notification, next_attempt=next_attempt, not_before=not_before))


def expire(draft: Draft, now: float) -> None:
    """Remove notifications of resolved groups after :data:`RETENTION`, a trigger not before its resolve."""
    for notification in list(draft.notifications.values()):
        group = draft.groups.get(notification.group)
        is_resolved = group is None or not group.is_firing or group.opened != notification.opened
        newest = draft.notifications.get(_id_for_action(notification, Action.RESOLVE), notification)
        if is_resolved and now - newest.created > RETENTION:
            draft.remove("notifications", notification.id)


def _new_first(
    group: Group, members: tuple[Incident, ...], undelivered: Iterable[Notification]
) -> tuple[tuple[Incident, ...], int]:
    """Return ``members`` with the new ones first, and their number: they fire, and only ``undelivered`` have them."""
    unknown = {one.key for update in undelivered for one in update.members[: update.new_count]}
    known = {*group.notified_members} - unknown
    new = [member for member in members if member.is_firing and member.key not in known]
    return (*new, *(one for one in members if not one.is_firing or one.key in known)), len(new)


def _add(
    draft: Draft,
    receiver: str,
    group: Group,
    members: tuple[Incident, ...],
    action: Action,
    now: float,
    new_count: int = 0,
) -> None:
    sequence = draft.next_sequence()
    serial = (now, sequence) if action is Action.UPDATE else ()
    key = notification_id(receiver, group.key, group.opened, action, *serial)
    if key in draft.notifications:
        return
    if action is Action.TRIGGER:
        _drop_refused_resolves(draft, receiver, group)
    draft.put(
        Notification(
            id=key,
            receiver=receiver,
            group=group.key,
            labels=group.labels,
            action=action,
            opened=group.opened,
            sequence=sequence,
            members=members[:MAX_MEMBERS],
            member_count=len(members),
            resolved_count=sum(not member.is_firing for member in members),
            new_count=new_count,
            created=now,
            next_attempt=max(now, draft.not_before(receiver)),
        )
    )


def _replace_content(
    draft: Draft, notification: Notification, members: tuple[Incident, ...], next_attempt: float, new_count: int = 0
) -> None:
    """Replace the members of a notification that was never received."""
    draft.put(
        msgspec.structs.replace(
            notification,
            members=members[:MAX_MEMBERS],
            member_count=len(members),
            resolved_count=sum(not member.is_firing for member in members),
            new_count=new_count,
            state=NotificationState.PENDING,
            next_attempt=max(next_attempt, draft.not_before(notification.receiver)),
        )
    )


def _undelivered_updates(draft: Draft, receiver: str, group: Group) -> list[Notification]:
    """Return the pending and refused updates of ``group`` to ``receiver``."""
    if not group.has_sent_update:
        return []
    return [
        notification
        for notification in draft.notifications_for(receiver, group.key)
        if (notification.opened, notification.action) == (group.opened, Action.UPDATE)
    ]


def _drop(draft: Draft, notifications: Iterable[Notification]) -> None:
    for notification in notifications:
        draft.remove("notifications", notification.id)


def _id_for_action(notification: Notification, action: Action) -> str:
    return notification_id(notification.receiver, notification.group, notification.opened, action)


def _remove_delivered(draft: Draft, resolve: Notification) -> None:
    """Remove a finished resolve and its trigger: nothing more is sent for that opening of the group."""
    draft.remove("notifications", _id_for_action(resolve, Action.TRIGGER))
    draft.remove("notifications", resolve.id)


def _record_accepted_update(draft: Draft, update: Notification) -> None:
    """Record in the trigger which members its receiver has accepted in ``update``, which is then removed."""
    trigger = draft.notifications.get(_id_for_action(update, Action.TRIGGER))
    group = draft.groups.get(update.group)
    if trigger is None or group is None:
        return
    accepted = trigger.accepted_updates | {member.key: member.opened for member in update.members}
    accepted = {key: opened for key, opened in accepted.items() if key in group.members}
    if accepted != trigger.accepted_updates:
        draft.put(msgspec.structs.replace(trigger, accepted_updates=accepted))


def _drop_following(draft: Draft, trigger: Notification) -> None:
    """Remove the updates behind a refused trigger; if a resolve follows, remove the resolve and the trigger."""
    resolve = draft.notifications.get(_id_for_action(trigger, Action.RESOLVE))
    if resolve is not None:
        _drop(draft, (trigger, resolve))
    elif (group := draft.groups.get(trigger.group)) is not None and group.opened == trigger.opened:
        _drop(draft, _undelivered_updates(draft, trigger.receiver, group))


def _is_superseded(draft: Draft, resolve: Notification) -> bool:
    """Return whether a trigger of a later opening of the group exists for the receiver."""
    return any(
        notification.action is Action.TRIGGER and notification.opened > resolve.opened
        for notification in draft.notifications_for(resolve.receiver, resolve.group)
    )


def _drop_refused_resolves(draft: Draft, receiver: str, group: Group) -> None:
    """Remove earlier resolves of ``group`` that ``receiver`` refused, with their triggers: a new trigger follows."""
    for notification in draft.notifications_for(receiver, group.key):
        if notification.action is Action.RESOLVE and notification.state is NotificationState.PARKED:
            _remove_delivered(draft, notification)


def _defer(draft: Draft, receiver: str, until: float) -> None:
    """Send nothing to ``receiver`` before ``until``: a Retry-After for one delivery applies to all."""
    for notification in list(draft.notifications.values()):
        if notification.receiver == receiver and notification.state is NotificationState.PENDING:
            draft.put(
                msgspec.structs.replace(
                    notification, next_attempt=max(notification.next_attempt, until), not_before=until
                )
            )
