"""Schedules the runs that were due while a canary had no owner: soon after another replica has taken its shard.

Between two owners a due time may pass. Without a run for it, canaries would be asked only at their next phase, and two
takeovers in a row would lose two runs. Pure; times are in seconds since the epoch.
"""

from collections.abc import Collection, Mapping
from typing import Final

from streamcanary.canary.scheduling.triggers import FirstRun, Trigger
from streamcanary.model.canary import Canary

MIN_RATE: Final = 10.0
"""Runs a second that are caught up at least, if there are as many."""

MAX_LOAD: Final = 0.25
"""The rate of more runs than that, as a part of the rate at which all canaries of the takeover run."""


def catch_up(
    first: Mapping[str, FirstRun],
    canaries: Collection[Canary],
    now: float,
    *,
    last_due: Mapping[str, float],
    min_gap: float,
) -> dict[str, FirstRun]:
    """Return the ``first`` runs of ``canaries``, of which those that have missed a run are made earlier.

    ``last_due`` is when the last run of each canary was due that the store has; a canary without one never ran, and
    waits for its phase. One that was due since then runs soon, and this is its due time. Of several due times that have
    passed, only the last is caught up; past the next one there is nothing to catch up. The canary that is due next is
    the first. ``min_gap`` is the least time between two of these runs, which a budget can require.

    A run that is caught up in the second half of an interval is also that of its next due time, which is skipped. So
    is that of a former owner.
    """
    runs, missed = dict(first), []
    for canary in canaries:
        if (last := last_due.get(canary.name)) is None:
            continue
        trigger = runs[canary.name].trigger
        following = _skip_replaced(trigger, min(last, now))  # the clock of its replica may be ahead
        runs[canary.name] = FirstRun(trigger.next_after(now), trigger)
        point = trigger.last_until(now)
        if point is not None and point >= following:
            missed.append((min(runs[canary.name].due, point + trigger.max_delay), canary.name))
    gap = max(min_gap, 1 / max(MIN_RATE, MAX_LOAD * sum(1 / canary.interval for canary in canaries)))
    due = now
    for end, name in sorted(missed):
        if due < end:
            _skip_replaced(runs[name].trigger, due)
            runs[name] = FirstRun(due, runs[name].trigger)
            due += gap
    return runs


def _skip_replaced(trigger: Trigger, run: float) -> float:
    """Let ``trigger`` skip the fire time that a ``run`` replaces; return the first one after it that is not skipped.

    It replaces that which is nearer to it than half of the time between the fire times before and after it.
    """
    following, before = trigger.next_after(run), trigger.last_until(run)
    if before is not None and following - run < (following - before) / 2:
        trigger.not_before = following
        return trigger.next_after(following)
    return following
