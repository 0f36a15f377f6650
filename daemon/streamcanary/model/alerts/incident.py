"""What is wrong, who is told of it, and whether they have been: the values of alerting that other rooms may read."""

from enum import StrEnum

import msgspec
from msgspec import Struct, field

MAX_MEMBERS = 50
"""How many incidents a notice spells out; of the others it gives the number."""


class Evidence(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an incident was seen by, bounded so that it fits on a page.

    ``bad`` of the last ``total`` samples were bad, the first of them at ``since`` (seconds since the epoch). In
    ``first_attempts`` of these runs the first attempt failed: before retries, where ``bad`` counts after them.
    In ``rescued`` of the bad ones a fallback answered: whoever has that fallback is served.
    ``faults`` and ``blames`` count by kind and by who can mend it. ``message`` is the last one, scrubbed, at most 300
    characters. There are at most five ids of each sort, the newest last. ``diagnosis`` is what the preflight found
    after the first failure, in words; empty if it found nothing, or none was made.
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


class Incident(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One rule that fires for one subject. There is at most one open incident of a ``key``.

    ``subject`` is the canary, or for a built-in alert the part of the daemon that it is about (``canary`` is ``None``
    then). ``opened`` and ``resolved`` are seconds since the epoch, ``reason`` is a sentence that says why it is over,
    ``resolves`` one that says what would end it. ``labels`` are those that the rule and the canary had at the
    last start. ``evidence`` is that of its opening, brought up to date whenever it is told of. ``annotations`` are
    templates.
    """

    key: str
    rule: str
    subject: str
    canary: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    opened: float
    resolved: float | None = None
    resolve_reason: str | None = None
    resolve_condition: str = ""
    evidence: Evidence = Evidence()

    @property
    def is_firing(self) -> bool:
        """Whether it is still open."""
        return self.resolved is None


class Group(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The unit of notification: incidents that are told of together, and to whom.

    ``labels`` are those that its members share. ``members`` are keys of incidents, in the order in which they came;
    ``said`` are the members that receivers were last told are firing. ``receivers`` are names, kept while it is open,
    as whoever was told that it fires is told that it is over, ``late`` those who are still to hear of it, once it is
    not muted. ``flushed`` is when receivers were last told something, ``due`` when they will be told next if nothing
    changes; ``None`` if never. ``updated`` tells that it was more than once, ``forgotten`` is a group that an earlier
    store may have known, and that is called off once its members are seen to be well; ``doubted`` are receivers that
    may know of it from before, whether or not they hear of its opening since. Times are seconds since the epoch.
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

    @property
    def is_firing(self) -> bool:
        """Whether it is still open."""
        return self.resolved is None and not self.is_reconciling

    def with_possibly_notified(self, receiver: str) -> "Group":
        """Return it as one of which ``receiver`` may know, from an opening that it knows nothing of itself."""
        if self.is_firing:
            return msgspec.structs.replace(
                self, possibly_notified=tuple(dict.fromkeys([*self.possibly_notified, receiver]))
            )
        return msgspec.structs.replace(
            self, is_reconciling=True, receivers=tuple(dict.fromkeys([*self.receivers, receiver]))
        )


class Action(StrEnum):
    """What a notice asks a receiver to do."""

    TRIGGER = "trigger"
    """The group fires."""
    UPDATE = "update"
    """It still fires, with other members, or for long."""
    RESOLVE = "resolve"
    """It is over."""


class NotificationState(StrEnum):
    """How far a notice has come."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    PARKED = "parked"
    """Refused; it is tried again at the next start, or once the receiver accepts something else: a resolve, and a
    trigger of what still fires."""


class Notification(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing to tell one edge receiver, and what became of it.

    ``id`` is the same for the same transition, however often it is told. ``opened`` is that of the group, ``labels``
    are the group's, ``number`` orders notices by birth. ``members`` are the incidents as they were then, at most
    :data:`MOST_MEMBERS` of ``total``, of which ``over`` no longer fire: a retry says what the first try said. ``tries``
    counts the tries that were begun, ``refusals`` those that were certainly not taken; where the two are equal the
    receiver knows nothing of it.
    ``parked`` counts how often it was refused for good, ``held`` is until when the receiver asked to be left alone.
    That, ``created``, ``last_try`` and ``next_try`` are seconds since the epoch.
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
    created: float
    next_attempt: float
    last_attempt: float | None = None
    attempts: int = 0
    refusals: int = 0
    park_count: int = 0
    not_before: float = 0.0
    state: NotificationState = NotificationState.PENDING
    last_error: str | None = None

    @property
    def was_never_received(self) -> bool:
        """Whether the receiver certainly knows nothing of it."""
        return self.state is not NotificationState.ACCEPTED and self.attempts == self.refusals
