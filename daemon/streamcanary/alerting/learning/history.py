"""Sorts recorded runs into the series of bindings, and learns the baseline of each from its series. Pure."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from streamcanary.alerting.detectors import NoData, SampleDetector, SampleStream, Shift, Spike
from streamcanary.alerting.engine.bindings import Binding
from streamcanary.alerting.engine.evaluation.samples import Sample, adverse_value, sample_of
from streamcanary.alerting.learning.base_rate import CusumSteps, estimate_base_rate
from streamcanary.alerting.learning.baseline import LearnedBaseline, LearnedRate, LearnedValues
from streamcanary.alerting.learning.failure_series import FailureSeries
from streamcanary.alerting.learning.value_baseline import MIN_SPAN, SmallestChange, ValueSeries, estimate_values
from streamcanary.alerting.measures import Measure
from streamcanary.alerting.rules import Rule
from streamcanary.model.canary import Canary, recorded_names
from streamcanary.model.outcome import Outcome, OutcomeKind
from streamcanary.model.statistics.answer_values import is_distorted

MAX_RUNS: Final = 200_000
"""The latest recorded runs from which is learned, at most: as many as the store keeps of those that succeeded."""

MIN_INCREASE: Final = 0.01
"""Seconds by which a time must be worse than usual: less is the scheduling of the daemon, or the network."""

_DEFAULT = Spike(type="spike")
_FALLBACK = 8, 36  # of the default at 30 s
_FAILED_KINDS = frozenset({OutcomeKind.FAILED, OutcomeKind.FAILED_OVER, OutcomeKind.INTERNAL_ERROR})


def learning_cusum(detector: SampleDetector | NoData, stream: SampleStream) -> tuple[int, int]:
    """Return the step of a bad sample and the threshold with which ``detector`` fires for ``stream``.

    A ``spike`` detector that cannot work at the base rate of ``stream`` is that of its configuration. For the other
    detectors it is a ``spike`` with its defaults.
    """
    for each in (stream, stream._replace(base_rate=None, autocorrelation=None)):
        try:
            found = (detector if isinstance(detector, (Spike, Shift)) else _DEFAULT).for_stream(each)
        except ValueError:
            continue
        return found.step, found.threshold
    return _FALLBACK


def smallest_change(rule: Rule) -> SmallestChange:
    """Return the change that is not above a learned limit: half of the one to detect, as a factor."""
    worse = rule.detector.worse if isinstance(rule.detector, Shift) else 1.0
    return SmallestChange(math.sqrt(worse), MIN_INCREASE if rule.measure.is_timed else 0.0)


def _is_distorted(measure: Measure, outcome: Outcome, value: float) -> bool:
    """Return whether the lag of the daemon may be much of the adverse ``value``, so that it is not what is usual."""
    speed = outcome.output_speed
    return is_distorted(outcome, value if measure.is_timed or speed is None else speed.seconds)


class History:
    """The series of the bindings that learn, from runs in the order in which they ended.

    The runs of a canary count from ``since`` on (by identity, seconds since the epoch), when its request became the one
    that it sends now. They count from its first successful run on, because the store keeps failed runs longer than
    successful ones. Runs under the former name of a canary are its runs.
    """

    def __init__(self, bindings: Iterable[Binding], canaries: Iterable[Canary], since: Mapping[str, float]) -> None:
        self._canaries = recorded_names(canaries)
        self._since = since
        self._spans: dict[str, tuple[float, float]] = {}  # the first and the last run, by canary that has succeeded
        self._bindings: list[Binding] = []
        self._series: dict[str, FailureSeries | ValueSeries] = {}
        self._bindings_by_canary: dict[str, list[Binding]] = {}
        for binding in bindings:
            self._bindings.append(binding)
            self._series[binding.key] = ValueSeries() if binding.rule.detector.type == "shift" else FailureSeries()
            for canary in binding.canaries:
                self._bindings_by_canary.setdefault(canary.name, []).append(binding)

    def observe_all(self, outcomes: Iterable[Outcome]) -> None:
        """Add the next runs."""
        for outcome in outcomes:
            self.observe(outcome)

    def observe(self, outcome: Outcome) -> None:
        """Add the next run."""
        canary = self._canaries.get(outcome.canary)
        if canary is None or outcome.started < self._since.get(canary.identity, 0.0):
            return
        bindings = self._bindings_by_canary.get(canary.name)
        if bindings is None:
            return
        span = self._spans.get(canary.name)
        if span is None and outcome.kind in _FAILED_KINDS:
            return
        self._spans[canary.name] = (outcome.started if span is None else span[0]), outcome.started
        for binding in bindings:
            match self._series[binding.key]:
                case FailureSeries() as failures:
                    sample = sample_of(binding.rule, outcome)
                    if sample is Sample.GOOD or sample is Sample.BAD:
                        failures.append(bad=sample is Sample.BAD)
                case ValueSeries() as values:
                    value = adverse_value(binding.rule.measure, outcome)
                    if value is not None and not _is_distorted(binding.rule.measure, outcome, value):
                        values.append(canary.identity, outcome.started + outcome.duration, value)

    def learn(self, now: float) -> Iterator[tuple[str, LearnedBaseline | None]]:
        """Yield the key and the baseline of each binding at ``now``; ``None`` if it has too few samples."""
        for binding in self._bindings:
            yield binding.key, self._learn(binding, now)

    def observed_rate(self, binding: Binding, min_samples: int) -> LearnedRate | None:
        """Return the base rate of ``binding`` in a history of at least ``min_samples``; ``None`` for values."""
        series = self._series[binding.key]
        if not isinstance(series, FailureSeries):
            return None
        return estimate_base_rate(series, self.cusum(binding), binding.rule.detector.max_base_rate, min_samples)

    def short_bindings(self) -> Iterator[Binding]:
        """Yield the bindings whose runs span less than a day."""
        for binding in self._bindings:
            spans = (self._spans.get(canary.name, (0.0, 0.0)) for canary in binding.canaries)
            if any(last - first < MIN_SPAN for first, last in spans):
                yield binding

    def since(self, canary: Canary) -> float:
        """Return since when ``canary`` sends its request, in seconds since the epoch; 0 if always."""
        return self._since.get(canary.identity, 0.0)

    def samples(self, binding: Binding) -> FailureSeries:
        """Return the samples of ``binding``; none of one that learns values."""
        series = self._series[binding.key]
        return series if isinstance(series, FailureSeries) else FailureSeries()

    def samples_above(self, binding: Binding, values: LearnedValues) -> FailureSeries:
        """Return for each value of ``binding`` whether it is above its limit in ``values``."""
        series = self._series[binding.key]
        return (
            FailureSeries(ratio > 1 for ratio in series.ratios(values))
            if isinstance(series, ValueSeries)
            else (FailureSeries())
        )

    def _learn(self, binding: Binding, now: float) -> LearnedBaseline | None:
        series, cusum = self._series[binding.key], self.cusum(binding)
        learned: LearnedBaseline | None
        if isinstance(series, FailureSeries):
            learned = estimate_base_rate(series, cusum, binding.rule.detector.max_base_rate)
        else:
            learned = estimate_values(series, cusum, smallest_change(binding.rule))
        return None if learned is None else msgspec.structs.replace(learned, learned_at=now)

    def cusum(self, binding: Binding) -> CusumSteps:
        """Return the steps of the detector of ``binding``, by base rate and autocorrelation."""
        stream = binding.scope_value.stream()

        def cusum(rate: float, autocorrelation: float) -> tuple[int, int]:
            """Return the steps of the detector at a base rate and an autocorrelation."""
            learned = stream._replace(base_rate=rate, autocorrelation=autocorrelation)
            return learning_cusum(binding.rule.detector, learned)

        return cusum
