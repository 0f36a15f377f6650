"""What many runs of one canary say together."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from streamcanary.cli.measurements.distribution import Distribution
from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.faults import Blame, FaultKind
from streamcanary.model.outcome import Outcome, OutcomeKind

PERCENTILES: Final = (50, 90, 95, 99, 100)
"""The percentiles that are printed; 100 is the worst value."""

PERCENTILE_NAMES: Final = tuple("worst" if percent == 100 else f"p{percent}" for percent in PERCENTILES)
"""Their names."""

_ANSWERED = (OutcomeKind.OK, OutcomeKind.SLOW, OutcomeKind.FAILED_OVER)
_FAILED = (OutcomeKind.FAILED, OutcomeKind.FAILED_OVER)
_EVIDENCE = (*_ANSWERED, OutcomeKind.FAILED)


class MeasureProperties(Struct, frozen=True):
    """How a measure is shown: its ``title``, and whether its values are seconds; those of the others are speeds."""

    title: str
    is_time: bool = True

    def format(self, value: float | None) -> str:
        """Return a value as text, ``-`` for none."""
        if value is None:
            return "-"
        return format_duration(value) if self.is_time else f"{value:.3g}"


MEASURES: Final[Mapping[str, MeasureProperties]] = {
    "first_token": MeasureProperties("first token"),
    "duration": MeasureProperties("duration"),
    "max_gap": MeasureProperties("longest gap"),
    "tokens_per_second": MeasureProperties("tokens/s", is_time=False),
}
"""The measures of an answered run."""


class RunStatistics:
    """Counts and distributions of runs.

    ``runs`` counts those that say something about the target: not the skipped ones, nor internal errors.
    Distributions are of the answered ones. ``cost`` is in USD, ``None`` if no price is known.
    """

    def __init__(self) -> None:
        self.kinds: Counter[OutcomeKind] = Counter()
        self.faults: Counter[tuple[FaultKind, Blame]] = Counter()
        self.skip_reasons: Counter[str] = Counter()
        self.first_attempt_failed = 0
        self.attempts = 0
        self.cost: float | None = None
        self.distributions: dict[str, Distribution] = {
            name: Distribution(more_is_better=not measure.is_time) for name, measure in MEASURES.items()
        }

    @property
    def runs(self) -> int:
        """The runs that say something about the target."""
        return sum(self.kinds[kind] for kind in _EVIDENCE)

    @property
    def failed(self) -> int:
        """The runs that the primary did not answer as expected, after its retries."""
        return sum(self.kinds[kind] for kind in _FAILED)

    @property
    def availability(self) -> float | None:
        """The part of the runs that the primary answered, from 0 to 1; ``None`` without runs."""
        return 1 - self.failed / self.runs if self.runs else None

    @property
    def error_rate(self) -> float | None:
        """The part of the runs that failed after retries."""
        return self.failed / self.runs if self.runs else None

    @property
    def first_attempt_error_rate(self) -> float | None:
        """The part of the runs whose first attempt failed: the error rate before retries."""
        return self.first_attempt_failed / self.runs if self.runs else None

    def add(self, outcome: Outcome) -> None:
        """Count a run."""
        self.kinds[outcome.kind] += 1
        self.attempts += len(outcome.attempts)
        if outcome.cost is not None:
            self.cost = (self.cost or 0.0) + outcome.cost
        if outcome.kind is OutcomeKind.SKIPPED:
            self.skip_reasons[outcome.reason or "unknown"] += 1
        if outcome.kind not in _EVIDENCE:
            return
        self.first_attempt_failed += bool(outcome.attempts and outcome.attempts[0].fault)
        if outcome.fault is not None:
            self.faults[outcome.fault.kind, outcome.fault.blame] += 1
        if outcome.kind in _ANSWERED:
            for name, value in measured_values(outcome).items():
                if value is not None:
                    self.distributions[name].add(value)

    def to_json(self) -> dict[str, Any]:
        """Return the statistics as JSON values; times are seconds."""
        return {
            "runs": self.runs,
            "outcomes": {kind.value: self.kinds[kind] for kind in OutcomeKind if self.kinds[kind]},
            "availability": self.availability,
            "error_rate": self.error_rate,
            "first_attempt_error_rate": self.first_attempt_error_rate,
            "faults": [
                {"kind": kind.value, "blame": blame.value, "count": count}
                for (kind, blame), count in self.faults.most_common()
            ],
            "skipped": dict(self.skip_reasons),
            "cost_usd": self.cost,
            "measures": {
                name: dict(zip(PERCENTILE_NAMES, map(values.percentile, PERCENTILES), strict=True))
                for name, values in self.distributions.items()
                if len(values)
            },
        }


def measured_values(outcome: Outcome) -> dict[str, float | None]:
    """Return the measures of a run by name, ``None`` for one that was not measured."""
    speed = outcome.output_speed
    return {
        "first_token": outcome.time_to_first_token,
        "duration": outcome.answer_duration,
        "max_gap": outcome.max_gap,
        "tokens_per_second": speed.tokens_per_second if speed is not None else None,
    }
