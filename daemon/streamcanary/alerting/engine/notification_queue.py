"""Decisions about notices: which are born, which is sent next, what an answer makes of it. Pure; sends nothing.

To one receiver the notices of one group go out in order, one at a time; those of other groups do not wait for them.
"""

from collections.abc import Iterable

import msgspec

from streamcanary.alerting.engine.keys import notice_id
from streamcanary.alerting.engine.state import Draft, State
from streamcanary.alerting.notify.receivers.delivery_result import Accepted, Answer, Refused, Retry
from streamcanary.model.alerts.incident import MOST_MEMBERS, Action, Group, Incident, Notice, Progress

KEPT = 7 * 86400.0
"""Seconds for which a notice of a group that is over is kept undelivered."""

FAILING_AFTER = 300.0
"""Seconds of tries in vain after which a receiver is held to fail."""

_FEW = 5  # tries, over which a clock that jumps does not make a receiver fail
_MOST_PARKED = 3  # times that a notice is refused, after which its receiver's being well is no reason to try again
_FIRST_BACKOFF = 1.0
_LONGEST_BACKOFF = 60.0


def tell(draft: Draft, group: Group, members: tuple[Incident, ...], receivers: Iterable[str], now: float) -> None:
    """Have edge ``receivers`` told that ``group`` fires, of ``members``: those that do, and those that no longer do.

    To whom nothing was said yet, this is the trigger; what is still to be said is brought up to date, rather than said
    in instalments. A trigger that was refused is tried again with its new content.
    """
    for receiver in receivers:
        trigger = draft.notices.get(notice_id(receiver, group.key, group.opened, Action.TRIGGER))
        if trigger is None:
            _add(draft, receiver, group, members, Action.TRIGGER, now)
        elif trigger.unheard:
            parked = trigger.state is Progress.PARKED
            _drop(draft, _updates(draft, receiver, group))
            _rewrite(draft, trigger, members, now if parked else trigger.next_try)
        elif waiting := [update for update in _updates(draft, receiver, group) if not update.tries]:
            _rewrite(draft, waiting[0], members, waiting[0].next_try)
        else:  # an update that was refused, or whose answer was lost, has nothing to say that this one does not
            _drop(draft, _updates(draft, receiver, group))
            _add(draft, receiver, group, members, Action.UPDATE, now)


def untold(draft: Draft, group: Group, receivers: Iterable[str]) -> list[str]:
    """Return those of ``receivers`` to whom nothing of ``group`` was ever to be said."""
    return [name for name in receivers if notice_id(name, group.key, group.opened, Action.TRIGGER) not in draft.notices]


def withdraw(draft: Draft, group: Group, receivers: Iterable[str]) -> list[str]:
    """Take back what is to be said of ``group`` to those of ``receivers`` who have not heard of it; return these."""
    unaware = []
    for receiver in receivers:
        trigger = draft.notices.get(notice_id(receiver, group.key, group.opened, Action.TRIGGER))
        if trigger is not None and trigger.unheard:
            _drop(draft, [trigger, *_updates(draft, receiver, group)])
            unaware.append(receiver)
    return unaware


def call_off(
    draft: Draft, group: Group, members: tuple[Incident, ...], receivers: Iterable[str], now: float
) -> set[str]:
    """Have those of the edge ``receivers`` that may know of ``group`` told that it is over; return the others.

    A trigger that certainly did not arrive goes away with its resolve; so does any update.
    """
    unaware = set()
    for receiver in receivers:
        trigger = draft.notices.get(notice_id(receiver, group.key, group.opened, Action.TRIGGER))
        if trigger is None:
            unaware.add(receiver)
            continue
        _drop(draft, _updates(draft, receiver, group))
        if trigger.unheard:
            unaware.add(receiver)
            draft.remove("notices", trigger.id)
        else:
            _add(draft, receiver, group, members, Action.RESOLVE, now)
    return unaware


def recall(draft: Draft, group: Group, members: tuple[Incident, ...], receivers: Iterable[str], now: float) -> None:
    """Have keyed ``receivers`` told that ``group`` is over, although nobody remembers that they were told of it."""
    for receiver in receivers:
        _add(draft, receiver, group, members, Action.RESOLVE, now)


