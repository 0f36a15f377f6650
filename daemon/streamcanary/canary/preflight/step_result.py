"""What one step finds: a step of a diagnosis before it has its name and its time."""

from msgspec import Struct

from streamcanary.model.diagnosis import StepState
from streamcanary.model.faults import FaultKind


class StepResult(Struct, frozen=True, kw_only=True):
    """The fields are those of :class:`~streamcanary.model.diagnosis.DiagnosisStep`; the texts are not scrubbed yet."""

    state: StepState
    message: str
    remedy: str = ""
    kind: FaultKind | None = None
    status: int | None = None
    request_id: str | None = None


def ok(message: str, remedy: str = "") -> StepResult:
    """Return that a step is in order; a ``remedy`` is for what will soon not be."""
    return StepResult(state=StepState.OK, message=message, remedy=remedy)


def failed(kind: FaultKind, message: str, remedy: str) -> StepResult:
    """Return that a step is broken."""
    return StepResult(state=StepState.FAILED, message=message, remedy=remedy, kind=kind)


def unknown(message: str, remedy: str = "") -> StepResult:
    """Return that the endpoint does not tell, and nothing is known to be broken."""
    return StepResult(state=StepState.UNKNOWN, message=message, remedy=remedy)


def skipped(reason: str) -> StepResult:
    """Return that a step is not taken."""
    return StepResult(state=StepState.SKIPPED, message=reason)
