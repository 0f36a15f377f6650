"""Replays runs through the alert engine in simulated time.

Between two runs the engine gets as many ticks as in the daemon, so that groups and ``no_data`` wait as long. Every
receiver accepts every notification at once. Rules that learn do so each day of the simulated time, from the runs up to
then.
"""

import math
from collections.abc import Callable, Mapping

from msgspec import Struct

from streamcanary.alerting.engine.grouping import notification_queue
from streamcanary.alerting.engine.grouping.active_alerts import active_alerts
from streamcanary.alerting.engine.inputs import BaselinesLearned, Input, RunFinished, SendFinished, SendStarted, Tick
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.learning.baseline import DAY
from streamcanary.alerting.learning.history import History
from streamcanary.alerting.notify.delivery.result import Accepted
from streamcanary.model.alerts.incident import Action, Group, Incident
from streamcanary.model.outcome import Outcome

TICK_INTERVAL = 5.0
"""Seconds between two ticks of the daemon."""


class ReplayedNotification(Struct, frozen=True):
    """A notification to one receiver ``at`` a time (seconds since the epoch), with the rules of its alerts.

    For a state receiver, each alert that begins is one trigger, and each alert that ends is one resolve.
    """

    at: float
    receiver: str
    action: Action
    rules: tuple[str, ...]


class Replay:
    """Runs an engine with an empty state from ``start`` (seconds since the epoch) on; it ticks each ``tick`` seconds.

    ``on_incident_change`` is called with each incident that opens or resolves, ``on_notification`` with each
    notification, both in order.
    """

    def __init__(
        self,
        engine: Engine,
        start: float,
        *,
        tick: float = TICK_INTERVAL,
        on_incident_change: Callable[[Incident], None] = lambda incident: None,
        on_notification: Callable[[ReplayedNotification], None] = lambda notification: None,
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
        self._history = History(engine.bindings.learning, engine.bindings.learning_canaries, {})
        self._next_learning = start + DAY
        self._step(Tick())

    @property
    def open_incidents(self) -> tuple[Incident, ...]:
        """The open incidents, oldest first."""
        found = (incident for incident in self.state.incidents.values() if incident.is_firing)
        return tuple(sorted(found, key=lambda incident: (incident.opened, incident.key)))

    def observe(self, outcome: Outcome) -> None:
        """Advance the time to the end of a run and feed its outcome. An end in the past sets the clock back."""
        self.advance(outcome.started + outcome.duration)
        if self.now >= self._next_learning:
            self._next_learning = self.now + DAY
            self._step(BaselinesLearned(dict(self._history.learn(self.now))))
        self._history.observe(outcome)
        self._step(RunFinished(outcome))

    def advance(self, until: float) -> None:
        """Advance the time to ``until`` (seconds since the epoch), with all ticks due; or set the clock back to it."""
        while (moment := self._next_tick()) <= until:
            self.now = self._last_tick = max(self.now, moment)
            self._step(Tick())
        if until < self.now:
            self._last_tick = until
        self.now = until

    def tick_at(self, at: float) -> None:
        """Advance the time to ``at`` (seconds since the epoch), and tick then."""
        self.advance(at)
        self._step(Tick())

    def skip_to(self, until: float) -> None:
        """Set the time to ``until`` (seconds since the epoch) without ticks, as if the daemon was not running."""
        self.now = self._last_tick = until
        self._step(Tick())

    def _next_tick(self) -> float:
        """Return the time of the next tick: a regular one, or the next flush of a group."""
        groups = self.state.groups
        if groups is not self._next_flush_cache[0]:
            flush_times = (group.next_flush for group in groups.values() if group.next_flush is not None)
            self._next_flush_cache = groups, min(flush_times, default=math.inf)
        regular, due = self._last_tick + self._tick, self._next_flush_cache[1]
        return min(regular, due) if due > self._last_tick else regular

    def _step(self, input: Input) -> None:  # noqa: A002 - the name in the engine
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
        """Let event receivers accept what is due. An accepted notification leaves the queue, so this ends."""
        for receiver in self._event_receivers:
            while (notification := notification_queue.next_notification(self.state, receiver, self.now)) is not None:
                if notification_queue.seconds_until_due(notification, self.now):
                    break
                self._apply(SendStarted(notification.id))
                self._apply(SendFinished(notification.id, Accepted(), 0.0))
                rules = tuple(dict.fromkeys(member.rule for member in notification.members))
                self._on_notification(ReplayedNotification(self.now, receiver, notification.action, rules))

    def _notify_state_receivers(self) -> None:
        """Report the alerts that begin or end for state receivers."""
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
