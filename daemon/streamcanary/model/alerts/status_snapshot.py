"""The status snapshot of alerting: open incidents, why they are muted, and undelivered notifications."""

from collections.abc import Mapping

from msgspec import Struct, field

from streamcanary.model.alerts.incident import Incident


class OpenIncident(Struct, frozen=True, kw_only=True):
    """An open incident with its current evidence.

    ``annotations`` are rendered. ``muted_by`` says why the incident is muted, such as ``maintenance deploy`` or
    ``inhibited by TargetRejected``; ``None`` if it is not. ``silenced_by`` are the ids of matching silences.
    ``notified`` are the receivers that have accepted a notification of it, while it fires.
    """

    incident: Incident
    annotations: Mapping[str, str] = field(default_factory=dict)
    muted_by: str | None = None
    silenced_by: tuple[str, ...] = ()
    notified: tuple[str, ...] = ()


class UndeliveredNotification(Struct, frozen=True, kw_only=True):
    """A notification that ``receiver`` has not accepted.

    ``action`` is that of the notification (``trigger``, ``update``, ``resolve``), or ``state`` for a state receiver.
    ``title`` is its title in one line. It is pending since ``since``, had ``attempts`` attempts (``None``: not
    counted), and the next one is at ``next_attempt``. ``is_parked`` means that it was refused, and waits for the next
    start, or until the receiver accepts another notification. ``last_error`` is the error of the last attempt. Times
    are seconds since the epoch.
    """

    receiver: str
    action: str
    title: str
    since: float
    attempts: int | None = None
    is_parked: bool = False
    next_attempt: float | None = None
    last_error: str | None = None


class BaselineStatus(Struct, frozen=True, kw_only=True):
    """What ``alert`` has learned about ``subject`` from recorded runs, as ``text``, at ``learned_at`` (epoch seconds).

    ``base_rate`` is the rate of bad runs without an incident that its detector uses. All three are ``None`` or empty
    while there is too little history.
    """

    alert: str
    subject: str
    text: str = ""
    base_rate: float | None = None
    learned_at: float | None = None


class StatusSnapshot(Struct, frozen=True, kw_only=True):
    """The oldest open incidents and undelivered notifications, and what was learned.

    ``firing_count``, ``undelivered_count`` and ``baseline_count`` count all of them, including those left out.
    """

    incidents: tuple[OpenIncident, ...] = ()
    firing_count: int = 0
    undelivered: tuple[UndeliveredNotification, ...] = ()
    undelivered_count: int = 0
    baselines: tuple[BaselineStatus, ...] = ()
    baseline_count: int = 0
