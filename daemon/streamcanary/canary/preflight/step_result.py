"""The result of one step of a diagnosis, without the name and duration of the step."""

from msgspec import Struct

from streamcanary.model.diagnosis import StepState
from streamcanary.model.faults import FaultKind


class StepResult(Struct, frozen=True, kw_only=True):
    """The fields are those of :class:`~streamcanary.model.diagnosis.DiagnosisStep`; the texts are not redacted yet."""

    state: StepState
    message: str
    remedy: str = ""
    kind: FaultKind | None = None
    status: int | None = None
    request_id: str | None = None


def ok(message: str, remedy: str = "") -> StepResult:
    """Return a successful result; its ``remedy`` is for a problem that is about to occur."""
    return StepResult(state=StepState.OK, message=message, remedy=remedy)


def failed(kind: FaultKind, message: str, remedy: str) -> StepResult:
    """Return a failed result."""
    return StepResult(state=StepState.FAILED, message=message, remedy=remedy, kind=kind)


def unknown(message: str, remedy: str = "") -> StepResult:
    """Return an inconclusive result: no failure is known."""
    return StepResult(state=StepState.UNKNOWN, message=message, remedy=remedy)


def skipped(reason: str) -> StepResult:
    """Return the result of a step that does not apply."""
    return StepResult(state=StepState.SKIPPED, message=reason)
