"""What the rest of the daemon uses of alerting, whether its store is its own, or shared by replicas."""

from collections.abc import Callable, Sequence
from typing import Protocol

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.service.status.operator_view import OperatorView
from streamcanary.model.alerts.incident import Incident
from streamcanary.model.alerts.silence import Silence
from streamcanary.model.alerts.status_snapshot import StatusSnapshot
from streamcanary.model.canary import Canary
from streamcanary.model.status.alert_history import IncidentPage, PastIncident


class History(Protocol):
    """The incidents of the last 30 days."""

    async def read_page(self, cursor: str | None = None, *, limit: int = 50, canary: str | None = None) -> IncidentPage:
        """Return a page of incidents, the newest first; ``StoreFailing`` if they cannot be read."""
        ...

    async def get(self, id: str) -> PastIncident | None:  # noqa: A002 - the field's name
        """Return the incident of ``id``; ``StoreFailing`` if it cannot be read."""
        ...

    @property
    def unfinished(self) -> Sequence[PastIncident]:
        """The incidents that can still change."""
        ...


class Alerting(Protocol):
    """``AlertingService`` or ``SharedAlerting``."""

    on_transition: Callable[[Incident], None] | None

    @property
    def history(self) -> History:
        """The incidents of the last 30 days."""
        ...

    @property
    def view(self) -> OperatorView:
        """The rules, receivers and maintenance windows."""
        ...

    @property
    def status(self) -> StatusSnapshot:
        """The status snapshot: open incidents and undelivered notifications."""
        ...

    @property
    def silences(self) -> tuple[Silence, ...]:
        """All silences, the oldest first."""
        ...

    @property
    def open_incidents(self) -> tuple[Incident, ...]:
        """The open incidents, the oldest first."""
        ...

    def prepare(self, config: AlertsConfig, instance: str, canaries: Sequence[Canary]) -> None:
        """Prepare another configuration; it takes effect at :meth:`apply`."""
        ...

    def apply(self) -> None:
        """Apply the configuration of the last :meth:`prepare`."""
        ...

    def report_config(self, problem: str | None) -> None:
        """Report whether the configuration file is applied, or the ``problem`` because of which it is not."""
        ...

    def enqueue_diagnosis(self, canary: str, diagnosis: str) -> None:
        """Enqueue the diagnosis made after the first failure of ``canary`` without blocking."""
        ...

    async def create_silence(self, silence: Silence) -> None:
        """Create ``silence``; ``ValueError`` if there are too many, ``StoreFailing`` if it was not applied."""
        ...

    async def delete_silence(self, id: str) -> bool:  # noqa: A002 - the field's name
        """End the silence ``id``; return whether it existed. ``StoreFailing`` as :meth:`create_silence`."""
        ...

    def liveness_checks(self) -> dict[str, Callable[[], str | None]]:
        """Return the liveness checks that must pass before a heartbeat is sent, by name."""
        ...

    async def run(self) -> None:
        """Run until cancelled."""
        ...

    async def drain(self, seconds: float) -> None:
        """Wait at most ``seconds`` for pending notifications to be sent."""
        ...

    def wake(self) -> None:
        """Check the clock again at once."""
        ...
