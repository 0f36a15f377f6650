"""What the alert engine would have done: the same steps, over runs whose time has passed, in a time of its own.

Between two runs the engine is told the time as often as in the daemon, so that whatever waits (groups, ``no_data``)
does so for as long. Every receiver accepts what it is sent, at once.
"""

import math
from collections.abc import Callable, Mapping

from msgspec import Struct

from streamcanary.alerting.engine import notification_queue
from streamcanary.alerting.engine.active_alerts import standing
from streamcanary.alerting.engine.inputs import Answered, Input, Ran, Tick, Trying
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.notify.receivers.delivery_result import Accepted
from streamcanary.model.alerts.incident import Action, Group, Incident
from streamcanary.model.outcome import Outcome

TICK = 5.0
"""Seconds between two ticks of the daemon."""


class Told(Struct, frozen=True):
    """What one receiver hears ``at`` a time (seconds since the epoch), and which rules it is about.

    To a receiver that is told of the state, not of changes, each alert that begins is a trigger of its own, and each
    that ends a resolve.
    """

    at: float
    receiver: str
    action: Action
    rules: tuple[str, ...]


class Replay:
    """An engine that begins ``start`` (seconds since the epoch) with nothing, told the time each ``tick`` seconds.

    ``changed`` is called with each incident that opens or resolves, ``told`` with each page; both in order.
    """

    def __init__(
        self,
        engine: Engine,
        start: float,
        *,
        tick: float = TICK,
        changed: Callable[[Incident], None] = lambda incident: None,
        told: Callable[[Told], None] = lambda told: None,
    ) -> None:
        self.state = State()
        self.now = start
        self._engine = engine
        self._tick = tick
        self._changed = changed
        self._told = told
        self._level = tuple(name for name, receiver in engine.receivers.items() if receiver.level)
        self._edge = tuple(name for name in engine.receivers if name not in self._level)
        self._standing: dict[str, dict[tuple[str, float], Incident]] = {name: {} for name in self._level}
        self._ticked = start
        self._dues: tuple[Mapping[str, Group], float] = ({}, math.inf)
        self._step(Tick())

    @property
    def firing(self) -> tuple[Incident, ...]:
        """The incidents that are open, the oldest first."""
        found = (incident for incident in self.state.incidents.values() if incident.firing)
        return tuple(sorted(found, key=lambda incident: (incident.opened, incident.key)))

    def see(self, outcome: Outcome) -> None:
        """Let a run end that has taken the time up to its end, or ended in the past: then the clock was set back."""
        self.advance(outcome.started + outcome.duration)
        self._step(Ran(outcome))

    def advance(self, until: float) -> None:
        """Let the time pass up to ``until`` (seconds since the epoch), or set the clock back to it."""
        while (moment := self._next_tick()) <= until:
            self.now = self._ticked = max(self.now, moment)
            self._step(Tick())
        if until < self.now:
            self._ticked = until
        self.now = until

    def look(self, at: float) -> None:
        """Let the time pass up to ``at`` (seconds since the epoch), and have the engine look at it then."""
        self.advance(at)
        self._step(Tick())

    def leap(self, until: float) -> None:
        """Go to ``until`` (seconds since the epoch) at once, as if the daemon had been away in between."""
        self.now = self._ticked = until
        self._step(Tick())

    def _next_tick(self) -> float:
        """Return when the engine is to be told the time: now and then, and when a group is due."""
        groups = self.state.groups
        if groups is not self._dues[0]:
            dues = (group.due for group in groups.values() if group.due is not None)
            self._dues = groups, min(dues, default=math.inf)
        regular, due = self._ticked + self._tick, self._dues[1]
        return min(regular, due) if due > self._ticked else regular

    def _step(self, input: Input) -> None:  # noqa: A002 - as the engine calls it
        before = self.state
        self._apply(input)
        if self.state.notices is not before.notices:
            self._deliver()
        if self._level and (self.state.groups is not before.groups or self.state.incidents is not before.incidents):
            self._compare()

    def _apply(self, input: Input) -> None:  # noqa: A002
        before = self.state
        self.state, rows = self._engine.step(before, input, self.now)
        for row in rows:
            if row.table == "incidents" and (incident := self.state.incidents.get(row.key)) is not None:
                known = before.incidents.get(row.key)
                if known is None or (known.opened, known.firing) != (incident.opened, incident.firing):
                    self._changed(incident)

    def _deliver(self) -> None:
        """Have edge receivers accept what is due; each notice that is accepted is one less, so this ends."""
        for receiver in self._edge:
            while (notice := notification_queue.next_notice(self.state, receiver, self.now)) is not None:
                if notification_queue.seconds_until(notice, self.now):
                    break
                self._apply(Trying(notice.id))
                self._apply(Answered(notice.id, Accepted(), 0.0))
                rules = tuple(dict.fromkeys(member.rule for member in notice.members))
                self._told(Told(self.now, receiver, notice.action, rules))

    def _compare(self) -> None:
        """Tell what level receivers hear of for the first time."""
        for receiver in self._level:
            before = self._standing[receiver]
            after = {(incident.key, incident.opened): incident for incident in standing(self.state, receiver, self.now)}
            for key, incident in after.items():
                known = before.get(key)
                if known is None:
                    self._told(Told(self.now, receiver, Action.TRIGGER, (incident.rule,)))
                if not incident.firing and (known is None or known.firing):
                    self._told(Told(self.now, receiver, Action.RESOLVE, (incident.rule,)))
            self._standing[receiver] = after
