"""What the alert engine would have done: the same steps, over runs whose time has passed, in a time of its own.

Between two runs the engine is told the time as often as in the daemon, so that whatever waits (groups, ``no_data``)
does so for as long. Every receiver accepts what it is sent, at once.
"""

import math
from collections.abc import Callable, Mapping

from msgspec import Struct

from streamcanary.alerting.engine import notification_queue
from streamcanary.alerting.engine.active_alerts import active_alerts
from streamcanary.alerting.engine.inputs import Input, RunFinished, SendFinished, SendStarted, Tick
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.notify.receivers.delivery_result import Accepted
from streamcanary.model.alerts.incident import Action, Group, Incident
from streamcanary.model.outcome import Outcome

TICK_INTERVAL = 5.0
"""Seconds between two ticks of the daemon."""


class ReplayedNotification(Struct, frozen=True):
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
        tick: float = TICK_INTERVAL,
        on_incident_change: Callable[[Incident], None] = lambda incident: None,
        on_notification: Callable[[ReplayedNotification], None] = lambda told: None,
    ) -> None:
        self.state = State()
        self.now = start
        self._engine = engine
        self._tick = tick
        self._on_incident_change = on_incident_change
        self._on_notification = on_notification
        self._state_receivers = tuple(name for name, receiver in engine.receivers.items() if receiver.is_state_receiver)
        self._event_receivers = tuple(name for name in engine.receivers if name not in self._state_receivers)
        self._active_alerts: dict[str, dict[tuple[str, float], Incident]] = {name: {} for name in self._state_receivers}
        self._last_tick = start
        self._next_flush_cache: tuple[Mapping[str, Group], float] = ({}, math.inf)
        self._step(Tick())

    @property
    def open_incidents(self) -> tuple[Incident, ...]:
        """The incidents that are open, the oldest first."""
        found = (incident for incident in self.state.incidents.values() if incident.is_firing)
        return tuple(sorted(found, key=lambda incident: (incident.opened, incident.key)))

    def observe(self, outcome: Outcome) -> None:
        """Let a run end that has taken the time up to its end, or ended in the past: then the clock was set back."""
        self.advance(outcome.started + outcome.duration)
        self._step(RunFinished(outcome))

    def advance(self, until: float) -> None:
        """Let the time pass up to ``until`` (seconds since the epoch), or set the clock back to it."""
        while (moment := self._next_tick()) <= until:
            self.now = self._last_tick = max(self.now, moment)
            self._step(Tick())
        if until < self.now:
            self._last_tick = until
        self.now = until

    def tick_at(self, at: float) -> None:
        """Let the time pass up to ``at`` (seconds since the epoch), and have the engine look at it then."""
        self.advance(at)
        self._step(Tick())

    def skip_to(self, until: float) -> None:
        """Go to ``until`` (seconds since the epoch) at once, as if the daemon had been away in between."""
        self.now = self._last_tick = until
        self._step(Tick())

    def _next_tick(self) -> float:
        """Return when the engine is to be told the time: now and then, and when a group is due."""
        groups = self.state.groups
        if groups is not self._next_flush_cache[0]:
            flush_times = (group.next_flush for group in groups.values() if group.next_flush is not None)
            self._next_flush_cache = groups, min(flush_times, default=math.inf)
        regular, due = self._last_tick + self._tick, self._next_flush_cache[1]
        return min(regular, due) if due > self._last_tick else regular

    def _step(self, input: Input) -> None:  # noqa: A002 - as the engine calls it
        before = self.state
        self._apply(input)
        if self.state.notifications is not before.notifications:
            self._deliver()
        if self._state_receivers and (
            self.state.groups is not before.groups or self.state.incidents is not before.incidents
        ):
            self._notify_state_receivers()

    def _apply(self, input: Input) -> None:  # noqa: A002
        before = self.state
        self.state, rows = self._engine.step(before, input, self.now)
        for row in rows:
            if row.table == "incidents" and (incident := self.state.incidents.get(row.key)) is not None:
                known = before.incidents.get(row.key)
                if known is None or (known.opened, known.is_firing) != (incident.opened, incident.is_firing):
                    self._on_incident_change(incident)

    def _deliver(self) -> None:
        """Have edge receivers accept what is due; each notice that is accepted is one less, so this ends."""
        for receiver in self._event_receivers:
            while (notification := notification_queue.next_notification(self.state, receiver, self.now)) is not None:
                if notification_queue.seconds_until_due(notification, self.now):
                    break
                self._apply(SendStarted(notification.id))
                self._apply(SendFinished(notification.id, Accepted(), 0.0))
                rules = tuple(dict.fromkeys(member.rule for member in notification.members))
                self._on_notification(ReplayedNotification(self.now, receiver, notification.action, rules))

    def _notify_state_receivers(self) -> None:
        """Tell what level receivers hear of for the first time."""
        for receiver in self._state_receivers:
            before = self._active_alerts[receiver]
            after = {
                (incident.key, incident.opened): incident for incident in active_alerts(self.state, receiver, self.now)
            }
            for key, incident in after.items():
                known = before.get(key)
                if known is None:
                    self._on_notification(ReplayedNotification(self.now, receiver, Action.TRIGGER, (incident.rule,)))
                if not incident.is_firing and (known is None or known.is_firing):
                    self._on_notification(ReplayedNotification(self.now, receiver, Action.RESOLVE, (incident.rule,)))
            self._active_alerts[receiver] = after
