"""The state of alerting as immutable values: the input of an engine step, and the rows that the store keeps.

Those that change with each run cannot be part of a cycle of references, so that garbage collection need not visit them
(``gc=False``).
"""

from collections.abc import Mapping, MutableMapping
from typing import Any, Final, get_args

import msgspec
from msgspec import Struct, field

from streamcanary.alerting.detectors import DetectorState
from streamcanary.alerting.detectors.base import FailureCounts
from streamcanary.alerting.engine.evaluation.evidence import EvidenceLog
from streamcanary.alerting.engine.evaluation.members import Members
from streamcanary.alerting.engine.evaluation.reachability import Reachability
from streamcanary.alerting.engine.layered_table import LayeredTable
from streamcanary.alerting.engine.recovery.assumed_firing import AssumedFiring
from streamcanary.alerting.learning.baseline import LearnedBaseline, RequestSince
from streamcanary.model.alerts.incident import Action, Group, Incident, Notification, NotificationState
from streamcanary.model.alerts.row_change import RUN_TABLES, RowChange, StateTable
from streamcanary.model.alerts.silence import Silence

TABLES: Final[tuple[StateTable, ...]] = get_args(StateTable)


class BindingState(Struct, frozen=True, omit_defaults=True, gc=False):
    """The state of one binding (rule and scope value).

    ``detector`` is ``None`` before the first sample, and for a rule about missing runs. ``counts`` is set while the
    rule fires. ``assumed_firing`` is set after a data loss, until the rule would have resolved the alert that it may
    have had before. ``members`` are the counts of the canaries of a pooled alert.
    """

    detector: DetectorState | None = None
    evidence_log: EvidenceLog = EvidenceLog()
    counts: FailureCounts | None = None
    assumed_firing: AssumedFiring | None = None
    members: Members = Members()

    def continue_counts(self, incident: Incident, *, bad: bool, at: float) -> FailureCounts:
        """Return the failure counts since the first bad sample of an open incident, including one more sample."""
        evidence = incident.evidence
        last = self.counts
        if last is None:
            since = incident.opened if evidence.since is None else evidence.since
            last = FailureCounts(evidence.bad, evidence.total, since)
        return FailureCounts(last.bad + bad, last.total + 1, min(last.since, at))

    def update_evidence(self, incident: Incident) -> Incident:
        """Return ``incident`` with the current evidence, counted from its first bad sample."""
        if self.counts is None:
            return incident
        evidence = self.evidence_log.evidence(self.counts, incident.evidence.diagnosis)
        if evidence.since is None:
            return incident
        if incident.scope:
            evidence = self.members.add_to(evidence)
        return msgspec.structs.replace(incident, evidence=evidence)


