"""What all detectors share: the configuration model, the interface for one canary, and the result of a sample."""

from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from streamcanary.model.canary import Canary
from streamcanary.model.config_types.config_issue import ConfigIssue

State = TypeVar("State")


class FailureCounts(NamedTuple):
    """``bad`` of the last ``total`` samples were bad, the oldest seen at ``since`` (seconds since the epoch)."""

    bad: int
    total: int
    since: float

    @property
    def resolve_reason(self) -> str:
        """What ended an outage, in words."""
        if self.bad:
            return f"recovered: {self.total - self.bad} of the last {self.total} runs were good"
        return (
            "recovered: the last run was good"
            if self.total == 1
            else f"recovered: the last {self.total} runs were good"
        )


class DetectorResult(NamedTuple, Generic[State]):
    """The state after a sample, whether it fires now, and what was counted."""

    state: State
    is_firing: bool
    counts: FailureCounts


class CanaryDetector(Protocol):
    """A detector made ready for one canary."""

    @property
    def resolve_condition(self) -> str:
        """What resolves it, in words."""
        ...

    def feed(self, state: object, *, bad: bool, at: float, firing: bool) -> DetectorResult[Any]:
        """Return the verdict after one more sample, seen ``at`` (seconds since the epoch), on top of ``state``.

        Whatever is no state of this detector (``None``, or that of another one) starts it afresh. A sample that is bad
        never ends the firing, and one that is good never begins it, unless the detector says so.
        """
        ...


class BaseDetector(BaseModel):
    """The configuration of a detector, and what it means for one canary."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def config_error(self, canary: Canary) -> ConfigIssue | None:
        """Return why it could never do for ``canary`` what it promises; the path is below the detector."""
        return None

    def config_warning(self, canary: Canary) -> str | None:
        """Return what is no mistake for ``canary``, and may be meant otherwise."""
        return None
