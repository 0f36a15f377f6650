"""Attributes that the spans of calls and those of attempts share."""

import httpx2
from opentelemetry.trace import Span, Status, StatusCode

from streamcanary.model import names
from streamcanary.model.faults import Fault, FaultKind


def host_and_port(url: httpx2.URL) -> tuple[str, int]:
    """Return the host and the port of ``url``; without a port, the default of its scheme."""
    return url.host, url.port or (443 if url.scheme == "https" else 80)


def set_fault_attributes(span: Span, fault: Fault) -> None:
    """Set the kind, the phase and the blame of ``fault`` on ``span``. A cancellation is no error."""
    span.set_attributes(
        {
            names.ATTEMPT_PHASE: fault.phase.value,
            names.ATTEMPT_FAULT: fault.kind.value,
            names.ATTEMPT_BLAME: fault.blame.value,
        }
    )
    if fault.kind is not FaultKind.CANCELLED:
        span.set_attribute(names.ERROR_TYPE, fault.kind.value)
        span.set_status(Status(StatusCode.ERROR, str(fault)))