class State(Struct, frozen=True, kw_only=True):
    """Seven tables, as the store has them. A step copies a table that it changes; a table never changes in place.

    ``last_sequence`` is the sequence number of the newest notification. ``running_since`` is the time since which ticks
    came without a gap, ``last_tick`` the time of the last tick, ``scheduled_since`` when canaries were added or
    rescheduled after that, by identity, ``last_behind`` when a run last ended that was behind schedule; all in seconds
    since the epoch. These four are valid in this process only, and are not stored.
    """

    detectors: Mapping[str, BindingState] = field(default_factory=dict)
    incidents: Mapping[str, Incident] = field(default_factory=dict)
    groups: Mapping[str, Group] = field(default_factory=dict)
    notifications: Mapping[str, Notification] = field(default_factory=dict)
    silences: Mapping[str, Silence] = field(default_factory=dict)
    reachability: Mapping[str, Reachability] = field(default_factory=dict)
    baselines: Mapping[str, LearnedBaseline | RequestSince] = field(default_factory=dict)
    running_since: float = 0.0
    last_tick: float = 0.0
    scheduled_since: Mapping[str, float] = field(default_factory=dict)
    last_behind: float = 0.0
    last_sequence: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known of alerts: this is the first start, or the store was lost."""
        return not any(self.table(name) for name in TABLES if name != "baselines")

    def table(self, name: StateTable) -> Mapping[str, Any]:
        """Return the table called ``name``."""
        table: Mapping[str, Any] = getattr(self, name)
        return table

    def rows(self) -> tuple[RowChange, ...]:
        """Return all rows, for a store that has lost its own."""
        return tuple(
            RowChange(name, key, msgspec.json.encode(value))
            for name in TABLES
            for key, value in self.table(name).items()
        )

    def merge(self, older: "State") -> "State":
        """Return this state, with the rows of ``older`` that have other keys.

        Notifications of ``older`` about a group of this state are dropped, as this state is newer. A receiver that may
        have received one of them, or is still owed a resolve, is marked in the group, so that it gets the resolve,
        unless it may have received a notification of that group from this state.
        """
        tables: dict[str, Any] = {name: {**older.table(name), **self.table(name)} for name in TABLES}
        notified = {
            (notification.receiver, notification.group)
            for notification in self.notifications.values()
            if not notification.was_never_received
        }
        for key in self.groups.keys() & older.groups.keys():
            receivers = frozenset(receiver for receiver, group in notified if group == key)
            tables["groups"][key] = self.groups[key].with_possibly_notified_of(older.groups[key], receivers)
        for key, notification in older.notifications.items():
            group = tables["groups"].get(notification.group)
            if key in self.notifications or notification.group not in self.groups:
                continue
            del tables["notifications"][key]
            is_owed = notification.action is Action.RESOLVE and notification.state is not NotificationState.ACCEPTED
            may_have_it = is_owed or not notification.was_never_received
            if may_have_it and (notification.receiver, notification.group) not in notified:
                tables["groups"][notification.group] = group.with_possibly_notified(notification.receiver)
        for key, stored in older.detectors.items():
            known = self.detectors.get(key)
            if known is not None and stored.assumed_firing is not None and key not in self.incidents:
                tables["detectors"][key] = msgspec.structs.replace(known, assumed_firing=stored.assumed_firing)
        return State(
            **tables,
            running_since=self.running_since,
            last_tick=self.last_tick,
            scheduled_since=self.scheduled_since,
            last_behind=self.last_behind,
            last_sequence=max(self.last_sequence, older.last_sequence),
        )


class Draft:
    """A mutable copy of a state during one step. It copies a table on the first write and records each changed row."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._tables: dict[StateTable, MutableMapping[str, Any]] = {}
        self._changed: dict[tuple[StateTable, str], None] = {}
        self.was_empty = state.is_empty
        self.running_since, self.last_tick, self.last_sequence = (
            state.running_since,
            state.last_tick,
            state.last_sequence,
        )
        self.scheduled_since, self.last_behind = state.scheduled_since, state.last_behind
        self._notifications_by_group: dict[tuple[str, str], dict[str, None]] | None = None
        self._groups_by_member: dict[str, dict[str, None]] | None = None
        self._not_before_by_receiver: dict[str, float] | None = None

    @property
    def detectors(self) -> Mapping[str, BindingState]:
        """The binding states by key, with the changes of this step."""
        return self._tables.get("detectors", self._state.detectors)

    @property
    def incidents(self) -> Mapping[str, Incident]:
        """The incidents by key, with the changes of this step."""
        return self._tables.get("incidents", self._state.incidents)

    @property
    def groups(self) -> Mapping[str, Group]:
        """The groups by key, with the changes of this step."""
        return self._tables.get("groups", self._state.groups)

    @property
    def notifications(self) -> Mapping[str, Notification]:
        """The notifications by id, with the changes of this step."""
        return self._tables.get("notifications", self._state.notifications)

    @property
    def silences(self) -> Mapping[str, Silence]:
        """The silences by id, with the changes of this step."""
        return self._tables.get("silences", self._state.silences)

    @property
    def reachability(self) -> Mapping[str, Reachability]:
        """The reachability by canary identity, with the changes of this step."""
        return self._tables.get("reachability", self._state.reachability)

    @property
    def baselines(self) -> Mapping[str, LearnedBaseline | RequestSince]:
        """What was learned, with the changes of this step; see ``evaluation/baselines.py``."""
        return self._tables.get("baselines", self._state.baselines)

    def put(self, value: Incident | Group | Notification | Silence) -> None:
        """Set ``value`` under its key."""
        if isinstance(value, Incident):
            self._put("incidents", value.key, value)
        elif isinstance(value, Group):
            self._put("groups", value.key, value)
            if self._groups_by_member is not None:
                _index_members(self._groups_by_member, value)
        elif isinstance(value, Silence):
            self._put("silences", value.id, value)
        else:
            known = self.notifications.get(value.id)
            if self._not_before_by_receiver is not None and value.not_before != (
                known.not_before if known is not None else 0.0
            ):
                self._not_before_by_receiver = None
            self._put("notifications", value.id, value)
            if self._notifications_by_group is not None:
                self._notifications_by_group.setdefault((value.receiver, value.group), {})[value.id] = None

    def notifications_for(self, receiver: str, group: str) -> list[Notification]:
        """Return the notifications of ``group`` to ``receiver``. The first call of a step builds an index of all."""
        if self._notifications_by_group is None:
            self._notifications_by_group = {}
            for notification in self.notifications.values():
                self._notifications_by_group.setdefault((notification.receiver, notification.group), {})[
                    notification.id
                ] = None
        known = self._notifications_by_group.get((receiver, group), ())
        return [self.notifications[key] for key in known if key in self.notifications]

    def not_before(self, receiver: str) -> float:
        """Return the time until which ``receiver`` must not be sent anything (``Retry-After``), in epoch seconds, or 0.

        The first call of a step builds an index of all receivers.
        """
        if self._not_before_by_receiver is None:
            self._not_before_by_receiver = {}
            for notification in self.notifications.values():
                if notification.not_before:
                    self._not_before_by_receiver[notification.receiver] = max(
                        notification.not_before, self._not_before_by_receiver.get(notification.receiver, 0.0)
                    )
        return self._not_before_by_receiver.get(receiver, 0.0)

    def groups_containing(self, member: str) -> list[Group]:
        """Return the groups with the incident of this key as a member. The first call of a step builds an index."""
        if self._groups_by_member is None:
            self._groups_by_member = {}
            for group in self.groups.values():
                _index_members(self._groups_by_member, group)
        groups = (self.groups.get(key) for key in self._groups_by_member.get(member, ()))
        return [group for group in groups if group is not None and member in group.members]

    def is_assumed_firing(self, key: str) -> bool:
        """Return whether the alert of ``key`` may have fired before a data loss, and would still fire."""
        binding_state = self.detectors.get(key)
        return binding_state is not None and binding_state.assumed_firing is not None

    def put_binding_state(self, key: str, binding_state: BindingState) -> None:
        """Set the state of the binding of ``key``. An equal state is no change."""
        if self.detectors.get(key) != binding_state:
            self._put("detectors", key, binding_state)

    def put_reachability(self, canary: str, reachability: Reachability) -> None:
        """Set the reachability of ``canary`` (its identity)."""
        self._put("reachability", canary, reachability)

    def put_baseline(self, key: str, baseline: LearnedBaseline | RequestSince) -> None:
        """Set what was learned under ``key``. An equal value is no change."""
        if self.baselines.get(key) != baseline:
            self._put("baselines", key, baseline)

    def next_sequence(self) -> int:
        """Return the sequence number of a new notification, larger than any before."""
        self.last_sequence += 1
        return self.last_sequence

    def remove(self, table: StateTable, key: str) -> None:
        """Remove the row of ``key`` from ``table``, if there is one."""
        if self._writable_table(table).pop(key, None) is not None:
            self._changed[table, key] = None

    def finish(self) -> tuple[State, tuple[RowChange, ...]]:
        """Return the new state and the changed rows."""
        if not self._changed:
            process_state = self._process_state
            if any(getattr(self._state, name) != value for name, value in process_state.items()):
                return msgspec.structs.replace(self._state, **process_state), ()
            return self._state, ()
        tables: dict[str, Any] = {name: self._tables.get(name, self._state.table(name)) for name in TABLES}
        rows = []
        for table, key in self._changed:
            value = tables[table].get(key)
            rows.append(RowChange(table, key, None if value is None else msgspec.json.encode(value)))
        return State(**tables, **self._process_state, last_sequence=self.last_sequence), tuple(rows)

    @property
    def _process_state(self) -> dict[str, Any]:
        """The fields that are not stored."""
        return {
            "running_since": self.running_since,
            "last_tick": self.last_tick,
            "scheduled_since": self.scheduled_since,
            "last_behind": self.last_behind,
        }

    def _put(self, table: StateTable, key: str, value: Any) -> None:
        self._writable_table(table)[key] = value
        self._changed[table, key] = None

    def _writable_table(self, table: StateTable) -> MutableMapping[str, Any]:
        if table not in self._tables:
            current = self._state.table(table)
            if table not in RUN_TABLES:
                self._tables[table] = dict(current)
            else:  # these have a row of each canary or more, and change with each run
                self._tables[table] = current.copy() if isinstance(current, LayeredTable) else LayeredTable(current)
        return self._tables[table]


def _index_members(groups_by_member: dict[str, dict[str, None]], group: Group) -> None:
    for member in group.members:
        groups_by_member.setdefault(member, {})[group.key] = None
