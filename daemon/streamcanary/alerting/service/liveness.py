"""Whether alerting gets on: what the heartbeat asks before it goes out.

What waits is measured by the monotonic clock, and from when it was first seen to wait: a wall clock that jumps, or a
long queue that moves, is no standstill.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from streamcanary.alerting.notify.receivers.base import Terms
from streamcanary.model.alerts.incident import Action, Group, Notice, Progress
from streamcanary.model.canary import Canary
from streamcanary.model.clock import Clock
from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.outcome import Outcome, OutcomeKind

MISSED_RUNS = 3
"""How many runs of the most frequent canary may be due without any run of any canary having ended."""

UNDELIVERED = 15 * 60.0
"""Seconds for which a receiver may take nothing of what it is owed, or a page may be refused by all."""

_BEHIND = 60.0  # seconds that an outcome may wait to be evaluated
_OFTEN = 5  # tries, after which a notice counts on its own, whatever else its receiver takes
_SLACK = 10.0

Owed = tuple[str, str]
"""A receiver, and the id of a notice that it was tried with often, or nothing for all that waits for it."""


class Failing(NamedTuple):
    """Since when an address of a level receiver takes nothing (monotonic seconds), and what it says."""

    since: float
    reason: str


class Advance:
    """How far runs, evaluation and deliveries have come."""

    def __init__(self, canaries: Iterable[Canary], receivers: Mapping[str, Terms], clock: Clock) -> None:
        self._canaries = tuple(canaries)
        self._levels = frozenset(name for name, receiver in receivers.items() if receiver.level)
        self._clock = clock
        self._ran = clock.time()
        self._worked = clock.monotonic()
        self._owed: dict[Owed, float] = {}  # and since when, in monotonic seconds

    def ran(self, outcome: Outcome) -> None:
        """Take note of what became of a run, if that shows that runs go on."""
        if shows_progress(outcome):
            self._ran = self._clock.time()

    def worked(self) -> None:
        """Take note that the queue was worked on."""
        self._worked = self._clock.monotonic()

    def answered(self, receiver: str) -> None:
        """Take note that an edge receiver took a notice, or refused it: the next one has its turn."""
        if (receiver, "") in self._owed:
            self._owed[receiver, ""] = self._clock.monotonic()

    def look(self, notices: Mapping[str, Notice]) -> None:
        """Take note of what waits; it is to be called every few seconds."""
        waiting = [notice for notice in notices.values() if notice.state is Progress.PENDING]
        owed: dict[Owed, None] = dict.fromkeys((notice.receiver, "") for notice in waiting)
        owed |= dict.fromkeys((notice.receiver, notice.id) for notice in waiting if notice.tries >= _OFTEN)
        now = self._clock.monotonic()
        self._owed = {one: self._owed.get(one, now) for one in owed}
        self._ran = min(self._ran, self._clock.time())  # the clock may have been set back

    def runs(self) -> str | None:
        """Say that no run has ended although some were due; ``None`` if they go on."""
        return runs_stand_still(self._canaries, self._ran, self._clock.time())

    def evaluation(self) -> str | None:
        """Say that outcomes are not evaluated."""
        return evaluation_stands_still(self._worked, self._clock.monotonic())

    def outbox(self, notices: Mapping[str, Notice]) -> str | None:
        """Say which receiver is owed something and takes nothing, or not this; for how long, and why."""
        self.look(notices)
        now = self._clock.monotonic()
        for (receiver, id), since in self._owed.items():  # noqa: A001 - the field's name
            if now - since > UNDELIVERED:
                mine = [one for one in notices.values() if one.receiver == receiver and id in ("", one.id)]
                errors = [one.last_error for one in mine if one.state is Progress.PENDING and one.last_error]
                return f"{receiver} has not taken a notice for {_long(now - since)}{_why(errors)}"
        return None

    def pages(self, groups: Mapping[str, Group], notices: Mapping[str, Notice]) -> str | None:
        """Say which page was refused by all who were to get it, for how long, and why."""
        return pages_stand_still(groups, notices, self._levels, self._clock.time())

    def levels(self, failing: Mapping[str, list[Failing | None]]) -> str | None:
        """Say which level receiver takes nothing at any of its addresses, of which ``failing`` tells by name."""
        return levels_stand_still(failing, self._clock.monotonic())


def shows_progress(outcome: Outcome) -> bool:
    """Tell whether runs go on by what became of this one.

    It ended, or was left out on purpose: by the budget, or on standby. One that was left out because the run before it
    has not ended, or because the daemon was late, shows the contrary.
    """
    return (
        outcome.kind is not OutcomeKind.SKIPPED
        or outcome.budget is not None
        or (outcome.reason or "").startswith("standby")
    )


def runs_stand_still(canaries: Iterable[Canary], last: float, now: float) -> str | None:
    """Say that no run has ended since ``last`` although some were due; ``None`` if they go on (epoch seconds)."""
    due = min((canary.nth_after(last, MISSED_RUNS) + canary.timeout for canary in canaries), default=now)
    return f"no run has ended for {_long(now - last)}" if now > due + _SLACK else None


def evaluation_stands_still(last: float, now: float) -> str | None:
    """Say that outcomes are not evaluated; ``last`` is when the queue was last worked on (monotonic seconds)."""
    return f"nothing was evaluated for {_long(now - last)}" if now - last > _BEHIND else None


def pages_stand_still(
    groups: Mapping[str, Group], notices: Mapping[str, Notice], levels: Collection[str], now: float
) -> str | None:
    """Say which page of a group that fires was refused by all edge receivers that were to get it (epoch seconds).

    Whoever else could be told that they fail was told; but if that is nobody, or no better, it is said here. Where one
    of ``levels`` is told of the group too, that one counts: see :func:`levels_stand_still`.
    """
    pages: dict[str, list[Notice]] = {}
    for notice in notices.values():
        group = groups.get(notice.group)
        if group is None or not group.firing or (notice.action, notice.opened) != (Action.TRIGGER, group.opened):
            continue
        if not any(name in levels for name in group.receivers):
            pages.setdefault(group.key, []).append(notice)
    for page in pages.values():
        age = abs(now - min(notice.created for notice in page))  # the clock may have been set back
        if age > UNDELIVERED and all(notice.parked and notice.state is not Progress.ACCEPTED for notice in page):
            names = ", ".join(notice.receiver for notice in page)
            about = ", ".join(f"{name}={value}" for name, value in sorted(page[0].labels.items()))
            why = _why([notice.last_error for notice in page if notice.last_error])
            return f"nobody has taken the page of {about} for {_long(age)}, it was refused by {names}{why}"
    return None


def levels_stand_still(failing: Mapping[str, list[Failing | None]], now: float) -> str | None:
    """Say which level receiver takes nothing at any of its addresses, of which ``failing`` tells by name."""
    for name, addresses in failing.items():
        troubles = [address for address in addresses if address is not None]
        since = max((trouble.since for trouble in troubles), default=now)
        if len(troubles) == len(addresses) and now - since > UNDELIVERED:
            return f"{name} has taken nothing for {_long(now - since)}{_why([one.reason for one in troubles])}"
    return None


def _long(seconds: float) -> str:
    return format_duration(round(seconds))


def _why(reasons: list[str]) -> str:
    return f" ({reasons[-1]})" if reasons else ""
