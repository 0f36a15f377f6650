"""Decisions about notices: which are born, which is sent next, what an answer makes of it. Pure; sends nothing.

To one receiver the notices of one group go out in order, one at a time; those of other groups do not wait for them.
"""

from collections.abc import Iterable

import msgspec

from streamcanary.alerting.engine.keys import notification_id
from streamcanary.alerting.engine.state import Draft, State
from streamcanary.alerting.notify.receivers.delivery_result import Accepted, DeliveryResult, Refused, Retry
from streamcanary.model.alerts.incident import MAX_MEMBERS, Action, Group, Incident, Notification, NotificationState

RETENTION = 7 * 86400.0
"""Seconds for which a notice of a group that is over is kept undelivered."""

FAILING_AFTER = 300.0
"""Seconds of tries in vain after which a receiver is held to fail."""

_MIN_ATTEMPTS_TO_FAIL = 5  # tries, over which a clock that jumps does not make a receiver fail
_MAX_PARKED = 3  # times that a notice is refused, after which its receiver's being well is no reason to try again
_BASE_BACKOFF = 1.0
_MAX_BACKOFF = 60.0


def enqueue(draft: Draft, group: Group, members: tuple[Incident, ...], receivers: Iterable[str], now: float) -> None:
    """Have edge ``receivers`` told that ``group`` fires, of ``members``: those that do, and those that no longer do.

    To whom nothing was said yet, this is the trigger; what is still to be said is brought up to date, rather than said
    in instalments. A trigger that was refused is tried again with its new content.
    """
    for receiver in receivers:
        trigger = draft.notifications.get(notification_id(receiver, group.key, group.opened, Action.TRIGGER))
        if trigger is None:
            _add(draft, receiver, group, members, Action.TRIGGER, now)
        elif trigger.was_never_received:
            parked = trigger.state is NotificationState.PARKED
            _drop(draft, _undelivered_updates(draft, receiver, group))
            _replace_content(draft, trigger, members, now if parked else trigger.next_attempt)
        elif unsent_updates := [
            update for update in _undelivered_updates(draft, receiver, group) if not update.attempts
        ]:
            _replace_content(draft, unsent_updates[0], members, unsent_updates[0].next_attempt)
        else:  # an update that was refused, or whose answer was lost, has nothing to say that this one does not
            _drop(draft, _undelivered_updates(draft, receiver, group))
            _add(draft, receiver, group, members, Action.UPDATE, now)


def never_notified(draft: Draft, group: Group, receivers: Iterable[str]) -> list[str]:
    """Return those of ``receivers`` to whom nothing of ``group`` was ever to be said."""
    return [
        name
        for name in receivers
        if notification_id(name, group.key, group.opened, Action.TRIGGER) not in draft.notifications
    ]


def cancel(draft: Draft, group: Group, receivers: Iterable[str]) -> list[str]:
    """Take back what is to be said of ``group`` to those of ``receivers`` who have not heard of it; return these."""
    not_notified = []
    for receiver in receivers:
        trigger = draft.notifications.get(notification_id(receiver, group.key, group.opened, Action.TRIGGER))
        if trigger is not None and trigger.was_never_received:
            _drop(draft, [trigger, *_undelivered_updates(draft, receiver, group)])
            not_notified.append(receiver)
    return not_notified


