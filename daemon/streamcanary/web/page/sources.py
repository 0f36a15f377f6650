"""What the status page shows, as it comes in: Protocols of the data behind it."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from msgspec import Struct

from streamcanary.model.alerts.silence import Silence
from streamcanary.model.status.alert_history import (
    IncidentPage,
    MaintenanceWindow,
    PastIncident,
    ReceiverStatus,
    SilencePreview,
)
from streamcanary.model.status.canary_status import CanaryStatus, RuleStatus
from streamcanary.model.status.summary import StatusSummary
from streamcanary.web.api.alerts import Alerts as ApiAlerts
from streamcanary.web.api.canaries import CanaryFaults, RecordedRuns
from streamcanary.web.api.replicas import Replicas
from streamcanary.web.api.runs import Runs


class Canaries(Protocol):
    """The statuses of the canaries as the page uses them; all of it is cheap."""

    def summary(self) -> StatusSummary:
        """Return the status of everything in one sentence."""
        ...

    def statuses(self) -> tuple[CanaryStatus, ...]:
        """Return the status of each canary."""
        ...

    def recorded_names(self, name: str) -> tuple[str, ...]:
        """Return the names under which the runs of a canary are recorded."""

    def with_hours(self, statuses: Iterable[CanaryStatus]) -> tuple[CanaryStatus, ...]:
        """Return ``statuses`` with their ``hours``, which those of a large fleet do not have."""
        ...

    def find(self, name: str) -> CanaryStatus | None:
        """Return the status of the canary ``name``; ``None`` if there is none."""
        ...


class AlertHistory(Protocol):
    """The incidents of the last 30 days."""

    async def read_page(self, cursor: str | None = None, *, limit: int = 50, canary: str | None = None) -> IncidentPage:
        """Return incidents, the newest first.

        Raises:
            StoreFailing: if the store cannot be read.
        """
        ...

    async def get(self, id: str) -> PastIncident | None:  # noqa: A002 - the field's name
        """Return the incident of ``id``; ``None`` if there is none.

        Raises:
            StoreFailing: if it can no longer change, and the store cannot be read.
        """
        ...

    @property
    def unfinished(self) -> Sequence[PastIncident]:
        """The incidents that fire, or whose notifications are pending, the newest first; also without the store."""
        ...


class OperatorView(Protocol):
    """What people see of alerting besides incidents."""

    def rules(self, canary: str) -> tuple[RuleStatus, ...]:
        """Return how far each rule is from firing for ``canary``."""
        ...

    async def rules_with_forecasts(self, canary: str) -> tuple[RuleStatus, ...]:
        """Return :meth:`rules` with all forecasts, in up to some seconds; :meth:`rules` has them afterwards."""
        ...

    @property
    def receivers(self) -> tuple[ReceiverStatus, ...]:
        """The state of each receiver."""
        ...

    @property
    def maintenance(self) -> tuple[MaintenanceWindow, ...]:
        """The maintenance windows that are open, and those to come."""
        ...

    @property
    def trace_url(self) -> str | None:
        """The template of links to traces, with ``{trace_id}`` in it."""
        ...

    def preview_silence(self, silence: Silence) -> SilencePreview:
        """Return what ``silence`` would match now."""
        ...


class Alerts(ApiAlerts, Protocol):
    """Alerting as the page uses it: as the API does, and for what only people look at."""

    @property
    def history(self) -> AlertHistory:
        """The incidents of the last 30 days."""
        ...

    @property
    def view(self) -> OperatorView:
        """Rules, receivers, maintenance windows and previews of silences."""
        ...


class PageSources(Struct, frozen=True, kw_only=True):
    """Everything that the page shows; ``replicas`` is ``None`` without a database that several share."""

    canaries: Canaries
    recorded: RecordedRuns
    faults: CanaryFaults
    kept: Runs
    alerts: Alerts
    replicas: Replicas | None = None
