"""What operators see of alerting at any replica, besides open incidents."""

from collections.abc import Callable, Mapping, Sequence

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.service.liveness import DeliveryFailure
from streamcanary.alerting.service.status.operator_view import OperatorView
from streamcanary.alerting.service.write_buffer import AlertStore
from streamcanary.model.clock import Clock
from streamcanary.model.status.alert_history import IncidentPage, PastIncident
from streamcanary.model.status.canary_status import RuleStatus


class ReplicaView(OperatorView):
    """Rules, receivers, maintenance windows and previews of silences. ``request_detectors`` lets detectors be read."""

    def __init__(
        self,
        current: Callable[[], tuple[AlertsConfig, Engine, State]],
        failures: Callable[[], Mapping[str, Sequence[DeliveryFailure | None]]],
        clock: Clock,
        request_detectors: Callable[[], None],
    ) -> None:
        super().__init__(current, failures, clock)
        self._request_detectors = request_detectors

    def rules(self, canary: str) -> tuple[RuleStatus, ...]:
        """Return how far each rule is from firing for ``canary``, as of some seconds ago."""
        self._request_detectors()
        return super().rules(canary)


class SharedAlertHistory:
    """The incidents of the last 30 days, as they are stored. ``unfinished`` returns those that can still change."""

    def __init__(self, store: AlertStore, unfinished: Callable[[], Sequence[PastIncident]]) -> None:
        self._store = store
        self._unfinished = unfinished

    async def read_page(self, cursor: str | None = None, *, limit: int = 50, canary: str | None = None) -> IncidentPage:
        """Return up to ``limit`` incidents, at most 200, the newest first; with ``canary`` those that name it.

        ``cursor`` is that of the page before.

        Raises:
            StoreFailing: if the store cannot be read. Those that can still change are in :attr:`unfinished`.
        """
        return await self._store.past_incidents(cursor, limit=limit, canary=canary)

    async def get(self, id: str) -> PastIncident | None:  # noqa: A002 - the field's name
        """Return the incident of ``id``; ``None`` if there is none.

        Raises:
            StoreFailing: if the store cannot be read.
        """
        return await self._store.past_incident(id)

    @property
    def unfinished(self) -> Sequence[PastIncident]:
        """The incidents that fire, or whose notifications are pending, the newest first."""
        return self._unfinished()
