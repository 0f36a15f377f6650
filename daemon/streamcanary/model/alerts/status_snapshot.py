"""What there is to be seen of alerting: what fires, why nobody hears of it, and who has not heard."""

from collections.abc import Mapping

from msgspec import Struct, field

from streamcanary.model.alerts.incident import Incident


class OpenIncident(Struct, frozen=True, kw_only=True):
    """An open incident, with its evidence as it is now.

    ``annotations`` are filled in. ``muted`` says why nobody is told of it for now, such as ``maintenance deploy`` or
    ``TargetRejected explains it``; ``None`` if it is told of. ``silences`` are the ids of those that cover it.
    """

    incident: Incident
    annotations: Mapping[str, str] = field(default_factory=dict)
    muted_by: str | None = None
    silenced_by: tuple[str, ...] = ()


class UndeliveredNotification(Struct, frozen=True, kw_only=True):
    """Something that ``receiver`` is to be told and has not accepted.

    ``action`` is that of the notice (``trigger``, ``update``, ``resolve``), or ``state`` for one that is told the state
    of things; ``title`` says in a line what it is about. It was to be told ``since`` then, was tried ``tries`` times
    (``None``: nobody counts), and is tried again at ``next_try``. If it is ``parked`` it was refused, and has to wait
    for a start, or until the receiver takes something else. ``error`` is what the last try led to. Times are seconds
    since the epoch.
    """

    receiver: str
    action: str
    title: str
    since: float
    attempts: int | None = None
    is_parked: bool = False
    next_attempt: float | None = None
    last_error: str | None = None


class StatusSnapshot(Struct, frozen=True, kw_only=True):
    """The oldest of ``firing`` open incidents, and of ``owed`` things that receivers are still to be told."""

    incidents: tuple[OpenIncident, ...] = ()
    firing_count: int = 0
    undelivered: tuple[UndeliveredNotification, ...] = ()
    undelivered_count: int = 0
