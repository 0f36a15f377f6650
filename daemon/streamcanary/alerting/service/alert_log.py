"""Log lines about incidents, and about notifications that a new configuration cancels or retries."""

import logging
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence

from streamcanary.alerting.engine.state import State
from streamcanary.alerting.engine.stored_rows import UnreadableRow
from streamcanary.model.alerts.incident import Incident, Notification, NotificationState
from streamcanary.model.alerts.row_change import RowChange, StateTable
from streamcanary.store.tables.damaged_rows import DamagedRows

_log = logging.getLogger(__name__)


def log_config_effects(
    before: Mapping[str, Notification], after: Mapping[str, Notification], receivers: Container[str]
) -> None:
    """Log which notifications of ``before`` a configuration with ``receivers`` has cancelled, and which are retried."""
    for id, notification in before.items():  # noqa: A001 - the field's name
        new = after.get(id)
        is_pending = new is not None and new.state is NotificationState.PENDING
        fields = {
            "receiver": notification.receiver,
            "notification": id,
            "action": notification.action.value,
            "group": notification.group,
        }
        if notification.state is NotificationState.PENDING and new is None:
            if notification.receiver in receivers:
                _log.warning("notification cancelled: alert was removed", extra=fields)
            else:
                _log.warning("notification cancelled: receiver was removed", extra=fields)
        elif notification.state is NotificationState.PARKED and is_pending:
            _log.info("refused notification retried", extra=fields)


def log_unreadable_rows(rows: Iterable[UnreadableRow]) -> None:
    """Log which ``rows`` of the store cannot be read, a bounded number of each table."""
    damaged: dict[StateTable, DamagedRows] = {}
    for row in rows:
        damaged.setdefault(row.table, DamagedRows(row.table)).add(row.key, row.reason)
    for rows_of_table in damaged.values():
        rows_of_table.log()


def incident_fields(incidents: Sequence[Incident], count: int) -> dict[str, object]:
    """Return the fields of a line about a notification of ``incidents``, of which there are ``count`` in total.

    ``alert`` and ``subject`` are those of the first one that fires, ``trace_ids`` those of its last failed runs, and
    ``alerts`` is the number of all.
    """
    if not incidents:
        return {"alerts": count}
    first = next((incident for incident in incidents if incident.is_firing), incidents[0])
    trace_ids = list(first.evidence.trace_ids)
    return {"alert": first.rule, "subject": first.subject, "alerts": count, "trace_ids": trace_ids}


def transitions(before: State, after: State, rows: Iterable[RowChange]) -> Iterator[Incident]:
    """Yield the incidents among the changed ``rows`` that have opened or resolved."""
    for row in rows:
        if row.table == "incidents" and (incident := after.incidents.get(row.key)) is not None:
            known = before.incidents.get(row.key)
            if known is None or (known.opened, known.is_firing) != (incident.opened, incident.is_firing):
                yield incident


def report_transition(
    incident: Incident, receivers: Sequence[str], listener: Callable[[Incident], None] | None
) -> None:
    """Log that ``incident``, which is routed to ``receivers``, has opened or resolved, and call the ``listener``."""
    _log_transition(incident, receivers)
    if listener is not None:
        try:
            listener(incident)
        except Exception:  # noqa: BLE001 - a failing listener is logged, and must not stop notifications
            _log.exception("transition listener failed", extra={"alert": incident.rule, "subject": incident.subject})


def _log_transition(incident: Incident, receivers: Sequence[str]) -> None:
    """Log that ``incident`` has opened or resolved, and whether an open one has no receiver."""
    fields = {"alert": incident.rule, "subject": incident.subject}
    if not incident.is_firing:
        _log.debug("incident resolved", extra={**fields, "reason": incident.resolve_reason})
        return
    _log.debug("incident opened", extra={**fields, "error": incident.evidence.message})
    if not receivers:
        _log.warning("no route matches alert", extra=fields)
