"""The history of alerts: recorded with each step of the engine, and read for the status page and the API."""

import logging
from collections.abc import Sequence

from streamcanary.alerting.engine.inputs import Input
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.service.status.history_recorder import HistoryRecorder, MuteReason, Step, unfinished_ids
from streamcanary.alerting.service.write_buffer import AlertStore
from streamcanary.model.alerts.row_change import RowChange
from streamcanary.model.status.alert_history import IncidentPage, PastIncident

_log = logging.getLogger(__name__)


class AlertHistory:
    """The incidents of the last 30 days. What can still change is in memory, and complete while the store fails."""

    def __init__(self, store: AlertStore) -> None:
        self._store = store
        self._recorder = HistoryRecorder()

    # ---- for the alerting service

    def observe(
        self, step: tuple[State, State, Input, tuple[RowChange, ...], float], mute_reason: MuteReason
    ) -> tuple[RowChange, ...]:
        """Record a step (see :class:`Step`), and return the changed rows.

        An internal error is logged, and costs the events of that step.
        """
        try:
            return self._recorder.observe(Step(*step), mute_reason)
        except Exception:  # noqa: BLE001 - the history must not stop notifications
            _log.exception("alert history failed", extra={"input": type(step[2]).__name__})
            return ()

    async def load(self, state: State, now: float) -> tuple[RowChange, ...]:
        """Continue the stored incidents with the loaded ``state``, and return the rows that this changes.

        Raises:
            StoreFailing: if the store cannot be read.
        """
        stored = await self._store.unfinished_incidents(unfinished_ids(state))
        return self._recorder.restore(stored, state, now)

    def rows(self) -> tuple[RowChange, ...]:
        """Return the rows of the incidents that can still change, for a store that has lost its own."""
        return self._recorder.rows()

    # ---- for the rest of the daemon

    async def read_page(self, cursor: str | None = None, *, limit: int = 50, canary: str | None = None) -> IncidentPage:
        """Return up to ``limit`` incidents, at most 200, the newest first; with ``canary`` those that name it.

        ``cursor`` is that of the page before.

        Raises:
            StoreFailing: if the store cannot be read. Those that can still change are in :attr:`unfinished`.
        """
        page = await self._store.past_incidents(cursor, limit=limit, canary=canary)
        newer = self._recorder.incidents
        return IncidentPage(incidents=tuple(newer.get(one.id, one) for one in page.incidents), cursor=page.cursor)

    async def get(self, id: str) -> PastIncident | None:  # noqa: A002 - the field's name
        """Return the incident of ``id``; ``None`` if there is none.

        Raises:
            StoreFailing: if it can no longer change, and the store cannot be read.
        """
        known = self._recorder.incidents.get(id)
        return known if known is not None else await self._store.past_incident(id)

    @property
    def unfinished(self) -> Sequence[PastIncident]:
        """The incidents that fire, or whose notifications are pending, the newest first."""
        return sorted(self._recorder.incidents.values(), key=lambda one: one.id, reverse=True)
