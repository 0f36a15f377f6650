"""Counts the runs of the last hour in steps of five minutes."""

from typing import Final

from msgspec import Struct

from streamcanary.model.faults import CALLER_FAULTS
from streamcanary.model.outcome import Outcome, OutcomeKind

STEP: Final = 300.0
"""Seconds of a step."""

_HOUR = 3600.0
_STEPS = int(_HOUR / STEP) + 1  # full ones, and the current one


class StepCounts(Struct, gc=False):
    """The runs that started within :data:`STEP` seconds from ``started`` on."""

    started: float
    runs: int = 0
    failed: int = 0
    failed_over: int = 0
    first_attempt_failed: int = 0
    slow: int = 0

    def add(self, other: "StepCounts") -> None:
        """Add the counts of ``other``."""
        self.runs += other.runs
        self.failed += other.failed
        self.failed_over += other.failed_over
        self.first_attempt_failed += other.first_attempt_failed
        self.slow += other.slow


class HourCounts:
    """The counts of one canary. Runs are added in about the order of their starts."""

    __slots__ = ("_steps",)

    def __init__(self) -> None:
        self._steps: list[StepCounts] = []  # a deque takes 600 bytes more

    def add(self, outcome: Outcome) -> None:
        """Count a run that says something about the target."""
        started = outcome.started // STEP * STEP
        if not self._steps or started > self._steps[-1].started:
            self._append(StepCounts(started))
        step = self._steps[-1]  # also for a run that started before: the wall clock was set back, or it took long
        step.runs += 1
        step.slow += outcome.kind is OutcomeKind.SLOW
        step.failed += outcome.kind is OutcomeKind.FAILED or outcome.kind is OutcomeKind.FAILED_OVER
        step.failed_over += outcome.kind is OutcomeKind.FAILED_OVER
        fault = outcome.attempts[0].fault if outcome.attempts else outcome.fault
        step.first_attempt_failed += fault is not None and fault.kind not in CALLER_FAULTS

    def extend(self, later: "HourCounts") -> None:
        """Add the counts of later runs."""
        for step in later._steps:
            if self._steps and self._steps[-1].started >= step.started:
                self._steps[-1].add(step)
            else:
                self._append(step)

    def _append(self, step: StepCounts) -> None:
        self._steps.append(step)
        del self._steps[:-_STEPS]

    def total(self, now: float) -> StepCounts:
        """Return the sum of the steps that began within the hour before ``now``; ``started`` is the first of these."""
        since = (now - _HOUR) // STEP * STEP + STEP
        total = StepCounts(since)
        for step in self._steps:
            if since <= step.started <= now:
                total.add(step)
        return total

    @staticmethod
    def valid_until(now: float) -> float:
        """Return when the total of ``now`` changes without another run."""
        return now // STEP * STEP + STEP
