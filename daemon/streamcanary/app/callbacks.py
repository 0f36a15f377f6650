"""Callbacks for observers of the daemon, such as the demo."""

from collections.abc import Callable

from msgspec import Struct

from streamcanary.canary.status.statuses import CanaryStatuses
from streamcanary.events import Event
from streamcanary.model.alerts.incident import Incident
from streamcanary.model.alerts.status_snapshot import StatusSnapshot
from streamcanary.model.canary import Canary
from streamcanary.model.outcome import Outcome
from streamcanary.settings import Settings


class RunningDaemon(Struct, frozen=True, kw_only=True):
    """What observers may ask of a daemon that has started.

    ``statuses`` are those of its canaries, ``alerts`` returns the status of alerting, and ``address`` the host and port
    of the web server, ``None`` while it does not listen.
    """

    statuses: CanaryStatuses
    alerts: Callable[[], StatusSnapshot]
    address: Callable[[], tuple[str, int] | None]


class DaemonCallbacks(Struct, frozen=True, kw_only=True):
    """Callbacks for observers of the daemon; none of them may block.

    ``on_event`` is called for every event of every stream, ``on_outcome`` for every run, ``on_transition`` for every
    incident that opens or resolves, ``on_ready`` once all components have started, ``on_reload`` with other settings
    just before a reload applies them, and ``on_reloaded`` after that. ``on_started`` is called just before
    ``on_ready``.
    """

    on_event: Callable[[Canary, Event], None] | None = None
    on_outcome: Callable[[Outcome], None] | None = None
    on_transition: Callable[[Incident], None] | None = None
    on_started: Callable[[RunningDaemon], None] | None = None
    on_ready: Callable[[], None] | None = None
    on_reload: Callable[[Settings], None] | None = None
    on_reloaded: Callable[[], None] | None = None