def enqueue_resolve(
    draft: Draft, group: Group, members: tuple[Incident, ...], receivers: Iterable[str], now: float
) -> set[str]:
    """Have those of the edge ``receivers`` that may know of ``group`` told that it is over; return the others.

    A trigger that certainly did not arrive goes away with its resolve; so does any update.
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
    """Have keyed ``receivers`` told that ``group`` is over, although nobody remembers that they were told of it."""
    for receiver in receivers:
        _add(draft, receiver, group, members, Action.RESOLVE, now)


def retry_refused_trigger(
    draft: Draft, group: Group, members: tuple[Incident, ...], receivers: Iterable[str], now: float
) -> None:
    """Have the trigger of ``group`` sent again to those of ``receivers`` who refused it, and may have been mended.

    They wait for a page that would never come. This goes for definite refusals only: if one try got no answer, the
    receiver may have been told, and neither a restart nor another page tells it twice.
    """
    for receiver in receivers:
        trigger = draft.notifications.get(notification_id(receiver, group.key, group.opened, Action.TRIGGER))
        if trigger is not None and trigger.state is NotificationState.PARKED and trigger.was_never_received:
            _replace_content(draft, trigger, members, now)


def retry_refused_resolves(draft: Draft, notifications: Iterable[Notification], now: float) -> None:
    """Have those of ``notices`` sent again that are resolves and were refused: who was told that it fires still waits.

    As with a page, this goes for definite refusals only.
    """
    for notification in notifications:
        if (
            notification.action is Action.RESOLVE
            and notification.state is NotificationState.PARKED
            and notification.was_never_received
        ):
            draft.put(msgspec.structs.replace(notification, state=NotificationState.PENDING, next_attempt=now))


def refused_notifications(draft: Draft, receiver: str) -> list[Notification]:
    """Return what ``receiver`` refused, and not so often that it is for good."""
    return [
        notification
        for notification in draft.notifications.values()
        if notification.receiver == receiver
        and notification.state is NotificationState.PARKED
        and notification.park_count < _MAX_PARKED
    ]


def has_undelivered(draft: Draft, receiver: str) -> bool:
    """Tell whether there is anything that ``receiver`` did not take yet."""
    return any(
        notification.receiver == receiver and notification.state is not NotificationState.ACCEPTED
        for notification in draft.notifications.values()
    )


def is_failing(notification: Notification, now: float) -> bool:
    """Tell whether a notice that is still pending was tried for so long that its receiver is to be held to fail."""
    return notification.attempts >= _MIN_ATTEMPTS_TO_FAIL and not 0 <= now - notification.created < FAILING_AFTER


def start_send(draft: Draft, id: str, now: float) -> None:  # noqa: A002 - the field's name
    """Count a try of notice ``id`` that is about to be made; nothing if there is no longer anything to try."""
    notification = draft.notifications.get(id)
    if notification is not None and notification.state is NotificationState.PENDING:
        draft.put(msgspec.structs.replace(notification, attempts=notification.attempts + 1, last_attempt=now))


def finish_send(draft: Draft, id: str, result: DeliveryResult, jitter: float, now: float) -> Notification | None:  # noqa: A002
    """Take the answer to notice ``id``; return it as it is then, or ``None`` if nobody waits for one."""
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
        case Retry(reason=reason, retry_after=after, is_definitely_undelivered=definite):
            notification = msgspec.structs.replace(
                notification,
                refusals=notification.refusals + definite,
                next_attempt=now + backoff(notification.attempts, jitter),
                last_error=reason,
            )
            draft.put(notification)
            if after:
                _defer(draft, notification.receiver, now + after)
    return notification


def backoff(attempts: int, jitter: float) -> float:
    """Return the seconds until the next try: 1, 2, 4 … 60 by ``tries``, of which ``luck`` (0 to 1) takes up to half."""
    whole = min(_MAX_BACKOFF, _BASE_BACKOFF * 2.0 ** min(attempts - 1, 16))
    return whole * (1 - jitter / 2)


def next_notification(state: State, receiver: str, now: float) -> Notification | None:
    """Return the notice that ``receiver`` gets next, at ``now`` (seconds since the epoch) or later.

    Of each group only the oldest may go; of those that are due, what fires goes before all else.
    """
    heads: dict[str, Notification] = {}
    for notification in state.notifications.values():
        if notification.receiver == receiver and notification.state is NotificationState.PENDING:
            head = heads.get(notification.group)
            if head is None or notification.sequence < head.sequence:
                heads[notification.group] = notification
    due = [notice for notice in heads.values() if not seconds_until_due(notice, now)]
    if due:
        return min(due, key=lambda notice: (notice.action is not Action.TRIGGER, notice.next_attempt, notice.sequence))
    return min(heads.values(), key=lambda notice: (notice.next_attempt, notice.sequence), default=None)


def seconds_until_due(notification: Notification, now: float) -> float:
    """Return how long ``notice`` waits yet: not at all if it is due, or the clock was set back behind its last try.

    Of one that was never tried its birth counts.
    """
    if now < (notification.created if notification.last_attempt is None else notification.last_attempt):
        return 0.0
    return max(0.0, notification.next_attempt - now)


def adjust_for_clock_step(draft: Draft, seconds: float, now: float) -> None:
    """Have no notice wait longer because the clock was set back by ``seconds``, to ``now``."""
    for notification in list(draft.notifications.values()):
        if (
            notification.state is NotificationState.PENDING
            and max(notification.next_attempt, notification.not_before) > now
        ):
            next_try, held = max(now, notification.next_attempt - seconds), notification.not_before - seconds
            draft.put(msgspec.structs.replace(notification, next_attempt=next_try, not_before=max(0.0, held)))


def expire(draft: Draft, now: float) -> None:
    """Forget notices of groups that are over, a week after that: a trigger not before its resolve."""
    for notification in list(draft.notifications.values()):
        group = draft.groups.get(notification.group)
        is_resolved = group is None or not group.is_firing or group.opened != notification.opened
        last = draft.notifications.get(_id_for_action(notification, Action.RESOLVE), notification)
        if is_resolved and now - last.created > RETENTION:
            draft.remove("notifications", notification.id)


def _add(draft: Draft, receiver: str, group: Group, members: tuple[Incident, ...], action: Action, now: float) -> None:
    key = notification_id(receiver, group.key, group.opened, action, now if action is Action.UPDATE else 0.0)
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
            sequence=draft.next_sequence(),
            members=members[:MAX_MEMBERS],
            member_count=len(members),
            resolved_count=sum(not member.is_firing for member in members),
            created=now,
            next_attempt=max(now, draft.not_before(receiver)),
        )
    )


def _replace_content(draft: Draft, notification: Notification, members: tuple[Incident, ...], next_try: float) -> None:
    """Have a notice that nobody has heard say something else."""
    draft.put(
        msgspec.structs.replace(
            notification,
            members=members[:MAX_MEMBERS],
            member_count=len(members),
            resolved_count=sum(not member.is_firing for member in members),
            state=NotificationState.PENDING,
            next_attempt=max(next_try, draft.not_before(notification.receiver)),
        )
    )


def _undelivered_updates(draft: Draft, receiver: str, group: Group) -> list[Notification]:
    """Return what is to be said to ``receiver`` between the trigger and the resolve of ``group``, or was refused."""
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
    """Remove an accepted resolve and its trigger: the receiver knows that it is over, and nothing is left to say."""
    draft.remove("notifications", _id_for_action(resolve, Action.TRIGGER))
    draft.remove("notifications", resolve.id)


def _drop_following(draft: Draft, trigger: Notification) -> None:
    """Remove what is behind a trigger that turned out not to have been taken; if that is its end, the trigger, too."""
    resolve = draft.notifications.get(_id_for_action(trigger, Action.RESOLVE))
    if resolve is not None:
        _drop(draft, (trigger, resolve))
    elif (group := draft.groups.get(trigger.group)) is not None and group.opened == trigger.opened:
        _drop(draft, _undelivered_updates(draft, trigger.receiver, group))


def _is_superseded(draft: Draft, resolve: Notification) -> bool:
    """Tell whether the receiver hears of a later opening of the group already, after the end of this one or not."""
    return any(
        notification.action is Action.TRIGGER and notification.opened > resolve.opened
        for notification in draft.notifications_for(resolve.receiver, resolve.group)
    )


def _drop_refused_resolves(draft: Draft, receiver: str, group: Group) -> None:
    """Remove earlier openings of ``group`` of which ``receiver`` refused the end: it hears of the new one instead."""
    for notification in draft.notifications_for(receiver, group.key):
        if notification.action is Action.RESOLVE and notification.state is NotificationState.PARKED:
            _remove_delivered(draft, notification)


def _defer(draft: Draft, receiver: str, until: float) -> None:
    """Let nothing go to ``receiver`` before ``until``: what it asked of one delivery it means for all."""
    for notification in list(draft.notifications.values()):
        if notification.receiver == receiver and notification.state is NotificationState.PENDING:
            draft.put(
                msgspec.structs.replace(
                    notification, next_attempt=max(notification.next_attempt, until), not_before=until
                )
            )
