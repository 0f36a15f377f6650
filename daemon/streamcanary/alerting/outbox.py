"""Decisions about notices: which are born, which is sent next, what an answer makes of it. Pure; sends nothing.

To one receiver the notices of one group go out in order, one at a time; those of other groups do not wait for them.
"""

from collections.abc import Iterable

import msgspec

from streamcanary.alerting.keys import notice_id
from streamcanary.alerting.receivers.answer import Accepted, Answer, Refused, Retry
from streamcanary.alerting.state import Draft, State
from streamcanary.model.incident import Action, Group, Incident, Notice, Progress

KEPT = 7 * 86400.0
"""Seconds for which a notice of a group that is over is kept undelivered."""

_FIRST_BACKOFF = 1.0
_LONGEST_BACKOFF = 60.0


def announce(draft: Draft, group: Group, members: tuple[Incident, ...], receivers: Iterable[str], now: float) -> None:
    """Have edge ``receivers`` told that ``group`` fires."""
    for receiver in receivers:
        _add(draft, receiver, group, members, Action.TRIGGER, now)


def call_off(draft: Draft, group: Group, members: tuple[Incident, ...], receivers: Iterable[str], now: float) -> None:
    """Have those of the edge ``receivers`` that may know of ``group`` told that it is over.

    A trigger that was never tried, or was refused each time, goes away with its resolve.
    """
    for receiver in receivers:
        trigger = draft.notices.get(notice_id(receiver, group.key, group.opened, Action.TRIGGER))
        if trigger is None:
            continue
        if trigger.tries == 0 or (trigger.state is Progress.PARKED and trigger.unheard):
            draft.remove("notices", trigger.id)
        else:
            _add(draft, receiver, group, members, Action.RESOLVE, now)


def try_again(draft: Draft, group: Group, receivers: Iterable[str], now: float) -> None:
    """Have the trigger of ``group`` sent again to those of ``receivers`` who refused it, at a start of the daemon.

    Whoever refused it may have been mended since, and waits for a page that would never come. This goes for definite
    refusals only: if one try got no answer, the receiver may have been told, and a restart tells nobody twice.
    """
    for receiver in receivers:
        trigger = draft.notices.get(notice_id(receiver, group.key, group.opened, Action.TRIGGER))
        if trigger is not None and trigger.state is Progress.PARKED and trigger.unheard:
            draft.put(msgspec.structs.replace(trigger, state=Progress.PENDING, next_try=now))


def begin(draft: Draft, id: str, now: float) -> None:  # noqa: A002 - the field's name
    """Count a try of notice ``id`` that is about to be made; nothing if there is no longer anything to try."""
    notice = draft.notices.get(id)
    if notice is not None and notice.state is Progress.PENDING:
        draft.put(msgspec.structs.replace(notice, tries=notice.tries + 1, last_try=now))


def settle(draft: Draft, id: str, answer: Answer, luck: float, now: float) -> Notice | None:  # noqa: A002
    """Take the answer to notice ``id``; return it as it is then, or ``None`` if nobody waits for one."""
    notice = draft.notices.get(id)
    if notice is None or notice.state is not Progress.PENDING:
        return None
    match answer:
        case Accepted():
            notice = msgspec.structs.replace(notice, state=Progress.ACCEPTED, last_error=None)
            draft.put(notice)
            if notice.action is Action.RESOLVE:
                _forget(draft, notice)
        case Refused(reason):
            notice = msgspec.structs.replace(
                notice, state=Progress.PARKED, refusals=notice.refusals + 1, last_error=reason
            )
            draft.put(notice)
            if notice.action is Action.TRIGGER and notice.unheard:
                _drop_resolve(draft, notice)
        case Retry(reason=reason, after=after, definite=definite):
            notice = msgspec.structs.replace(
                notice,
                refusals=notice.refusals + definite,
                next_try=now + backoff(notice.tries, luck),
                last_error=reason,
            )
            draft.put(notice)
            if after:
                _hold_back(draft, notice.receiver, now + after)
    return notice


def backoff(tries: int, luck: float) -> float:
    """Return the seconds until the next try: 1, 2, 4 … 60 by ``tries``, of which ``luck`` (0 to 1) takes up to half."""
    whole = min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 2.0 ** min(tries - 1, 16))
    return whole * (1 - luck / 2)


def next_notice(state: State, receiver: str) -> Notice | None:
    """Return the notice that ``receiver`` gets next, now or later; of each group only the oldest may go."""
    heads: dict[str, Notice] = {}
    for notice in state.notices.values():
        if notice.receiver == receiver and notice.state is Progress.PENDING:
            head = heads.get(notice.group)
            if head is None or notice.number < head.number:
                heads[notice.group] = notice
    return min(heads.values(), key=lambda notice: (notice.next_try, notice.number), default=None)


def seconds_until(notice: Notice, now: float) -> float:
    """Return how long ``notice`` waits yet: not at all if it is due, or the clock was set back behind its last try."""
    if notice.last_try is not None and now < notice.last_try:
        return 0.0
    return max(0.0, notice.next_try - now)


def expire(draft: Draft, now: float) -> None:
    """Forget notices of groups that are over, a week after they were born."""
    for notice in list(draft.notices.values()):
        group = draft.groups.get(notice.group)
        over = group is None or not group.firing or group.opened != notice.opened
        if over and now - notice.created > KEPT:
            draft.remove("notices", notice.id)


def _add(draft: Draft, receiver: str, group: Group, members: tuple[Incident, ...], action: Action, now: float) -> None:
    key = notice_id(receiver, group.key, group.opened, action)
    if key in draft.notices:
        return
    number = 1 + max((notice.number for notice in draft.notices.values()), default=0)
    draft.put(
        Notice(
            id=key,
            receiver=receiver,
            group=group.key,
            action=action,
            opened=group.opened,
            number=number,
            members=members,
            created=now,
            next_try=now,
        )
    )


def _sibling(notice: Notice, action: Action) -> str:
    return notice_id(notice.receiver, notice.group, notice.opened, action)


def _forget(draft: Draft, resolve: Notice) -> None:
    """Remove an accepted resolve and its trigger: the receiver knows that it is over, and nothing is left to say."""
    draft.remove("notices", _sibling(resolve, Action.TRIGGER))
    draft.remove("notices", resolve.id)


def _drop_resolve(draft: Draft, trigger: Notice) -> None:
    """Remove a trigger that turned out never to have been taken, and the resolve behind it, if there is one yet."""
    resolve = draft.notices.get(_sibling(trigger, Action.RESOLVE))
    if resolve is not None:
        draft.remove("notices", resolve.id)
        draft.remove("notices", trigger.id)


def _hold_back(draft: Draft, receiver: str, until: float) -> None:
    """Let nothing go to ``receiver`` before ``until``: what it asked of one delivery it means for all."""
    for notice in list(draft.notices.values()):
        if notice.receiver == receiver and notice.state is Progress.PENDING and notice.next_try < until:
            draft.put(msgspec.structs.replace(notice, next_try=until))