def try_again(draft: Draft, group: Group, members: tuple[Incident, ...], receivers: Iterable[str], now: float) -> None:
    """Have the trigger of ``group`` sent again to those of ``receivers`` who refused it, and may have been mended.

    They wait for a page that would never come. This goes for definite refusals only: if one try got no answer, the
    receiver may have been told, and neither a restart nor another page tells it twice.
    """
    for receiver in receivers:
        trigger = draft.notices.get(notice_id(receiver, group.key, group.opened, Action.TRIGGER))
        if trigger is not None and trigger.state is Progress.PARKED and trigger.unheard:
            _rewrite(draft, trigger, members, now)


def end_again(draft: Draft, notices: Iterable[Notice], now: float) -> None:
    """Have those of ``notices`` sent again that are resolves and were refused: who was told that it fires still waits.

    As with a page, this goes for definite refusals only.
    """
    for notice in notices:
        if notice.action is Action.RESOLVE and notice.state is Progress.PARKED and notice.unheard:
            draft.put(msgspec.structs.replace(notice, state=Progress.PENDING, next_try=now))


def refused(draft: Draft, receiver: str) -> list[Notice]:
    """Return what ``receiver`` refused, and not so often that it is for good."""
    return [
        notice
        for notice in draft.notices.values()
        if notice.receiver == receiver and notice.state is Progress.PARKED and notice.parked < _MOST_PARKED
    ]


def owes(draft: Draft, receiver: str) -> bool:
    """Tell whether there is anything that ``receiver`` did not take yet."""
    return any(
        notice.receiver == receiver and notice.state is not Progress.ACCEPTED for notice in draft.notices.values()
    )


def is_failing(notice: Notice, now: float) -> bool:
    """Tell whether a notice that is still pending was tried for so long that its receiver is to be held to fail."""
    return notice.tries >= _FEW and not 0 <= now - notice.created < FAILING_AFTER


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
            elif notice.action is Action.UPDATE:
                draft.remove("notices", notice.id)
        case Refused(reason):
            notice = msgspec.structs.replace(
                notice,
                state=Progress.PARKED,
                refusals=notice.refusals + 1,
                parked=notice.parked + 1,
                last_error=reason,
            )
            draft.put(notice)
            if notice.action is Action.TRIGGER and notice.unheard:
                _drop_rest(draft, notice)
            elif notice.action is Action.RESOLVE and _is_superseded(draft, notice):
                _forget(draft, notice)
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


def next_notice(state: State, receiver: str, now: float) -> Notice | None:
    """Return the notice that ``receiver`` gets next, at ``now`` (seconds since the epoch) or later.

    Of each group only the oldest may go; of those that are due, what fires goes before all else.
    """
    heads: dict[str, Notice] = {}
    for notice in state.notices.values():
        if notice.receiver == receiver and notice.state is Progress.PENDING:
            head = heads.get(notice.group)
            if head is None or notice.number < head.number:
                heads[notice.group] = notice
    due = [notice for notice in heads.values() if not seconds_until(notice, now)]
    if due:
        return min(due, key=lambda notice: (notice.action is not Action.TRIGGER, notice.next_try, notice.number))
    return min(heads.values(), key=lambda notice: (notice.next_try, notice.number), default=None)


def seconds_until(notice: Notice, now: float) -> float:
    """Return how long ``notice`` waits yet: not at all if it is due, or the clock was set back behind its last try.

    Of one that was never tried its birth counts.
    """
    if now < (notice.created if notice.last_try is None else notice.last_try):
        return 0.0
    return max(0.0, notice.next_try - now)


def set_back(draft: Draft, seconds: float, now: float) -> None:
    """Have no notice wait longer because the clock was set back by ``seconds``, to ``now``."""
    for notice in list(draft.notices.values()):
        if notice.state is Progress.PENDING and max(notice.next_try, notice.held) > now:
            next_try, held = max(now, notice.next_try - seconds), notice.held - seconds
            draft.put(msgspec.structs.replace(notice, next_try=next_try, held=max(0.0, held)))


