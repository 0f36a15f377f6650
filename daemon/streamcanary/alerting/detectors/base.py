"""Base types of detectors: the configuration model, the detector of a stream of samples, and the result of a sample."""

from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from streamcanary.model.canary import Canary
from streamcanary.model.config_types.config_issue import ConfigIssue
from streamcanary.model.schedules.schedule import SampleSchedule

State = TypeVar("State")


def format_times(count: int) -> str:
    """Return how often something happens, in words: ``once``, or ``5 times``."""
    return "once" if count == 1 else f"{count} times"


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


class Progress(NamedTuple):
    """How far a detector is from firing or, while it fires, from resolving.

    ``fraction`` is from 0 to 1: the part of the evidence that it needs to fire, or what is left until it resolves.
    ``text`` says the same in words.
    """

    fraction: float
    text: str

    @classmethod
    def of(cls, value: float, needed: float, text: str) -> "Progress":
        """Return the progress of ``value`` towards ``needed``."""
        return cls(min(max(value / needed, 0.0), 1.0) if needed > 0 else 0.0, text)


class SampleStream(NamedTuple):
    """What a detector knows about the samples that it is fed with: those of one canary, or pooled ones of several.

    ``subject`` is their name in messages. ``schedule`` says when samples are due. ``share`` is the part of the budget
    of false pages of the rule that this stream may use. ``autocorrelation`` (lag 1, from 0 to less than 1) and
    ``base_rate`` of failures outside incidents, and the ``quantiles`` of values relative to a limit
    (:class:`LearnedValues`), are learned from history; ``None`` without history.
    """

    subject: str
    schedule: SampleSchedule
    share: float = 1.0
    autocorrelation: float | None = None
    base_rate: float | None = None
    quantiles: tuple[float, ...] | None = None

    @classmethod
    def of_canary(cls, canary: Canary) -> "SampleStream":
        """Return the stream of the samples of ``canary`` alone, with the whole budget of false pages."""
        return cls(canary.name, canary.schedule)

    @property
    def interval(self) -> float:
        """The mean time between two samples, in seconds."""
        return self.schedule.interval


class StreamDetector(Protocol):
    """The detector of one stream of samples."""

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

    def progress(self, state: object, *, firing: bool, now: float) -> Progress:
        """Return how far it is from firing, or while ``firing`` from resolving, at ``now`` (seconds since the epoch).

        With ``None``, or the state of another detector, it is at the beginning.
        """
        ...

    def forget_failures(self, state: object, at: float) -> Any:
        """Return the state after the alert has resolved at ``at`` (seconds since the epoch), without its failures.

        A window keeps its number of samples, so that a single failure is no larger part of it than usual.
        """
        ...


class BaseDetector(BaseModel):
    """The configuration of a detector, with checks against a stream of samples."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @property
    def learns(self) -> bool:
        """Whether the detector depends on what was learned about its stream from recorded runs."""
        return False

    @property
    def max_base_rate(self) -> float:
        """The highest base rate that may be learned: a higher one is an incident that goes on."""
        return 0.05

    def config_error(self, stream: SampleStream) -> ConfigIssue | None:
        """Return why the detector cannot work for ``stream``, or ``None``. The path is below the detector."""
        return None

    def config_warning(self, stream: SampleStream) -> str | None:
        """Return a warning about a valid setting that is probably not intended for ``stream``, or ``None``."""
        return None
