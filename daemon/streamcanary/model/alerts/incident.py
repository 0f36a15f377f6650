"""Incidents, groups and notifications: values of alerting that other packages read and store."""

from collections.abc import Container
from enum import StrEnum

import msgspec
from msgspec import Struct, field

MAX_MEMBERS = 50
"""The maximum number of incidents in a notification; the others are only counted."""


MAX_FAILING = 50
"""The maximum number of failing canaries that the evidence of a pooled alert names."""

MAX_UNAFFECTED = 5
"""The maximum number of canaries without failure that the evidence of a pooled alert names."""


MAX_REPLICAS = 20
"""The maximum number of replicas that the evidence of an alert names."""


class MemberCounts(Struct, frozen=True, array_like=True):
    """``bad`` of the ``total`` samples of one canary of a pooled alert."""

    name: str
    bad: int
    total: int


class Evidence(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The evidence of an incident, bounded in size for notifications.

    ``bad`` of the last ``total`` samples were bad, the first bad one at ``since`` (seconds since the epoch).
    ``first_attempts`` counts the runs whose first attempt failed, before retries; ``bad`` counts after retries.
    ``rescued`` counts the bad runs that a fallback answered: applications with that fallback are served.
    ``faults`` and ``blames`` count faults by kind and by blame. ``message`` is the last one, scrubbed, at most 300
    characters. ``attempts`` are those of the last bad run on its primary route, ``fallbacks`` the names of the routes
    that it tried then, at most 10. There are at most five ids of each kind, the newest last. ``diagnosis`` is the
    result of the preflight after the first failure, as text; empty if it found nothing or did not run. ``replicas`` are
    the names of the replicas that made the bad runs, the newest last, if several share a database.

    The rest is of a pooled alert: ``failing`` are canaries with more bad samples recently than is normal, the worst
    first, of ``failing_count``, or more if ``has_more_failing``. ``unaffected`` are some of ``unaffected_count`` others
    that had samples.
    """

    bad: int = 0
    total: int = 0
    first_attempts: int = 0
    rescued: int = 0
    since: float | None = None
    faults: dict[str, int] = field(default_factory=dict)
    blames: dict[str, int] = field(default_factory=dict)
    message: str = ""
    request_ids: tuple[str, ...] = ()
    trace_ids: tuple[str, ...] = ()
    diagnosis: str = ""
    attempts: int = 0
    fallbacks: tuple[str, ...] = ()
    replicas: tuple[str, ...] = ()
    failing: tuple[MemberCounts, ...] = ()
    failing_count: int = 0
    has_more_failing: bool = False
    unaffected: tuple[str, ...] = ()
    unaffected_count: int = 0


class Incident(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One rule that fires for one subject. There is at most one open incident of a ``key``.

    ``subject`` is the canary. It is the part of the daemon for an alert about the daemon, and ``target openai`` for an
    alert that pools ``member_count`` canaries by ``scope``, which is ``target`` then and empty otherwise; ``canary`` is
    ``None`` then.
    ``opened`` and ``resolved`` are seconds since the epoch. ``resolve_reason`` says why the incident has resolved,
    ``resolve_condition`` what resolves it. ``labels`` are those of the rule and the canary at the last start.
    ``evidence`` is that of the opening, updated with each notification. ``annotations`` are templates. ``measure`` is
    that of the rule, ``no_data`` for one about missing runs, and empty if it is about the daemon.
    """

    key: str
    rule: str
    subject: str
    canary: str | None = None
    scope: str = ""
    member_count: int = 0
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    opened: float
    resolved: float | None = None
    resolve_reason: str | None = None
    resolve_condition: str = ""
    evidence: Evidence = Evidence()
    measure: str = ""

    @property
    def is_firing(self) -> bool:
        """Whether it is open."""
        return self.resolved is None

    @property
    def first_bad_at(self) -> float:
        """The time of its first bad sample, in seconds since the epoch."""
        return self.opened if self.evidence.since is None else self.evidence.since


class Group(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The unit of notification: incidents that are sent in one notification, and their receivers.

    ``labels`` are those that all members share. ``members`` are keys of incidents, in the order in which they were
    added; ``notified_members`` are those that the last notification listed as firing. ``receivers`` are names; they
    stay while the group is open, because a receiver that was notified must get the resolve. ``unnotified_receivers``
    are late receivers: they are notified once the group is not muted. ``last_flush`` is the time of the last
    notification, ``next_flush`` when the next one is due if nothing changes; ``None`` if there is none.
    ``has_sent_update`` is whether there was more than one notification. ``is_reconciling`` marks a group that does
    not fire, and that receivers may still have as firing, from before a data loss: they are sent the resolve once all
    that possibly fire would have resolved. ``possibly_notified`` are these receivers; of a group that fires again,
    those that may have it from before, even if they were not notified since. ``assumed_members`` are keys of further
    alerts that may have fired in the group before a data loss. State receivers are never sent these. Times are seconds
    since the epoch.
    """

    key: str
    labels: dict[str, str] = field(default_factory=dict)
    members: tuple[str, ...] = ()
    notified_members: tuple[str, ...] = ()
    receivers: tuple[str, ...] = ()
    unnotified_receivers: tuple[str, ...] = ()
    opened: float
    last_flush: float | None = None
    next_flush: float | None = None
    resolved: float | None = None
    has_sent_update: bool = False
    is_reconciling: bool = False
    possibly_notified: tuple[str, ...] = ()
    assumed_members: tuple[str, ...] = ()

    @property
    def is_firing(self) -> bool:
        """Whether it is open."""
        return self.resolved is None and not self.is_reconciling

    @property
    def possibly_firing(self) -> tuple[str, ...]:
        """The keys of the alerts that ``possibly_notified`` receivers may have as firing from before a data loss."""
        own = self.members if self.is_reconciling else ()
        return tuple(dict.fromkeys([*own, *self.assumed_members]))

    def with_possibly_notified(self, receiver: str) -> "Group":
        """Return the group with ``receiver`` marked as possibly notified of an opening that is not stored here."""
        return msgspec.structs.replace(
            self,
            is_reconciling=not self.is_firing,
            possibly_notified=tuple(dict.fromkeys([*self.possibly_notified, receiver])),
        )

    def with_possibly_notified_of(self, older: "Group", notified: Container[str]) -> "Group":
        """Return the group with what ``older``, of the same key, left open: who may have it, and by which members.

        The receivers in ``notified`` were sent a newer notification, and need no other.
        """
        doubtful = [name for name in older.possibly_notified if name not in notified]
        if not doubtful or not (older.is_firing or older.is_reconciling):
            return self
        group = self
        for name in doubtful:
            group = group.with_possibly_notified(name)
        assumed = dict.fromkeys([*group.assumed_members, *older.possibly_firing])
        return msgspec.structs.replace(group, assumed_members=tuple(assumed))


class Action(StrEnum):
    """The kind of a notification."""

    TRIGGER = "trigger"
    """The group fires."""
    UPDATE = "update"
    """The group still fires, with other members, or as a repeat."""
    RESOLVE = "resolve"
    """The group has resolved."""


class NotificationState(StrEnum):
    """The delivery state of a notification."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    PARKED = "parked"
    """Refused. A resolve, and a trigger of a group that still fires, is sent again at the next start, or once the
    receiver accepts another notification."""


class Notification(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A notification to one event receiver, with its delivery state: a row of the outbox.

    ``id`` is the same for the same transition, however often it is sent. ``opened`` and ``labels`` are those of the
    group, ``sequence`` orders notifications by creation. ``members`` are the incidents at that time, at most
    :data:`MAX_MEMBERS` of ``member_count``, of which ``resolved_count`` have resolved: a retry sends the same content
    as the first attempt. Of an update, the first ``new_count`` fire and were in no earlier notification. ``attempts``
    counts attempts that were started, ``refusals`` those that were certainly not received; if the two are equal, the
    receiver has received nothing. ``park_count`` counts how often it was parked, ``not_before`` is the end of the
    ``Retry-After`` of the receiver. ``accepted_updates``, of a trigger, is when each incident opened that the receiver
    has accepted in an update, by key. That, ``created``, ``last_attempt`` and ``next_attempt`` are seconds since the
    epoch.
    """

    id: str
    receiver: str
    group: str
    action: Action
    opened: float
    sequence: int
    labels: dict[str, str] = field(default_factory=dict)
    members: tuple[Incident, ...]
    member_count: int = 1
    resolved_count: int = 0
    new_count: int = 0
    created: float
    next_attempt: float
    last_attempt: float | None = None
    attempts: int = 0
    refusals: int = 0
    park_count: int = 0
    not_before: float = 0.0
    state: NotificationState = NotificationState.PENDING
    last_error: str | None = None
    accepted_updates: dict[str, float] = field(default_factory=dict)

    @property
    def was_never_received(self) -> bool:
        """Whether the receiver has certainly not received the notification."""
        return self.state is not NotificationState.ACCEPTED and self.attempts == self.refusals
