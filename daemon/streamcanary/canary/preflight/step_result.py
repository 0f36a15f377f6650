"""What one step finds: a step of a diagnosis before it has its name and its time."""

from msgspec import Struct

from streamcanary.model.diagnosis import StepState
from streamcanary.model.faults import FaultKind


class Finding(Struct, frozen=True, kw_only=True):
    """The fields are those of :class:`~streamcanary.model.diagnosis.Step`; the texts are not scrubbed yet."""

    state: StepState
    says: str
    remedy: str = ""
    kind: FaultKind | None = None
    status: int | None = None
    request_id: str | None = None


def good(says: str, remedy: str = "") -> Finding:
    """Return that a step is in order; a ``remedy`` is for what will soon not be."""
    return Finding(state=StepState.OK, says=says, remedy=remedy)


def broken(kind: FaultKind, says: str, remedy: str) -> Finding:
    """Return that a step is broken."""
    return Finding(state=StepState.FAILED, says=says, remedy=remedy, kind=kind)


def untold(says: str, remedy: str = "") -> Finding:
    """Return that the endpoint does not tell, and nothing is known to be broken."""
    return Finding(state=StepState.UNKNOWN, says=says, remedy=remedy)


def skipped(why: str) -> Finding:
    """Return that a step is not taken."""
    return Finding(state=StepState.SKIPPED, says=why)
