"""Logs finished runs, and alerts that fire and resolve."""

import logging
from collections.abc import Callable

from streamcanary.app.callbacks import DaemonCallbacks
from streamcanary.model import names
from streamcanary.model.alerts.incident import Incident
from streamcanary.model.outcome import Outcome, OutcomeKind
from streamcanary.telemetry.logs import OTLP_ATTRIBUTES

_log = logging.getLogger(__name__)


def transition_callback(callbacks: DaemonCallbacks) -> Callable[[Incident], None]:
    """Return the function that logs a transition of an incident, and passes it on."""

    def report(incident: Incident) -> None:
        evidence = incident.evidence
        _log.warning(
            "alert fired" if incident.is_firing else "alert resolved",
            extra={
                "alert": incident.rule,
                "subject": incident.subject,
                "reason": incident.resolve_reason,
                "bad": evidence.bad,
                "total": evidence.total,
                "last_message": evidence.message,
                "trace_ids": list(evidence.trace_ids),
                OTLP_ATTRIBUTES: {
                    label: incident.labels[label]
                    for label in (names.CANARY, names.SCOPE, names.TARGET, names.PROVIDER_LABEL, names.SEVERITY)
                    if label in incident.labels
                },
            },
        )
        if callbacks.on_transition is not None:
            callbacks.on_transition(incident)

    return report


def log_outcome(outcome: Outcome) -> None:
    """Log the result of a run."""
    level = logging.INFO if outcome.kind in (OutcomeKind.OK, OutcomeKind.SLOW) else logging.WARNING
    if outcome.kind is OutcomeKind.SKIPPED and (
        outcome.budget is not None or outcome.reason in ("concurrency", "behind_schedule")
    ):
        level = logging.DEBUG  # the spend guard and the scheduler log the reason once, not for each skipped run
    if not _log.isEnabledFor(level):
        return
    fields: dict[str, object] = {
        "canary": outcome.canary,
        "outcome": outcome.kind.value,
        "duration": round(outcome.duration, 3),
        "attempts": len(outcome.attempts),
        "trace_id": outcome.trace_id,
    }
    if outcome.fault is not None:
        fields |= {
            "fault": outcome.fault.kind.value,
            "blame": outcome.fault.blame.value,
            "error": outcome.fault.message,
        }
    elif outcome.reason is not None:
        fields["reason"] = outcome.reason
    _log.log(level, "run finished", extra=fields)
