"""The runs of a canary in a period, summed up: they are kept longer than the runs, and read much faster."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct, field

from streamcanary.model.faults import CALLER_FAULTS
from streamcanary.model.outcome import Outcome, OutcomeKind
from streamcanary.model.statistics.answer_values import AnswerValue, usual_values
from streamcanary.model.statistics.quantile_sketch import QuantileSketch, add_value, merge_sketch

HOUR: Final = 3600
"""Seconds of a period of the last days."""

QUARTER_DAY: Final = 6 * HOUR
"""Seconds of an earlier period: a quarter of a day (UTC)."""

UNKNOWN_FAULT: Final = "unknown"
"""The kind of a failure without a fault."""

_OUTCOMES_WITHOUT_SAMPLE = frozenset({OutcomeKind.SKIPPED, OutcomeKind.INTERNAL_ERROR})
_FAILED = frozenset({OutcomeKind.FAILED, OutcomeKind.FAILED_OVER})
_MAX = 2**53  # a larger number is damage
_MAX_COST = 1e15  # USD; a larger sum counts as this
Count = Annotated[int, Meta(ge=0, le=_MAX)]
"""A number of runs, attempts or tokens."""

_FaultCounts = Annotated[dict[Annotated[str, Meta(max_length=100)], Count], Meta(max_length=200)]


class RunCounts(Struct):
    """How many runs had each outcome, and of how many the first attempt failed, before any retry.

    A first attempt that failed because of the daemon itself (:data:`CALLER_FAULTS`) is not counted.
    """

    ok: Count = 0
    slow: Count = 0
    failed_over: Count = 0
    failed: Count = 0
    internal_error: Count = 0
    skipped: Count = 0
    first_attempts_failed: Count = 0

    @property
    def answered(self) -> int:
        """Runs that the primary answered, in time or not."""
        return self.ok + self.slow

    @property
    def primary_failed(self) -> int:
        """Runs in which the primary failed, whether a fallback answered or not."""
        return self.failed + self.failed_over

    @property
    def availability(self) -> float | None:
        """The part of the runs that reached the target that its primary answered; ``None`` without such runs."""
        total = self.answered + self.primary_failed
        return self.answered / total if total else None

    def add(self, outcome: Outcome) -> None:
        """Count a run."""
        name = outcome.kind.value
        setattr(self, name, getattr(self, name) + 1)
        kind = first_attempt_kind(outcome)
        if kind is not None and kind not in CALLER_FAULTS:
            self.first_attempts_failed += 1

    def merge(self, other: "RunCounts") -> None:
        """Add the counts of ``other``."""
        self.ok += other.ok
        self.slow += other.slow
        self.failed_over += other.failed_over
        self.failed += other.failed
        self.internal_error += other.internal_error
        self.skipped += other.skipped
        self.first_attempts_failed += other.first_attempts_failed


class RunDetails(Struct, kw_only=True, array_like=True):
    """More about the runs: the distributions of their values, and what failed how often.

    Values are those of :func:`~streamcanary.model.statistics.answer_values.usual_values`. ``failures`` are those of
    the primary and ``first_failures`` those of first attempts, by kind of fault; who can fix it follows from the kind.
    ``repeats`` are failures of the primary directly after another one, also one in the period before;
    ``last_failed`` is whether the last run is one. ``first_repeats`` and ``first_last_failed`` are the same of first
    attempts. ``cost`` is in USD, of runs with a known price.
    """

    first_token: QuantileSketch = field(default_factory=dict)
    max_gap: QuantileSketch = field(default_factory=dict)
    duration: QuantileSketch = field(default_factory=dict)
    tokens_per_second: QuantileSketch = field(default_factory=dict)
    failures: _FaultCounts = field(default_factory=dict)
    first_failures: _FaultCounts = field(default_factory=dict)
    repeats: Count = 0
    first_repeats: Count = 0
    last_failed: bool = False
    first_last_failed: bool = False
    attempts: Count = 0
    input_tokens: Count = 0
    output_tokens: Count = 0
    cost: Annotated[float, Meta(ge=0, le=_MAX_COST)] = 0.0

    def sketch(self, name: AnswerValue) -> QuantileSketch:
        """Return the distribution of a value."""
        sketch: QuantileSketch = getattr(self, name)
        return sketch

    def add(self, outcome: Outcome) -> None:
        """Add the next run."""
        for name, value in usual_values(outcome):
            add_value(getattr(self, name), value)
        self.attempts += len(outcome.attempts)
        if outcome.usage is not None:
            self.input_tokens += _tokens(outcome.usage.input_tokens)
            self.output_tokens += _tokens(outcome.usage.output_tokens)
        if outcome.cost is not None and outcome.cost >= 0:
            self.cost = min(self.cost + outcome.cost, _MAX_COST)
        if outcome.kind in _OUTCOMES_WITHOUT_SAMPLE:
            return
        if (kind := primary_fault_kind(outcome)) is not None:
            self.failures[kind] = self.failures.get(kind, 0) + 1
            self.repeats += self.last_failed
        self.last_failed = kind is not None
        if (kind := first_attempt_kind(outcome)) is not None:
            self.first_failures[kind] = self.first_failures.get(kind, 0) + 1
            if kind in CALLER_FAULTS:
                return
            self.first_repeats += self.first_last_failed
        self.first_last_failed = kind is not None

    def merge(self, later: "RunDetails") -> None:
        """Add the runs of a ``later`` period."""
        for sketch in ("first_token", "max_gap", "duration", "tokens_per_second"):
            merge_sketch(getattr(self, sketch), getattr(later, sketch))
        for faults in ("failures", "first_failures"):
            merged = getattr(self, faults)
            for kind, count in getattr(later, faults).items():
                merged[kind] = merged.get(kind, 0) + count
        for name in ("repeats", "first_repeats", "attempts", "input_tokens", "output_tokens"):
            setattr(self, name, min(getattr(self, name) + getattr(later, name), _MAX))
        self.cost = min(self.cost + later.cost, _MAX_COST)
        self.last_failed, self.first_last_failed = later.last_failed, later.first_last_failed


class Rollup(Struct, frozen=True, kw_only=True):
    """The runs of ``canary`` that started within ``length`` seconds from ``started`` (seconds since the epoch) on."""

    canary: str
    started: int
    length: int
    counts: RunCounts
    details: RunDetails


def period_start(at: float, length: int = HOUR) -> int:
    """Return when the period of ``length`` seconds that contains ``at`` begins, in seconds since the epoch."""
    return int(at // length) * length


def primary_fault_kind(outcome: Outcome) -> str | None:
    """Return the kind of the fault of the primary; ``None`` if it did not fail."""
    if outcome.kind not in _FAILED:
        return None
    return outcome.fault.kind.value if outcome.fault is not None else UNKNOWN_FAULT


def first_attempt_kind(outcome: Outcome) -> str | None:
    """Return the kind of the fault of the first attempt, before any retry; ``None`` if it did not fail."""
    if outcome.kind in _OUTCOMES_WITHOUT_SAMPLE:
        return None
    fault = outcome.attempts[0].fault if outcome.attempts else outcome.fault
    return fault.kind.value if fault is not None else None


def _tokens(count: int) -> int:
    return max(0, min(count, 10**9))


DETAILS_DECODER: Final = msgspec.msgpack.Decoder(RunDetails)
"""Decodes details, and raises :class:`msgspec.DecodeError` for a damaged value."""

DETAILS_ENCODER: Final = msgspec.msgpack.Encoder()
"""Encodes details."""
