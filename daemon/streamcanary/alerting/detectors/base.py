"""Base types of detectors: the configuration model, the detector of one canary, and the result of a sample."""

from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from streamcanary.model.canary import Canary
from streamcanary.model.config_types.config_issue import ConfigIssue

State = TypeVar("State")


class FailureCounts(NamedTuple):
    """The number of ``bad`` samples in the last ``total``, the oldest at ``since`` (seconds since the epoch)."""

    bad: int
    total: int
    since: float

    @property
    def resolve_reason(self) -> str:
        """The resolve reason of an incident, as text."""
        if self.bad:
            return f"recovered: {self.total - self.bad} of the last {self.total} runs were good"
        return (
            "recovered: the last run was good"
            if self.total == 1
            else f"recovered: the last {self.total} runs were good"
        )


class DetectorResult(NamedTuple, Generic[State]):
    """The state after a sample, whether the detector fires, and the failure counts."""

    state: State
    is_firing: bool
    counts: FailureCounts


class CanaryDetector(Protocol):
    """The detector of one canary."""

    @property
    def resolve_condition(self) -> str:
        """What resolves the alert, as text."""
        ...

    def feed(self, state: object, *, bad: bool, at: float, firing: bool) -> DetectorResult[Any]:
        """Return the result after one more sample at ``at`` (seconds since the epoch), starting from ``state``.

        With ``None``, or the state of another detector, it starts from the beginning. ``firing`` is whether the alert
        fires before the sample. A bad sample never resolves the alert, and a good sample never fires it, unless the
        documentation of the detector says otherwise.
        """
        ...


class BaseDetector(BaseModel):
    """The configuration of a detector, with checks against a canary."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def config_error(self, canary: Canary) -> ConfigIssue | None:
        """Return why the detector cannot work for ``canary``, or ``None``. The path is below the detector."""
        return None

    def config_warning(self, canary: Canary) -> str | None:
        """Return a warning about a valid setting that is probably not intended for ``canary``, or ``None``."""
        return None