def expire(draft: Draft, now: float) -> None:
    """Forget notices of groups that are over, a week after that: a trigger not before its resolve."""
    for notice in list(draft.notices.values()):
        group = draft.groups.get(notice.group)
        over = group is None or not group.firing or group.opened != notice.opened
        last = draft.notices.get(_sibling(notice, Action.RESOLVE), notice)
        if over and now - last.created > KEPT:
            draft.remove("notices", notice.id)


def _add(draft: Draft, receiver: str, group: Group, members: tuple[Incident, ...], action: Action, now: float) -> None:
    key = notice_id(receiver, group.key, group.opened, action, now if action is Action.UPDATE else 0.0)
    if key in draft.notices:
        return
    if action is Action.TRIGGER:
        _drop_refused(draft, receiver, group)
    draft.put(
        Notice(
            id=key,
            receiver=receiver,
            group=group.key,
            labels=group.labels,
            action=action,
            opened=group.opened,
            number=draft.next_number(),
            members=members[:MOST_MEMBERS],
            total=len(members),
            over=sum(not member.firing for member in members),
            created=now,
            next_try=max(now, draft.held(receiver)),
        )
    )


def _rewrite(draft: Draft, notice: Notice, members: tuple[Incident, ...], next_try: float) -> None:
    """Have a notice that nobody has heard say something else."""
    draft.put(
        msgspec.structs.replace(
            notice,
            members=members[:MOST_MEMBERS],
            total=len(members),
            over=sum(not member.firing for member in members),
            state=Progress.PENDING,
            next_try=max(next_try, draft.held(notice.receiver)),
        )
    )


def _updates(draft: Draft, receiver: str, group: Group) -> list[Notice]:
    """Return what is to be said to ``receiver`` between the trigger and the resolve of ``group``, or was refused."""
    if not group.updated:
        return []
    return [
        notice
        for notice in draft.told(receiver, group.key)
        if (notice.opened, notice.action) == (group.opened, Action.UPDATE)
    ]


def _drop(draft: Draft, notices: Iterable[Notice]) -> None:
    for notice in notices:
        draft.remove("notices", notice.id)


def _sibling(notice: Notice, action: Action) -> str:
    return notice_id(notice.receiver, notice.group, notice.opened, action)


def _forget(draft: Draft, resolve: Notice) -> None:
    """Remove an accepted resolve and its trigger: the receiver knows that it is over, and nothing is left to say."""
    draft.remove("notices", _sibling(resolve, Action.TRIGGER))
    draft.remove("notices", resolve.id)


def _drop_rest(draft: Draft, trigger: Notice) -> None:
    """Remove what is behind a trigger that turned out not to have been taken; if that is its end, the trigger, too."""
    resolve = draft.notices.get(_sibling(trigger, Action.RESOLVE))
    if resolve is not None:
        _drop(draft, (trigger, resolve))
    elif (group := draft.groups.get(trigger.group)) is not None and group.opened == trigger.opened:
        _drop(draft, _updates(draft, trigger.receiver, group))


def _is_superseded(draft: Draft, resolve: Notice) -> bool:
    """Tell whether the receiver hears of a later opening of the group already, after the end of this one or not."""
    return any(
        notice.action is Action.TRIGGER and notice.opened > resolve.opened
        for notice in draft.told(resolve.receiver, resolve.group)
    )


def _drop_refused(draft: Draft, receiver: str, group: Group) -> None:
    """Remove earlier openings of ``group`` of which ``receiver`` refused the end: it hears of the new one instead."""
    for notice in draft.told(receiver, group.key):
        if notice.action is Action.RESOLVE and notice.state is Progress.PARKED:
            _forget(draft, notice)


def _hold_back(draft: Draft, receiver: str, until: float) -> None:
    """Let nothing go to ``receiver`` before ``until``: what it asked of one delivery it means for all."""
    for notice in list(draft.notices.values()):
        if notice.receiver == receiver and notice.state is Progress.PENDING:
            draft.put(msgspec.structs.replace(notice, next_try=max(notice.next_try, until), held=until))
